package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPack_isReproducible builds the same plugin in two folders: the modules
// are equal byte for byte, and hold the manifest and the goldens as written.
func TestPack_isReproducible(t *testing.T) {
	var modules [][]byte
	for range 2 {
		folder := copyPlugin(t)
		dist := filepath.Join(folder, "..", "made", "dist")
		if err := run([]string{"-o", dist, folder}, &bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
		module, err := os.ReadFile(filepath.Join(dist, "echo.wasm"))
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, module)
	}
	if !bytes.Equal(modules[0], modules[1]) {
		t.Error("two builds of the same sources differ")
	}
	checkSections(t, modules[0])
}

func checkSections(t *testing.T, module []byte) {
	t.Helper()
	manifest, err := section(module, sectionManifest)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"echo","version":"0.1.0","summary":"a <plugin> for tests","methods":["POST"]}`; string(manifest) != want {
		t.Errorf("manifest = %s, want %s", manifest, want)
	}
	goldens, err := section(module, sectionGoldens)
	if err != nil {
		t.Fatal(err)
	}
	if want := `[{"name":"a","http":"UE9TVCAvYSBIVFRQLzEuMQoKAP8=","golden":{"about":"<a>"}},{"name":"a-b","http":"","golden":{}},{"name":"b","http":"","golden":{}}]`; string(goldens) != want {
		t.Errorf("goldens = %s\nwant      %s", goldens, want)
	}
	file := filepath.Join(t.TempDir(), "echo.wasm")
	if err := os.WriteFile(file, module, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{"-show", file}, &out); err != nil || !strings.Contains(out.String(), `"summary": "a <plugin> for tests"`) {
		t.Errorf("-show = %s, %v", &out, err)
	}
}

// copyPlugin puts testdata/echo into a new folder, with a go.mod that finds
// the SDK.
func copyPlugin(t *testing.T) string {
	t.Helper()
	sdk, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "echo")
	if err := os.CopyFS(folder, os.DirFS("testdata/echo")); err != nil {
		t.Fatal(err)
	}
	gomod := "module example.com/echo\n\ngo 1.26.0\n\nrequire github.com/postern/postern/sdk v0.0.0\n\nreplace github.com/postern/postern/sdk => " + sdk + "\n"
	if err := os.WriteFile(filepath.Join(folder, "go.mod"), []byte(gomod), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestPack_refusesAGoldenWithoutItsOtherHalf(t *testing.T) {
	for _, lonely := range []string{"a.http", "b.golden.json"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, lonely), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readGoldens(dir); err == nil || !strings.Contains(err.Error(), "testdata/"+lonely) {
			t.Errorf("only %s: %v, want an error that names it", lonely, err)
		}
	}
}

func TestReadGoldens_noneIsAnEmptyArray(t *testing.T) {
	got, err := readGoldens(filepath.Join(t.TempDir(), "absent"))
	if err != nil || string(got) != "[]" {
		t.Errorf("readGoldens = %s, %v, want []", got, err)
	}
}

func TestCheckModule(t *testing.T) {
	imports := func(from, name string) []byte {
		body := append([]byte{1, byte(len(from))}, from...)
		body = append(append(body, byte(len(name))), name...)
		body = append(body, 0, 0)
		return append([]byte(header+"\x02"), append([]byte{byte(len(body))}, body...)...)
	}
	for _, ok := range []string{"postern1", "wasi_snapshot_preview1"} {
		if err := checkModule(imports(ok, "read")); err != nil {
			t.Errorf("import from %s: %v", ok, err)
		}
	}
	if err := checkModule(imports("env", "abort")); err == nil || !strings.Contains(err.Error(), "env.abort") {
		t.Errorf("import from env: %v, want an error that names env.abort", err)
	}
	whole := imports("postern1", "read")
	for n := range whole[:len(whole)-1] {
		if n == len(header) {
			continue // a module without sections
		}
		if err := checkModule(whole[:n]); err == nil {
			t.Errorf("a module cut to %d bytes was taken", n)
		}
	}
}

func TestManifest_refuses(t *testing.T) {
	const good = `{"name":"echo","version":"0.1.0","summary":"s"}`
	for name, c := range map[string]struct{ text, want string }{
		"no object":                     {`[]`, "must be a JSON object"},
		"trailing data":                 {good + `{}`, "nothing behind it"},
		"duplicate member":              {`{"name":"echo","name":"echo"}`, `member "name" stands twice`},
		"unknown member":                {with(`"secret":[]`), "secret: is not a member; there are name, version"},
		"name in capitals":              {`{"Name":"echo","version":"0.1.0","summary":"s"}`, "Name: is not a member"},
		"no name":                       {`{"version":"0.1.0","summary":"s"}`, "name: is missing"},
		"other folder":                  {`{"name":"other","version":"0.1.0","summary":"s"}`, `name: is "other" but the folder is echo`},
		"version":                       {`{"name":"echo","version":"1","summary":"s"}`, "version: must be a semantic version"},
		"two lines":                     {`{"name":"echo","version":"0.1.0","summary":"a\nb"}`, "summary: must be one line"},
		"method":                        {with(`"methods":["post"]`), "methods[0]: must be a method in capitals"},
		"methods no array":              {with(`"methods":"POST"`), "methods: must be an array"},
		"unable":                        {with(`"unable":"drop"`), "unable: must be one of retry, keep"},
		"ack status":                    {with(`"ack":{"status":302}`), "ack.status: must be a whole number from 200 to 299"},
		"ack body as JSON":              {with(`"ack":{"body":{}}`), "ack.body: must be text"},
		"ack member":                    {with(`"ack":{"headers":[]}`), "ack.headers: is not a member"},
		"fuel as text":                  {with(`"fuel":"1"`), "fuel: must be a whole number"},
		"fuel as fraction":              {with(`"fuel":1.5`), "fuel: must be a whole number"},
		"settings no object":            {with(`"settings":{"type":"string"}`), `settings: must be a JSON Schema of an object`},
		"setting no schema":             {with(`"settings":{"type":"object","properties":{"a":1}}`), "settings.properties.a: must be a JSON Schema"},
		"secret without use":            {secretWith(`"form":"utf8"`), "secrets[0].use: is missing"},
		"secret unknown use":            {secretWith(`"use":"md5","form":"utf8"`), "secrets[0].use: must be one of hmac-sha1"},
		"secret without form":           {secretWith(`"use":"hmac-sha256"`), "secrets[0].form: is missing"},
		"secret guessed form":           {secretWith(`"use":"hmac-sha256","form":"auto"`), "secrets[0].form: must be one of utf8"},
		"secret with place":             {secretWith(`"use":"hmac-sha256","form":"utf8","in":"path"`), "secrets[0].in: is only for a token"},
		"secret pattern":                {secretWith(`"use":"hmac-sha256","form":"utf8","respond":"("`), "secrets[0].respond: must be an RE2 pattern"},
		"secret optional":               {secretWith(`"use":"hmac-sha256","form":"utf8","optional":"yes"`), "secrets[0].optional: must be true or false"},
		"token without place":           {secretWith(`"use":"token"`), "secrets[0].in: is missing"},
		"token in a cookie":             {secretWith(`"use":"token","in":"cookie:x"`), "secrets[0].in: must be header:NAME"},
		"token with form":               {secretWith(`"use":"token","in":"path","form":"utf8"`), "secrets[0].form: is not for a token"},
		"unknown use names the setting": {secretWith(`"use":"aes","form":"utf8"`), "aes-128-cbc, aes-128-cbc-zero, token, signed-token, setting:NAME"},
		"cipher that answers":           {secretWith(`"use":"aes-128-cbc","form":"hex","respond":".*"`), "secrets[0].respond: is only for a MAC"},
		"signed token without form":     {secretWith(`"use":"signed-token","in":"path"`), "secrets[0].form: is missing"},
		"signed token without place":    {secretWith(`"use":"signed-token","form":"utf8"`), "secrets[0].in: is missing"},
		"signed token that answers":     {secretWith(`"use":"signed-token","form":"utf8","in":"path","respond":".*"`), "secrets[0].respond: is only for a MAC"},
		"use by unknown setting":        {secretWith(`"use":"setting:a","form":"utf8"`), `secrets[0].use: speaks of the setting "a", which is not in settings.properties`},
		"use by setting without enum":   {bySettings(`"use":"setting:a","form":"utf8"`, `"a":{"type":"string"}`), `secrets[0].use: speaks of the setting "a", which has no enum`},
		"use by MACs and ciphers":       {bySettings(`"use":"setting:a","form":"utf8"`, `"a":{"enum":["hmac-sha256","aes-128-cbc"]}`), "settings.properties.a.enum: must be some of hmac-sha1"},
		"use by setting, not served":    {bySettings(`"use":"setting:a","form":"utf8"`, `"a":{"enum":["ed25519"]}`), "settings.properties.a.enum: must be some of"},
		"use by setting, token":         {bySettings(`"use":"setting:a","form":"utf8"`, `"a":{"enum":["token"]}`), "settings.properties.a.enum: must be some of"},
		"form by a setting of numbers":  {bySettings(`"use":"hmac-sha256","form":"setting:a"`, `"a":{"enum":["utf8",1]}`), "settings.properties.a.enum: must be some of utf8"},
		"form by setting, not served":   {bySettings(`"use":"hmac-sha256","form":"setting:a"`, `"a":{"enum":["pem"]}`), "settings.properties.a.enum: must be some of utf8"},
		"one place, both required":      {twoTokens(`"in":"path"`, `"in":"path"`), `secrets[1].in: is the place of "a" too`},
		"one place, one required":       {twoTokens(`"in":"header:Key","optional":true`, `"in":"header:KEY"`), `secrets[1].in: is the place of "a" too`},
		"unverified no object":          {with(`"unverified":["a"]`), "unverified: must be an object"},
		"unverified no array":           {bySettings("", `"a":{}`, `"unverified":{"a":"none"}`), "unverified.a: must be an array"},
		"unverified without values":     {bySettings("", `"a":{}`, `"unverified":{"a":[]}`), "unverified.a: must be an array"},
		"unverified, unknown setting":   {with(`"unverified":{"a":["none"]}`), "unverified.a: is not in settings.properties"},
		"unverified, no such value":     {bySettings("", `"a":{"enum":["x",1]}`, `"unverified":{"a":[1,"y"]}`), "unverified.a[1]: is not in the setting's enum"},
		"calibrate no array":            {with(`"calibrate":"a"`), "calibrate: must be an array"},
		"calibrate a number":            {with(`"calibrate":[1]`), "calibrate[0]: must be the name of a setting"},
		"calibrate, unknown setting":    {with(`"calibrate":["a"]`), `calibrate[0]: speaks of the setting "a", which is not`},
		"calibrate without enum":        {bySettings("", `"a":{"type":"string"}`, `"calibrate":["a"]`), `calibrate[0]: speaks of the setting "a", which has no enum`},
		"calibrate twice":               {bySettings("", `"a":{"enum":["x"]}`, `"calibrate":["a","a"]`), `calibrate[1]: "a" stands twice`},
		"secret twice": {
			with(`"secrets":[{"name":"k","use":"token","in":"path"},{"name":"k","use":"token","in":"path"}]`),
			`secrets[1].name: "k" stands twice`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readManifest(writeManifest(t, c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("readManifest = %v\nwant an error with %q", err, c.want)
			}
		})
	}
}

func TestManifest_takes(t *testing.T) {
	for name, text := range map[string]string{
		"the least":           `{"name":"echo","version":"0.1.0","summary":"s"}`,
		"cipher":              secretWith(`"use":"aes-128-cbc-zero","form":"sha256-16"`),
		"signed token":        secretWith(`"use":"signed-token","form":"utf8","in":"query:t"`),
		"one place, optional": twoTokens(`"in":"path","optional":true`, `"in":"path","optional":true`),
		"two places":          twoTokens(`"in":"query:a"`, `"in":"query:A"`),
		"MAC by setting":      bySettings(`"use":"setting:a","form":"setting:b"`, `"a":{"enum":["hmac-sha1","hmac-sha512"]},"b":{"enum":["utf8","hex"]}`),
		"cipher by setting":   bySettings(`"use":"setting:a","form":"utf8-16"`, `"a":{"enum":["aes-128-cbc","aes-128-cbc-zero"]}`),
		"unverified":          bySettings("", `"a":{"enum":["x",1]},"b":{"type":"boolean"}`, `"unverified":{"a":[1],"b":[true]}`),
		"calibrate":           bySettings("", `"a":{"enum":["x","y"]}`, `"calibrate":["a"]`),
	} {
		if _, got, err := readManifest(writeManifest(t, text)); err != nil || got != "echo" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestManifest_tellsEverythingAtOnce(t *testing.T) {
	_, _, err := readManifest(writeManifest(t, `{"name":"echo","version":"x","methods":[1],"colour":"red"}`))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"version:", "summary:", "methods[0]:", "colour:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
}

func with(member string) string {
	return `{"name":"echo","version":"0.1.0","summary":"s",` + member + `}`
}

func secretWith(members string) string {
	return with(`"secrets":[{"name":"key",` + members + `}]`)
}

// bySettings is a manifest with settings, one secret if it has members, and
// what else there is.
func bySettings(secret, properties string, more ...string) string {
	all := append(slices.Clone(more), `"settings":{"type":"object","properties":{`+properties+`}}`)
	if secret != "" {
		all = append(all, `"secrets":[{"name":"key",`+secret+`}]`)
	}
	return with(strings.Join(all, ","))
}

func twoTokens(first, second string) string {
	return with(`"secrets":[{"name":"a","use":"token",` + first + `},{"name":"b","use":"token",` + second + `}]`)
}

func writeManifest(t *testing.T, text string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "echo")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "plugin.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}
