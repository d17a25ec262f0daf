package wasm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/meter"
)

// puppetManifest has one key that the scripts know and others that they do not.
const puppetManifest = `{"name":"puppet","version":"0.1.0","secrets":[
	{"name":"key","summary":"a token","use":"token","in":"header:X-Key","optional":true},
	{"name":"open","summary":"known to all","use":"hmac-sha256","form":"utf8","optional":true},
	{"name":"mac","summary":"a key","use":"hmac-sha256","form":"utf8","respond":"[a-z]{0,8}","optional":true},
	{"name":"cipher","summary":"a key","use":"aes-128-cbc","form":"utf8","optional":true},
	{"name":"zero","summary":"a key","use":"aes-128-cbc-zero","form":"utf8","optional":true},
	{"name":"unbound","summary":"a key","use":"hmac-sha1","form":"utf8","optional":true}],
	"settings":{"type":"object","properties":{"zone":{"type":"string"}}}}`

// secrets are what no result, line or error may have in it.
var secrets = []string{"q8Zt-no-script-knows-this", "Wm3-sixteen-byte", "Lp7-sixteen-more"}

// puppetFunctions are what a byte of a script picks, in the order of puppet.wat.
func puppetFunctions(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("../../sdk/testdata/abi.json")
	if err != nil {
		t.Fatal(err)
	}
	var abi struct {
		Functions []struct {
			Name   string
			Served bool
		}
	}
	if err := json.Unmarshal(text, &abi); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range abi.Functions {
		if f.Served {
			names = append(names, f.Name)
		}
	}
	return append(names, "args_sizes_get", "environ_sizes_get", "args_get", "environ_get", "clock_time_get", "clock_res_get",
		"random_get", "fd_write", "poll_oneoff", "sched_yield", "proc_exit", "path_open", "fd_read")
}

// say is a call of a script. A string is a pointer and a length, an argument of
// type last the result of the call before.
type say struct {
	name string
	args []any
}

type last struct{}

// pointer is a string without its length.
type pointer string

// script is the body that has the puppet make calls and return a verdict.
func script(names []string, verdict byte, calls ...say) []byte {
	var out, texts []byte
	var fix []int
	for _, c := range calls {
		for i, n := range names {
			if n == c.name {
				out = append(out, byte(i))
			}
		}
		for _, arg := range c.args {
			switch v := arg.(type) {
			case string:
				fix = append(fix, len(out)+1)
				out = binary.LittleEndian.AppendUint16(append(out, 0x82), uint16(len(texts)))
				out = binary.LittleEndian.AppendUint32(append(out, 0x81), uint32(len(v)))
				texts = append(texts, v...)
			case pointer:
				fix = append(fix, len(out)+1)
				out = binary.LittleEndian.AppendUint16(append(out, 0x82), uint16(len(texts)))
				texts = append(texts, v...)
			case int:
				out = binary.LittleEndian.AppendUint32(append(out, 0x81), uint32(v))
			case int64:
				out = binary.LittleEndian.AppendUint64(append(out, 0x84), uint64(v))
			case last:
				out = append(out, 0x80)
			}
		}
	}
	out = append(out, 0xff, verdict)
	for _, place := range fix {
		offset := binary.LittleEndian.Uint16(out[place:])
		binary.LittleEndian.PutUint16(out[place:], offset+uint16(len(out)))
	}
	return append(out, texts...)
}

// puppetBody is where the puppet reads a script to.
const puppetBody = 4096

// record is one of tell's.
func record(field, of int32, ptr, size uint64, number int64) string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(field))
	b = binary.LittleEndian.AppendUint32(b, uint32(of))
	b = binary.LittleEndian.AppendUint64(b, ptr)
	b = binary.LittleEndian.AppendUint64(b, size)
	return string(binary.LittleEndian.AppendUint64(b, uint64(number)))
}

// room is where a script has the host write.
const room = 100_000

