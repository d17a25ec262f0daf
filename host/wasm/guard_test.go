package wasm

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

const guardManifest = `{"name":"the-limit","version":"1.0.0","guard":true}`

// aGuard is the guest of guard.wat, bound as a guard.
func aGuard(t testing.TB, o Options) *Plugin {
	t.Helper()
	m, err := newRuntime(t, o).Load(t.Context(), write(t, packed(t, "guard", guardManifest)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Bind(Binding{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func someEvents(n int) []host.Event {
	events := make([]host.Event, n)
	for i := range events {
		events[i] = host.Event{
			Key: host.Hash{byte(i + 1)}, Source: "/acme/till", Type: fmt.Sprintf("payment.succeeded%d", i), Tenant: "acme",
			Provider: "samplepay", VerifiedBy: host.HMACSHA256, Time: time.Unix(1, 0).UTC(), Received: time.Unix(2, 0).UTC(), Data: []byte(`{"n":1}`),
		}
	}
	return events
}

func TestGuard_rules(t *testing.T) {
	p := aGuard(t, Options{})
	seen := []host.Note{{Event: 0, Annotation: host.Annotation{Name: "thelimitseen", Value: "payment.succeeded0"}}}
	for body, want := range map[string]host.Ruling{
		"":             {Verdict: host.Pass, Notes: seen},
		"hold, please": {Verdict: host.Hold, Detail: "hold, please", Notes: seen},
		"rejected":     {Verdict: host.Refuse, Detail: "rejected", Notes: seen},
		// It can say no event and give no evidence: see guard.wat.
		"d": {Verdict: host.Pass, Notes: seen},
	} {
		var fuel int64
		for range 2 {
			got, err := p.Guard(t.Context(), callback(body), someEvents(2))
			if err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			if got.Fuel == 0 || fuel != 0 && fuel != got.Fuel {
				t.Errorf("%q: %d units of fuel, and %d before", body, got.Fuel, fuel)
			}
			fuel, got.Fuel, got.Memory = got.Fuel, 0, 0
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q: %+v, want %+v", body, got, want)
			}
		}
	}
	for body, want := range map[string]string{"t": "unreachable", "l": "fuel", "v": "returned 3, which is no verdict"} {
		got, err := p.Guard(t.Context(), callback(body), someEvents(1))
		if host.CodeOf(err) != host.PluginFailed || !strings.Contains(err.Error(), want) || got.Verdict != 0 {
			t.Errorf("%q: %+v, %v; want a failure that says %q", body, got, err, want)
		}
	}
	// Invariant 7: nothing of a call is there in the next, a trap or not.
	if got, err := p.Guard(t.Context(), callback(""), nil); err != nil || len(got.Notes) != 0 {
		t.Errorf("without events: %+v, %v", got, err)
	}
}

// TestGuard_isNoPlugin: what is for guards is denied to a provider's plugin, and
// the manifest says which of the two a module is.
func TestGuard_isNoPlugin(t *testing.T) {
	m, err := newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "guard", tokenManifest)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Bind(Binding{Secrets: map[string][]string{"key": {"right"}}})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := p.Handle(t.Context(), callback("")); err != nil || res.Verdict != host.Ignore {
		t.Errorf("as a plugin it says %v, %v; want %v: every function of guards is denied", res.Verdict, err, host.Ignore)
	}
}

// TestAnnotate is docs/plugin-abi.md §9.
func TestAnnotate(t *testing.T) {
	d := drive(t, "[]", Binding{}, callback(""))
	events := someEvents(2)
	events[1].Annotations = []host.Annotation{{Name: "drivenbefore", Value: "an earlier guard's"}}
	for i := range events {
		text, err := events[i].MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		d.in.guest.chunks = append(d.in.guest.chunks, chunk{bytes: text})
	}
	d.in.guest.events = 2
	d.want(2, "events")
	d.want(absent, "event_view", 2)
	d.want(absent, "event_view", -1)
	for i := range 2 {
		if got, _ := d.text("get", d.do("event_view", i), "/type"); got != events[i].Type {
			t.Errorf("type %q, want %q", got, events[i].Type)
		}
	}
	if got, _ := d.text("get", d.do("event_view", 1), "/drivenbefore"); got != "an earlier guard's" {
		t.Errorf("annotation of an earlier guard: %q", got)
	}
	d.want(ok, "annotate", 0, "over", "1.50 € <EUR>")
	d.want(invalid, "annotate", 0, "over", "again")
	d.want(ok, "annotate", 1, "over", "of another event")
	d.want(invalid, "annotate", 1, "before", "what an earlier guard said stands")
	d.want(absent, "annotate", 2, "over", "x")
	d.want(absent, "annotate", -1, "over", "x")
	for _, name := range []string{"", "Over", "o-ver", "ö", "a.b", strings.Repeat("a", 21)} {
		d.want(malformed, "annotate", 0, name, "x")
	}
	for _, value := range []string{"", "\xff", "a\nb", "\x00", "a\u0085"} {
		d.want(malformed, "annotate", 0, "b", value)
	}
	d.want(overLimit, "annotate", 0, "b", strings.Repeat("a", host.MaxAnnotation+1))
	d.want(ok, "annotate", 0, "b", strings.Repeat("a", host.MaxAnnotation))
	for i := range host.MaxAnnotations - 2 {
		d.want(ok, "annotate", 0, fmt.Sprint("n", i), "x")
	}
	d.want(overLimit, "annotate", 0, "onemore", "x")
	d.want(ok, "annotate", 1, "onemore", "x")

	// A name that CloudEvents or the host has is nobody's, also where the event
	// has no such attribute.
	d.in.guest.module.manifest.Name = "sub"
	d.want(invalid, "annotate", 1, "ject", "x")
	d.in.guest.module.manifest.Name = "con-"
	d.want(invalid, "annotate", 1, "flict", "x")
}
