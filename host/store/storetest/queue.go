package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

var queueTests = []test{
	{name: "Lease", run: testLease},
	{name: "LeaseTellsWhenMoreWaits", run: testLeaseMore},
	{name: "Retry", run: testRetry},
	{name: "Invariant4_deadLettersWait", run: testDead},
	{name: "DeadLetterPages", run: testDeadPages},
	{name: "Redrive", run: testRedrive},
	{name: "Discard", run: testDiscard},
	{name: "Invariant5_leaseEnds", run: testLeaseEnds},
	{name: "Invariant5_lateSettleIsIgnored", run: testLateSettle},
	{name: "SubscribeFrom", run: testSubscribeFrom},
	{name: "SubscribeAgain", run: testSubscribeAgain},
	{name: "SubscribeFilterChanges", run: testFilterChanges},
	{name: "Unsubscribe", run: testUnsubscribe},
	{name: "UnknownSink", run: testUnknownSink},
	{name: "Invariant6_sinksAreApart", run: testSinksApart},
	{name: "ConflictsOnlyOnRequest", run: testConflictDelivery},
	{name: "Lag", run: testLag},
	{name: "ReasonIsCut", run: testReasonIsCut},
	{name: "Unsupported", run: testUnsupported},
	{name: "Sinks", run: testSinks},
	{name: "Pause", run: testPause},
	{name: "FilterNotReady", run: testNotReady},
}

func testLease(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	if got := f.leased("a", 10); len(got.Deliveries) != 0 || !got.Next.IsZero() {
		t.Errorf("lease of an empty store: %d deliveries, next %v", len(got.Deliveries), got.Next)
	}
	f.fill(1, 3)
	got := f.lease("a", 2)
	f.wantEvents(got, 1, 2)
	seen := make(map[uint64]bool)
	for _, d := range append(got, f.lease("a", 2)...) {
		if seen[d.Token] {
			t.Errorf("token %d was given twice", d.Token)
		}
		seen[d.Token] = true
		if d.Sink != "a" || d.Attempt != 1 || !d.First.Equal(f.clock.now()) {
			t.Errorf("delivery %+v, want sink a, attempt 1, first now", d)
		}
	}
	f.wantEvents(f.lease("a", 2))
	f.same("event", SampleEvent(1, 0), got[0].Event)
	f.done(got...)
	f.wantEvents(f.lease("a", 10))
}

func testLeaseMore(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 2)
	if got := f.leased("a", 1); got.Next.IsZero() || got.Next.After(f.clock.now()) {
		t.Errorf("another event waits, and next is %v, want now", got.Next)
	}
	end := f.clock.now().Add(ttl)
	if got := f.leased("a", 5); !got.Next.Equal(end) {
		t.Errorf("next is %v, want the end of the leases, %v", got.Next, end)
	}
}

func testRetry(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 2)
	began := f.clock.now()
	ds := f.lease("a", 1)
	due := began.Add(10 * time.Second)
	f.settle("a", host.Settlement{Token: ds[0].Token, Outcome: host.Again, At: due, Reason: "503"})

	// One that failed does not hold up the others.
	rest := f.lease("a", 10)
	f.wantEvents(rest, 2)
	f.done(rest...)
	if got := f.leased("a", 10); len(got.Deliveries) != 0 || !got.Next.Equal(due) {
		t.Errorf("before it is due: %d deliveries, next %v, want none, %v", len(got.Deliveries), got.Next, due)
	}
	f.clock.advance(10 * time.Second)
	again := f.lease("a", 10)
	f.wantEvents(again, 1)
	if d := again[0]; d.Attempt != 2 || !d.First.Equal(began) || d.Token == ds[0].Token {
		t.Errorf("second attempt: %+v, want attempt 2, first %v, a new token", d, began)
	}
	f.same("event", SampleEvent(1, 0), again[0].Event)
	f.settle("a", host.Settlement{Token: again[0].Token, Outcome: host.Again, At: f.clock.now()})
	third := f.lease("a", 10)
	f.wantEvents(third, 1)
	if third[0].Attempt != 3 {
		t.Errorf("third attempt is numbered %d", third[0].Attempt)
	}
	f.done(third...)
	f.clock.advance(time.Hour)
	f.wantEvents(f.lease("a", 10))
}