// scripts are seeds: every function rightly used, and with what is not so.
func scripts(names []string) [][]byte {
	const iv = "test-iv-of-a-zoo"
	// Records of tell: a number, the whole of a view, and a text that is none, the
	// script's first bytes.
	records := record(fieldMinor, fromNumber, 0, 0, 1250) + record(fieldMethod, 0, puppetBody, 0, 0) + record(fieldParty, fromText, puppetBody, 3, 0)
	mac := hmac.New(sha256.New, []byte("known"))
	mac.Write([]byte("body"))
	rightly := []say{
		{"read", []any{0, 0, room, 64}},
		{"method", []any{room, 64}},
		{"target", []any{room, 64}},
		{"url", []any{room, 64}},
		{"query", []any{"a", 0, room, 64}},
		{"header", []any{"X-Sig", 1, room, 64}},
		{"header_at", []any{0, 1, room, 64}},
		{"setting", []any{"zone", room, 64}},
		{"now", nil},
		{"log", []any{4, "a line"}},
		{"bytes", []any{encodingRaw, `{"id":"r1","amt":12.50,"o":{"x":[1,null]}}`}},
		{"view", []any{viewJSON, last{}}},
		{"kind", []any{0, "/o/x"}},
		{"get", []any{0, "/id", room, 64}},
		{"len", []any{0, "/o/x"}},
		{"name_at", []any{0, "", 1, room, 64}},
		{"hash", []any{hashSHA256, 0, room, 64}},
		{"bytes", []any{encodingHex, "6a3d31"}},
		{"view", []any{viewForm, last{}}},
		{"signed_begin", []any{"open"}},
		{"signed_bytes", []any{0, "body"}},
		{"signed_check", []any{0, string(mac.Sum(nil)), encodingRaw}},
		{"signed_body", []any{0}},
		{"signed_check", []any{0, hex.EncodeToString(mac.Sum(nil)), encodingHex}},
		{"covers_body", []any{0, hashCRC32, "\x00\x00\x00\x00", encodingRaw}},
		{"token", []any{"key"}},
		{"token_text", []any{"key", room, 64}},
		{"event_begin", []any{-1}},
		{"set", []any{fieldType, "payment.succeeded"}},
		{"set", []any{fieldTime, "2026-01-02T03:04:05Z"}},
		{"set", []any{fieldKey, "r1"}},
		{"set_i64", []any{fieldMinor, int64(1250)}},
		{"map", []any{fieldAmount, 0, "/amt"}},
		{"map", []any{fieldProviderData, 0, "/o"}},
		{"set", []any{fieldCurrency, "KWD"}},
		{"tell", []any{pointer(records), 3}},
		{"set_aside", []any{0, "/o", "not wanted"}},
		{"reason", []any{2, "for reasons"}},
		{"ack", []any{201, "text/plain", "fine"}},
		{"respond", []any{200, "text/plain", "hear: "}},
		{"respond_mac", []any{"mac", "abc", encodingHex}},
		{"bytes", []any{encodingRaw, strings.Repeat("sixteen of bytes", 2)}},
		{"decrypt", []any{"cipher", iv, last{}}},
		{"decrypt", []any{"zero", iv, 3}},
		{"view", []any{viewJSON, last{}}},
		{"same", []any{0, last{}, "sum"}},
		{"same_bytes", []any{1, 5}},
		{"sign", []any{0, encodingHex, room, 64}},
		{"encrypt", []any{"cipher", iv, 1}},
		{"out_token", []any{"key", "text"}},
		{"out_header", []any{"X-Out", "value"}},
		{"out_body", []any{"another body"}},
	}
	sealed := []say{
		{"args_sizes_get", []any{room, room}},
		{"environ_sizes_get", []any{room, room + 4}},
		{"args_get", []any{0, 0}},
		{"environ_get", []any{0, 0}},
		{"clock_time_get", []any{0, int64(1), room}},
		{"clock_res_get", []any{0, room}},
		{"random_get", []any{room, 64}},
		{"fd_write", []any{2, "\x00\x10\x00\x00\x08\x00\x00\x00", room}},
		{"poll_oneoff", []any{room, room + 200, 1, room}},
		{"sched_yield", nil},
		{"path_open", []any{3, 0, room, 8, 0, int64(-1), int64(-1), 0, room}},
		{"fd_read", []any{0, room, 1, room}},
	}
	whole := script(names, 1, rightly...)
	seeds := [][]byte{
		whole, script(names, 2, rightly...), script(names, 3, rightly...), script(names, 4, sealed...), script(names, 2),
		script(names, 4, say{"proc_exit", []any{7}}), []byte("honest"), nil,
	}
	for _, c := range append(rightly, sealed...) {
		lying := say{name: c.name}
		for _, arg := range c.args {
			switch v := arg.(type) {
			case string:
				lying.args = append(lying.args, -16, 32)
			case int:
				lying.args = append(lying.args, 0x7fffffff-v)
			default:
				lying.args = append(lying.args, arg)
			}
		}
		seeds = append(seeds, script(names, 1, c, c), script(names, 1, lying))
	}
	return seeds
}

