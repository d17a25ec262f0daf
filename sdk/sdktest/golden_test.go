package sdktest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	postern "github.com/postern/postern/sdk"
)

func TestParseRequest(t *testing.T) {
	const text = "PUT /in/a/b?c=d HTTP/1.1\nOne:  a: b \nTwo:\nOne: c\n\n\nbody\n"
	got, err := parseRequest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &request{
		method: "PUT", target: "/in/a/b?c=d", body: []byte("\nbody\n"),
		headers: []field{{"One", "a: b"}, {"Two", ""}, {"One", "c"}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{}, field{})); diff != "" {
		t.Errorf("parseRequest (-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"no blank line":     "POST / HTTP/1.1\nA: b\n",
		"CR":                "POST / HTTP/1.1\r\nA: b\n\n",
		"no version":        "POST /\n\n",
		"other version":     "POST / HTTP/1.0\n\n",
		"absolute target":   "POST http://a/ HTTP/1.1\n\n",
		"two spaces":        "POST  / HTTP/1.1\n\n",
		"header, no colon":  "POST / HTTP/1.1\nA\n\n",
		"continuation line": "POST / HTTP/1.1\nA: b\n c: d\n\n",
		"space in name":     "POST / HTTP/1.1\nA : b\n\n",
	} {
		if _, err := parseRequest([]byte(text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

// TestTake holds the masking to docs/goldens.md §2: once and right is a token,
// and whatever stood there is masked.
func TestTake(t *testing.T) {
	for name, c := range map[string]struct {
		in, head string
		got      string
		ok       bool
		masked   string
	}{
		"header":           {"header:Key", "POST /a HTTP/1.1\nKEY: v\n", "v", true, "POST /a HTTP/1.1\nKEY: [token:t]\n"},
		"repeated header":  {"header:Key", "POST /a HTTP/1.1\nKey: v\nkey: w\n", "", false, "POST /a HTTP/1.1\nKey: [token:t]\nkey: [token:t]\n"},
		"no header":        {"header:Key", "POST /a HTTP/1.1\nKeys: v\n", "", false, "POST /a HTTP/1.1\nKeys: v\n"},
		"query":            {"query:k", "POST /a?x=1&%6b=v%2B&y HTTP/1.1\n", "v+", true, "POST /a?x=1&%6b=[token:t]&y HTTP/1.1\n"},
		"repeated query":   {"query:k", "POST /a?k=v&k=v HTTP/1.1\n", "", false, "POST /a?k=[token:t]&k=[token:t] HTTP/1.1\n"},
		"no query":         {"query:k", "POST /a HTTP/1.1\n", "", false, "POST /a HTTP/1.1\n"},
		"path":             {"path", "POST /in/a/b/v?x=1 HTTP/1.1\n", "v", true, "POST /in/a/b/[token:t]?x=1 HTTP/1.1\n"},
		"path with slash":  {"path", "POST /in/a/b/v/w HTTP/1.1\n", "v/w", true, "POST /in/a/b/[token:t] HTTP/1.1\n"},
		"path too short":   {"path", "POST /in/a/b HTTP/1.1\n", "", false, "POST /in/a/b HTTP/1.1\n"},
		"path, empty end":  {"path", "POST /in/a/b/ HTTP/1.1\n", "", false, "POST /in/a/b/[token:t] HTTP/1.1\n"},
		"query in a value": {"query:k", "POST /a?x=k=v HTTP/1.1\n", "", false, "POST /a?x=k=v HTTP/1.1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseRequest([]byte(c.head + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			got, ok := r.take(&secret{Name: "t", Use: "token", In: c.in})
			if ok != c.ok || (ok && got != c.got) {
				t.Errorf("take = %q, %v, want %q, %v", got, ok, c.got, c.ok)
			}
			if masked := string(r.text()); masked != c.masked+"\n" {
				t.Errorf("masked %q, want %q", masked, c.masked+"\n")
			}
		})
	}
}

const manifestText = `{"secrets":[{"name":"key","use":"hmac-sha256","form":"hex"},{"name":"tok","use":"token","in":"path","optional":true}],
"settings":{"type":"object","properties":{"a":{"default":"x"},"b":{"default":{"c": 1}}}}}`

// writeCase makes a plugin's folder with one golden.
func writeCase(t *testing.T, golden string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plugin.json":               manifestText,
		"testdata/case.http":        "POST /in/a/b HTTP/1.1\n\nbody",
		"testdata/case.golden.json": golden,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad_refuses(t *testing.T) {
	const received = `"about":"x","received":"2026-01-02T03:04:05Z"`
	for name, c := range map[string]struct{ golden, want string }{
		"no about":         {`{"received":"2026-01-02T03:04:05Z","secrets":{"key":["00"]},"expect":{}}`, "about is missing"},
		"no time":          {`{"about":"x","secrets":{"key":["00"]},"expect":{}}`, "received is missing"},
		"no result":        {`{` + received + `,"secrets":{"key":["00"]}}`, "expect is missing"},
		"unknown member":   {`{` + received + `,"secret":{},"expect":{}}`, `unknown field "secret"`},
		"duplicate member": {`{` + received + `,"about":"y","secrets":{"key":["00"]},"expect":{}}`, "strict JSON"},
		"secret not bound": {`{` + received + `,"expect":{}}`, "secrets.key is required"},
		"secret unknown":   {`{` + received + `,"secrets":{"key":["00"],"other":["x"]},"expect":{}}`, "secrets.other is not in the manifest"},
		"secret not hex":   {`{` + received + `,"secrets":{"key":["xx"]},"expect":{}}`, "secrets.key: a value is not of its encoding"},
		"empty token":      {`{` + received + `,"secrets":{"key":["00"],"tok":[""]},"expect":{}}`, "secrets.tok: a value is empty"},
		"unknown setting":  {`{` + received + `,"secrets":{"key":["00"]},"settings":{"c":1},"expect":{}}`, "settings.c is not in the manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(writeCase(t, c.golden), "case")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("load = %v\nwant an error with %q", err, c.want)
			}
		})
	}
}

func TestRewrite_changesExpectOnly(t *testing.T) {
	before := "{ \"about\":\"<x>\",\"received\":\"2026-01-02T03:04:05Z\",\n  \"expect\":   {\"verdict\": \"old\"}  ,\"secrets\":{\"key\":[\"00\"]} }\n"
	c, err := load(writeCase(t, before), "case")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.rewrite([]byte(`{"verdict":"ignore","detail":"<a>"}`)); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(before, `{"verdict": "old"}`, "{\n    \"verdict\": \"ignore\",\n    \"detail\": \"<a>\"\n  }", 1)
	if string(got) != want {
		t.Errorf("file after -update:\n%s\nwant\n%s", got, want)
	}
}

func TestJudge_wantsEvidence(t *testing.T) {
	golden := `{"about":"x","received":"2026-01-02T03:04:05Z","secrets":{"key":["00"]},"settings":{"a":"y"},"expect":{}}`
	c, err := load(writeCase(t, golden), "case")
	if err != nil {
		t.Fatal(err)
	}
	postern.Register(postern.Plugin{Handle: func(cb *postern.Callback) postern.Verdict {
		if a, b := cb.Setting("a"), cb.Setting("b"); a != "y" || b != `{"c":1}` {
			t.Errorf("settings = %q, %q, want y and the default as JSON", a, b)
		}
		return cb.Ignore("why")
	}})
	if got, want := string(c.judge(t)), `{"verdict":"reject","reason":"not-verified","detail":"the plugin said ignore without evidence"}`; got != want {
		t.Errorf("result = %s, want %s", got, want)
	}
	c.golden.Unverified = true
	if got, want := string(c.judge(t)), `{"verdict":"ignore","detail":"why"}`; got != want {
		t.Errorf("unverified: result = %s, want %s", got, want)
	}
}

// TestFinish_failsThePlugin: what the host cannot complete is no result.
func TestFinish_failsThePlugin(t *testing.T) {
	for name, h := range map[string]*host{
		"type":     {events: []*event{{Type: "Payment"}}},
		"amount":   {events: []*event{{Type: "a.b", Amount: "1,0", Currency: "KWD"}}},
		"currency": {events: []*event{{Type: "a.b", Amount: "1.0"}}},
		"capitals": {events: []*event{{Type: "a.b", Amount: "1.0", Currency: "kwd"}}},
	} {
		if r, err := h.finish(1, true); err == nil {
			t.Errorf("%s: result %+v, want an error", name, r)
		}
	}
	for _, verdict := range []int32{0, 3, 5, -1} {
		if r, err := (&host{}).finish(verdict, true); err == nil {
			t.Errorf("verdict %d: result %+v, want an error", verdict, r)
		}
	}
}