func testDead(_ *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 2)
	ds := f.lease("a", 10)
	f.clock.advance(time.Second)
	f.settle("a", host.Settlement{Token: ds[0].Token, Outcome: host.Dead, Reason: "410 Gone", Answer: "no more"})
	f.done(ds[1])
	f.clock.advance(30 * 24 * time.Hour)
	f.wantEvents(f.lease("a", 10))
	f.same("dead letters", []host.DeadLetter{{
		Sink: "a", Event: SampleEvent(1, 0), Attempts: 1, Reason: "410 Gone", Answer: "no more",
		First: ds[0].First, Died: ds[0].First.Add(time.Second),
	}}, f.letters("a"))
}

// kill makes dead letters of the sample events 1 to n, a second apart.
func (f *fixture) kill(sink string, n int) {
	f.t.Helper()
	f.subscribe(sink, host.Filter{}, host.FromOldest)
	f.fill(1, n)
	for _, d := range f.leaseAll(sink) {
		f.clock.advance(time.Second)
		f.die("no", d)
	}
}

func testDeadPages(t *testing.T, f *fixture) {
	f.kill("a", 5)
	var got []string
	var after host.Cursor
	pages := 0
	for {
		part, next, err := f.DeadLetters(t.Context(), "a", after, 2)
		if err != nil {
			t.Fatalf("dead letters: %v", err)
		}
		pages++
		for _, dl := range part {
			got = append(got, dl.Event.Subject)
		}
		if next == "" {
			break
		}
		after = next
	}
	f.same("dead letters", subjects(1, 2, 3, 4, 5), got)
	if pages != 3 {
		t.Errorf("%d pages, want 3", pages)
	}
}

func testRedrive(t *testing.T, f *fixture) {
	f.kill("a", 3)
	f.moves("redrive one", 1)(f.Redrive(t.Context(), "a", SampleEvent(2, 0).Key.ID(), SampleEvent(9, 0).Key.ID()))
	ds := f.lease("a", 10)
	f.wantEvents(ds, 2)
	if len(ds) == 1 && (ds[0].Attempt != 1 || !ds[0].First.Equal(f.clock.now())) {
		t.Errorf("redriven: %+v, want attempts and first attempt counted anew", ds[0])
	}
	f.settle("a", host.Settlement{Token: ds[0].Token, Outcome: host.Again, At: f.clock.now()})
	ds = f.lease("a", 10)
	f.wantEvents(ds, 2)
	f.same("redriven event", SampleEvent(2, 0), ds[0].Event)
	f.die("no again", ds...)
	f.moves("redrive all", 3)(f.Redrive(t.Context(), "a"))
	if got := f.letters("a"); len(got) != 0 {
		t.Errorf("%d dead letters left", len(got))
	}
	f.same("lag", host.Lag{Retrying: 3}, f.lag("a"))
	ds = f.leaseAll("a")
	if len(ds) != 3 {
		t.Errorf("%d deliveries after redriving all, want 3", len(ds))
	}
	f.done(ds...)
	f.moves("redrive none", 0)(f.Redrive(t.Context(), "a"))
}

func testDiscard(t *testing.T, f *fixture) {
	f.kill("a", 3)
	f.moves("discard one", 1)(f.Discard(t.Context(), "a", SampleEvent(2, 0).Key.ID()))
	if got := f.letters("a"); len(got) != 2 {
		t.Errorf("%d dead letters, want 2", len(got))
	}
	f.moves("discard all", 2)(f.Discard(t.Context(), "a"))
	f.moves("redrive what was discarded", 0)(f.Redrive(t.Context(), "a"))
	f.wantEvents(f.lease("a", 10))
	f.same("lag", host.Lag{}, f.lag("a"))
}

