package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres"
	"github.com/postern/postern/host/store/storetest"
)

const ttl = time.Minute

// nodes opens two stores on one schema.
func nodes(t *testing.T) [2]*postgres.Store {
	t.Helper()
	name := schema(t, t.Name())
	var both [2]*postgres.Store
	for i := range both {
		both[i] = open(t, postgres.Options{Schema: name, Node: fmt.Sprint("node-", i), Poll: -1})
		t.Cleanup(func() {
			if err := both[i].Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	return both
}

// TestInvariant3_oneStoredAmongNodes has two nodes append the same events at
// once, several in a callback and in any order, so that each waits for the other
// in the middle of a batch: one of all is stored, and every conflict once.
func TestInvariant3_oneStoredAmongNodes(t *testing.T) {
	const writers, rounds, keys = 4, 12, 300
	both := nodes(t)
	var mu sync.Mutex
	stored, conflicts := make(map[int]int), make(map[int]int)
	for r := range rounds {
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(r), uint64(w)))
				var evs []host.Event
				numbers := random.Perm(keys)
				for _, n := range numbers {
					evs = append(evs, storetest.SampleEvent(r*keys+n, random.IntN(2)))
				}
				got, err := both[w%2].Append(t.Context(), storetest.SampleRecord(r, evs...))
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for i, d := range got.Events {
					switch d {
					case host.Stored:
						stored[r*keys+numbers[i]]++
					case host.Conflicted:
						conflicts[r*keys+numbers[i]]++
					default:
					}
				}
			})
		}
		wg.Wait()
	}
	for n := range rounds * keys {
		if stored[n] != 1 || conflicts[n] > 1 {
			t.Errorf("event %d: stored %d times and in conflict %d times, want once and at most once", n, stored[n], conflicts[n])
		}
	}
	all := readAll(t, both[0])
	if got, want := len(all), len(stored)+len(conflicts); got != want {
		t.Errorf("%d events are in the log, want %d", got, want)
	}
}

// readAll reads all events, conflicts too.
func readAll(t *testing.T, s *postgres.Store) []host.StoredEvent {
	t.Helper()
	var all []host.StoredEvent
	for after := host.Cursor(""); ; {
		part, next, err := s.Range(t.Context(), host.Page{After: after, Filter: host.Filter{Conflicts: true}})
		if err != nil {
			t.Fatal(err)
		}
		if len(part) == 0 {
			return all
		}
		all, after = append(all, part...), next
	}
}

