package wasm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/admit"
	"github.com/postern/postern/host/wasm/internal/fuel"
)

// TestFuel_isTheSameEveryTime judges callbacks in the compiler and the
// interpreter, on fresh and on used instances: what each burns is always the same.
func TestFuel_isTheSameEveryTime(t *testing.T) {
	p := counter(t, Options{Instances: 2})
	var first int64
	for range 3 {
		for _, body := range []string{"", "a"} {
			res, err := p.Handle(t.Context(), callback(body))
			if err != nil {
				t.Fatal(err)
			}
			if body == "" && first == 0 {
				first = res.Fuel
			}
			if body == "" && res.Fuel != first || res.Fuel <= 0 {
				t.Errorf("body %q burnt %d units, the first time %d", body, res.Fuel, first)
			}
		}
	}
	// A host call is part of it.
	free := counter(t, Options{Instances: 1, off: defences{charges: true}})
	res, err := free.Handle(t.Context(), callback(""))
	if err != nil || res.Fuel >= first {
		t.Errorf("without charges for host calls %d units, %v; want less than %d", res.Fuel, err, first)
	}
}

// TestFuel_endsACallThatSpendsIt gives a guest less than it needs, and for each
// byte of the body more.
func TestFuel_endsACallThatSpendsIt(t *testing.T) {
	p := counter(t, Options{Instances: 1, Fuel: 40})
	_, err := p.Handle(t.Context(), callback(""))
	if want := "it spent its fuel of 40 units"; host.CodeOf(err) != host.PluginFailed || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("Handle = %v, want %v: %s", err, host.PluginFailed, want)
	}
	if res, err := p.Handle(t.Context(), callback("a")); err != nil || res.Fuel <= 40 {
		t.Errorf("Handle of a byte burnt %d, %v; want more than 40 units", res.Fuel, err)
	}
}

// TestFuel_isExact gives a guest what its call burns, which is enough, and every
// amount below, which is not: also where it is the host's part of it that is lacking.
func TestFuel_isExact(t *testing.T) {
	p := counter(t, Options{Instances: 1})
	res, err := p.Handle(t.Context(), callback(""))
	if err != nil {
		t.Fatal(err)
	}
	for p.fuel = res.Fuel; p.fuel > 0; p.fuel-- {
		got, err := p.Handle(t.Context(), callback(""))
		if spent := errors.As(err, new(fuel.Spent)); spent != (p.fuel < res.Fuel) || !spent && got.Fuel != res.Fuel {
			t.Fatalf("of %d units a call with %d burnt %d: %v", res.Fuel, p.fuel, got.Fuel, err)
		}
		p.breaker = p.module.newBreaker("")
	}
}

func TestFuel_isBounded(t *testing.T) {
	r := newRuntime(t, Options{Fuel: 1000, MaxFuel: 5000})
	for manifest, want := range map[string]string{
		`{"name":"counter","version":"0.1.0","fuel":5001}`: "it asks for 5001 units of fuel, the cap is 5000",
		`{"name":"counter","version":"0.1.0","fuel":3000}`: "",
		`{"name":"counter","version":"0.1.0"}`:             "",
	} {
		m, err := r.Load(t.Context(), write(t, packed(t, "counter", manifest)))
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Load(%s) = %v, want %s", manifest, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for units, want := range map[int64]string{5001: "fuel: 5001 is above the cap of 5000 (plugins.max_fuel)", -1: "fuel: -1 is negative"} {
			if _, err := m.Bind(Binding{Fuel: units}); err == nil || err.Error() != want {
				t.Errorf("Bind with %d = %v, want %s", units, err, want)
			}
		}
		p, err := m.Bind(Binding{Fuel: 4000})
		if err != nil || p.fuel != 4000 {
			t.Errorf("Bind = %v with %d units, want the endpoint's 4000", err, p.fuel)
		}
		p, err = m.Bind(Binding{})
		if want := int64(1000); err != nil || p.fuel != max(want, int64(m.manifest.Fuel)) {
			t.Errorf("Bind = %v with %d units, want the manifest's or the runtime's", err, p.fuel)
		}
	}
}

