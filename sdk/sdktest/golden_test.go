package sdktest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
		value    string
		ok       bool
		masked   string
	}{
		"header":           {"header:Key", "POST /a HTTP/1.1\nKEY: v\n", "v", true, "POST /a HTTP/1.1\nKEY: [token:t]\n"},
		"repeated header":  {"header:Key", "POST /a HTTP/1.1\nKey: v\nkey: w\n", "v", false, "POST /a HTTP/1.1\nKey: [token:t]\nkey: [token:t]\n"},
		"no header":        {"header:Key", "POST /a HTTP/1.1\nKeys: v\n", "v", false, "POST /a HTTP/1.1\nKeys: v\n"},
		"query":            {"query:k", "POST /a?x=1&%6b=v%2B&y HTTP/1.1\n", "v+", true, "POST /a?x=1&%6b=[token:t]&y HTTP/1.1\n"},
		"repeated query":   {"query:k", "POST /a?k=v&k=v HTTP/1.1\n", "v", false, "POST /a?k=[token:t]&k=[token:t] HTTP/1.1\n"},
		"no query":         {"query:k", "POST /a HTTP/1.1\n", "v", false, "POST /a HTTP/1.1\n"},
		"path":             {"path", "POST /in/a/b/test-path-token-0001?x=1 HTTP/1.1\n", "test-path-token-0001", true, "POST /in/a/b/[token:t]?x=1 HTTP/1.1\n"},
		"path with slash":  {"path", "POST /in/a/b/test-path-token-0001/w HTTP/1.1\n", "test-path-token-0001", false, "POST /in/a/b/[token:t] HTTP/1.1\n"},
		"path too short":   {"path", "POST /in/a/b HTTP/1.1\n", "test-path-token-0001", false, "POST /in/a/b HTTP/1.1\n"},
		"path, empty end":  {"path", "POST /in/a/b/ HTTP/1.1\n", "test-path-token-0001", false, "POST /in/a/b/[token:t] HTTP/1.1\n"},
		"query in a value": {"query:k", "POST /a?x=k=v HTTP/1.1\n", "v", false, "POST /a?x=k=v HTTP/1.1\n"},
		"wrong":            {"header:Key", "POST /a HTTP/1.1\nKey: v\n", "w", false, "POST /a HTTP/1.1\nKey: [token:t]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseRequest([]byte(c.head + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			s := &secret{Name: "t", Use: "token", In: c.in}
			if err := s.bind([]string{"test-other-token-0001", c.value}); err != nil {
				t.Fatal(err)
			}
			want := token{}
			if c.ok {
				want.which = 1
			}
			if got, ok := r.take(s); ok != c.ok || got != want {
				t.Errorf("take = %+v, %v, want %+v, %v", got, ok, want, c.ok)
			}
			if masked := string(r.text()); masked != c.masked+"\n" {
				t.Errorf("masked %q, want %q", masked, c.masked+"\n")
			}
		})
	}
}

const manifestText = `{"secrets":[{"name":"key","use":"hmac-sha256","form":"hex"},{"name":"tok","use":"token","in":"path","optional":true}],
"settings":{"type":"object","properties":{"a":{"default":"x"},"b":{"default":{"c": 1}}}}}`

func writeCase(t *testing.T, golden string) string {
	t.Helper()
	return writePlugin(t, manifestText, "POST /in/a/b HTTP/1.1\n\nbody", golden)
}