// TestSequence_isTheOrderOfCommits has two nodes append while a reader goes on
// from cursor to cursor: what it passes over it never sees.
func TestSequence_isTheOrderOfCommits(t *testing.T) {
	const writers, each = 8, 40
	both := nodes(t)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := both[w%2].Append(t.Context(), storetest.SampleRecord(w*each+i)); err != nil {
					t.Errorf("append: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	seen, after, ended := 0, host.Cursor(""), false
	for {
		part, next, err := both[0].Range(t.Context(), host.Page{After: after, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		seen, after = seen+len(part), next
		if len(part) == 0 && ended {
			break
		}
		select {
		case <-done:
			ended = true
		default:
		}
	}
	if want := writers * each; seen != want {
		t.Errorf("a reader saw %d of %d events", seen, want)
	}
}

// TestInvariant5_nodesNeverShareALease has two nodes deliver for one sink, some
// twice and some never settled: no event is with both at once.
func TestInvariant5_nodesNeverShareALease(t *testing.T) {
	const events = 200
	both := nodes(t)
	subscribeBoth(t, both, host.Subscription{From: host.FromOldest})
	fill(t, both[0], 0, events, func(*host.Event, int) {})
	var mu sync.Mutex
	held, done := make(map[string]bool), make(map[string]bool)
	take := func(ds []host.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		for i := range ds {
			id := ds[i].Event.ID()
			if held[id] || done[id] {
				t.Errorf("%s was leased while it was leased or done", id)
			}
			held[id] = true
		}
	}
	deliver(t, both, func(random *rand.Rand, s *postgres.Store) bool {
		got, err := s.Lease(t.Context(), "a", 1+random.IntN(8), ttl)
		if err != nil {
			t.Errorf("lease: %v", err)
			return true
		}
		take(got.Deliveries)
		for i := range got.Deliveries {
			d := &got.Deliveries[i]
			st := host.Settlement{Token: d.Token, Outcome: host.Done}
			if random.IntN(3) == 0 {
				st.Outcome = host.Again
			}
			mu.Lock()
			held[d.Event.ID()], done[d.Event.ID()] = false, st.Outcome == host.Done
			mu.Unlock()
			if err := s.Settle(t.Context(), "a", st); err != nil {
				t.Errorf("settle: %v", err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return len(done) == events && !slices.Contains(values(done), false)
	})
}

// TestOrder_amongNodes has two nodes deliver few subjects: each subject's events
// come one after the other, and none waits for ever.
func TestOrder_amongNodes(t *testing.T) {
	const events, subjects = 150, 5
	both := nodes(t)
	subscribeBoth(t, both, host.Subscription{From: host.FromOldest, Order: host.OrderSubject})
	fill(t, both[0], 0, events, func(ev *host.Event, n int) { ev.Subject = fmt.Sprint("subject-", n%subjects) })
	var mu sync.Mutex
	last, total := make(map[string]time.Time), 0
	deliver(t, both, func(random *rand.Rand, s *postgres.Store) bool {
		got, err := s.Lease(t.Context(), "a", 1+random.IntN(4), ttl)
		if err != nil {
			t.Errorf("lease: %v", err)
			return true
		}
		for i := range got.Deliveries {
			d := &got.Deliveries[i]
			st := host.Settlement{Token: d.Token, Outcome: host.Done}
			switch random.IntN(4) {
			case 0:
				st.Outcome = host.Again
			case 1:
				st.Outcome = host.Dead
			}
			mu.Lock()
			if !d.Event.Received.After(last[d.Event.Subject]) {
				t.Errorf("%s: %v came behind %v", d.Event.Subject, d.Event.Received, last[d.Event.Subject])
			}
			if st.Outcome != host.Again {
				last[d.Event.Subject] = d.Event.Received
				total++
			}
			mu.Unlock()
			if err := s.Settle(t.Context(), "a", st); err != nil {
				t.Errorf("settle: %v", err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return total == events
	})
	lag, err := both[0].Lag(t.Context(), "a")
	if err != nil || lag.Leased+lag.Retrying+lag.Parked != 0 {
		t.Errorf("in the end: %+v, %v, want nothing but dead letters", lag, err)
	}
}

// TestOrder_settledWhileTheNextIsParked has one node park an event behind another
// one's in the moment in which that is settled: the lease is stopped between
// looking and writing by a row that is not committed.
func TestOrder_settledWhileTheNextIsParked(t *testing.T) {
	both := nodes(t)
	name := schema(t, t.Name())
	subscribeBoth(t, both, host.Subscription{From: host.FromOldest, Order: host.OrderSubject})
	fill(t, both[0], 0, 1, func(ev *host.Event, _ int) { ev.Subject = "one" })
	first, err := both[0].Lease(t.Context(), "a", 1, ttl)
	if err != nil || len(first.Deliveries) != 1 {
		t.Fatalf("lease: %d deliveries, %v", len(first.Deliveries), err)
	}
	fill(t, both[0], 1, 1, func(ev *host.Event, _ int) { ev.Subject = "one" })
	next, err := both[0].Event(t.Context(), storetest.SampleEvent(1, 0).Key.ID())
	if err != nil {
		t.Fatal(err)
	}

	blocker := connect(t)
	if _, err := blocker.Exec(t.Context(), "begin; insert into "+name+".deliveries (sink, seq, idx, walk, due) values ('a', "+fmt.Sprint(next.Seq)+", 0, 0, 0)"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if got, err := both[1].Lease(t.Context(), "a", 1, ttl); err != nil || len(got.Deliveries) != 0 {
			t.Errorf("lease while the first is leased: %d deliveries, %v, want none", len(got.Deliveries), err)
		}
	})
	waiting := func(n int) bool {
		var got int
		err := blocker.QueryRow(t.Context(), "select count(distinct pid) from pg_locks where not granted and pid <> pg_backend_pid() and pid in "+
			"(select pid from pg_locks where relation = $1::regclass)", name+".sinks").Scan(&got)
		if err != nil {
			t.Fatal(err)
		}
		return got >= n
	}
	until(t, func() bool { return waiting(1) })
	settled := make(chan error, 1)
	wg.Go(func() {
		settled <- both[0].Settle(t.Context(), "a", host.Settlement{Token: first.Deliveries[0].Token, Outcome: host.Done})
	})
	// It waits for the lease; with a lock that lets it pass it returns.
	until(t, func() bool { return waiting(2) || len(settled) > 0 })
	if _, err := blocker.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	if got, err := both[0].Lease(t.Context(), "a", 1, ttl); err != nil || len(got.Deliveries) != 1 {
		t.Errorf("lease when the first is done: %d deliveries, %v, want the next", len(got.Deliveries), err)
	}
}

// until waits for a condition on the server.
func until(t *testing.T, met func() bool) {
	t.Helper()
	late := time.Now().Add(20 * time.Second)
	for !met() {
		if time.Now().After(late) {
			t.Fatal("what is waited for has not come after 20 seconds")
		}
	}
}

// deliver has two goroutines on each node work until one says that all is done.
func deliver(t *testing.T, both [2]*postgres.Store, work func(random *rand.Rand, s *postgres.Store) (done bool)) {
	t.Helper()
	late := time.Now().Add(30 * time.Second)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(w)))
			for !work(random, both[w%2]) {
				if time.Now().After(late) {
					t.Error("not all is delivered after 30 seconds")
					return
				}
			}
		})
	}
	wg.Wait()
}

func subscribeBoth(t *testing.T, both [2]*postgres.Store, sub host.Subscription) {
	t.Helper()
	for _, s := range both {
		if err := s.Subscribe(t.Context(), "a", sub); err != nil {
			t.Fatal(err)
		}
	}
}

// fill appends events first to first+n-1, each in a callback of its own.
func fill(t *testing.T, s *postgres.Store, first, n int, change func(ev *host.Event, n int)) {
	t.Helper()
	for i := first; i < first+n; i++ {
		ev := storetest.SampleEvent(i, 0)
		change(&ev, i)
		if _, err := s.Append(t.Context(), storetest.SampleRecord(i, ev)); err != nil {
			t.Errorf("append: %v", err)
		}
	}
}

func values(m map[string]bool) []bool {
	var all []bool
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// TestClose_givesBackWhatIsLeased: another node need not wait for the lease to
// end.
func TestClose_givesBackWhatIsLeased(t *testing.T) {
	name := schema(t, t.Name())
	one, other := open(t, postgres.Options{Schema: name}), open(t, postgres.Options{Schema: name})
	defer func() { _ = other.Close() }()
	subscribeBoth(t, [2]*postgres.Store{one, other}, host.Subscription{From: host.FromOldest})
	fill(t, one, 0, 1, func(*host.Event, int) {})
	if got, err := one.Lease(t.Context(), "a", 1, ttl); err != nil || len(got.Deliveries) != 1 {
		t.Fatalf("lease: %d deliveries, %v", len(got.Deliveries), err)
	}
	if got, err := other.Lease(t.Context(), "a", 1, ttl); err != nil || len(got.Deliveries) != 0 {
		t.Errorf("what another node has: %d deliveries, %v, want none", len(got.Deliveries), err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := other.Lease(t.Context(), "a", 1, ttl); err != nil || len(got.Deliveries) != 1 || got.Deliveries[0].Attempt != 2 {
		t.Errorf("after the other's close: %+v, %v, want its delivery, as attempt 2", got.Deliveries, err)
	}
}

// TestLease_asksAgainForWhatOtherNodesDo: nobody wakes a node when another one
// appends.
func TestLease_asksAgainForWhatOtherNodesDo(t *testing.T) {
	s := open(t, postgres.Options{Schema: schema(t, t.Name()), Poll: time.Second})
	defer func() { _ = s.Close() }()
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromNow}); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	got, err := s.Lease(t.Context(), "a", 1, ttl)
	if err != nil {
		t.Fatal(err)
	}
	// By this machine's clock, whatever the server's says.
	if got.Next.Before(before) || got.Next.After(time.Now().Add(time.Second)) {
		t.Errorf("next is %v after %v, want within a second", got.Next, before)
	}
}

// TestLease_isBoundedInBytes: events of any size are given out a few at a time,
// as new ones and as retries, and none is forgotten.
func TestLease_isBoundedInBytes(t *testing.T) {
	s := open(t, postgres.Options{Schema: schema(t, t.Name()), Poll: -1})
	defer func() { _ = s.Close() }()
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 7, func(ev *host.Event, _ int) {
		ev.Data = fmt.Appendf(nil, `{"much":"%s"}`, strings.Repeat("x", 400<<10))
	})
	for _, round := range []string{"new", "retried"} {
		var sizes []int
		var all []host.Settlement
		for {
			got, err := s.Lease(t.Context(), "a", 100, ttl)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Deliveries) == 0 {
				break
			}
			sizes = append(sizes, len(got.Deliveries))
			for i := range got.Deliveries {
				all = append(all, host.Settlement{Token: got.Deliveries[i].Token, Outcome: host.Again})
			}
		}
		if want := []int{3, 3, 1}; !slices.Equal(sizes, want) {
			t.Errorf("%s: leases of %v deliveries, want %v", round, sizes, want)
		}
		if err := s.Settle(t.Context(), "a", all...); err != nil {
			t.Fatal(err)
		}
	}
}