func testLeaseEnds(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 2)
	first := f.lease("a", 10)
	f.done(first[1])
	f.clock.advance(ttl - 1)
	f.wantEvents(f.lease("a", 10))
	f.clock.advance(1)
	again := f.lease("a", 10)
	f.wantEvents(again, 1)
	if d := again[0]; d.Attempt != 2 || d.Token == first[0].Token || !d.First.Equal(first[0].First) {
		t.Errorf("leased again: %+v, want attempt 2, a new token, the first attempt's time", d)
	}
}

func testLateSettle(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 1)
	late := f.lease("a", 1)[0]
	f.clock.advance(ttl)
	// Ended, and nobody has leased it again yet.
	f.done(late)
	ds := f.lease("a", 1)
	f.wantEvents(ds, 1)
	// Leased again by another.
	f.done(late)
	f.die("late", late)
	f.settle("a", host.Settlement{Token: late.Token, Outcome: host.Again, At: f.clock.now()})
	if got := f.lag("a"); got.Leased != 1 || got.Retrying != 0 || got.Dead != 0 {
		t.Errorf("after late settles: %+v, want one leased", got)
	}
	f.done(ds...)
	f.done(ds...)
	if got := f.lag("a"); got.Leased != 0 {
		t.Errorf("after the settle: %+v, want none leased", got)
	}
}

func testSubscribeFrom(t *testing.T, f *fixture) {
	f.fill(1, 2)
	f.subscribe("old", host.Filter{}, host.FromOldest)
	f.subscribe("new", host.Filter{}, host.FromNow)
	f.fill(3, 1)
	f.wantEvents(f.lease("old", 10), 1, 2, 3)
	f.wantEvents(f.lease("new", 10), 3)
	if err := f.Subscribe(t.Context(), "odd", host.Subscription{From: "yesterday"}); err == nil {
		t.Error("subscribe from yesterday: no error")
	}
	if err := f.Subscribe(t.Context(), "odd", host.Subscription{From: host.FromNow, Order: "random"}); err == nil {
		t.Error("subscribe with an order that there is not: no error")
	}
	_, err := f.Lag(t.Context(), "odd")
	f.wantErr("lag of what was not subscribed", err, host.ErrNotFound)
}

func testSubscribeAgain(_ *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 2)
	f.done(f.lease("a", 1)...)
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.wantEvents(f.lease("a", 10), 2)
	f.fill(3, 1)
	f.subscribe("a", host.Filter{}, host.FromNow)
	f.wantEvents(f.lease("a", 10), 3)
}

func testFilterChanges(_ *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{Tenants: []string{"globex"}}, host.FromOldest)
	f.fill(1, 1)
	f.wantEvents(f.lease("a", 10))
	f.subscribe("a", host.Filter{Tenants: []string{"acme"}}, host.FromOldest)
	f.fill(2, 1)
	// What was passed over is not looked at again.
	f.wantEvents(f.lease("a", 10), 2)
}

func testUnsubscribe(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 3)
	ds := f.lease("a", 3)
	f.die("no", ds[0])
	f.settle("a", host.Settlement{Token: ds[1].Token, Outcome: host.Again, At: f.clock.now()})
	f.must("unsubscribe", f.Unsubscribe(t.Context(), "a"))
	f.die("late", ds[2])
	f.subscribe("a", host.Filter{}, host.FromNow)
	f.wantEvents(f.lease("a", 10))
	f.same("lag", host.Lag{}, f.lag("a"))
	f.must("unsubscribe a sink that is not there", f.Unsubscribe(t.Context(), "never-seen"))
}

