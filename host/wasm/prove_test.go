package wasm

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/host/wasm/internal/golden"
)

// withGolden is the counting guest with one golden, of a callback with that body.
func withGolden(t *testing.T, body, verdict string) []byte {
	t.Helper()
	request := base64.StdEncoding.EncodeToString([]byte("POST /in/t/e HTTP/1.1\nHost: a\nX-Key: right-and-long-enough\n\n" + body))
	return append(packed(t, "counter", tokenManifest), section("postern.goldens", fmt.Sprintf(
		`[{"name":"one","http":%q,"golden":{"received":"2026-01-02T03:04:05Z","secrets":{"key":["right-and-long-enough"]},"expect":{"verdict":%q}}}]`,
		request, verdict))...)
}

// TestProof refuses a module whose goldens do not come out as they should.
func TestProof(t *testing.T) {
	for name, tt := range map[string]struct{ body, verdict, want string }{
		"as expected":   {"", "ignore", ""},
		"other verdict": {"", "accept", "golden one: it says ignore (), the golden expects accept"},
		"trap":          {"t", "ignore", "golden one: plugin counter@0.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t, Options{CacheDir: t.TempDir()})
			_, err := r.Load(t.Context(), write(t, withGolden(t, tt.body, tt.verdict)))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Load = %v, want %q", err, tt.want)
			}
		})
	}
}

// TestProof_comparesCompilerAndInterpreter stands another guest in the place of
// the interpreter: what they say differs, or only what they burn.
func TestProof_comparesCompilerAndInterpreter(t *testing.T) {
	code := withGolden(t, "", "ignore")
	r := newRuntime(t, Options{})
	m, err := r.Load(t.Context(), write(t, code))
	if err != nil {
		t.Fatal(err)
	}
	goldens, err := golden.Of(code)
	if err != nil {
		t.Fatal(err)
	}
	if err := agree(t.Context(), m, m, &goldens[0]); err != nil {
		t.Errorf("with itself: %v", err)
	}
	for name, o := range map[string]Options{
		"other results": {Reuse: true},                  // its count goes on
		"other fuel":    {off: defences{charges: true}}, // host calls are free
		"a trap":        {Fuel: 10},                     // spent
	} {
		other, err := newRuntime(t, o).Load(t.Context(), write(t, packed(t, "counter", tokenManifest)))
		if err != nil {
			t.Fatal(err)
		}
		if o.Reuse {
			if _, err := other.judge(t.Context(), &goldens[0], nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := agree(t.Context(), m, other, &goldens[0]); err == nil || !strings.Contains(err.Error(), "the compiler and the interpreter disagree") {
			t.Errorf("%s: %v, want that they disagree", name, err)
		}
	}
}

// TestProof_isKept looks for the proof of an earlier load: it is used, one that is
// damaged is not, and without a folder none is kept.
func TestProof_isKept(t *testing.T) {
	dir := t.TempDir()
	file := write(t, withGolden(t, "", "ignore"))
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	load := func() *Module {
		t.Helper()
		m, err := newRuntime(t, Options{CacheDir: dir, Log: log}).Load(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Bind(Binding{Secrets: map[string][]string{"key": {"right"}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := ackOf(t, p, ""); got != "1" {
			t.Errorf("ack = %q, want 1", got)
		}
		return m
	}
	if load().metered.Proven {
		t.Error("the first load found a proof")
	}
	kept, err := filepath.Glob(filepath.Join(dir, "*", "metered.wasm"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d files are kept, %v; want one", len(kept), err)
	}
	if info, err := os.Stat(filepath.Dir(kept[0])); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v; want 0700", info.Mode(), err)
	}
	if !load().metered.Proven {
		t.Error("the second load found no proof")
	}
	compiled, err := filepath.Glob(filepath.Join(dir, "*", "wazero-*", "*"))
	if err != nil || len(compiled) != 1 {
		t.Errorf("%d compiled modules are kept, %v; want one, for both loads", len(compiled), err)
	}
	whole, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() []byte{
		"short":   func() []byte { return whole[:100] },
		"flipped": func() []byte { b := bytes.Clone(whole); b[len(b)/3] ^= 1; return b },
		"longer":  func() []byte { return append(bytes.Clone(whole), section("x", "")...) },
	} {
		said.Reset()
		if err := os.WriteFile(kept[0], damage(), 0o600); err != nil {
			t.Fatal(err)
		}
		if load().metered.Proven || !strings.Contains(said.String(), "a metered plugin in the cache is not used") {
			t.Errorf("%s: a damaged file was used, or nothing was said: %s", name, said.String())
		}
		if !load().metered.Proven {
			t.Errorf("%s: the damaged file was not written anew", name)
		}
	}
}

// TestProof_withoutGoldens: what was metered and validated once is not again.
func TestProof_withoutGoldens(t *testing.T) {
	dir, file := t.TempDir(), write(t, packed(t, "counter", tokenManifest))
	for _, want := range []bool{false, true} {
		m, err := newRuntime(t, Options{CacheDir: dir}).Load(t.Context(), file)
		if err != nil || m.metered.Proven != want {
			t.Fatalf("Load = %v, from the cache %t, want %t", err, m.metered.Proven, want)
		}
	}
}

// TestRekeyed compares what two versions make of the live one's goldens: only what
// both accept says something.
func TestRekeyed(t *testing.T) {
	code := packed(t, "keys", tokenManifest)
	golden := Golden{
		Name: "one", Request: []byte("POST / HTTP/1.1\nX-Key: right-and-long-enough\n\n"), Verdict: "accept",
		Secrets: map[string][]string{"key": {"right-and-long-enough"}},
	}
	unbound := golden
	unbound.Name, unbound.Secrets = "unbound", nil
	r := newRuntime(t, Options{})
	load := func(code []byte) *Module {
		t.Helper()
		m, err := r.LoadCode(t.Context(), code)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	live := load(code)
	for name, tt := range map[string]struct {
		code []byte
		want []string
	}{
		"the same":     {code, nil},
		"other keys":   {bytes.Replace(code, []byte("key-one"), []byte("key-two"), 1), []string{"one"}},
		"accepts none": {packed(t, "counter", tokenManifest), nil},
	} {
		if got := load(tt.code).Rekeyed(t.Context(), live, []Golden{golden, unbound}); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Rekeyed = %q, want %q", name, got, tt.want)
		}
	}
}