// TestBreaker takes a plugin out after some traps, and lets it back by one call
// that goes well.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := counter(t, Options{Instances: 1})
		handle := func(body string) string {
			t.Helper()
			_, err := p.Handle(context.Background(), callback(body))
			if err == nil {
				return ""
			}
			if host.CodeOf(err) != host.PluginFailed {
				t.Errorf("Handle = %v, want %v: its callbacks go into quarantine", err, host.PluginFailed)
			}
			return err.Error()
		}
		for i := range admit.MaxTraps {
			if err := p.Out(); err != nil {
				t.Fatalf("out after %d traps: %v", i, err)
			}
			handle("t")
		}
		want := "plugin " + p.module.version + " is out of service after repeated traps, the last: wasm error: unreachable"
		if err := p.Out(); err == nil || err.Error() != want {
			t.Fatalf("Out = %v, want %s", err, want)
		}
		if got := handle(""); got != want {
			t.Errorf("a good call = %q, want %s", got, want)
		}
		time.Sleep(admit.Rest + 1) //nolint:forbidigo // virtual time
		handle("t")
		if got := handle(""); got != want {
			t.Errorf("a good call after another trap = %q, want %s", got, want)
		}
		time.Sleep(admit.Rest + 1) //nolint:forbidigo // virtual time
		if got := handle(""); got != "" || p.Out() != nil {
			t.Errorf("a good call after its rest = %q, out: %v", got, p.Out())
		}
	})
}

// TestBreaker_saysWhyAsThePluginsLogDoes, without the engine's own words.
func TestBreaker_saysWhyAsThePluginsLogDoes(t *testing.T) {
	p := counter(t, Options{Instances: 1, Fuel: 40})
	for range admit.MaxTraps {
		_, _ = p.Handle(t.Context(), callback(""))
	}
	if err := p.Out(); err == nil || !strings.HasSuffix(err.Error(), "the last: it spent its fuel of 40 units") {
		t.Errorf("Out = %v, want that it spent its fuel", err)
	}
}

// TestBreaker_quarantinesMeanwhile sends good callbacks to a plugin that is out:
// each is answered 503 and can be run again once the plugin is mended.
func TestBreaker_quarantinesMeanwhile(t *testing.T) {
	p := counter(t, Options{Instances: 1})
	for range admit.MaxTraps {
		_, _ = p.Handle(t.Context(), callback("t"))
	}
	store := &shelf{}
	h := &host.Host{Store: store, Log: p.module.opts.Log}
	ep := &host.Endpoint{Tenant: "t", Name: "e", Provider: "counter", Plugin: p}
	a := h.Ingest(t.Context(), ep, callback(""))
	if a.Status != 503 || a.RetryAfter == 0 || len(store.put) != 1 || !strings.Contains(store.put[0].Detail, "out of service") {
		t.Errorf("answered %+v with %+v in quarantine; want 503, Retry-After, and the callback", a, store.put)
	}
}

// shelf keeps what is quarantined.
type shelf struct {
	acceptAll
	put []*host.Rejected
}

func (s *shelf) Put(_ context.Context, r *host.Rejected) error {
	s.put = append(s.put, r)
	return nil
}

// TestBreaker_isTheEndpoints lets one endpoint's plugin trap: the same module at
// another stays in service.
func TestBreaker_isTheEndpoints(t *testing.T) {
	p := counter(t, Options{Instances: 1})
	other, err := p.module.Bind(Binding{})
	if err != nil {
		t.Fatal(err)
	}
	for range admit.MaxTraps {
		_, _ = p.Handle(t.Context(), callback("t"))
	}
	if _, err := other.Handle(t.Context(), callback("")); err != nil || p.Out() == nil || other.Out() != nil {
		t.Errorf("Handle = %v; out: %v and %v, want the first alone", err, p.Out(), other.Out())
	}
}

// TestBreaker_sparesThoseThatMostlyGoWell has every third call trap: nobody who
// can send a bad callback now and then takes a plugin out.
func TestBreaker_sparesThoseThatMostlyGoWell(t *testing.T) {
	p := counter(t, Options{Instances: 1})
	for i := range 10 * admit.MaxTraps {
		body := ""
		if i%3 == 2 {
			body = "t"
		}
		_, err := p.Handle(t.Context(), callback(body))
		if (err != nil) != (body != "") {
			t.Fatalf("call %d: Handle(%q) = %v", i, body, err)
		}
	}
}

func TestLimit_isSharedByPlugins(t *testing.T) {
	p := counter(t, Options{Instances: 2, Wait: time.Millisecond})
	limit := NewLimit(1)
	one, err := p.module.Bind(Binding{Limit: limit})
	if err != nil {
		t.Fatal(err)
	}
	if err := limit.Take(t.Context(), 0, "calls"); err != nil {
		t.Fatal(err)
	}
	_, err = one.Handle(t.Context(), callback(""))
	if host.CodeOf(err) != host.PluginBusy || !strings.Contains(err.Error(), "calls that the tenant may make at a time") {
		t.Errorf("Handle = %v, want %v", err, host.PluginBusy)
	}
	if _, err := p.Handle(t.Context(), callback("")); err != nil {
		t.Errorf("another tenant's Handle = %v", err)
	}
	if one.Out() != nil {
		t.Errorf("waiting counts as a trap: %v", one.Out())
	}
	limit.Give()
	if _, err := one.Handle(t.Context(), callback("")); err != nil {
		t.Errorf("Handle = %v", err)
	}
}