// puppeteer has the puppet judge and sign what a script says.
type puppeteer struct {
	module        *Module
	honest, signs *Plugin
	lines         bytes.Buffer
}

func (p *puppeteer) bind(t testing.TB, signing bool) *Plugin {
	t.Helper()
	bound, err := p.module.Bind(Binding{
		Secrets: map[string][]string{
			"key": {"right"}, "open": {"known"}, "mac": {secrets[0]}, "cipher": {secrets[1]}, "zero": {secrets[2]},
		},
		Settings: map[string]any{"zone": "+05:30"},
		Signing:  signing,
	})
	if err != nil {
		t.Fatal(err)
	}
	return bound
}

// judge judges with a plugin of its own: the breaker of one would soon spare the
// guest every other script.
func (p *puppeteer) judge(t testing.TB, cb *host.Callback) (host.Result, error) {
	return p.bind(t, false).Handle(context.Background(), cb)
}

func newPuppeteer(t testing.TB) *puppeteer {
	t.Helper()
	p := &puppeteer{}
	r := newRuntime(t, Options{Instances: 1, Log: slog.New(slog.NewTextHandler(&p.lines, nil))})
	var err error
	if p.module, err = r.LoadCode(context.Background(), packed(t, "zoo/puppet", puppetManifest)); err != nil {
		t.Fatal(err)
	}
	p.honest, p.signs = p.bind(t, false), p.bind(t, true)
	return p
}

// called is the callback that the body is in. No token was right.
func called(body []byte) *host.Callback {
	return &host.Callback{
		Method: "POST", Target: "/in/t/e?a=1&b=%zz", PublicURL: "https://postern.test/in/t/e?a=1&b=%zz", Body: body,
		Headers:  []host.Header{{Name: "X-Sig", Value: "one"}, {Name: "x-sig", Value: "t\xffo"}},
		Received: time.Unix(1700000000, 0),
	}
}

// FuzzHostCalls has a guest make any calls with any arguments: the input is its
// script. Whatever it says, the host does not panic, the result keeps to its
// limits and is the same again, evidence needs a key, no key comes out, and the
// next call is right.
func FuzzHostCalls(f *testing.F) {
	names := puppetFunctions(f)
	for _, seed := range scripts(names) {
		f.Add(seed)
	}
	p := newPuppeteer(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 4096 {
			return
		}
		p.lines.Reset()
		cb := called(bytes.Clone(body))
		res, err := p.judge(t, cb)
		trapped(t, err)
		again, againErr := p.judge(t, cb)
		if diff := cmp.Diff(res, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(againErr) {
			t.Errorf("the second time, %v and then %v:\n%s", err, againErr, diff)
		}
		withinLimits(t, &res)
		for _, e := range res.Evidence {
			if e.Secret != "open" {
				t.Errorf("evidence %+v, and nobody knows the secret", e)
			}
		}
		out, signErr := p.signs.Sign(t.Context(), cb)
		trapped(t, signErr)
		if !bytes.Equal(cb.Body, body) || len(cb.Headers) != 2 {
			t.Error("the callback was changed")
		}
		if got := strings.Count(p.lines.String(), "plugin says"); got > 3*maxLines {
			t.Errorf("%d lines were logged by three calls", got)
		}
		secretless(t, p.lines.String(), err, signErr, &res, out)
		honestPuppet(t, p.honest)
	})
}

// trapped fails for an error that is the host's own fault.
func trapped(t *testing.T, err error) {
	t.Helper()
	var ours runtime.Error
	if errors.As(err, &ours) || err != nil && strings.Contains(err.Error(), "the engine panicked") {
		t.Fatalf("the host panicked: %v", err)
	}
}

