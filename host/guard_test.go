package host_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
)

// payer is a plugin that accepts everything, with two events.
type payer struct{}

func (payer) Handle(context.Context, *host.Callback) (host.Result, error) {
	draft := func(id string) host.Draft {
		return host.Draft{Type: "payment.succeeded", Subject: id, Key: []string{id}, Status: "succeeded", Amount: "5.00", Currency: "EUR"}
	}
	return host.Result{
		Verdict: host.Accept, Evidence: []host.Evidence{{Secret: "k", Algorithm: host.HMACSHA256, Covers: host.CoversBody}},
		Events: []host.Draft{draft("one"), draft("two")}, Fuel: 100,
	}, nil
}

// ruler is a guard that says one thing, and notes who was asked before.
type ruler struct {
	name string
	said host.GuardVerdict
	err  error
	// wrong is an annotation that no guard may give.
	wrong *host.Note
	asked *[]string
}

func (r ruler) Guard(_ context.Context, _ *host.Callback, events []host.Event) (host.Ruling, error) {
	*r.asked = append(*r.asked, r.name)
	for _, a := range events[0].Annotations {
		*r.asked = append(*r.asked, "saw "+a.Name)
	}
	out := host.Ruling{
		Verdict: r.said, Detail: r.name + " says so", Fuel: 10,
		Notes: []host.Note{{Event: 0, Annotation: host.Annotation{Name: r.name + "note", Value: "x"}}},
	}
	if r.wrong != nil {
		out.Notes = append(out.Notes, *r.wrong)
	}
	return out, r.err
}

type gate struct {
	*host.Host
	store *mem.Store
	ep    *host.Endpoint
	asked []string
	seen  host.Observation
}

func newGate(o mem.Options, guards ...ruler) *gate {
	g := &gate{store: mem.New(o)}
	g.ep = &host.Endpoint{Tenant: "acme", Name: "till", Provider: "pay", Plugin: payer{}, PluginVersion: "pay@1"}
	for _, r := range guards {
		r.asked = &g.asked
		g.ep.Guards = append(g.ep.Guards, host.BoundGuard{Name: r.name, Version: r.name + "@1", Guard: r})
	}
	g.Host = &host.Host{Store: g.store, Log: slog.New(slog.DiscardHandler), Observe: func(o host.Observation) { g.seen = o }}
	return g
}

func (g *gate) take(t *testing.T) host.Answer {
	t.Helper()
	g.asked = nil
	return g.Ingest(t.Context(), g.ep, &host.Callback{Method: "POST", Target: "/in/acme/till", Body: []byte("{}")})
}

