// Package storetest is the conformance suite of stores: one body of tests that
// every engine passes, and sample records for the tests of what stands on a
// store.
package storetest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/host"
)

// Engine is a store under test. A quirk is a field with its reason: an empty
// reason means that the engine has no such quirk.
type Engine struct {
	// Open opens the store in dir with now as its only clock of leases and
	// retries, and bounds set to [KeptBound] and [RingBound]. dir is the same
	// after a reopen.
	Open func(t *testing.T, dir string, now func() time.Time) host.Store
	// OpenRotating is Open for an engine that keeps its log in segments, with
	// segments of 1 MiB: the suite then runs over both. Nil leaves it out.
	OpenRotating func(t *testing.T, dir string, now func() time.Time) host.Store
	// Reopens says that what is stored survives Close and Open.
	Reopens bool
	// Kill frees what the store holds in this process, as the end of the
	// process would, and writes nothing. Nil leaves out the tests that need it.
	Kill func(t *testing.T, s host.Store)

	// NoOrder is the reason why the engine knows OrderNone only.
	NoOrder string
	// NoQuarantine, NoReplay, NoStatus, NoTimeline and NoSearch are the reasons
	// why the engine answers [host.ErrUnsupported] for those.
	NoQuarantine string
	NoReplay     string
	NoStatus     string
	NoTimeline   string
	NoSearch     string
}

// The bounds that Engine.Open sets.
const (
	// KeptBound is how many kept and held callbacks are taken.
	KeptBound = 3
	// RingBound is how many refused callbacks a ring of the quarantine holds.
	RingBound = 3
)

// test is one test of the suite. not names the quirk of an engine that is not put
// to it; nil means that every engine is.
type test struct {
	name string
	run  func(t *testing.T, f *fixture)
	not  func(e *Engine) string
}

func noOrder(e *Engine) string      { return e.NoOrder }
func noReplay(e *Engine) string     { return e.NoReplay }
func noQuarantine(e *Engine) string { return e.NoQuarantine }

// Run runs the suite against an engine.
func Run(t *testing.T, e Engine) {
	run(t, e)
	if e.OpenRotating != nil {
		t.Run("Rotating", func(t *testing.T) {
			e.Open = e.OpenRotating
			run(t, e)
			t.Run("Rotation", func(t *testing.T) { testRotation(t, newFixture(t, e)) })
		})
	}
}

func run(t *testing.T, e Engine) {
	for _, c := range slices.Concat(appendTests, readTests, queueTests, orderTests, replayTests, quarantineTests, heldTests) {
		t.Run(c.name, func(t *testing.T) {
			if c.not != nil && c.not(&e) != "" {
				t.Skip(c.not(&e))
			}
			c.run(t, newFixture(t, e))
		})
	}
	if e.Reopens {
		t.Run("Reopen", func(t *testing.T) { testReopens(t, e) })
	}
}

// fixture is a store in a directory with a clock that moves only by hand.
type fixture struct {
	host.Store

	t      *testing.T
	engine Engine
	dir    string
	clock  clock
}

// clock is safe for concurrent use.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newFixture(t *testing.T, e Engine) *fixture {
	f := &fixture{t: t, engine: e, dir: t.TempDir(), clock: clock{at: sampleTime.Add(time.Hour)}}
	f.Store = e.Open(t, f.dir, f.clock.now)
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

// reopen ends the store and opens it again; killed, without Close.
func (f *fixture) reopen(killed bool) {
	f.t.Helper()
	if killed {
		f.engine.Kill(f.t, f.Store)
	} else if err := f.Close(); err != nil {
		f.t.Fatalf("close: %v", err)
	}
	f.Store = f.engine.Open(f.t, f.dir, f.clock.now)
}

// append stores rec or ends the test.
func (f *fixture) append(rec *host.Record) host.Receipt {
	f.t.Helper()
	got, err := f.Append(f.t.Context(), rec)
	if err != nil {
		f.t.Fatalf("append: %v", err)
	}
	return got
}

// fill appends the sample records first to first+n-1.
func (f *fixture) fill(first, n int) {
	f.t.Helper()
	for i := first; i < first+n; i++ {
		f.append(SampleRecord(i))
	}
}

func (f *fixture) subscribe(sink string, want host.Filter, from host.From) {
	f.t.Helper()
	if err := f.Subscribe(f.t.Context(), sink, host.Subscription{Filter: want, From: from}); err != nil {
		f.t.Fatalf("subscribe %s: %v", sink, err)
	}
}

// order subscribes a sink with order by subject, or takes it up again.
func (f *fixture) order(sink string, o host.Order) {
	f.t.Helper()
	if err := f.Subscribe(f.t.Context(), sink, host.Subscription{From: host.FromOldest, Order: o}); err != nil {
		f.t.Fatalf("subscribe %s with order %q: %v", sink, o, err)
	}
}

