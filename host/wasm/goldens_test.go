package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// TestGoldens runs every golden of every built plugin through Wasm. The
// plugins' own tests run the same files natively, with other code: both must
// give the same bytes.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("../../plugins/*/plugin.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d plugins, err %v", len(files), err)
	}
	r := newRuntime(t, Options{})
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			module := filepath.Join("../../plugins/dist", name+".wasm")
			m, err := r.Load(t.Context(), module)
			if err != nil {
				t.Fatalf("%v (build it with: make plugins)", err)
			}
			goldens, err := ReadGoldens(module)
			if err != nil {
				t.Fatal(err)
			}
			if len(goldens) == 0 {
				t.Fatal("it carries no goldens")
			}
			for i := range goldens {
				t.Run(goldens[i].Name, func(t *testing.T) { prove(t, m, &goldens[i]) })
			}
		})
	}
}

func prove(t *testing.T, m *Module, g *Golden) {
	t.Helper()
	p, err := m.Bind(Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified})
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, g.Expect); err != nil {
		t.Fatal(err)
	}
	if m.Manifest().Guard {
		if got := ruled(t, p, g); got != want.String() {
			t.Errorf("%s\ngot  %s\nwant %s", g.About, got, want.String())
		}
		return
	}
	ep := &host.Endpoint{
		Tenant: "demo", Name: "golden", Provider: m.Manifest().Name,
		Plugin: p, Tokens: p.Tokens(), Unverified: g.Unverified,
	}
	res, err := ep.Judge(context.Background(), request(t, g))
	if err != nil {
		t.Fatal(err)
	}
	got := canonical(t, res)
	if got != want.String() {
		t.Errorf("%s\ngot  %s\nwant %s", g.About, got, want.String())
	}
}

// ruled is what a guard makes of a golden, as docs/goldens.md §2 writes it.
func ruled(t *testing.T, p *Plugin, g *Golden) string {
	t.Helper()
	res, err := p.RuleOn(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	text, err := g.CanonicalRuling(res)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// request reads a .http file; docs/goldens.md §1.
func request(t *testing.T, g *Golden) *host.Callback {
	t.Helper()
	cb, err := g.Callback()
	if err != nil {
		t.Fatal(err)
	}
	return cb
}

// canonical is the result as goldens have it.
func canonical(t *testing.T, res host.Result) string {
	t.Helper()
	text, err := new(Golden).Canonical(res)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestInvariant11_theSameCallbackGivesTheSameResult judges every golden twice on
// one instance, the second time in another order.
//
// Invariant 11: what came before changes nothing.
func TestInvariant11_theSameCallbackGivesTheSameResult(t *testing.T) {
	modules, err := filepath.Glob("../../plugins/dist/*.wasm")
	if err != nil || len(modules) == 0 {
		t.Fatalf("%d modules, err %v (build them with: make plugins)", len(modules), err)
	}
	for _, module := range modules {
		name := filepath.Base(module)
		m, err := newRuntime(t, Options{Instances: 1}).Load(t.Context(), module)
		if err != nil {
			t.Fatal(err)
		}
		goldens, err := ReadGoldens(module)
		if err != nil {
			t.Fatal(err)
		}
		judge := func(g *Golden) string {
			p, err := m.Bind(Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified})
			if err != nil {
				t.Fatal(err)
			}
			if m.Manifest().Guard {
				return ruled(t, p, g)
			}
			ep := &host.Endpoint{Plugin: p, Tokens: p.Tokens(), Unverified: g.Unverified}
			res, err := ep.Judge(t.Context(), request(t, g))
			if err != nil {
				t.Fatal(err)
			}
			return canonical(t, res)
		}
		first := make([]string, len(goldens))
		for i := range goldens {
			first[i] = judge(&goldens[i])
		}
		for i := len(goldens) - 1; i >= 0; i-- {
			if diff := cmp.Diff(first[i], judge(&goldens[i])); diff != "" {
				t.Errorf("%s/%s: another result after other callbacks:\n%s", name, goldens[i].Name, diff)
			}
		}
	}
}
