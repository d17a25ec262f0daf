package wasm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/content"
)

// largest is the most that a view is made of: the largest body that an intake
// takes where nobody says otherwise, which is the cap of an encoded one too.
const largest = content.Most

// TestLargestBody_failsNoPlugin sends every plugin a body at the limit, as it
// is and gzipped, each of its members large in turn and all of them together. A
// plugin that ran out of memory would be "unable", and where that keeps, an
// unsigned body would be stored and answered like a good one.
func TestLargestBody_failsNoPlugin(t *testing.T) {
	modules, err := filepath.Glob("../../plugins/dist/*.wasm")
	if err != nil || len(modules) == 0 {
		t.Fatalf("%d modules, err %v (build them with: make plugins)", len(modules), err)
	}
	r := newRuntime(t, Options{})
	for _, module := range modules {
		m, err := r.Load(t.Context(), module)
		if err != nil {
			t.Fatal(err)
		}
		goldens, err := ReadGoldens(module)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for i := range goldens {
			swell(t, m, &goldens[i], seen)
		}
		t.Logf("%s: %d bodies of %d bytes, plain and gzipped", filepath.Base(module), len(seen), largest)
		if len(seen) == 0 {
			t.Errorf("%s: no golden has a body to swell", module)
		}
	}
}

// swell judges a golden's callback with each member large that was not yet, for
// its secrets, and all of them for its settings.
func swell(t *testing.T, m *Module, g *Golden, seen map[string]bool) {
	t.Helper()
	p, err := m.Bind(Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified})
	if err != nil {
		t.Fatal(err)
	}
	ep := &host.Endpoint{Plugin: p, Tokens: p.Tokens(), Unverified: g.Unverified}
	for member, body := range swollen(request(t, g).Body) {
		what := fmt.Sprint(slices.Sorted(maps.Keys(g.Secrets)), member)
		if member == "*" {
			what += fmt.Sprint(g.Settings)
		}
		if seen[what] {
			continue
		}
		seen[what] = true
		for _, encoding := range []string{"", "gzip"} {
			cb := request(t, g)
			cb.Body = body
			if encoding != "" {
				cb.Body = zipped(t, body)
				cb.Headers = append(cb.Headers, host.Header{Name: "Content-Encoding", Value: encoding})
			}
			if _, err := ep.Judge(t.Context(), cb); err != nil {
				t.Errorf("%s, %s of %d bytes %s: %v", g.Name, member, len(body), encoding, err)
			}
		}
	}
}

// swollen are bodies at the limit by what is large in them: the one member, or
// all of them alike ("*").
func swollen(body []byte) map[string][]byte {
	var whole any
	if json.Unmarshal(body, &whole) != nil {
		return nil
	}
	list, _ := whole.([]any)
	object, _ := whole.(map[string]any)
	if len(list) > 0 {
		object, _ = list[0].(map[string]any)
	}
	out := make(map[string][]byte)
	fill := func(name string, members ...string) {
		kept := maps.Clone(object)
		defer maps.Copy(object, kept)
		for _, m := range members {
			object[m] = ""
		}
		room := largest - len(encoded(whole))
		for _, m := range members {
			object[m] = strings.Repeat("x", room/len(members))
		}
		out[name] = encoded(whole)
	}
	members := slices.Sorted(maps.Keys(object))
	for _, m := range members {
		fill(m, m)
	}
	if len(members) > 0 {
		fill("*", members...)
	}
	return out
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// zipped is a body that decodes to its limit: the gzip header has something in
// it that makes it large enough for the ratio.
func zipped(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	z.Extra = make([]byte, math.MaxUint16)
	if _, err := z.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := content.Decode([]string{"gzip"}, b.Bytes()); err != nil || len(got) != len(body) {
		t.Fatalf("%d bytes decode to %d, err %v; want %d", b.Len(), len(got), err, len(body))
	}
	return b.Bytes()
}
