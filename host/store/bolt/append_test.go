package bolt

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest"
)

// gate stands before the commits of a store's log and lets each through when
// told, with an error in place of the commit if one is given.
type gate struct {
	entered chan struct{}
	pass    chan error
}

func newGate() *gate { return &gate{entered: make(chan struct{}), pass: make(chan error)} }

func (g *gate) update(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
	if isState(db) {
		return db.Update(fn)
	}
	g.entered <- struct{}{}
	if err := <-g.pass; err != nil {
		return err
	}
	return db.Update(fn)
}

func isState(db *bbolt.DB) bool { return dirOf(db) != "seg" }

// next waits for a commit and ends it with err.
func (g *gate) next(err error) {
	<-g.entered
	g.pass <- err
}

// answer is what an append in the background came to.
type answer struct {
	receipt host.Receipt
	err     error
}

func appendLater(s *Store, rec *host.Record) chan answer {
	c := make(chan answer, 1)
	go func() {
		r, err := s.Append(context.Background(), rec)
		c <- answer{r, err}
	}()
	return c
}

func queuedAppends(s *Store) int {
	n, _ := s.appends.Waiting()
	return n
}

// waitQueued waits until n appends are in the queue.
func waitQueued(s *Store, n int) {
	for queuedAppends(s) < n {
		runtime.Gosched()
	}
}

func TestAppend_batches(t *testing.T) {
	g := newGate()
	s := open(t, t.TempDir(), Options{update: g.update})
	first := appendLater(s, storetest.SampleRecord(0))
	<-g.entered
	const n = 300
	var answers []chan answer
	for i := 1; i <= n; i++ {
		answers = append(answers, appendLater(s, storetest.SampleRecord(i)))
	}
	waitQueued(s, n)
	g.pass <- nil
	g.next(nil)
	for _, c := range append(answers, first) {
		if a := <-c; a.err != nil || a.receipt.Seq == 0 {
			t.Errorf("append: %+v", a)
		}
	}
	if got := s.commits.Load(); got != 2 {
		t.Errorf("%d appends took %d commits, want 2", n+1, got)
	}
	closeStore(t, s)
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestInvariant3_duplicateIsAnsweredAfterItsFirst(t *testing.T) {
	g := newGate()
	s := open(t, t.TempDir(), Options{update: g.update})
	held := appendLater(s, storetest.SampleRecord(0))
	<-g.entered
	// The first copy and three more in one batch, which fails.
	var answers []chan answer
	for range 4 {
		answers = append(answers, appendLater(s, storetest.SampleRecord(1)))
	}
	waitQueued(s, 4)
	g.pass <- nil
	if a := <-held; a.err != nil {
		t.Fatal(a.err)
	}
	g.next(writeError(syscall.ENOSPC))
	for _, c := range answers {
		if a := <-c; host.CodeOf(a.err) != host.StoreFull || a.receipt.Events != nil {
			t.Errorf("append in a batch that failed: %+v, want store.full and no receipt", a)
		}
	}
	// Nothing of it is remembered.
	again := appendLater(s, storetest.SampleRecord(1))
	g.next(nil)
	if a := <-again; a.err != nil || a.receipt.Events[0] != host.Stored {
		t.Errorf("after the failed batch: %+v, want stored", a)
	}
	// A callback without anything new takes no commit.
	commits := s.commits.Load()
	dup := appendLater(s, storetest.SampleRecord(1))
	if a := <-dup; a.err != nil || a.receipt.Events[0] != host.Duplicate {
		t.Errorf("duplicate: %+v", a)
	}
	if got := s.commits.Load(); got != commits {
		t.Errorf("a duplicate took %d commits", got-commits)
	}
	closeStore(t, s)
}

func TestInvariant2_appendIsAllOrNone(t *testing.T) {
	dir := t.TempDir()
	g := newGate()
	s := open(t, dir, Options{update: g.update})
	rec := storetest.SampleRecord(1, storetest.SampleEvent(1, 0), storetest.SampleEvent(2, 0))
	rec.Aside = []host.Aside{storetest.SampleAside(1)}
	for _, fail := range []bool{true, false} {
		later := appendLater(s, rec)
		if fail {
			g.next(writeError(syscall.ENOSPC))
			<-later
		} else {
			g.next(nil)
			if a := <-later; a.err != nil {
				t.Fatal(a.err)
			}
		}
		for n := 1; n <= 2; n++ {
			_, err := s.Event(t.Context(), storetest.SampleEvent(n, 0).Key.ID())
			if errors.Is(err, host.ErrNotFound) != fail {
				t.Errorf("append failed %t: event %d: %v", fail, n, err)
			}
		}
	}
	closeStore(t, s)
	s = open(t, dir, Options{})
	defer closeStore(t, s)
	got, err := s.Append(t.Context(), rec)
	if err != nil {
		t.Fatal(err)
	}
	want := host.Receipt{
		Events: []host.Disposition{host.Duplicate, host.Duplicate},
		Aside:  []host.Disposition{host.Duplicate},
	}
	if d := storetest.Diff(want, got); d != "" {
		t.Errorf("receipt differs (-want +got):\n%s", d)
	}
}

func TestAppend_queueBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"requests", Options{QueueRequests: 2}},
		{"bytes", Options{QueueBytes: 900}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGate()
			c.o.update = g.update
			s := open(t, t.TempDir(), c.o)
			answers := []chan answer{appendLater(s, storetest.SampleRecord(0))}
			<-g.entered
			full := 0
			for i := 1; full == 0 && i < 10; i++ {
				later := appendLater(s, storetest.SampleRecord(i))
				for waiting := true; waiting; {
					select {
					case a := <-later:
						if host.CodeOf(a.err) != host.StoreFull {
							t.Errorf("append to a full queue: %+v, want store.full", a)
						}
						full, waiting = i, false
					default:
						waiting = queuedAppends(s) < i
						runtime.Gosched()
					}
				}
				if full == 0 {
					answers = append(answers, later)
				}
			}
			if full < 2 || full > 4 {
				t.Errorf("append %d was refused, want the second, third or fourth", full)
			}
			g.pass <- nil
			g.next(nil)
			for _, c := range answers {
				if a := <-c; a.err != nil {
					t.Errorf("queued append: %v", a.err)
				}
			}
			closeStore(t, s)
		})
	}
}

