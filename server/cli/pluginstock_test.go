package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	signing "github.com/postern/postern/host/shelf"
)

// said runs a command and compares what it wrote, the place of the shelf and the
// ids of keys settled.
func (r *storeroom) said(want string, code int, args ...string) {
	r.t.Helper()
	got := r.run(args...)
	text := strings.NewReplacer(r.dir, "DIR", filepath.Dir(r.dir), "BASE").Replace(got.stdout + got.stderr)
	if got.code != code || !strings.Contains(text, want) {
		r.t.Errorf("plugin %s = code %d and\n%s\nwant %d and\n%s", strings.Join(args, " "), got.code, text, code, want)
	}
}

func TestPluginList(t *testing.T) {
	r := newStoreroom(t)
	r.said("no plugins in DIR\nput one in: postern plugin install FILE.wasm --config BASE/postern.yaml\nmissing: acme/pay names key, which is not here\n", exitDone, "list")
	r.put(packed(t, "keys", tokenManifest("key", "1.0.0"), ""), "key@1.0.0")
	r.put(packed(t, "keys", tokenManifest("key", "1.1.0"), ""), "key@1.1.0")
	r.file(r.dir, "counter.wasm", packed(t, "counter", tokenManifest("counter", "0.1.0"), ""), nil, "", time.Time{})
	got := r.run("list")
	for _, want := range []string{
		"PLUGIN   VERSION           SHA256 ", "key      1.1.0    current ", "  acme/pay\n", "key      1.0.0            ",
		"refused: " + r.dir + "/counter.wasm: it is not signed, and plugins.require_signature is set",
	} {
		if got.code != exitDone || !strings.Contains(got.stdout, want) {
			t.Errorf("list = %+v\nwant %q", got, want)
		}
	}
	var rows []map[string]any
	for line := range strings.Lines(r.run("list", "--json").stdout) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if len(rows) != 3 || rows[0]["name"] != "counter" || rows[0]["problem"] == nil || rows[1]["version"] != "1.1.0" || rows[1]["current"] != true ||
		len(rows[1]["endpoints"].([]any)) != 1 || rows[2]["current"] != false || len(rows[2]["endpoints"].([]any)) != 0 || rows[2]["signer"] == "" {
		t.Errorf("list --json = %v", rows)
	}
	r.configure("require_signature: true", "key@1.0.0")
	if got := r.run("list").stdout; !strings.Contains(got, "key      1.0.0            ") || strings.Count(got, "acme/pay") != 1 {
		t.Errorf("list with a pinned endpoint:\n%s", got)
	}
	r.configure("require_signature: true", "key@2.0.0")
	r.said("missing: acme/pay names key@2.0.0, which is not here\n", exitDone, "list")
}

func TestPluginRemove(t *testing.T) {
	r := newStoreroom(t)
	for _, version := range []string{"1.0.0", "1.1.0"} {
		r.put(packed(t, "keys", tokenManifest("key", version), ""), "key@"+version)
	}
	before := r.tree()
	r.said("postern: key@1.1.0 is used by acme/pay: have them name another plugin or version first\n", exitFailed, "remove", "key@1.1.0")
	r.said("key@1.1.0 is used by acme/pay", exitFailed, "remove", "key")
	r.said(`postern: there is no plugin "key@3.0.0" in DIR; there are: key@1.0.0, key@1.1.0`, exitFailed, "remove", "key@3.0.0")
	r.said(`postern: "../key" is not the form of a name`, exitUsage, "remove", "../key")
	r.configure("require_signature: true", "other")
	r.said("postern: key are several: name one, key@1.0.0, key@1.1.0\n", exitFailed, "remove", "key")
	r.said("postern: key@1.1.0 is current: roll back, or install another version, before it is removed\n", exitFailed, "remove", "key@1.1.0")
	r.said("rollback takes the plugin's name alone", exitUsage, "rollback", "key@1.0.0")
	if after := r.tree(); after != before {
		t.Error("the shelf has changed")
	}
	r.said("key@1.0.0 removed\n", exitDone, "remove", "key@1.0.0")
	r.said("postern: key has no version before 1.1.0\n", exitFailed, "rollback", "key")
	r.said(`{"name":"key","version":"1.1.0"`, exitDone, "remove", "key", "--json")
	r.said("no plugins in DIR\n", exitDone, "list")
}

func TestPluginInspect(t *testing.T) {
	r := newStoreroom(t)
	code := packed(t, "keys", tokenManifest("key", "1.0.0"), "accept")
	r.put(code, "key@1.0.0")
	file := r.file(t.TempDir(), "file.wasm", code, nil, "", time.Time{})
	for _, what := range []string{"key", "key@1.0.0", file} {
		got := r.run("inspect", what)
		for _, want := range []string{
			"key@1.0.0  a guest\n", "  methods     POST\n", "  secrets     key\n", "  memory      as configured\n", "  goldens     1\n",
			"  imports     postern1.token, postern1.event_begin, postern1.set\n", "  sha256      ", "  size        0.",
		} {
			if got.code != exitDone || !strings.Contains(got.stdout, want) {
				t.Errorf("inspect %s = %+v\nwant %q", what, got, want)
			}
		}
	}
	r.said("signature   it is not signed, and plugins.require_signature is set", exitDone, "inspect", file)
	r.said(`"problem":"it is not signed`, exitDone, "inspect", file, "--json")
	r.said(`"imports":["postern1.token","postern1.event_begin","postern1.set"],"memory_pages":0,"fuel":0,"goldens":1}`, exitDone, "inspect", "key", "--json")
	r.said(`there is no plugin "gone" in DIR; there are: key`, exitFailed, "inspect", "gone")
}

