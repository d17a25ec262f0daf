package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	ep := &host.Endpoint{
		Tenant: "demo", Name: "golden", Provider: m.Manifest().Name,
		Plugin: p, Tokens: p.Tokens(), Unverified: g.Unverified,
	}
	res, err := ep.Judge(context.Background(), request(t, g))
	if err != nil {
		t.Fatal(err)
	}
	got := canonical(t, res)
	var want bytes.Buffer
	if err := json.Compact(&want, g.Expect); err != nil {
		t.Fatal(err)
	}
	if got != want.String() {
		t.Errorf("%s\ngot  %s\nwant %s", g.About, got, want.String())
	}
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

// canonical is docs/goldens.md §2 as types: members in order, empty ones left
// out.
func canonical(t *testing.T, res host.Result) string {
	t.Helper()
	type answer struct {
		Status      int    `json:"status"`
		ContentType string `json:"content_type,omitempty"`
		Body        string `json:"body,omitempty"`
	}
	type event struct {
		Evidence       int              `json:"evidence"`
		Type           string           `json:"type,omitempty"`
		Subject        string           `json:"subject,omitempty"`
		Time           string           `json:"time,omitempty"`
		Key            []string         `json:"key,omitempty"`
		Status         string           `json:"status,omitempty"`
		ProviderStatus string           `json:"provider_status,omitempty"`
		Amount         string           `json:"amount,omitempty"`
		Currency       string           `json:"currency,omitempty"`
		Minor          *int64           `json:"minor,omitempty"`
		References     *host.References `json:"references,omitempty"`
		Method         string           `json:"method,omitempty"`
		Party          string           `json:"party,omitempty"`
		Confirm        bool             `json:"confirm,omitempty"`
		Sandbox        bool             `json:"sandbox,omitempty"`
		ProviderData   json.RawMessage  `json:"provider_data,omitempty"`
	}
	out := struct {
		Verdict  string          `json:"verdict"`
		Reason   string          `json:"reason,omitempty"`
		Detail   string          `json:"detail,omitempty"`
		Evidence []host.Evidence `json:"evidence,omitempty"`
		Answer   *answer         `json:"answer,omitempty"`
		Events   []event         `json:"events,omitempty"`
		Aside    []host.Aside    `json:"aside,omitempty"`
	}{Verdict: res.Verdict.String(), Reason: res.Reason.String(), Evidence: res.Evidence, Aside: res.Aside}
	if res.Verdict == host.Reject || res.Verdict == host.Ignore {
		out.Detail = res.Detail
	}
	if a := res.Answer; a != nil {
		out.Answer = &answer{a.Status, a.ContentType, string(a.Body)}
	}
	for _, d := range res.Events {
		e := event{
			Evidence: d.Evidence, Type: d.Type, Subject: d.Subject, Key: d.Key, Status: d.Status,
			ProviderStatus: d.ProviderStatus, Amount: d.Amount, Currency: d.Currency, Minor: d.Minor,
			Method: d.Method, Party: d.Party, Confirm: d.Confirm, Sandbox: d.Sandbox, ProviderData: d.ProviderData,
		}
		if !d.Time.IsZero() {
			at := d.Time.UTC().Truncate(time.Millisecond)
			if e.Time = at.Format("2006-01-02T15:04:05Z"); at.Nanosecond() != 0 {
				e.Time = at.Format("2006-01-02T15:04:05.000Z")
			}
		}
		if d.References != (host.References{}) {
			e.References = &d.References
		}
		out.Events = append(out.Events, e)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
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
