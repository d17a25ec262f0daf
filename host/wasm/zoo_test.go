package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/abi"
)

// The zoo: hostile guests, each in testdata/zoo with what it attacks in its
// first lines. Every one is refused, stopped, or does no harm; the process goes
// on, and the next honest call is right, of the same guest and of another.

// zooFuel is what a call of the zoo may burn: enough for every guest that is to
// come to its end.
const zooFuel = 500_000

// zooManifest has a secret of each sort that a guest of the zoo may ask for.
const zooManifest = `{"name":"zoo","version":"0.1.0","secrets":[
	{"name":"key","summary":"a token","use":"token","in":"header:X-Key","optional":true},
	{"name":"mac","summary":"a key","use":"hmac-sha256","form":"utf8","optional":true},
	{"name":"cipher","summary":"a key","use":"aes-128-cbc","form":"utf8","optional":true}]}`

var zooBinding = Binding{Secrets: map[string][]string{
	"key": {"right"}, "mac": {"test-key-of-the-zoo"}, "cipher": {"test-key-current"},
}}

// zooPacked is a guest of the zoo with its manifest.
func zooPacked(t testing.TB, guest string) []byte {
	t.Helper()
	return packed(t, filepath.Join("zoo", guest), zooManifest)
}

// zooCallback is a callback with a body that a guest understands.
func zooCallback(body string) *host.Callback {
	cb := callback(body)
	cb.Headers = []host.Header{{Name: "X-Overlap", Value: "abc"}}
	cb.Received = time.Unix(1700000000, 0)
	return cb
}

// specimen is a guest with a body, and what must come of it.
type specimen struct {
	guest, body string
	// refused and failed are what the errors of Load and Handle say.
	refused, failed string
	// answer is the guest's, if neither fails.
	answer string
	// verdict is another than ignore.
	verdict host.Verdict
	// holds is what else must be so.
	holds func(*host.Result) bool
	// again asks for the same a second time.
	again bool
	// fuel is another than zooFuel.
	fuel int64
	// off is the one defence without which it does what it is after.
	off defence
}

func le32(numbers ...uint32) string {
	var b []byte
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return string(b)
}

func le64(numbers ...uint64) string {
	var b []byte
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return string(b)
}

// codes are result codes as a guest stores them, one byte each.
func codes(all ...code) string {
	var b []byte
	for _, c := range all {
		b = append(b, byte(c))
	}
	return string(b)
}

// run loads a guest and judges its body, and says what is not as it must be.
func (s *specimen) run(t *testing.T, z *zoo) (wrong string, p *Plugin) {
	t.Helper()
	m, err := z.runtime.LoadCode(t.Context(), z.code(t, s.guest))
	switch {
	case s.refused != "" && (err == nil || !strings.Contains(err.Error(), s.refused)):
		return fmt.Sprintf("load = %v, want it refused: %q", err, s.refused), nil
	case s.refused != "":
		return "", nil
	case err != nil:
		return fmt.Sprintf("load = %v", err), nil
	}
	b := zooBinding
	b.Fuel = s.fuel
	if p, err = m.Bind(b); err != nil {
		t.Fatal(err)
	}
	wrong = s.judge(p.Handle(t.Context(), zooCallback(s.body)))
	if s.again && wrong == "" {
		if wrong = s.judge(p.Handle(t.Context(), zooCallback(s.body))); wrong != "" {
			wrong = "the second time: " + wrong
		}
	}
	return wrong, p
}

func (s *specimen) judge(res host.Result, err error) string {
	for _, text := range textsOf(&res) {
		if !utf8.ValidString(text) {
			return fmt.Sprintf("the result has %q, which is no UTF-8", text)
		}
	}
	if s.failed != "" {
		if host.CodeOf(err) != host.PluginFailed || !strings.Contains(err.Error(), s.failed) {
			return fmt.Sprintf("Handle = %v, %v; want %v: %q", res.Verdict, err, host.PluginFailed, s.failed)
		}
		return ""
	}
	want := s.verdict
	if want == 0 {
		want = host.Ignore
	}
	var answer string
	if res.Answer != nil {
		answer = string(res.Answer.Body)
	}
	if err != nil || res.Verdict != want || answer != s.answer || s.holds != nil && !s.holds(&res) {
		return fmt.Sprintf("Handle = %.2000v, %q, %v; want %v %q", res, answer, err, want, s.answer)
	}
	return ""
}

// textsOf are the texts of a result that must be valid UTF-8.
func textsOf(res *host.Result) []string {
	texts := []string{res.Detail}
	if res.Answer != nil {
		texts = append(texts, res.Answer.ContentType)
	}
	for i := range res.Events {
		d := &res.Events[i]
		texts = append(texts, d.Type, d.Subject, d.Status, d.ProviderStatus, d.Amount, d.Currency,
			d.References.Merchant, d.References.Provider, d.References.Bank, d.Method, d.Party, string(d.ProviderData))
		texts = append(texts, d.Key...)
	}
	for _, a := range res.Aside {
		texts = append(texts, a.Reason, string(a.Item))
	}
	return texts
}

