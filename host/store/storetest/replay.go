package storetest

import (
	"testing"
	"time"

	"github.com/postern/postern/host"
)

var replayTests = []test{
	{name: "Replay", run: testReplay, not: noReplay},
	{name: "Replay_filter", run: testReplayFilter, not: noReplay},
	{name: "Replay_progressAndStop", run: testReplayStop, not: noReplay},
	{name: "Replay_besideWhatIsNew", run: testReplayBeside, not: noReplay},
	{name: "Replay_deadAndRetried", run: testReplayFails, not: noReplay},
	{name: "Replay_badCursor", run: testReplayBadCursor, not: noReplay},
	{name: "Replay_nothing", run: testReplayNothing, not: noReplay},
}

func (f *fixture) replay(sink string, from, to host.Cursor) {
	f.t.Helper()
	if err := f.Replay(f.t.Context(), sink, from, to); err != nil {
		f.t.Fatalf("replay to %s: %v", sink, err)
	}
}

// cursors are those of all events, in order, from index 1 on.
func (f *fixture) cursors() []host.Cursor {
	f.t.Helper()
	evs, _, err := f.Range(f.t.Context(), host.Page{Filter: host.Filter{Conflicts: true, Unverified: true}})
	if err != nil {
		f.t.Fatalf("range: %v", err)
	}
	all := []host.Cursor{""}
	for i := range evs {
		all = append(all, evs[i].Cursor)
	}
	return all
}

// replayed leases and settles until nothing is due, and wants these of a replay
// that then has ended.
func (f *fixture) replayed(what, sink string, want ...int) {
	f.t.Helper()
	var all []host.Delivery
	for ds := f.leaseAll(sink); len(ds) > 0; ds = f.leaseAll(sink) {
		f.done(ds...)
		all = append(all, ds...)
	}
	f.wantNumbers(what, all, want...)
	for i := range all {
		if all[i].Attempt != 1 {
			f.t.Errorf("%s: attempt %d of event %d, want 1", what, all[i].Attempt, number(&all[i].Event))
		}
	}
	f.same("lag when it has ended", host.Lag{}, f.lag(sink))
}

// fillReplay appends events 1 to 6, three of them in one record, and has them
// delivered.
func (f *fixture) fillReplay(sink string) []host.Cursor {
	f.t.Helper()
	f.subscribe(sink, host.Filter{}, host.FromOldest)
	f.fill(1, 2)
	f.append(SampleIgnored(90))
	f.append(SampleRecord(3, SampleEvent(3, 0), SampleEvent(1, 0), SampleEvent(4, 0), SampleEvent(5, 0)))
	f.fill(6, 1)
	ds := f.leaseAll(sink)
	f.wantEvents(ds, 1, 2, 3, 4, 5, 6)
	f.done(ds...)
	return f.cursors()
}

func testReplay(_ *testing.T, f *fixture) {
	at := f.fillReplay("a")
	f.replay("a", at[2], at[5])
	f.replayed("from the second up to the fifth", "a", 2, 3, 4)
	f.replay("a", "", at[4])
	f.replayed("up to the fourth", "a", 1, 2, 3)
	f.replay("a", at[4], "")
	f.fill(7, 1)
	f.replayed("from the fourth on, and a new one", "a", 4, 5, 6, 7)
	f.replay("a", "", "")
	f.replayed("all", "a", 1, 2, 3, 4, 5, 6, 7)
	f.replayed("no more", "a")
}

func testReplayFilter(_ *testing.T, f *fixture) {
	f.fillReplay("a")
	f.append(SampleRecord(1, SampleEvent(1, 1)))
	f.subscribe("a", onlySample(4), host.FromOldest)
	f.replay("a", "", "")
	f.replayed("what passes", "a", 4)
	// As it is when the event is looked at.
	f.replay("a", "", "")
	f.subscribe("a", onlySample(5), host.FromOldest)
	f.replayed("what passes later", "a", 5)
}

func testReplayStop(t *testing.T, f *fixture) {
	f.fillReplay("a")
	f.must("stop the replay", f.StopReplay(f.t.Context(), "a"))
	f.replay("a", "", "")
	first := f.lease("a", 2)
	f.wantEvents(first, 1, 2)
	r := f.lag("a").Replay
	if r == nil {
		t.Fatal("no replay is under way")
	}
	if r.From != "" || r.At == "" || r.At >= r.To || r.Taken < 2 || r.Taken > 6 {
		t.Errorf("replay %+v, want from the beginning, somewhere before its end, and two to six taken", r)
	}
	f.wantErr("a second replay", f.Replay(t.Context(), "a", "", ""), host.ErrBusy)
	f.done(first[0])
	f.must("stop the replay", f.StopReplay(f.t.Context(), "a"))
	f.wantNumbers("after the stop", f.leaseAll("a"))
	f.same("lag", host.Lag{Leased: 1}, f.lag("a"))
	// What was leased is still under way.
	f.clock.advance(ttl)
	f.again(0, f.leaseAll("a")...)
	ds := f.leaseAll("a")
	f.wantEvents(ds, 2)
	f.done(ds...)
	f.replay("a", "", "")
	f.replayed("another", "a", 1, 2, 3, 4, 5, 6)
}