// withinLimits holds a result against docs/plugin-abi.md §6 and §11.
func withinLimits(t *testing.T, res *host.Result) {
	t.Helper()
	for _, text := range textsOf(res) {
		if !utf8.ValidString(text) {
			t.Errorf("%q is no UTF-8", text)
		}
	}
	if len(res.Events)+len(res.Aside) > host.MaxEvents || len(res.Evidence) > maxHandles || len(res.Detail) > maxDetail {
		t.Errorf("%d events, %d aside, %d evidence, a detail of %d bytes", len(res.Events), len(res.Aside), len(res.Evidence), len(res.Detail))
	}
	if a := res.Answer; a != nil && (a.Status < 200 || a.Status > 299 || len(a.Body) > maxAnswer || !manifest.HeaderText(a.ContentType)) {
		t.Errorf("answer %d %q of %d bytes", a.Status, a.ContentType, len(a.Body))
	}
	for i := range res.Events {
		withinDraft(t, &res.Events[i], len(res.Evidence))
	}
	for _, a := range res.Aside {
		if !json.Valid(a.Item) || len(a.Reason) > maxDetail {
			t.Errorf("aside %q %q", a.Reason, a.Item)
		}
	}
}

func withinDraft(t *testing.T, d *host.Draft, evidence int) {
	t.Helper()
	if d.Evidence < -1 || d.Evidence >= evidence {
		t.Errorf("evidence %d of %d", d.Evidence, evidence)
	}
	if d.Type != "" && !host.IsType(d.Type) || d.Amount != "" && !host.IsAmount(d.Amount) || d.Currency != "" && !host.IsCurrency(d.Currency) {
		t.Errorf("type %q, amount %q, currency %q", d.Type, d.Amount, d.Currency)
	}
	for _, text := range []string{
		d.Type, d.Subject, d.Status, d.ProviderStatus, d.Amount, d.Currency,
		d.References.Merchant, d.References.Provider, d.References.Bank, d.Method, d.Party,
	} {
		if len(text) > host.MaxText {
			t.Errorf("a text of %d bytes", len(text))
		}
	}
	if len(d.Key) > host.MaxKeyParts {
		t.Errorf("a key of %d components", len(d.Key))
	}
	for _, part := range d.Key {
		if part == "" || len(part) > host.MaxKeyLength {
			t.Errorf("a component of %d bytes", len(part))
		}
	}
	if d.ProviderData != nil && !json.Valid(d.ProviderData) {
		t.Errorf("provider_data %q", d.ProviderData)
	}
}

// secretless looks for keys in everything that came out.
func secretless(t *testing.T, lines string, err, signErr error, res *host.Result, out *host.Callback) {
	t.Helper()
	all := append(textsOf(res), lines)
	for _, e := range []error{err, signErr} {
		if e != nil {
			all = append(all, e.Error())
		}
	}
	if res.Answer != nil {
		all = append(all, string(res.Answer.Body))
	}
	if out != nil {
		all = append(all, string(out.Body), out.Target)
		for _, h := range out.Headers {
			all = append(all, h.Name, h.Value)
			if h.Name == "" || !manifest.HeaderText(h.Name) {
				t.Errorf("header %q of the signed callback", h.Name)
			}
		}
	}
	for _, text := range all {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("a key stands in %q", text)
			}
		}
	}
}

// honestPuppet judges a body that asks for no calls.
func honestPuppet(t *testing.T, p *Plugin) {
	t.Helper()
	const body = "honest after that"
	res, err := p.Handle(t.Context(), called([]byte(body)))
	if err != nil || res.Verdict != host.Ignore || len(res.Evidence) != 0 || res.Answer == nil || string(res.Answer.Body) != body {
		t.Errorf("the next honest call = %+v, %v; want its body as the answer", res, err)
	}
}

// TestPuppet_callsEveryFunction: no function is out of the fuzzer's reach, and
// the seeds get what they ask for.
func TestPuppet_callsEveryFunction(t *testing.T) {
	names := puppetFunctions(t)
	p := newPuppeteer(t)
	for _, f := range p.module.compiled.ImportedFunctions() {
		if module, name, _ := f.Import(); module != meter.ImportModule && !slices.Contains(names, name) {
			t.Errorf("the puppet imports %s, which no script can name", name)
		}
	}
	res, err := p.judge(t, called(scripts(names)[0]))
	if err != nil {
		t.Fatal(err)
	}
	if res.Verdict != host.Accept || len(res.Events) != 1 || len(res.Aside) != 1 || len(res.Evidence) != 1 || res.Answer == nil {
		t.Fatalf("result = %+v, want an event, an item aside, evidence and an answer", res)
	}
	d := &res.Events[0]
	if d.Type != "payment.succeeded" || d.Amount != "12.50" || *d.Minor != 1250 || string(d.ProviderData) != `{"x":[1,null]}` || len(d.Key) != 1 {
		t.Errorf("event = %+v", d)
	}
}
