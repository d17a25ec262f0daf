package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
	"github.com/postern/postern/host/wasm"
)

// provider is a plugin as it is built, with what its folder says of it.
type provider struct {
	name    string
	module  *wasm.Module
	goldens []golden
	plan    plan
	// replace, if set, stands in for the plugin: for tests of these tests.
	replace func(host.Plugin) host.Plugin
}

// golden is a case of the plugin's testdata; docs/goldens.md. The request may
// be changed: body and headers are copied before.
type golden struct {
	*wasm.Golden

	method, target string
	headers        [][2]string
	body           []byte
	expect         expected
}

// expected is what the matrix reads of a golden's result.
type expected struct {
	Verdict  string
	Evidence []host.Evidence
	// Answer is nil where the endpoint's own ack is sent.
	Answer *reply
	Events []event
	Aside  []json.RawMessage
}

type reply struct {
	Status      int
	ContentType string `json:"content_type"`
	Body        string
}

// event is what a golden expects of one event.
type event struct {
	Type, Subject, Status string
	ProviderStatus        string `json:"provider_status"`
}

// shelf are the providers loaded so far: compiling one takes a second, and ten
// under the race detector.
var shelf = map[string]*provider{}

// loadProvider loads a built plugin, its goldens and its matrix.json, once for
// all tests. What it returns is the caller's to change.
func loadProvider(t *testing.T, name string) *provider {
	t.Helper()
	if shelf[name] == nil {
		p := &provider{name: name}
		p.load(t)
		shelf[name] = p
	}
	p := *shelf[name]
	return &p
}

func (p *provider) load(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("plugins", p.name, "testdata", "matrix.json"))
	if err != nil {
		t.Fatalf("%v (it says which cases the provider has; see matrix_test.go)", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p.plan); err != nil {
		t.Fatalf("%s: matrix.json: %v", p.name, err)
	}
	file := filepath.Join("plugins", "dist", p.name+".wasm")
	packed, err := wasm.ReadGoldens(file)
	if err != nil {
		t.Fatalf("%v (build it with: make plugins)", err)
	}
	for i := range packed {
		g, err := readGolden(&packed[i])
		if err != nil {
			t.Fatalf("%s: golden %s: %v", p.name, packed[i].Name, err)
		}
		p.goldens = append(p.goldens, g)
	}
	// It lives as long as the process: no test closes what another uses.
	runtime, err := wasm.New(context.Background(), wasm.Options{Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if p.module, err = runtime.Load(context.Background(), file); err != nil {
		t.Fatal(err)
	}
}

// providerNames are the folders in plugins/ but those of guards.
func providerNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("plugins/*/plugin.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d plugins, err %v", len(files), err)
	}
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ Guard bool }
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !m.Guard {
			names = append(names, filepath.Base(filepath.Dir(file)))
		}
	}
	return names
}

func readGolden(from *wasm.Golden) (golden, error) {
	g := golden{Golden: from}
	if err := json.Unmarshal(from.Expect, &g.expect); err != nil {
		return g, err
	}
	cb, err := from.Callback()
	if err != nil {
		return g, err
	}
	g.method, g.target, g.body = cb.Method, cb.Target, cb.Body
	for _, h := range cb.Headers {
		g.headers = append(g.headers, [2]string{h.Name, h.Value})
	}
	return g, nil
}

// callback is the request as the intake would hand it over.
func (g *golden) callback() *host.Callback {
	base := g.PublicURL
	if base == "" {
		base = "https://postern.test"
	}
	cb := &host.Callback{
		Method: g.method, Target: g.target, PublicURL: base + g.target,
		Body: bytes.Clone(g.body), Received: g.Received,
	}
	for _, h := range g.headers {
		cb.Headers = append(cb.Headers, host.Header{Name: h[0], Value: h[1]})
	}
	return cb
}

// golden returns a copy of the named golden, to be changed.
func (p *provider) golden(name string) (golden, error) {
	for _, g := range p.goldens {
		if g.Name == name {
			return g, nil
		}
	}
	return golden{}, fmt.Errorf("there is no golden %q", name)
}

// endpoint binds the plugin with a golden's settings and the given secrets.
func (p *provider) endpoint(g *golden, secrets map[string][]string) (*host.Endpoint, error) {
	plugin, err := p.module.Bind(wasm.Binding{Secrets: secrets, Settings: g.Settings, Unverified: g.Unverified})
	if err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	manifest := p.module.Manifest()
	ep := &host.Endpoint{
		Tenant: "demo", Name: p.name, Provider: manifest.Name, Plugin: plugin, PluginVersion: p.module.Version(),
		Tokens: plugin.Tokens(), Unverified: g.Unverified, Unable: manifest.Unable(), Ack: manifest.Ack(),
	}
	if p.replace != nil {
		ep.Plugin = p.replace(ep.Plugin)
	}
	return ep, nil
}

// ledger is a store that shows what it was asked to keep last.
type ledger struct {
	*mem.Store

	rec     *host.Record
	receipt host.Receipt
}

func (l *ledger) Append(ctx context.Context, rec *host.Record) (host.Receipt, error) {
	receipt, err := l.Store.Append(ctx, rec)
	l.rec, l.receipt = rec, receipt
	return receipt, err
}

// desk takes callbacks in at one endpoint.
type desk struct {
	ep    *host.Endpoint
	host  *host.Host
	store *ledger
}

func (p *provider) desk(g *golden, secrets map[string][]string) (*desk, error) {
	ep, err := p.endpoint(g, secrets)
	if err != nil {
		return nil, err
	}
	store := &ledger{Store: mem.New(mem.Options{})}
	return &desk{ep, &host.Host{Store: store, Log: slog.New(slog.DiscardHandler)}, store}, nil
}

// take ingests one callback; the record is nil where none was made.
func (d *desk) take(g *golden) (host.Answer, *host.Record, host.Receipt) {
	d.store.rec, d.store.receipt = nil, host.Receipt{}
	answer := d.host.Ingest(context.Background(), d.ep, g.callback())
	return answer, d.store.rec, d.store.receipt
}