func testUnknownSink(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, err := f.Lease(ctx, "a", 1, ttl)
	f.wantErr("lease", err, host.ErrNotFound)
	_, err = f.Lag(ctx, "a")
	f.wantErr("lag", err, host.ErrNotFound)
	_, _, err = f.DeadLetters(ctx, "a", "", 1)
	f.wantErr("dead letters", err, host.ErrNotFound)
	_, err = f.Redrive(ctx, "a")
	f.wantErr("redrive", err, host.ErrNotFound)
	_, err = f.Discard(ctx, "a")
	f.wantErr("discard", err, host.ErrNotFound)
	f.wantErr("pause", f.Pause(ctx, "a"), host.ErrNotFound)
	f.wantErr("resume", f.Resume(ctx, "a"), host.ErrNotFound)
	if f.engine.NoReplay == "" {
		f.wantErr("replay", f.Replay(ctx, "a", "", ""), host.ErrNotFound)
		f.wantErr("stop a replay", f.StopReplay(ctx, "a"), host.ErrNotFound)
	}
	f.settle("a", host.Settlement{Token: 1, Outcome: host.Done})
}

func testSinks(t *testing.T, f *fixture) {
	for _, name := range []string{"b", "c", "a"} {
		f.subscribe(name, host.Filter{}, host.FromNow)
	}
	f.must("unsubscribe", f.Unsubscribe(t.Context(), "c"))
	got, err := f.Sinks(t.Context())
	if err != nil {
		t.Fatalf("sinks: %v", err)
	}
	f.same("sinks", []string{"a", "b"}, got)
}

func testPause(_ *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.subscribe("b", host.Filter{}, host.FromOldest)
	f.fill(1, 3)
	ds := f.lease("a", 2)
	f.must("pause", f.Pause(f.t.Context(), "a"))
	f.must("pause", f.Pause(f.t.Context(), "a"))
	if got := f.leased("a", 10); len(got.Deliveries) != 0 || !got.Next.IsZero() {
		f.t.Errorf("lease of a paused sink: %d deliveries, next %v, want none, never", len(got.Deliveries), got.Next)
	}
	f.wantEvents(f.lease("b", 10), 1, 2, 3)
	// What is leased can still be settled, and not later than else.
	f.done(ds[0])
	f.clock.advance(ttl)
	f.done(ds[1])
	if got := f.lag("a"); !got.Paused || got.Leased != 0 || got.Retrying != 1 {
		f.t.Errorf("lag %+v, want paused, one retrying and none leased", got)
	}
	f.wantEvents(f.lease("a", 10))
	f.must("resume", f.Resume(f.t.Context(), "a"))
	f.must("resume", f.Resume(f.t.Context(), "a"))
	f.wantEvents(f.leaseAll("a"), 2, 3)
	if f.lag("a").Paused {
		f.t.Error("a resumed sink is paused")
	}
}

// testNotReady has a filter whose expression nobody has compiled.
func testNotReady(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{Where: "true"}, host.FromOldest)
	f.fill(1, 2)
	if _, err := f.Lease(t.Context(), "a", 10, ttl); err == nil {
		t.Error("lease by an expression that is not compiled: no error")
	}
	f.subscribe("a", onlySample(2), host.FromOldest)
	f.wantEvents(f.leaseAll("a"), 2)
}

// onlySample lets one sample event through, by an expression.
func onlySample(n int) host.Filter {
	want := SampleEvent(n, 0).Subject
	return host.Filter{Where: "true", Test: func(ev *host.Event) bool { return ev.Subject == want }}
}

func testSinksApart(t *testing.T, f *fixture) {
	f.subscribe("good", host.Filter{}, host.FromOldest)
	f.subscribe("bad", host.Filter{}, host.FromOldest)
	f.fill(1, 3)
	bad := f.lease("bad", 10)
	f.die("no", bad[0])
	f.settle("bad", host.Settlement{Token: bad[1].Token, Outcome: host.Again, At: f.clock.now().Add(time.Hour)})
	good := f.lease("good", 10)
	f.wantEvents(good, 1, 2, 3)
	// A token of one sink says nothing to another.
	f.settle("bad", host.Settlement{Token: good[0].Token, Outcome: host.Done})
	if got := f.lag("good"); got.Leased != 3 || got.Dead != 0 || got.Retrying != 0 {
		t.Errorf("lag of good: %+v, want 3 leased and nothing else", got)
	}
	f.done(good...)
	if got := f.lag("bad"); got.Leased != 1 || got.Dead != 1 || got.Retrying != 1 {
		t.Errorf("lag of bad: %+v, want one each", got)
	}
}

