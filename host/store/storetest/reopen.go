package storetest

import (
	"testing"
	"time"

	"github.com/postern/postern/host"
)

var reopenTests = []struct {
	name string
	run  func(t *testing.T, f *fixture, killed bool)
	not  func(e *Engine) string
}{
	{name: "Records", run: reopenRecords},
	{name: "Invariant4_attemptsAndDueTimes", run: reopenRetries},
	{name: "Invariant4_deadLetters", run: reopenDead},
	{name: "Invariant4_outOfOrder", run: reopenOutOfOrder},
	{name: "Invariant5_leases", run: reopenLeases},
	{name: "Sinks", run: reopenSinks},
	{name: "KeptBound", run: reopenKept},
	{name: "Pause", run: reopenPause},
	{name: "FilterNotReady", run: reopenExpression},
	{name: "Order", run: reopenOrder, not: noOrder},
	{name: "Replay", run: reopenReplay, not: noReplay},
	{name: "Invariant9_quarantine", run: reopenQuarantine, not: noQuarantine},
	{name: "Held", run: reopenHeld, not: noQuarantine},
}

// testReopens runs what must survive the end of the process, once with Close
// and, where the engine can, once without.
func testReopens(t *testing.T, e Engine) {
	for _, end := range []struct {
		name   string
		killed bool
	}{{"Closed", false}, {"Killed", true}} {
		if end.killed && e.Kill == nil {
			continue
		}
		for _, c := range reopenTests {
			t.Run(end.name+"/"+c.name, func(t *testing.T) {
				if c.not != nil && c.not(&e) != "" {
					t.Skip(c.not(&e))
				}
				c.run(t, newFixture(t, e), end.killed)
			})
		}
	}
}

func reopenRecords(t *testing.T, f *fixture, killed bool) {
	first := f.append(SampleRecord(1)).Seq
	conflict := SampleEvent(1, 1)
	f.append(SampleRecord(2, conflict, SampleEvent(2, 0)))
	var last uint64
	for range 3 {
		f.reopen(killed)
		got, err := f.Callback(t.Context(), first)
		if err != nil {
			t.Fatalf("read back: %v", err)
		}
		f.same("record", SampleRecord(1), got)
		dup := f.append(SampleRecord(3, SampleEvent(2, 0), conflict, SampleEvent(1, 0)))
		f.same("events", []host.Disposition{host.Duplicate, host.Duplicate, host.Duplicate}, dup.Events)
		seq := f.append(SampleIgnored(9)).Seq
		if seq <= last || seq <= first {
			t.Errorf("sequence %d after %d", seq, max(last, first))
		}
		last = seq
	}
}

func reopenRetries(t *testing.T, f *fixture, killed bool) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 3)
	began := f.clock.now()
	ds := f.lease("a", 10)
	due := began.Add(time.Hour)
	f.settle("a", host.Settlement{Token: ds[1].Token, Outcome: host.Again, At: due, Reason: "503"})
	f.done(ds[0], ds[2])
	f.reopen(killed)
	if got := f.lag("a"); got.Retrying != 1 {
		t.Errorf("lag %+v, want one retrying", got)
	}
	// Without a Close the two that are done may come back, the third may not.
	for _, d := range f.leaseAll("a") {
		if d.Event.Subject == SampleEvent(2, 0).Subject {
			t.Errorf("a retry came back before it was due")
		}
		f.done(d)
	}
	f.clock.advance(time.Hour)
	again := f.lease("a", 10)
	f.wantEvents(again, 2)
	if d := again[0]; d.Attempt != 2 || !d.First.Equal(began) {
		t.Errorf("after the reopen: %+v, want attempt 2, first %v", d, began)
	}
	// The second retry stands in place of the first.
	f.settle("a", host.Settlement{Token: again[0].Token, Outcome: host.Again, At: f.clock.now().Add(time.Second)})
	f.reopen(killed)
	f.clock.advance(time.Second)
	again = f.lease("a", 10)
	f.wantEvents(again, 2)
	if again[0].Attempt != 3 {
		t.Errorf("after the second reopen: attempt %d, want 3", again[0].Attempt)
	}
	f.done(again...)
	f.must("unsubscribe", f.Unsubscribe(t.Context(), "a"))
	f.reopen(killed)
	_, err := f.Lag(t.Context(), "a")
	f.wantErr("lag of a forgotten sink", err, host.ErrNotFound)
}

func reopenDead(t *testing.T, f *fixture, killed bool) {
	f.kill("a", 3)
	before := f.letters("a")
	f.reopen(killed)
	f.same("dead letters", before, f.letters("a"))
	f.wantEvents(f.leaseAll("a"))
	f.moves("redrive", 1)(f.Redrive(t.Context(), "a", before[1].Event.ID()))
	f.moves("discard", 1)(f.Discard(t.Context(), "a", before[2].Event.ID()))
	f.reopen(killed)
	ds := f.leaseAll("a")
	f.wantEvents(ds, 2)
	f.same("redriven event", SampleEvent(2, 0), ds[0].Event)
	if ds[0].Attempt != 1 {
		t.Errorf("redriven: attempt %d, want 1", ds[0].Attempt)
	}
	f.same("dead letters", before[:1], f.letters("a"))
}

// reopenOutOfOrder settles what is behind an event that is still leased: what
// is dead, discarded or retried there must not come back as new.
func reopenOutOfOrder(t *testing.T, f *fixture, killed bool) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 4)
	ds := f.lease("a", 10)
	f.die("no", ds[1], ds[2])
	f.settle("a", host.Settlement{Token: ds[3].Token, Outcome: host.Again, At: f.clock.now().Add(time.Hour)})
	f.moves("discard", 1)(f.Discard(t.Context(), "a", ds[2].Event.ID()))
	f.reopen(killed)
	f.wantEvents(f.leaseAll("a"), 1)
	if got := f.lag("a"); got.Dead != 1 || got.Retrying != 1 {
		t.Errorf("lag %+v, want one dead and one retrying", got)
	}
}

func reopenLeases(_ *testing.T, f *fixture, killed bool) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 3)
	ds := f.lease("a", 2)
	f.done(ds[1])
	f.reopen(killed)
	// Late: the token is of another life.
	f.done(ds[0])
	got := f.leaseAll("a")
	if len(got) == 0 || got[0].Event.Subject != SampleEvent(1, 0).Subject {
		f.t.Errorf("what was leased and not settled did not come back first")
	}
	if !killed {
		f.wantEvents(got, 1, 3)
	}
}

func reopenSinks(t *testing.T, f *fixture, killed bool) {
	f.subscribe("acme", host.Filter{Tenants: []string{"acme"}}, host.FromOldest)
	f.subscribe("globex", host.Filter{Tenants: []string{"globex"}}, host.FromOldest)
	f.subscribe("new", host.Filter{}, host.FromNow)
	f.fill(1, 1)
	f.reopen(killed)
	f.wantEvents(f.leaseAll("acme"), 1)
	f.wantEvents(f.leaseAll("globex"))
	f.wantEvents(f.leaseAll("new"), 1)
	f.subscribe("later", host.Filter{}, host.FromNow)
	f.wantEvents(f.leaseAll("later"))
	f.fill(2, 1)
	f.wantEvents(f.leaseAll("later"), 2)
	if got := f.lag("later"); got.Records != 0 {
		t.Errorf("lag of a sink that has seen everything: %+v", got)
	}
}

func reopenKept(_ *testing.T, f *fixture, killed bool) {
	for i := range KeptBound {
		f.append(SampleKept(i))
	}
	f.reopen(killed)
	f.keptFull(SampleKept(9))
}