// ttl is how long the suite leases.
const ttl = time.Minute

func (f *fixture) lease(sink string, n int) []host.Delivery {
	f.t.Helper()
	return f.leased(sink, n).Deliveries
}

func (f *fixture) leased(sink string, n int) host.Leased {
	f.t.Helper()
	got, err := f.Lease(f.t.Context(), sink, n, ttl)
	if err != nil {
		f.t.Fatalf("lease for %s: %v", sink, err)
	}
	return got
}

// leaseAll leases until nothing is due, as an engine may answer in parts.
func (f *fixture) leaseAll(sink string) []host.Delivery {
	f.t.Helper()
	var all []host.Delivery
	for {
		part := f.lease(sink, 1000)
		if len(part) == 0 {
			return all
		}
		all = append(all, part...)
	}
}

func (f *fixture) settle(sink string, s ...host.Settlement) {
	f.t.Helper()
	if err := f.Settle(f.t.Context(), sink, s...); err != nil {
		f.t.Fatalf("settle for %s: %v", sink, err)
	}
}

func (f *fixture) done(ds ...host.Delivery) {
	f.t.Helper()
	for _, d := range ds {
		f.settle(d.Sink, host.Settlement{Token: d.Token, Outcome: host.Done})
	}
}

// again has deliveries retried in a while.
func (f *fixture) again(in time.Duration, ds ...host.Delivery) {
	f.t.Helper()
	for _, d := range ds {
		f.settle(d.Sink, host.Settlement{Token: d.Token, Outcome: host.Again, At: f.clock.now().Add(in), Reason: "503"})
	}
}

func (f *fixture) die(reason string, ds ...host.Delivery) {
	f.t.Helper()
	for _, d := range ds {
		f.settle(d.Sink, host.Settlement{Token: d.Token, Outcome: host.Dead, Reason: reason})
	}
}

func (f *fixture) letters(sink string) []host.DeadLetter {
	f.t.Helper()
	var all []host.DeadLetter
	var after host.Cursor
	for {
		part, next, err := f.DeadLetters(f.t.Context(), sink, after, 100)
		if err != nil {
			f.t.Fatalf("dead letters of %s: %v", sink, err)
		}
		all = append(all, part...)
		if next == "" {
			return all
		}
		after = next
	}
}

func (f *fixture) lag(sink string) host.Lag {
	f.t.Helper()
	got, err := f.Lag(f.t.Context(), sink)
	if err != nil {
		f.t.Fatalf("lag of %s: %v", sink, err)
	}
	return got
}

// wantEvents checks the deliveries' events by the numbers of their samples.
func (f *fixture) wantEvents(ds []host.Delivery, want ...int) {
	f.t.Helper()
	var got, exp []string
	for _, d := range ds {
		got = append(got, d.Event.Subject)
	}
	for _, n := range want {
		exp = append(exp, SampleEvent(n, 0).Subject)
	}
	f.same("deliveries", exp, got)
}

// wantNumbers is wantEvents for events whose subjects are not the samples', in
// any order.
func (f *fixture) wantNumbers(what string, ds []host.Delivery, want ...int) {
	f.t.Helper()
	var got []int
	for i := range ds {
		got = append(got, number(&ds[i].Event))
	}
	slices.Sort(got)
	f.same(what, want, got)
}

func (f *fixture) same(what string, want, got any) {
	f.t.Helper()
	if d := Diff(want, got); d != "" {
		f.t.Errorf("%s differ (-want +got):\n%s", what, d)
	}
}

// must ends the test if there is an error.
func (f *fixture) must(what string, err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
}

// moves returns what compares how many were moved with how many should be.
func (f *fixture) moves(what string, want int) func(got int, err error) {
	f.t.Helper()
	return func(got int, err error) {
		f.t.Helper()
		if got != want || err != nil {
			f.t.Errorf("%s: %d, %v, want %d", what, got, err, want)
		}
	}
}

// keptFull wants a callback to be one too many that is kept.
func (f *fixture) keptFull(rec *host.Record) {
	f.t.Helper()
	_, err := f.Append(f.t.Context(), rec)
	if got, want := host.CodeOf(err), host.KeptFull; err == nil || got != want {
		f.t.Errorf("one too many: error %v with code %s, want code %s", err, got, want)
	}
}

func (f *fixture) wantErr(what string, got, want error) {
	f.t.Helper()
	if !errors.Is(got, want) {
		f.t.Errorf("%s: error %v, want %v", what, got, want)
	}
}

// Diff compares records, events, deliveries or lists of them as stores keep
// them: empty and nil are one. It is empty when they are equal.
func Diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}))
}

// canceled is a context that has ended.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