// testReplayBeside has neither the replay wait for the end of what is new nor
// the other way round.
func testReplayBeside(_ *testing.T, f *fixture) {
	const each = 30
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, each)
	f.done(f.leaseAll("a")...)
	f.replay("a", "", "")
	f.fill(each+1, each)
	var got []host.Delivery
	old := 0
	for len(got) < each {
		ds := f.lease("a", 1)
		if len(ds) == 0 {
			f.t.Fatalf("nothing is due after %d deliveries", len(got))
		}
		f.done(ds...)
		for i := range ds {
			if number(&ds[i].Event) <= each {
				old++
			}
		}
		got = append(got, ds...)
	}
	if old < 2 || old > each-2 {
		f.t.Errorf("among the first %d deliveries are %d of the replay", len(got), old)
	}
	for ds := f.leaseAll("a"); len(ds) > 0; ds = f.leaseAll("a") {
		f.done(ds...)
		got = append(got, ds...)
	}
	var want []int
	for n := range 2 * each {
		want = append(want, n+1)
	}
	f.wantNumbers("all", got, want...)
}

func testReplayFails(t *testing.T, f *fixture) {
	at := f.fillReplay("a")
	f.replay("a", at[1], at[3])
	ds := f.leaseAll("a")
	f.wantEvents(ds, 1, 2)
	f.die("no", ds[0])
	f.again(time.Hour, ds[1])
	// The retry of the one is not that of the other, even at the same time.
	for range 2 {
		f.leaseAll("a")
		f.replay("a", at[2], at[3])
		f.again(time.Hour, f.leaseAll("a")...)
	}
	f.clock.advance(time.Hour)
	ds = f.leaseAll("a")
	f.wantNumbers("retries", ds, 2, 2, 2)
	f.done(ds...)
	f.moves("redrive", 1)(f.Redrive(t.Context(), "a", sampleID(1)))
	f.replayed("redriven", "a", 1)
}

func testReplayBadCursor(t *testing.T, f *fixture) {
	f.fillReplay("a")
	if err := f.Replay(t.Context(), "a", "elsewhere", ""); err == nil {
		t.Error("replay from a cursor that is not the store's: no error")
	}
	if err := f.Replay(t.Context(), "a", "", "elsewhere"); err == nil {
		t.Error("replay to a cursor that is not the store's: no error")
	}
	f.replayed("nothing", "a")
}

func testReplayNothing(_ *testing.T, f *fixture) {
	at := f.fillReplay("a")
	for range 2 {
		f.replay("a", at[3], at[3])
		f.replayed("an empty range", "a")
	}
	f.subscribe("b", host.Filter{}, host.FromNow)
	_, end, err := f.Range(f.t.Context(), host.Page{})
	if err != nil {
		f.t.Fatalf("range: %v", err)
	}
	f.replay("b", end, "")
	f.replayed("behind the end", "b")
}

// reopenReplay ends the store in the middle of a replay, with a retry of it.
func reopenReplay(t *testing.T, f *fixture, killed bool) {
	at := f.fillReplay("a")
	f.reopen(false) // what is done is so for good
	f.replay("a", at[2], "")
	f.fill(7, 1)
	first := f.lease("a", 3)
	for _, d := range first {
		if number(&d.Event) == 2 {
			f.again(time.Hour, d)
		}
	}
	f.reopen(killed)
	if r := f.lag("a").Replay; r == nil || r.From != at[2] {
		t.Errorf("after the reopen: replay %+v, want the one from %s", r, at[2])
	}
	f.wantErr("a second replay", f.Replay(t.Context(), "a", "", ""), host.ErrBusy)
	all := f.leaseAll("a")
	f.wantNumbers("the rest", all, 3, 4, 5, 6, 7)
	f.done(all...)
	f.clock.advance(time.Hour)
	ds := f.leaseAll("a")
	f.wantNumbers("the retry", ds, 2)
	f.done(ds...)
	f.replayed("no more", "a")
	f.reopen(false)
	f.replayed("no more after a reopen", "a")
}

func reopenPause(_ *testing.T, f *fixture, killed bool) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 2)
	f.must("pause", f.Pause(f.t.Context(), "a"))
	f.reopen(killed)
	f.wantEvents(f.leaseAll("a"))
	if !f.lag("a").Paused {
		f.t.Error("a paused sink is not after a reopen")
	}
	f.must("resume", f.Resume(f.t.Context(), "a"))
	f.reopen(killed)
	f.wantEvents(f.leaseAll("a"), 1, 2)
}

// reopenExpression has a filter whose expression a store remembers as text only:
// until it is compiled again nothing is leased, and nothing is passed over.
func reopenExpression(t *testing.T, f *fixture, killed bool) {
	f.subscribe("a", onlySample(2), host.FromOldest)
	f.fill(1, 1)
	f.wantEvents(f.leaseAll("a"))
	f.reopen(killed)
	for n := range 2 {
		f.fill(2+n, 1)
		if _, err := f.Lease(t.Context(), "a", 10, ttl); err == nil {
			t.Error("lease by an expression that is not compiled: no error")
		}
	}
	f.subscribe("a", onlySample(2), host.FromOldest)
	f.wantEvents(f.leaseAll("a"), 2)
}
