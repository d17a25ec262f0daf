package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

var orderTests = []test{
	{name: "OrderNone", run: testOrderNone},
	{name: "Order_failingSubjectHoldsBackOnlyItself", run: testOrder, not: noOrder},
	{name: "Order_leaseEnds", run: testOrderLeaseEnds, not: noOrder},
	{name: "Order_deadHoldsNobodyUp", run: testOrderDead, not: noOrder},
	{name: "Order_redrivenTakesItsTurn", run: testOrderRedriven, not: noOrder},
	{name: "Order_noTwoOfOneSubjectAtOnce", run: testOrderAtOnce, not: noOrder},
	{name: "Order_subjectsOfOthers", run: testOrderOthers, not: noOrder},
	{name: "Order_changes", run: testOrderChanges, not: noOrder},
	{name: "Order_manyParked", run: testOrderMany, not: noOrder},
	{name: "Order_next", run: testOrderNext, not: noOrder},
	{name: "Order_replay", run: testOrderReplay, not: func(e *Engine) string { return e.NoOrder + e.NoReplay }},
}

// of returns sample event n, of a subject.
func of(subject string, n int) host.Event {
	ev := SampleEvent(n, 0)
	ev.Subject = subject
	return ev
}

// fillSubjects appends a record for each letter, the first as sample event first;
// "-" stands for an event without a subject.
func (f *fixture) fillSubjects(first int, letters string) {
	f.t.Helper()
	for i, c := range letters {
		subject := string(c)
		if c == '-' {
			subject = ""
		}
		f.append(SampleRecord(first+i, of(subject, first+i)))
	}
}

// inTurn leases until nothing is due and settles what is, again and again, and
// wants these one after the other; what is due at once, by their numbers.
func (f *fixture) inTurn(sink string, want ...int) {
	f.t.Helper()
	var got []int
	for {
		ds := f.leaseAll(sink)
		if len(ds) == 0 {
			break
		}
		slices.SortFunc(ds, func(a, b host.Delivery) int { return number(&a.Event) - number(&b.Event) })
		for i := range ds {
			got = append(got, number(&ds[i].Event))
		}
		f.done(ds...)
	}
	f.same("deliveries one after the other", want, got)
}

func testOrderNone(_ *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.fillSubjects(1, "AAB")
	ds := f.lease("a", 10)
	f.wantNumbers("deliveries", ds, 1, 2, 3)
	f.again(0, ds...)
	f.wantNumbers("retries", f.lease("a", 10), 1, 2, 3)
}

func testOrder(_ *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "AAB-A-")
	ds := f.leaseAll("a")
	f.wantNumbers("first deliveries", ds, 1, 3, 4, 6)
	f.same("lag", host.Lag{Leased: 4, Parked: 2}, f.lag("a"))
	for _, d := range ds {
		if number(&d.Event) == 1 {
			f.again(time.Hour, d)
		} else {
			f.done(d)
		}
	}
	f.wantNumbers("while A is to be retried", f.leaseAll("a"))
	f.same("lag", host.Lag{Retrying: 1, Parked: 2}, f.lag("a"))
	f.fillSubjects(7, "BA")
	b := f.leaseAll("a")
	f.wantNumbers("what is new meanwhile", b, 7)
	f.done(b...)
	f.clock.advance(time.Hour)
	ds = f.leaseAll("a")
	f.wantNumbers("the retry", ds, 1)
	if ds[0].Attempt != 2 {
		f.t.Errorf("the retry is attempt %d, want 2", ds[0].Attempt)
	}
	f.done(ds...)
	ds = f.leaseAll("a")
	f.wantNumbers("the next of A", ds, 2)
	if ds[0].Attempt != 1 || !ds[0].First.Equal(f.clock.now()) {
		f.t.Errorf("the next of A: attempt %d, first %v, want 1, now", ds[0].Attempt, ds[0].First)
	}
	f.same("event", of("A", 2), ds[0].Event)
	f.done(ds...)
	f.inTurn("a", 5, 8)
	f.same("lag", host.Lag{}, f.lag("a"))
}

func testOrderLeaseEnds(_ *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "AA")
	late := f.leaseAll("a")
	f.wantNumbers("first delivery", late, 1)
	f.clock.advance(ttl)
	f.done(late...)
	ds := f.leaseAll("a")
	f.wantNumbers("when the lease has ended", ds, 1)
	f.done(late...)
	f.wantNumbers("after a late settle", f.leaseAll("a"))
	f.done(ds...)
	f.inTurn("a", 2)
}

func testOrderDead(_ *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "AAA")
	f.die("no", f.leaseAll("a")...)
	f.inTurn("a", 2, 3)
	f.same("lag", host.Lag{Dead: 1}, f.lag("a"))
	f.fillSubjects(4, "A")
	f.inTurn("a", 4)
}