// honest judges a callback that asks for no attack.
func honest(t *testing.T, p *Plugin) {
	t.Helper()
	const body = "honest after that"
	res, err := p.Handle(context.Background(), zooCallback(body))
	if err != nil || res.Verdict != host.Ignore || len(res.Evidence) != 1 || res.Answer == nil || string(res.Answer.Body) != body {
		t.Errorf("the next honest call = %+v, %v; want its body as the answer", res, err)
	}
}

// zoo is a runtime that hostile guests share with an honest one.
type zoo struct {
	runtime *Runtime
	other   *Plugin
	lines   bytes.Buffer
}

func newZoo(t *testing.T, o Options) *zoo {
	t.Helper()
	z := &zoo{}
	o.Instances, o.Log = 1, slog.New(slog.NewTextHandler(&z.lines, nil))
	z.runtime = newRuntime(t, o)
	m, err := z.runtime.LoadCode(t.Context(), zooPacked(t, "counter"))
	if err != nil {
		t.Fatal(err)
	}
	if z.other, err = m.Bind(zooBinding); err != nil {
		t.Fatal(err)
	}
	return z
}

// code is a guest of the zoo; some are completed here, for their size.
func (z *zoo) code(t *testing.T, guest string) []byte {
	t.Helper()
	name, made, _ := strings.Cut(guest, "+")
	code := zooPacked(t, name)
	switch made {
	case "data":
		// One segment from 0 on: 15 MiB of "x".
		const n = 15 << 20
		body := append([]byte{1, 0, 0x41, 0, 0x0b}, uleb(n)...)
		body = append(body, bytes.Repeat([]byte("x"), n)...)
		return append(append(append(code, 11), uleb(len(body))...), body...)
	case "size":
		return append(code, section("padding", strings.Repeat("x", MaxSize))...)
	}
	return code
}

func TestZoo(t *testing.T) {
	z := newZoo(t, Options{Fuel: zooFuel})
	for _, s := range specimens {
		t.Run(s.guest+" "+label(s.body), func(t *testing.T) {
			wrong, p := s.run(t, z)
			if wrong != "" {
				t.Error(wrong)
			}
			if p != nil && p.module.imports("ack") && s.guest != "deaf" {
				honest(t, p)
			}
			honest(t, z.other)
		})
	}
}

// imports reports whether a guest has the ABI's function.
func (m *Module) imports(function string) bool {
	return slices.ContainsFunc(m.compiled.ImportedFunctions(), func(f api.FunctionDefinition) bool {
		module, name, _ := f.Import()
		return module == abi.Module && name == function
	})
}

// defence is one that can be switched off, for a specimen to show that it is
// needed.
type defence string

const (
	metering  defence = "metering"
	charges   defence = "charges for host calls"
	isolation defence = "isolation"
	restoring defence = "restoring globals"
)

func (d defence) switchedOff() Options {
	o := Options{Fuel: zooFuel}
	switch d {
	case metering:
		o.off.metering = true
	case charges:
		o.off.charges = true
	case restoring:
		o.off.globals = true
	case isolation:
		o.Reuse = true
	}
	return o
}

// TestZoo_eachDefenceIsNeeded runs what a single defence stops without it: where
// the row is as it must be even so, it shows nothing.
func TestZoo_eachDefenceIsNeeded(t *testing.T) {
	for _, d := range []defence{metering, charges, isolation, restoring} {
		o := d.switchedOff()
		o.CacheDir = t.TempDir() // the other has metered modules in it
		z := newZoo(t, o)
		tried := 0
		for _, s := range specimens {
			if s.off != d {
				continue
			}
			tried++
			if s.answer != "" {
				s.refused = "" // what it does is wrong, not only that it may
			}
			wrong, _ := s.run(t, z)
			if wrong == "" {
				t.Errorf("%s %s: without %s it is as with it", s.guest, label(s.body), d)
			}
			t.Logf("without %s, %s: %.200s", d, s.guest, wrong)
		}
		if tried == 0 {
			t.Errorf("no row is without %s", d)
		}
		honest(t, z.other)
	}
}

// label is a body as part of a test's name.
func label(body string) string {
	if len(body) > 12 {
		body = body[:12]
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '.'
		}
		return r
	}, body)
}

// TestZoo_everyGuestIsInTheTable: none is there for show.
func TestZoo_everyGuestIsInTheTable(t *testing.T) {
	files, err := filepath.Glob("testdata/zoo/*.wat")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d guests, err %v; want 30 or more", len(files), err)
	}
	var known []string
	for _, s := range specimens {
		name, _, _ := strings.Cut(s.guest, "+")
		known = append(known, name)
	}
	// The two that have tests of their own.
	known = append(known, "puppet", "churn", "taint")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".wat")
		if !slices.Contains(known, name) {
			t.Errorf("%s is in no row", name)
		}
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), "\n;; Attacks: ") {
			t.Errorf("%s does not say what it attacks (err %v)", name, err)
		}
	}
}