func (g *gate) quarantined(t *testing.T) []host.Rejected {
	t.Helper()
	all, _, err := g.store.List(t.Context(), host.Wanted{}, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (g *gate) stored(t *testing.T) []host.StoredEvent {
	t.Helper()
	all, _, err := g.store.Range(t.Context(), host.Page{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestGuards_inOrder: each sees what the ones before it noted; a rejection ends it
// and wins over a hold, and of several that hold the first is named.
func TestGuards_inOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		guards []ruler
		status int
		asked  string
		reason string // of the quarantine, and its detail
		stored int
	}{
		"pass, pass":   {[]ruler{{name: "a", said: host.Pass}, {name: "b", said: host.Pass}}, 200, "a b saw anote", "", 2},
		"hold, reject": {[]ruler{{name: "a", said: host.Hold}, {name: "b", said: host.Refuse}}, 403, "a b saw anote", "guard-rejected b: b says so", 0},
		"reject, hold": {[]ruler{{name: "a", said: host.Refuse}, {name: "b", said: host.Hold}}, 403, "a", "guard-rejected a: a says so", 0},
		"hold, hold":   {[]ruler{{name: "a", said: host.Hold}, {name: "b", said: host.Hold}}, 200, "a b saw anote", "held a says so", 0},
		"hold, fail":   {[]ruler{{name: "a", said: host.Hold}, {name: "b", err: host.Errorf(host.PluginFailed, "trapped")}}, 503, "a b saw anote", "plugin-failed guard b: trapped", 0},
		"busy":         {[]ruler{{name: "a", err: host.Errorf(host.PluginBusy, "none free")}}, 503, "a", "", 0},
		"no verdict":   {[]ruler{{name: "a", said: 3}}, 503, "a", "plugin-failed guard a: 3 is no verdict", 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(mem.Options{}, tt.guards...)
			if got := g.take(t); got.Status != tt.status {
				t.Errorf("status %d, want %d", got.Status, tt.status)
			}
			if got := strings.Join(g.asked, " "); got != tt.asked {
				t.Errorf("asked %q, want %q", got, tt.asked)
			}
			reason := ""
			for _, r := range g.quarantined(t) {
				reason += r.Reason + " " + r.Detail
			}
			if reason != tt.reason {
				t.Errorf("quarantined %q, want %q", reason, tt.reason)
			}
			if got := g.stored(t); len(got) != tt.stored {
				t.Errorf("%d events stored, want %d", len(got), tt.stored)
			}
			if len(g.seen.Guards) == 0 || g.seen.Held != strings.HasPrefix(tt.reason, "held") {
				t.Errorf("observed %+v", g.seen)
			}
		})
	}
}

// TestGuards_cannotOverwrite: what an event has, no guard changes.
func TestGuards_cannotOverwrite(t *testing.T) {
	for _, wrong := range []host.Note{
		{Event: 0, Annotation: host.Annotation{Name: "subject", Value: "x"}},
		{Event: 0, Annotation: host.Annotation{Name: "conflict", Value: "x"}},
		{Event: 0, Annotation: host.Annotation{Name: "anote", Value: "again"}},
		{Event: 2, Annotation: host.Annotation{Name: "b", Value: "x"}},
		{Event: -1, Annotation: host.Annotation{Name: "b", Value: "x"}},
		{Event: 1, Annotation: host.Annotation{Name: "B", Value: "x"}},
		{Event: 1, Annotation: host.Annotation{Name: "b", Value: "a\nb"}},
		{Event: 1, Annotation: host.Annotation{Name: "b", Value: strings.Repeat("x", host.MaxAnnotation+1)}},
	} {
		g := newGate(mem.Options{}, ruler{name: "a", said: host.Pass, wrong: &wrong})
		if got := g.take(t); got.Status != 503 || len(g.stored(t)) != 0 {
			t.Errorf("%+v: status %d, want 503 and nothing stored", wrong, got.Status)
		}
	}
}

// TestRelease: once, with the events as they were completed; again, and after a
// crash before the drop, it is a duplicate, and so is the callback sent again.
func TestRelease(t *testing.T) {
	g := newGate(mem.Options{}, ruler{name: "a", said: host.Hold})
	for range 2 {
		if got := g.take(t); got.Status != 200 {
			t.Fatalf("status %d", got.Status)
		}
	}
	all := g.quarantined(t)
	if len(all) != 1 || all[0].Held == nil || all[0].Held.Guard != "a" || len(all[0].Held.Aside) != 0 {
		t.Fatalf("held %+v, want one", all)
	}
	held := all[0]
	// Run again it stays, and no second one is made.
	again, err := g.Reprocess(t.Context(), g.ep, &held)
	if err != nil || again.Kind != 0 || again.Reason != host.ReasonHeld || len(g.quarantined(t)) != 1 {
		t.Errorf("reprocess %+v, %v; want it to stay", again, err)
	}
	var receipts []string
	for range 2 {
		got, err := g.Release(t.Context(), &held)
		receipts = append(receipts, fmt.Sprintf("%v %v", got.Events, err))
	}
	if want := []string{"[stored stored] <nil>", "[duplicate duplicate] <nil>"}; !slices.Equal(receipts, want) {
		t.Errorf("released %q, want %q", receipts, want)
	}
	got := g.stored(t)
	if len(got) != 2 || got[0].Event.ID() != held.Held.Events[0].ID() || len(got[0].Event.Annotations) != 1 {
		t.Errorf("stored %+v, want the events that were held", got)
	}
	if g.take(t); len(g.quarantined(t)) != 0 || len(g.stored(t)) != 2 {
		t.Error("sent again after its release it is held again, or stored")
	}
	if _, err := g.Release(t.Context(), &host.Rejected{ID: "kept-1"}); err == nil {
		t.Error("what nobody holds was released")
	}
}

// TestRelease_byReprocess: once the guard lets it pass, a retry releases it too.
func TestRelease_byReprocess(t *testing.T) {
	g := newGate(mem.Options{}, ruler{name: "a", said: host.Hold})
	g.take(t)
	held := g.quarantined(t)[0]
	g.ep.Guards = nil
	out, err := g.Reprocess(t.Context(), g.ep, &held)
	if err != nil || out.Kind != host.Accepted || len(g.stored(t)) != 2 || len(g.quarantined(t)) != 0 {
		t.Errorf("reprocess %+v, %v", out, err)
	}
}

// TestHold_atTheBound: invariant 1, 503; and invariant 9 where the provider does
// not send again.
func TestHold_atTheBound(t *testing.T) {
	for _, unable := range []host.Unable{host.Retry, host.Keep} {
		g := newGate(mem.Options{MaxKept: 1}, ruler{name: "a", said: host.Hold})
		g.ep.Unable = unable
		if _, err := g.store.Append(t.Context(), &host.Record{Kind: host.Kept}); err != nil {
			t.Fatal(err)
		}
		if got := g.take(t); got.Status != 503 || g.seen.Code != host.KeptFull {
			t.Errorf("status %d, code %s", got.Status, g.seen.Code)
		}
		refused := slices.ContainsFunc(g.quarantined(t), func(r host.Rejected) bool { return r.Reason == "guard-rejected" })
		if refused != (unable == host.Keep) {
			t.Errorf("unable %d: quarantined %t", unable, refused)
		}
	}
}

// ignorer is a plugin that wants nothing of a callback.
type ignorer struct{}

func (ignorer) Handle(context.Context, *host.Callback) (host.Result, error) {
	return host.Result{Verdict: host.Ignore, Evidence: []host.Evidence{{Secret: "k", Algorithm: host.HMACSHA256}}}, nil
}

// TestGuards_onlyOfWhatIsAccepted: there is nothing to judge in the rest.
func TestGuards_onlyOfWhatIsAccepted(t *testing.T) {
	g := newGate(mem.Options{}, ruler{name: "a", said: host.Refuse})
	g.ep.Plugin = ignorer{}
	if got := g.take(t); got.Status != 200 || len(g.asked) != 0 {
		t.Errorf("status %d, asked %v; want the ack, and no guard asked", got.Status, g.asked)
	}
}