func testOrderRedriven(t *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "AAAA")
	f.die("no", f.leaseAll("a")...)
	f.die("no", f.leaseAll("a")...)
	third := f.leaseAll("a")
	f.wantNumbers("the third", third, 3)
	f.again(time.Hour, third...)
	// The third was leased before them and comes behind them now.
	f.moves("redrive", 2)(f.Redrive(t.Context(), "a"))
	f.clock.advance(time.Hour)
	f.same("lag", host.Lag{Retrying: 3, Parked: 1}, f.lag("a"))
	f.inTurn("a", 1, 2, 3, 4)
}

func testOrderAtOnce(_ *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	f.append(SampleRecord(1, of("A", 1), of("A", 2), of("B", 3), of("A", 4)))
	for range 2 {
		f.wantNumbers("of one record", f.lease("a", 10), 1, 3)
		f.clock.advance(ttl)
	}
	f.done(f.leaseAll("a")...)
	f.inTurn("a", 2, 4)
}

func testOrderOthers(_ *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	tenant, endpoint, shifted := of("A", 2), of("A", 3), of("llA", 4)
	tenant.Tenant, endpoint.Endpoint, shifted.Endpoint = "globex", "shop", "ti"
	f.append(SampleRecord(1, of("A", 1), tenant, endpoint, shifted))
	f.wantNumbers("the same subject elsewhere", f.leaseAll("a"), 1, 2, 3, 4)
}

func testOrderChanges(_ *testing.T, f *fixture) {
	f.order("a", host.OrderNone)
	f.fillSubjects(1, "AA")
	ds := f.leaseAll("a")
	f.wantNumbers("without order", ds, 1, 2)
	f.order("a", host.OrderSubject)
	f.fillSubjects(3, "A")
	f.wantNumbers("while both are leased", f.leaseAll("a"))
	f.again(0, ds...)
	f.wantNumbers("with order", f.leaseAll("a"), 1)
	f.order("a", host.OrderNone)
	f.wantNumbers("without order again", f.leaseAll("a"), 2, 3)
}

// testOrderMany has a subject fail that much comes of: neither is the rest held
// up, nor anything of it lost.
func testOrderMany(_ *testing.T, f *fixture) {
	const records, each = 20, 15
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "A")
	f.again(time.Hour, f.lease("a", 1)...)
	want := []int{1}
	for r := range records {
		var evs []host.Event
		for i := range each {
			n := 10 + r*each + i
			evs, want = append(evs, of("A", n)), append(want, n)
		}
		f.append(SampleRecord(1000+r, append(evs, of("B", 1000+r))...))
	}
	for r := range records {
		ds := f.leaseAll("a")
		f.wantNumbers("the other subject", ds, 1000+r)
		f.done(ds...)
	}
	f.same("lag", host.Lag{Retrying: 1, Parked: records * each}, f.lag("a"))
	f.clock.advance(time.Hour)
	f.inTurn("a", want...)
	f.same("lag", host.Lag{}, f.lag("a"))
}

// testOrderNext: what waits for another falls due by a settle only.
func testOrderNext(t *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "AA")
	ds := f.leaseAll("a")
	if got, want := f.leased("a", 10).Next, f.clock.now().Add(ttl); !got.Equal(want) {
		t.Errorf("with the second waiting: next %v, want the end of the lease, %v", got, want)
	}
	f.again(time.Hour, ds...)
	if got, want := f.leased("a", 10).Next, f.clock.now().Add(time.Hour); !got.Equal(want) {
		t.Errorf("with the second waiting: next %v, want the retry, %v", got, want)
	}
}

func testOrderReplay(_ *testing.T, f *fixture) {
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "AABA")
	f.inTurn("a", 1, 3, 2, 4)
	f.replay("a", "", "")
	ds := f.leaseAll("a")
	f.wantNumbers("the replay", ds, 1, 3)
	for _, d := range ds {
		if number(&d.Event) == 1 {
			f.again(time.Hour, d)
		} else {
			f.done(d)
		}
	}
	f.fillSubjects(5, "AB")
	ds = f.leaseAll("a")
	f.wantNumbers("what is new meanwhile", ds, 6)
	f.done(ds...)
	f.clock.advance(time.Hour)
	f.inTurn("a", 1, 2, 4, 5)
	f.same("lag", host.Lag{}, f.lag("a"))
}

// reopenOrder ends the store with a retry, something leased and much parked.
func reopenOrder(_ *testing.T, f *fixture, killed bool) {
	f.order("a", host.OrderSubject)
	f.fillSubjects(1, "AABBAB")
	ds := f.leaseAll("a")
	f.wantNumbers("before", ds, 1, 3)
	i := slices.IndexFunc(ds, func(d host.Delivery) bool { return number(&d.Event) == 1 })
	f.again(time.Hour, ds[i])
	for range 2 {
		f.reopen(killed)
		f.wantNumbers("what was leased", f.leaseAll("a"), 3)
		f.same("lag", host.Lag{Leased: 1, Retrying: 1, Parked: 4}, f.lag("a"))
	}
	f.clock.advance(time.Hour)
	f.inTurn("a", 1, 3, 2, 4, 5, 6)
}