func testConflictDelivery(t *testing.T, f *fixture) {
	f.subscribe("plain", host.Filter{}, host.FromOldest)
	f.subscribe("all", host.Filter{Conflicts: true}, host.FromOldest)
	f.fill(1, 1)
	f.append(SampleRecord(1, SampleEvent(1, 1)))
	f.wantEvents(f.lease("plain", 10), 1)
	ds := f.lease("all", 10)
	f.wantEvents(ds, 1, 1)
	if !ds[1].Event.Conflict || ds[1].Event.ID() != SampleEvent(1, 1).ConflictKey.ID() {
		t.Errorf("second delivery: conflict %t, id %s", ds[1].Event.Conflict, ds[1].Event.ID())
	}
	f.die("no", ds[1])
	f.moves("redrive a conflict by its id", 1)(f.Redrive(t.Context(), "all", ds[1].Event.ID()))
	again := f.lease("all", 10)
	f.same("redriven conflict", ds[1].Event, again[0].Event)
}

func testLag(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 4)
	if got := f.lag("a"); got.Records < 4 {
		t.Errorf("lag %+v, want at least 4 records", got)
	}
	ds := f.leaseAll("a")
	f.die("no", ds[0])
	f.settle("a", host.Settlement{Token: ds[1].Token, Outcome: host.Again, At: f.clock.now().Add(time.Hour)})
	f.done(ds[2])
	f.same("lag", host.Lag{Leased: 1, Retrying: 1, Dead: 1}, f.lag("a"))
	f.clock.advance(ttl)
	f.same("lag when the lease has ended", host.Lag{Retrying: 2, Dead: 1}, f.lag("a"))
}

func testReasonIsCut(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fill(1, 1)
	long := strings.Repeat("x", 5*host.MaxReason)
	f.settle("a", host.Settlement{Token: f.lease("a", 1)[0].Token, Outcome: host.Dead, Reason: long, Answer: long})
	dl := f.letters("a")[0]
	if got, want := len(dl.Reason), host.MaxReason; got != want {
		t.Errorf("reason of %d bytes is kept as %d, want %d", len(long), got, want)
	}
	if got, want := len(dl.Answer), host.MaxReason; got != want {
		t.Errorf("answer of %d bytes is kept as %d, want %d", len(long), got, want)
	}
}

func testUnsupported(t *testing.T, f *fixture) {
	ctx := t.Context()
	check := func(what, reason string, err error) {
		t.Helper()
		if reason != "" {
			f.wantErr(what+" ("+reason+")", err, host.ErrUnsupported)
		}
	}
	q := f.engine.NoQuarantine
	check("put", q, f.Put(ctx, &host.Rejected{}))
	_, _, err := f.List(ctx, host.Wanted{}, "", 10)
	check("list", q, err)
	_, err = f.Get(ctx, "1")
	check("get", q, err)
	check("drop", q, f.Drop(ctx, "1"))
	check("replay", f.engine.NoReplay, f.Replay(ctx, "a", "", ""))
	check("stop a replay", f.engine.NoReplay, f.StopReplay(ctx, "a"))
	_, err = f.Status(ctx)
	check("status", f.engine.NoStatus, err)
	_, err = f.Timeline(ctx, "acme", "txn")
	check("timeline", f.engine.NoTimeline, err)
	_, _, err = f.Search(ctx, "text", host.Page{})
	check("search", f.engine.NoSearch, err)
}

func testFailed(t *testing.T, f *fixture) {
	f.append(SampleRecord(1))
	select {
	case <-f.Failed():
		t.Error("a store that has not failed says so")
	default:
	}
}