// writePlugin makes a plugin's folder with one golden, "case".
func writePlugin(t *testing.T, manifest, request, golden string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plugin.json":               manifest,
		"testdata/case.http":        request,
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
		"secret not bound": {`{` + received + `,"expect":{}}`, "secrets.key: is required"},
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

const indirect = `{"secrets":[
{"name":"key","use":"setting:algorithm","form":"setting:form","optional":true},
{"name":"a","use":"token","in":"path","optional":true},
{"name":"b","use":"signed-token","form":"utf8","in":"path","optional":true}],
"settings":{"type":"object","properties":{
"algorithm":{"enum":["hmac-sha256","hmac-sha512","md5"]},"form":{"enum":["utf8","hex"]},
"mode":{"enum":["signed","none",0],"default":"signed"}}},
"unverified":{"mode":["none",0]}}`

// TestLoad_settings: a setting that says a secret's use stands with it or not
// at all, and one that takes events unproven is no verified endpoint's.
func TestLoad_settings(t *testing.T) {
	for name, c := range map[string]struct{ rest, want string }{
		"neither":             {``, ""},
		"both":                {`"secrets":{"key":["00ff"]},"settings":{"algorithm":"hmac-sha512","form":"hex"},`, ""},
		"secret alone":        {`"secrets":{"key":["00ff"]},`, "secrets.key: is bound, and settings.algorithm is not set"},
		"secret and one":      {`"secrets":{"key":["00ff"]},"settings":{"algorithm":"hmac-sha512"},`, "secrets.key: is bound, and settings.form is not set"},
		"setting alone":       {`"settings":{"form":"hex"},`, "secrets.key: is not bound, and settings.form is set"},
		"no value":            {`"secrets":{"key":[]},"settings":{"algorithm":"hmac-sha512","form":"hex"},`, "secrets.key: is not bound, and settings.algorithm is set"},
		"form of the setting": {`"secrets":{"key":["key"]},"settings":{"algorithm":"hmac-sha512","form":"hex"},`, "secrets.key: a value is not of its encoding"},
		"none of the enum":    {`"secrets":{"key":["00ff"]},"settings":{"algorithm":"hmac-sha384","form":"hex"},`, `settings.algorithm "hmac-sha384" is none of its enum`},
		"use not served":      {`"secrets":{"key":["00ff"]},"settings":{"algorithm":"md5","form":"hex"},`, "secrets.key: use md5 is not served"},
		"one of two tokens":   {`"secrets":{"b":["test-key-of-token"]},`, ""},
		"two in one place":    {`"secrets":{"a":["test-path-token-0001"],"b":["test-key-of-token"]},`, "secrets.a and secrets.b have one place"},
		"unproven":            {`"settings":{"mode":"none"},`, `settings.mode "none" takes events without evidence`},
		"unproven number":     {`"settings":{"mode":0},`, `settings.mode "0" takes events without evidence`},
		"unproven, said":      {`"settings":{"mode":"none"},"unverified":true,`, ""},
		"proven":              {`"settings":{"mode":"signed"},`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			golden := `{"about":"x","received":"2026-01-02T03:04:05Z",` + c.rest + `"expect":{}}`
			tc, err := load(writePlugin(t, indirect, "POST / HTTP/1.1\n\n", golden), "case")
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("load = %v\nwant an error with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s := tc.secrets["key"]; len(s.keys) == 1 && (s.Use != "hmac-sha512" || string(s.keys[0]) != "\x00\xff") {
				t.Errorf("secret = %+v, want the use and form of the settings", s)
			}
		})
	}
	// A default may take events unproven too.
	manifest := strings.Replace(indirect, `"default":"signed"`, `"default":"none"`, 1)
	golden := `{"about":"x","received":"2026-01-02T03:04:05Z","expect":{}}`
	if _, err := load(writePlugin(t, manifest, "POST / HTTP/1.1\n\n", golden), "case"); err == nil {
		t.Error("a default that takes events unproven was taken")
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
		"type":     {events: []*event{{Evidence: -1}}},
		"amount":   {events: []*event{{Evidence: -1, Type: "a.b", Amount: "1,0", Currency: "KWD"}}},
		"currency": {events: []*event{{Evidence: -1, Type: "a.b", Amount: "1.0"}}},
		"words":    {events: []*event{{Evidence: -1, Type: "payment.succeeded", Status: "paid"}}},
		"capitals": {events: []*event{{Evidence: -1, Type: "a.b", Amount: "1.0", Currency: "kwd"}}},
		"key":      {events: []*event{{Type: "a.b"}}, evidence: []evidence{{Covers: "fields"}}},
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

// TestCheck_wordsAboutMoney is docs/goldens.md §3.
func TestCheck_wordsAboutMoney(t *testing.T) {
	for _, c := range []struct {
		kind, status string
		confirm      bool
		want         string // of the error, "" for none
	}{
		{"payment.succeeded", "succeeded", false, ""},
		{"payment.succeeded", "succeeded", true, ""},
		{"payout.failed", "failed", false, ""},
		{"charge.voided", "voided", false, ""},
		{"transfer.expired", "expired", false, ""},
		{"transfer.credited", "succeeded", false, ""},
		{"transfer.debited", "succeeded", true, ""},
		{"payment.notified", "", true, ""},
		{"github.push", "whatever", false, ""},
		{"payments.whatever", "", false, ""},

		{"payment.succeeded", "", false, `want "succeeded"`},
		{"payment.succeeded", "failed", false, `want "succeeded"`},
		{"payment.paid", "paid", false, "is no fact about money"},
		{"payment.succeeded.late", "succeeded", false, "is no fact about money"},
		{"payment.credited", "succeeded", false, "is no fact about money"},
		{"payout.debited", "succeeded", false, "is no fact about money"},
		{"transfer.credited", "credited", false, `want "succeeded"`},
		{"transfer.credited", "", false, `want "succeeded"`},
		{"payment.notified", "", false, "without confirm"},
		{"payment.notified", "succeeded", true, `want ""`},
		{"charge.notified", "notified", true, `want ""`},
	} {
		e := &event{Type: c.kind, Status: c.status, Confirm: c.confirm}
		err := e.check()
		if c.want == "" && err != nil {
			t.Errorf("%s, status %q: %v", c.kind, c.status, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, status %q, confirm %v: error %v, want one with %q", c.kind, c.status, c.confirm, err, c.want)
		}
	}
}

// TestEvent_edges has what an author meets late: a year that is another one in
// UTC, and minor units of no amount.
func TestEvent_edges(t *testing.T) {
	east, west := time.FixedZone("", 5*3600), time.FixedZone("", -3600)
	minor := int64(5000)
	for name, c := range map[string]struct {
		event event
		want  string // of the error, "" for none
	}{
		"1970 in UTC":    {event{at: time.Date(1970, 1, 1, 5, 0, 0, 0, east)}, ""},
		"1969 in UTC":    {event{at: time.Date(1970, 1, 1, 4, 59, 59, 0, east)}, "time"},
		"9999 in UTC":    {event{at: time.Date(9999, 12, 31, 22, 59, 59, 0, west)}, ""},
		"10000 in UTC":   {event{at: time.Date(9999, 12, 31, 23, 0, 0, 0, west)}, "time"},
		"minor":          {event{Minor: &minor, Amount: "50.00", Currency: "INR"}, ""},
		"minor of none":  {event{Minor: &minor}, "minor"},
		"currency alone": {event{Minor: &minor, Currency: "INR"}, "both or neither"},
	} {
		c.event.Type = "acme.moved"
		err := c.event.check()
		if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: check = %v, want %q", name, err, c.want)
		}
	}
}