func TestAppend_canceledInTheQueue(t *testing.T) {
	g := newGate()
	s := open(t, t.TempDir(), Options{update: g.update})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	// Its commit has begun: the context counts no longer.
	go func() {
		_, err := s.Append(ctx, storetest.SampleRecord(1))
		errs <- err
	}()
	<-g.entered
	queued := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, storetest.SampleRecord(2))
		queued <- err
	}()
	waitQueued(s, 1)
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled in the queue: %v", err)
	}
	g.pass <- nil
	if err := <-errs; err != nil {
		t.Errorf("canceled in its commit: %v", err)
	}
	closeStore(t, s)
	if _, err := s.segments()[0].DB.Begin(false); err == nil {
		t.Error("a closed store has an open file")
	}
}

func TestAppend_reserve(t *testing.T) {
	s := open(t, t.TempDir(), Options{Reserve: 1 << 62})
	defer closeStore(t, s)
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); host.CodeOf(err) != host.StoreFull {
		t.Errorf("append below the reserve: %v, want store.full", err)
	}
	// Delivery goes on.
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Errorf("subscribe below the reserve: %v", err)
	}
}

func TestAppend_concurrentWithReaders(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	const n = 200
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range n / 4 {
				if _, err := s.Append(t.Context(), storetest.SampleRecord(w*n+i)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	seen := make(map[string]bool)
	for len(seen) < n && !t.Failed() {
		l, err := s.Lease(t.Context(), "a", 10, 1<<40)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range l.Deliveries {
			if seen[d.Event.ID()] {
				t.Errorf("event %s was leased twice", d.Event.Subject)
			}
			seen[d.Event.ID()] = true
			if err := s.Settle(t.Context(), "a", host.Settlement{Token: d.Token, Outcome: host.Done}); err != nil {
				t.Errorf("settle: %v", err)
			}
		}
		runtime.Gosched()
	}
	wg.Wait()
}

// TestRead_stopsAtWhatIsDurable reads while a commit has reached bbolt's file
// but not its end: bbolt shows it, and the store must not.
func TestRead_stopsAtWhatIsDurable(t *testing.T) {
	entered, pass := make(chan struct{}), make(chan struct{})
	s := open(t, t.TempDir(), Options{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
		err := db.Update(fn)
		if !isState(db) {
			entered <- struct{}{}
			<-pass
		}
		return err
	}})
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	look := func() (events int) {
		if _, err := s.Event(t.Context(), storetest.SampleEvent(1, 0).Key.ID()); err == nil {
			events++
		}
		if _, err := s.Callback(t.Context(), 1); err == nil {
			events++
		}
		for _, newest := range []bool{false, true} {
			if evs, _, err := s.Range(t.Context(), host.Page{Newest: newest}); err != nil || len(evs) > 0 {
				events++
			}
		}
		if l, err := s.Lease(t.Context(), "a", 1, time.Hour); err != nil || len(l.Deliveries) > 0 {
			events++
		}
		return events
	}
	// A record before it, so that there is something to read.
	zero := appendLater(s, storetest.SampleIgnored(0))
	<-entered
	if got := look(); got != 0 {
		t.Errorf("%d readers saw a record whose commit had not ended", got)
	}
	pass <- struct{}{}
	<-zero
	later := appendLater(s, storetest.SampleRecord(1))
	<-entered
	if got := look(); got != 1 { // the ignored callback, 1
		t.Errorf("%d readers saw an event, want only the record before it", got)
	}
	pass <- struct{}{}
	<-later
	if got := look(); got != 5 {
		t.Errorf("%d readers saw the event once it was durable, want all 5", got)
	}
	closeStore(t, s)
}

func TestLease_isBounded(t *testing.T) {
	s := open(t, t.TempDir(), Options{MaxRetries: 2})
	defer closeStore(t, s)
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	var events []host.Event
	for n := range 300 {
		events = append(events, storetest.SampleEvent(n, 0))
	}
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1, events...)); err != nil {
		t.Fatal(err)
	}
	l, err := s.Lease(t.Context(), "a", 1000, time.Hour)
	if err != nil || len(l.Deliveries) != maxRead || l.Next.After(time.Now()) {
		t.Errorf("%d deliveries, next %v, %v; want %d and more now", len(l.Deliveries), l.Next, err, maxRead)
	}
	// Two that wait for their retry are as many as this sink may have.
	for _, d := range l.Deliveries[:2] {
		again := host.Settlement{Token: d.Token, Outcome: host.Again, At: time.Now().Add(time.Hour)}
		if err := s.Settle(t.Context(), "a", again); err != nil {
			t.Fatal(err)
		}
	}
	l, err = s.Lease(t.Context(), "a", 1000, time.Hour)
	if err != nil || len(l.Deliveries) != 0 || !l.Next.After(time.Now()) {
		t.Errorf("%d deliveries, next %v, %v; want none until a retry", len(l.Deliveries), l.Next, err)
	}
}

// TestAppend_queueCountsWhatItHolds fills the queue with a callback that
// compresses well: what it holds while it waits is not what will be stored.
func TestAppend_queueCountsWhatItHolds(t *testing.T) {
	g := newGate()
	s := open(t, t.TempDir(), Options{update: g.update})
	held := appendLater(s, storetest.SampleRecord(0))
	<-g.entered
	const size = 1 << 20
	large := storetest.SampleRecord(1)
	large.Callback.Body = make([]byte, size)
	later := appendLater(s, large)
	waitQueued(s, 1)
	if _, got := s.appends.Waiting(); got < size {
		t.Errorf("a body of %d bytes counts as %d in the queue", size, got)
	}
	g.pass <- nil
	g.next(nil)
	for _, c := range []chan answer{held, later} {
		if a := <-c; a.err != nil {
			t.Errorf("append: %v", a.err)
		}
	}
	closeStore(t, s)
}