func TestPluginSign(t *testing.T) {
	r := newStoreroom(t)
	code := packed(t, "keys", tokenManifest("key", "1.0.0"), "accept")
	t.Chdir(t.TempDir())
	write(t, "in.wasm", string(code))
	r.said("give the secret key: --key FILE; plugin keygen makes one", exitUsage, "sign", "in.wasm")
	r.said("the key has a password: give it with --password env:NAME, file:/path or -", exitUsage, "keygen")
	r.said("exclude each other", exitUsage, "keygen", "--no-password", "--password", "-")
	r.said("trust it in the configuration:\nplugins:\n  keys: [RW", exitDone, "keygen", "--no-password")
	if info, err := os.Stat("postern.key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("postern.key has mode %v, %v; want 0600", info.Mode(), err)
	}
	r.said("postern: postern.key exists: --out names another\n", exitFailed, "keygen", "--no-password")
	if err := os.Remove("postern.key"); err != nil {
		t.Fatal(err)
	}
	r.said("postern: postern.pub exists: --out names another\n", exitFailed, "keygen", "--no-password")
	made := r.run("keygen", "--no-password", "--json", "--out", "mine")
	var pair struct {
		Secret string `json:"secret_file"`
		Key    string `json:"key"`
	}
	if err := json.Unmarshal([]byte(made.stdout), &pair); err != nil || pair.Secret != "mine.key" {
		t.Fatalf("keygen --json = %+v, %v", made, err)
	}
	secret, err := os.ReadFile(pair.Secret)
	if err != nil || strings.Contains(made.stdout, strings.Split(string(secret), "\n")[1]) {
		t.Errorf("keygen shows the secret key (%v)", err)
	}
	for when, want := range map[string]string{
		"soon": "write a number of days as 90d, or a date as 2030-01-31", "0d": "that is over", "2001-01-01": "that is over",
	} {
		r.said(want, exitUsage, "sign", "in.wasm", "--key", "mine.key", "--expires", when)
	}
	r.said("signature   it is not signed", exitDone, "inspect", "in.wasm")
	r.said("postern: in.wasm: it is not signed", exitFailed, "verify", "in.wasm")
	r.said("key@1.0.0 signed by ", exitDone, "sign", "in.wasm", "--key", "mine.key", "--expires", "2999-12-31")
	r.said("which is none of plugins.keys", exitFailed, "verify", "in.wasm")
	r.said(" until 2999-12-31T00:00:00Z\n", exitDone, "verify", "in.wasm", "--key", pair.Key)
	r.said(`"expires":"2999-12-31T00:00:00Z"}`, exitDone, "verify", "in.wasm", "--key", pair.Key, "--json")
	r.said("no minisign public key", exitUsage, "verify", "in.wasm", "--key", "RWno")
	write(t, "in.wasm", "hello")
	r.said("in.wasm: malformed module: not a core WebAssembly module", exitFailed, "sign", "in.wasm", "--key", "mine.key")
	r.said("not a core WebAssembly module", exitFailed, "verify", "in.wasm")
	write(t, "in.wasm", string(code))
	r.said("read the key: it is no minisign secret key", exitFailed, "sign", "in.wasm", "--key", "mine.pub")
	r.said("no such file", exitFailed, "sign", "in.wasm", "--key", "no.key")
}

// A key's password is read from wherever secrets are, and is in no answer.
func TestPluginSign_password(t *testing.T) {
	r := newStoreroom(t)
	key := filepath.Join("..", "..", "host", "shelf", "testdata", "minisign.key")
	file := r.file(t.TempDir(), "in.wasm", packed(t, "keys", tokenManifest("key", "1.0.0"), ""), nil, "", time.Time{})
	from := filepath.Join(t.TempDir(), "password")
	write(t, from, "correct horse\n")
	for _, tt := range []struct {
		from, want string
		code       int
	}{
		{"env:PASSWORD", "key@1.0.0 signed by 4B1CD5CF93C2D126\n", exitDone},
		{"file:" + from, "signed by 4B1CD5CF93C2D126\n", exitDone},
		{"-", "signed by 4B1CD5CF93C2D126\n", exitDone},
		{"env:WRONG", "open the key: the password is wrong, or the file is damaged", exitFailed},
		{"env:EMPTY", "read the password: it is empty", exitFailed},
		{"env:UNSET", "read the password: the variable is not set", exitFailed},
		{"correct horse", "--password: write env:NAME, file:/path or -", exitUsage},
		{"", "give it with --password", exitUsage},
	} {
		got := posternIn(t, "correct horse\n", []string{"PASSWORD=correct horse", "WRONG=battery staple", "EMPTY="},
			"plugin", "sign", file, "--key", key, "--password", tt.from)
		if got.code != tt.code || !strings.Contains(got.stdout+got.stderr, tt.want) {
			t.Errorf("sign with the password in %s = %+v, want %d and %q", tt.from, got, tt.code, tt.want)
		}
		if strings.Contains(got.stdout+got.stderr, "horse") || strings.Contains(got.stdout+got.stderr, "staple") {
			t.Errorf("sign shows the password: %+v", got)
		}
	}
	text, err := os.ReadFile(file + ".minisig")
	if err != nil || signing.SignerOf(text) != "4B1CD5CF93C2D126" {
		t.Errorf("the signature is %q, %v", text, err)
	}
}
