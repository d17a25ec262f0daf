package wasm

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// The encodings and hashes of the ABI, as guests name them.
const (
	encodingRaw       = 0
	encodingHex       = 1
	encodingBase64    = 2
	encodingBase64URL = 3

	hashSHA256 = 1
	hashCRC32  = 3
)

// driver calls host functions as a guest would, without one: arguments lie in
// a real guest's memory, i32s carry garbage in their upper half.
type driver struct {
	t    *testing.T
	in   *instance
	next uint32
}

// load is a module with these secrets.
func load(t *testing.T, secrets string) *Module {
	t.Helper()
	manifest := fmt.Sprintf(`{"name":"driven","version":"0.1.0","secrets":%s,
		"settings":{"type":"object","properties":{"ack_status":{"type":"integer","enum":[200,201],"default":200},"zone":{"type":"string"}},"additionalProperties":false}}`, secrets)
	m, err := newRuntime(t, Options{}).Load(context.Background(), write(t, packed(t, "counter", manifest)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func drive(t *testing.T, secrets string, b Binding, cb *host.Callback) *driver {
	t.Helper()
	m := load(t, secrets)
	p, err := m.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	in, err := m.pool.Take(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	in.guest.start(p, cb)
	in.tank.Fill(1 << 40)
	in.tank.Fill(1 << 40)
	return &driver{t: t, in: in, next: 1024}
}

// do calls a function: a string argument becomes a pointer and a length.
func (d *driver) do(name string, args ...any) code {
	d.t.Helper()
	var stack []uint64
	push := func(v uint32) { stack = append(stack, uint64(v)|0xdead_beef_0000_0000) }
	for _, arg := range args {
		switch v := arg.(type) {
		case string:
			if !d.in.api.Memory().WriteString(d.next, v) {
				d.t.Fatal("the driver's memory is full")
			}
			push(d.next)
			push(uint32(len(v)))
			d.next += uint32(len(v))
		case int64:
			stack = append(stack, uint64(v))
		case int:
			push(uint32(v))
		case uint32:
			push(v)
		case code:
			push(uint32(v))
		default:
			d.t.Fatalf("argument %T", arg)
		}
	}
	stack = append(stack, 0)
	d.in.guest.memory, d.in.guest.stack = d.in.api.Memory(), stack
	functions[name].call(&d.in.guest)
	return code(int32(uint32(stack[0])))
}

// text calls a function that gives text.
func (d *driver) text(name string, args ...any) (string, code) {
	d.t.Helper()
	const at, room = 0, 512
	n := d.do(name, append(args, at, room)...)
	if n < 0 {
		return "", n
	}
	b, _ := d.in.api.Memory().Read(at, min(uint32(n), room))
	return string(b), n
}

func (d *driver) want(want code, name string, args ...any) {
	d.t.Helper()
	if got := d.do(name, args...); got != want {
		d.t.Errorf("%s%v = %d, want %d", name, args, got, want)
	}
}

// finish ends the call with a verdict.
func (d *driver) finish(v host.Verdict) host.Result {
	d.t.Helper()
	res, err := d.in.guest.finish(int32(v))
	if err != nil {
		d.t.Fatal(err)
	}
	return res
}

// TestEvidenceVectors holds the MACs against sdk/testdata/evidence.json: the
// public vectors of the providers, Ottu's two schemes among them.
func TestEvidenceVectors(t *testing.T) {
	text, err := os.ReadFile("../../sdk/testdata/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Use, Form, Signed, Signature, Encoding, Result string
		Keys                                                 []string
		Value                                                int
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	encodings := map[string]int{"raw": encodingRaw, "hex": encodingHex, "base64": encodingBase64, "base64url": encodingBase64URL}
	seen := make(map[string]bool)
	for _, v := range vectors {
		seen[v.Name] = true
		t.Run(v.Name, func(t *testing.T) {
			declared := fmt.Sprintf(`[{"name":"k","use":%q,"form":%q}]`, v.Use, v.Form)
			b := Binding{Secrets: map[string][]string{"k": v.Keys}}
			if v.Result == "key-refused" {
				if _, err := load(t, declared).Bind(b); err == nil {
					t.Error("Bind takes the key")
				}
				return
			}
			d := drive(t, declared, b, callback(v.Signed))
			signed := d.do("signed_begin", "k")
			d.want(ok, "signed_bytes", signed, v.Signed)
			got := d.do("signed_check", signed, v.Signature, encodings[v.Encoding])
			if v.Result == "unverified" {
				if got != unverified {
					t.Errorf("signed_check = %d, want %d", got, unverified)
				}
				return
			}
			if got != 0 {
				t.Fatalf("signed_check = %d, want evidence 0", got)
			}
			want := []host.Evidence{{Secret: "k", Value: v.Value, Algorithm: host.Algorithm(v.Use), Covers: host.CoversFields}}
			if diff := cmp.Diff(want, d.finish(host.Ignore).Evidence); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, name := range []string{"ottu standard", "ottu subscription"} {
		if !seen[name] {
			t.Errorf("no vector called %q", name)
		}
	}
}

const hmacSecret = `[{"name":"k","use":"hmac-sha256","form":"utf8","respond":"[a-z]+"},{"name":"tok","use":"token","in":"header:X-Key","optional":true},{"name":"other","use":"hmac-sha256","form":"utf8","optional":true}]`

var hmacBinding = Binding{Secrets: map[string][]string{"k": {"secret"}}}

// The SHA-256 and the HMAC-SHA256 under "secret" of "body", by openssl.
const (
	bodySHA256 = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"
	bodyHMAC   = "dc46983557fea127b43af721467eb9b3fde2338fe3e14f51952aa8478c13d355"
)

func TestEvidence_coversTheBody(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback("body"))
	whole := d.do("signed_begin", "k")
	d.want(ok, "signed_body", whole)
	d.want(unverified, "signed_check", whole, strings.Repeat("00", 32), encodingHex)
	d.want(unverified, "signed_check", whole, bodyHMAC[:62], encodingHex)
	d.want(0, "signed_check", whole, bodyHMAC, encodingHex)
	part := d.do("signed_begin", "k")
	d.want(ok, "signed_bytes", part, "bo")
	d.want(ok, "signed_bytes", part, "dy")
	d.want(1, "signed_check", part, strings.ToUpper(bodyHMAC), encodingHex)
	d.want(2, "signed_check", part, bodyHMAC, encodingHex)
	d.want(unverified, "covers_body", 2, hashSHA256, strings.Repeat("00", 32), encodingHex)
	d.want(ok, "covers_body", 2, hashSHA256, bodySHA256, encodingHex)
	d.want(invalid, "covers_body", 9, hashSHA256, bodySHA256, encodingHex)
	d.want(3, "token", "key")
	d.want(invalid, "covers_body", 3, hashSHA256, bodySHA256, encodingHex)
	var got []host.Covers
	for _, e := range d.finish(host.Ignore).Evidence {
		got = append(got, e.Covers)
	}
	want := []host.Covers{host.CoversBody, host.CoversFields, host.CoversBody, host.CoversNone}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEvidence_crc32CoversNothing(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback("body"))
	s := d.do("signed_begin", "k")
	d.want(ok, "signed_bytes", s, "body")
	d.want(0, "signed_check", s, bodyHMAC, encodingHex)
	sum, _ := d.text("hash", hashCRC32, 0)
	d.want(ok, "covers_body", 0, hashCRC32, sum, encodingRaw)
	if got := d.finish(host.Ignore).Evidence[0].Covers; got != host.CoversFields {
		t.Errorf("covers = %v, want fields: another body with this CRC-32 is easily made", got)
	}
}

func TestEvidence_deniedAndLimited(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback("body"))
	d.want(denied, "signed_begin", "unknown")
	d.want(denied, "signed_begin", "other") // declared and not bound
	d.want(denied, "signed_begin", "tok")   // a token signs nothing
	d.want(denied, "token", "tok")          // not bound
	d.want(invalid, "signed_bytes", 7, "x")
	d.want(invalid, "signed_check", -1, "x", encodingHex)
	d.want(denied, "sign", 0, encodingHex, 0, 64)
	d.want(denied, "out_header", "a", "b")
	d.want(denied, "out_body", "b")
	s := d.do("signed_begin", "k")
	d.want(ok, "signed_bytes", s, "x")
	d.want(invalid, "signed_check", s, bodyHMAC, 9)
	for range maxChecks {
		d.want(unverified, "signed_check", s, "00", encodingHex)
	}
	d.want(overLimit, "signed_check", s, "00", encodingHex)
	for i := 1; i < maxHandles; i++ {
		d.do("signed_begin", "k")
	}
	d.want(overLimit, "signed_begin", "k")
}

func TestRespondMAC_signsOnlyWhatThePatternAllows(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback(""))
	d.want(invalid, "respond_mac", "k", "body", encodingHex) // no answer begun
	d.want(ok, "respond", 200, "text/plain", "mac=")
	d.want(denied, "respond_mac", "k", "body\n", encodingHex)
	d.want(denied, "respond_mac", "k", "BODY", encodingHex)
	d.want(denied, "respond_mac", "unknown", "body", encodingHex)
	d.want(ok, "respond_mac", "k", "body", encodingHex)
	d.want(ok, "respond", 200, "text/plain", ";")
	got := d.finish(host.Respond).Answer
	if want := "mac=" + bodyHMAC + ";"; string(got.Body) != want || got.ContentType != "text/plain" {
		t.Errorf("answer = %q %q, want %q", got.Body, got.ContentType, want)
	}
}

func TestRespondMAC_isNoOracleForAnAck(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback(""))
	d.want(ok, "respond", 200, "", "")
	d.want(ok, "respond_mac", "k", "body", encodingHex)
	d.want(0, "token", "key")
	if res := d.finish(host.Ignore); res.Answer != nil {
		t.Errorf("ack = %q, want none: a MAC goes only into a challenge's answer", res.Answer.Body)
	}
}

func TestReading(t *testing.T) {
	cb := callback("body")
	cb.Target, cb.PublicURL = "/in/t/e?a=1&b=%20&a=2", "https://x.example/in/t/e?a=1"
	cb.Headers = []host.Header{{Name: "X-Sig", Value: "one"}, {Name: "Other", Value: ""}, {Name: "x-sig", Value: "two"}}
	cb.Received = time.UnixMilli(1700000000123)
	d := drive(t, "[]", Binding{Settings: map[string]any{"zone": "+05:30"}}, cb)
	for _, tt := range []struct {
		want string
		code code
		name string
		args []any
	}{
		{"POST", 4, "method", nil},
		{cb.Target, 21, "target", nil},
		{cb.PublicURL, 28, "url", nil},
		{"2", 1, "query", []any{"a", 1}},
		{" ", 1, "query", []any{"b", 0}},
		{"", absent, "query", []any{"a", 2}},
		{"two", 3, "header", []any{"X-SIG", 1}},
		{"", absent, "header", []any{"x-sig", 2}},
		{"", absent, "header", []any{"x-sig", -1}},
		{"", 0, "header", []any{"other", 0}},
		{"", 0, "header", []any{"other", -1}},
		{"", absent, "header", []any{"missing", -1}},
		{" ", 1, "query", []any{"b", -1}},
		{"", absent, "query", []any{"a", -1}},
		{"", absent, "query", []any{"c", -1}},
		{"Other", 5, "header_at", []any{1, 0}},
		{"one", 3, "header_at", []any{0, 1}},
		{"", absent, "header_at", []any{3, 0}},
		{"", invalid, "header_at", []any{0, 2}},
		{"+05:30", 6, "setting", []any{"zone"}},
		{"200", 3, "setting", []any{"ack_status"}},
		{"", absent, "setting", []any{"unset"}},
		{"dy", 4, "read", []any{0, 2}},
		{"", 4, "read", []any{0, -1}},
		{"", invalid, "read", []any{5, 0}},
	} {
		got, c := d.text(tt.name, tt.args...)
		if tt.name == "read" && c >= 0 {
			got = strings.TrimRight(got[:min(len(got), len(tt.want))], "\x00")
		}
		if c != tt.code || (c >= 0 && got != tt.want) {
			t.Errorf("%s%v = %q %d, want %q %d", tt.name, tt.args, got, c, tt.want, tt.code)
		}
	}
	if d.do("now"); d.in.guest.stack[0] != 1700000000123 {
		t.Errorf("now = %d", d.in.guest.stack[0])
	}
	// A buffer that is too small gets what fits, and the whole length.
	d.in.api.Memory().WriteString(0, "....")
	d.want(4, "method", 0, 2)
	if b, _ := d.in.api.Memory().Read(0, 4); string(b) != "PO.." {
		t.Errorf("memory = %q, want PO..", b)
	}
}

func TestViews_parseOnce(t *testing.T) {
	d := drive(t, "[]", Binding{}, callback(`{"a":{"b":[1,"x"]}}`))
	v := d.do("view", viewJSON, 0)
	d.want(v, "view", viewJSON, 0)
	d.want(invalid, "view", 3, 0)
	d.want(invalid, "view", viewJSON, 1)
	d.want(5, "kind", v, "/a/b")
	d.want(2, "len", v, "/a/b")
	d.want(malformed, "len", v, "/a/b/1")
	d.want(malformed, "name_at", v, "/a/b", 0, 0, 0)
	d.want(absent, "name_at", v, "/a", 1, 0, 0)
	d.want(malformed, "kind", v, "a")
	d.want(invalid, "kind", 1, "")
	d.want(overLimit, "kind", v, "/"+strings.Repeat("x", maxPath))
	if got, _ := d.text("get", v, "/a/b/1"); got != "x" {
		t.Errorf("get = %q, want x", got)
	}
	if got, _ := d.text("name_at", v, "/a", 0); got != "b" {
		t.Errorf("name_at = %q, want b", got)
	}
	b := d.do("bytes", encodingBase64, "eyJhIjoxfQ==")
	inner := d.do("view", viewJSON, b)
	if got, _ := d.text("get", inner, "/a"); got != "1" {
		t.Errorf("get in decoded bytes = %q, want 1", got)
	}
	d.want(malformed, "bytes", encodingBase64, "eyJ")
	d.want(invalid, "bytes", 4, "")
	d.want(malformed, "view", viewJSON, d.do("bytes", encodingRaw, "{"))
}

func TestEvent(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback(`{"id":"r1","n":null,"e":"","amt":12.50,"o":{"x":1}}`))
	v := d.do("view", viewJSON, 0)
	d.want(invalid, "set", fieldType, "payment.succeeded") // no event begun
	d.want(invalid, "event_begin", 0)                      // no such evidence
	d.want(0, "token", "key")
	d.want(0, "event_begin", 0)
	d.want(ok, "set", fieldType, "payment.succeeded")
	d.want(ok, "set", fieldTime, "2026-01-02T03:04:05+05:30")
	d.want(malformed, "set", fieldTime, "yesterday")
	d.want(ok, "map", fieldKey, v, "/id")
	d.want(ok, "set", fieldKey, "paid")
	d.want(ok, "map", fieldAmount, v, "/amt")
	d.want(ok, "set", fieldCurrency, "KWD")
	d.want(ok, "set_i64", fieldMinor, int64(12500))
	d.want(ok, "set_i64", fieldSandbox, int64(1))
	d.want(absent, "map", fieldSubject, v, "/n")
	d.want(ok, "map", fieldProviderData, v, "/o")
	d.want(malformed, "set", fieldSubject, "\xff")
	d.want(overLimit, "set", fieldSubject, strings.Repeat("x", host.MaxText+1))
	d.want(invalid, "set", 99, "x")
	d.want(invalid, "set_i64", fieldSubject, int64(1))
	d.want(malformed, "set", fieldProviderData, "{")
	d.want(absent, "map", fieldProviderData, v, "/n")
	d.want(malformed, "set", fieldType, "Payment")
	d.want(malformed, "set", fieldAmount, "1e3")
	d.want(malformed, "set", fieldCurrency, "kwd")
	d.want(ok, "set_aside", v, "/o", "not wanted")
	d.want(absent, "set_aside", v, "/p", "not there")
	minor := int64(12500)
	want := host.Result{
		Verdict:  host.Accept,
		Evidence: []host.Evidence{{Secret: "key", Algorithm: host.StaticToken}},
		Events: []host.Draft{{
			Type: "payment.succeeded", Time: time.Date(2026, 1, 1, 21, 34, 5, 0, time.UTC), Key: []string{"r1", "paid"},
			Amount: "12.50", Currency: "KWD", Minor: &minor, Sandbox: true, ProviderData: json.RawMessage(`{"x":1}`),
		}},
		Aside: []host.Aside{{Reason: "not wanted", Item: json.RawMessage(`{"x":1}`)}},
	}
	if diff := cmp.Diff(want, d.finish(host.Accept)); diff != "" {
		t.Error(diff)
	}
}

// TestInvariant14_aBrokenKeyRefusesTheEvent has a guest pass over the code it
// got: the event must not be stored under a shorter key.
func TestInvariant14_aBrokenKeyRefusesTheEvent(t *testing.T) {
	for name, say := range map[string]func(d *driver, v code){
		"absent": func(d *driver, v code) { d.want(absent, "map", fieldKey, v, "/nothing") },
		"null":   func(d *driver, v code) { d.want(absent, "map", fieldKey, v, "/n") },
		"empty":  func(d *driver, v code) { d.want(malformed, "map", fieldKey, v, "/e") },
		"long":   func(d *driver, _ code) { d.want(overLimit, "set", fieldKey, strings.Repeat("x", host.MaxKeyLength+1)) },
		"many": func(d *driver, _ code) {
			for range host.MaxKeyParts {
				d.do("set", fieldKey, "x")
			}
			d.want(overLimit, "set", fieldKey, "x")
		},
		"no view":   func(d *driver, _ code) { d.want(invalid, "map", fieldKey, malformed, "/e") },
		"long path": func(d *driver, v code) { d.want(overLimit, "map", fieldKey, v, "/"+strings.Repeat("x", maxPath)) },
		"no path":   func(d *driver, v code) { d.want(malformed, "map", fieldKey, v, "e") },
		"number":    func(d *driver, _ code) { d.want(invalid, "set_i64", fieldKey, int64(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			d := drive(t, hmacSecret, hmacBinding, callback(`{"n":null,"e":""}`))
			v := d.do("view", viewJSON, 0)
			d.want(0, "token", "key")
			d.want(0, "event_begin", 0)
			d.want(ok, "set", fieldType, "payment.succeeded")
			d.want(ok, "set", fieldKey, "first")
			say(d, v)
			res := d.finish(host.Accept)
			if res.Verdict != host.Reject || res.Reason != host.Malformed || len(res.Events) != 0 {
				t.Errorf("result = %v %v with %d events, want a rejection as malformed", res.Verdict, res.Reason, len(res.Events))
			}
		})
	}
}

// TestSet_deepDataIsRefused: an event that nests deeper than encoding/json goes
// could be stored and never be written out again.
func TestSet_deepDataIsRefused(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback(""))
	d.want(0, "event_begin", -1)
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	d.want(ok, "set", fieldProviderData, nested(128))
	d.want(malformed, "set", fieldProviderData, nested(129))
	d.want(malformed, "set", fieldProviderData, nested(9999))
	d.want(malformed, "set", fieldProviderData, `{"a":1,"a":2}`)
	d.want(malformed, "set", fieldProviderData, `{} {}`)
}

func TestSaying_limits(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback("{}"))
	d.want(0, "token", "key")
	for i := range host.MaxEvents {
		d.want(code(i), "event_begin", 0)
	}
	d.want(overLimit, "event_begin", 0)
	v := d.do("view", viewJSON, 0)
	d.want(overLimit, "set_aside", v, "", "full")
	d.want(invalid, "ack", 500, "", "")
	d.want(invalid, "ack", 200, "a\r\nSet-Cookie: x", "")
	d.in.api.Memory().Grow(2)
	d.want(overLimit, "ack", 200, "", strings.Repeat("x", maxAnswer+1))
	d.want(invalid, "reason", 4, "")
	d.want(ok, "reason", 2, strings.Repeat("ä", maxDetail))
	res := d.finish(host.Reject)
	if len(res.Detail) > maxDetail || strings.Contains(res.Detail, "\uFFFD") || res.Reason != host.Malformed {
		t.Errorf("detail of %d bytes %q, reason %v", len(res.Detail), res.Detail[max(0, len(res.Detail)-4):], res.Reason)
	}
}

// TestView_ofAnEncodedBody: what was signed is the body as sent, what is read
// and stored is the text in it.
func TestView_ofAnEncodedBody(t *testing.T) {
	const text = `{"a":"b"}`
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	cb := callback(body.String())
	cb.Headers = []host.Header{{Name: "content-ENCODING", Value: "GZIP"}}
	d := drive(t, hmacSecret, hmacBinding, cb)
	v := d.do("view", viewJSON, 0)
	d.want(v, "view", viewJSON, 0)
	if got, _ := d.text("get", v, "/a"); got != "b" {
		t.Errorf("get = %q, want b", got)
	}
	d.want(0, "event_begin", -1)
	d.want(ok, "map", fieldProviderData, v, "")
	if got := string(d.in.guest.res.Events[0].ProviderData); got != text {
		t.Errorf("provider_data = %s, want %s", got, text)
	}
	if got, _ := d.text("read", 0, 0); got[:body.Len()] != body.String() {
		t.Error("read does not give the body as sent")
	}
	sum, _ := d.text("hash", hashSHA256, 0)
	if want := sha256.Sum256(body.Bytes()); sum != string(want[:]) {
		t.Error("hash is not that of the body as sent")
	}
	form := d.do("view", viewForm, 0)
	if form < 0 {
		t.Errorf("form view = %d", form)
	}

	// Twice in the header, or not what it says: no view, whatever is asked.
	cb.Headers = append(cb.Headers, host.Header{Name: "Content-Encoding", Value: "identity"})
	d.in.guest.start(d.in.guest.plugin, cb)
	d.in.tank.Fill(1 << 40)
	d.in.tank.Fill(1 << 40)
	d.want(malformed, "view", viewJSON, 0)
	d.want(malformed, "view", viewForm, 0)
	// The guest's own bytes have no encoding.
	if c := d.do("view", viewJSON, d.do("bytes", encodingRaw, text)); c < 0 {
		t.Errorf("view of bytes = %d", c)
	}
}
