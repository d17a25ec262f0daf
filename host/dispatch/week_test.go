package dispatch

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
)

// subscribed is a model with one sink in an order.
func subscribed(t *testing.T, sink string, order host.Order) *model {
	t.Helper()
	m := newModel(t)
	if err := m.Subscribe(t.Context(), sink, host.Subscription{From: host.FromOldest, Order: order}); err != nil {
		t.Fatal(err)
	}
	return m
}

// add stores the events in one record.
func (m *model) add(t *testing.T, evs ...host.Event) {
	t.Helper()
	rec := &host.Record{Kind: host.Accepted, Tenant: "t", Endpoint: "e", Events: evs}
	if _, err := m.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	m.events += len(evs)
}

// about is the i-th event of a test, of a subject.
func about(i int, subject string) host.Event {
	ev := event(i)
	ev.Subject = subject
	return ev
}

// number is the inverse of event.
func number(ev *host.Event) (n int) {
	_, _ = fmt.Sscanf(string(ev.Key[:]), "%d", &n)
	return n
}

// keepsTo plays a bucket of tokens and says when it had none left.
func keepsTo(r Rate, begun []time.Time) error {
	tokens, last := float64(r.Burst), time.Time{}
	for i, at := range begun {
		tokens = min(float64(r.Burst), tokens+r.PerSecond*at.Sub(last).Seconds()) - 1
		if last = at; tokens < -1e-3 {
			return fmt.Errorf("delivery %d at %v is %.3f too many for %v", i, at, -tokens, r)
		}
	}
	return nil
}

// week is seven days with an event every 20 minutes, and what two sinks made of
// it: how old each event was when they had it.
type week struct {
	well, slow map[string]time.Duration
}

// pastWeek runs it, with a sink that is dead the whole time or without.
func pastWeek(t *testing.T, alsoDead func(m *model) Route, after func(m *model, d *Dispatch)) (w week) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, "well", "slow")
		var mu sync.Mutex
		ages := func(into *map[string]time.Duration, takes func(id string) time.Duration) Route {
			*into = map[string]time.Duration{}
			return Route{Policy: Policy{Concurrency: 2}, Sink: each(func(_ context.Context, d host.Delivery) error {
				<-time.After(takes(d.Event.ID()))
				mu.Lock()
				defer mu.Unlock()
				(*into)[d.Event.ID()] = time.Since(d.Event.Received)
				return nil
			})}
		}
		well := ages(&w.well, func(string) time.Duration { return time.Millisecond })
		slow := ages(&w.slow, func(id string) time.Duration {
			h := fnv.New32a()
			_, _ = h.Write([]byte(id))
			return time.Duration(h.Sum32()%25+1) * time.Second
		})
		well.Name, slow.Name = "well", "slow"
		routes := []Route{well, slow}
		if alsoDead != nil {
			routes = append(routes, alsoDead(m))
		}
		d := New(m, quiet(), nil, routes...)
		stop := start(d)
		defer stop()
		for range 7 * 24 * 3 {
			m.put(t, 1)
			d.Wake()
			pass(20 * time.Minute)
		}
		if after != nil {
			after(m, d)
		}
	})
	return w
}

// TestInvariant4_sevenDaysOfADeadSink: nothing is lost, the other sinks do not
// notice, and what waited comes within the concurrency and the rate.
func TestInvariant4_sevenDaysOfADeadSink(t *testing.T) {
	t.Parallel()
	const events, limit = 7 * 24 * 3, 3
	rate := Rate{PerSecond: 2, Burst: 5}
	var mu sync.Mutex
	var tried, got taken
	var back atomic.Bool
	now, most := 0, 0
	dead := func(m *model) Route {
		if err := m.Subscribe(t.Context(), "dead", host.Subscription{From: host.FromOldest}); err != nil {
			t.Fatal(err)
		}
		return Route{
			Name: "dead", Policy: Policy{Concurrency: limit, Rate: rate, Breaker: Breaker{Failures: 5, OpenFor: 5 * time.Minute}},
			Sink: each(func(_ context.Context, d host.Delivery) error {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				defer func() { mu.Lock(); now--; mu.Unlock() }()
				tried.add(d)
				<-time.After(2 * time.Second)
				if !back.Load() {
					return errDown
				}
				got.add(d)
				return nil
			}),
		}
	}
	after := func(m *model, d *Dispatch) {
		if n, letters := m.open(t, "dead"), m.dead(t, "dead"); n != events || len(letters) != 0 {
			t.Errorf("after seven days %d are open and %d dead, want all %d open", n, len(letters), events)
		}
		back.Store(true)
		mu.Lock()
		most = 0
		mu.Unlock()
		// The longest wait of a retry, and the rate for all of them.
		pass(time.Hour + 5*time.Minute + events/2*time.Second)
		if distinct, total := got.count(); distinct != events || total != events {
			t.Errorf("%d events in %d deliveries once it is back, want %d in %d", distinct, total, events, events)
		}
		if n, letters := m.open(t, "dead"), m.dead(t, "dead"); n != 0 || len(letters) != 0 {
			t.Errorf("%d are open and %d dead in the end, want none", n, len(letters))
		}
		mu.Lock()
		if most != limit {
			t.Errorf("at most %d at a time while it was drained, want %d", most, limit)
		}
		mu.Unlock()
		if err := keepsTo(rate, tried.attempts()); err != nil {
			t.Error(err)
		}
		if got := d.Conditions()[2]; got != (Condition{Sink: "dead", Breaker: BreakerClosed}) {
			t.Errorf("condition in the end: %+v", got)
		}
	}
	beside := pastWeek(t, dead, after)
	alone := pastWeek(t, nil, nil)
	if len(alone.well) != events || len(alone.slow) != events {
		t.Fatalf("the other sinks took %d and %d of %d events", len(alone.well), len(alone.slow), events)
	}
	if diff := cmp.Diff(alone, beside, cmp.AllowUnexported(week{})); diff != "" {
		t.Errorf("ages of the other sinks' events beside the dead one (-alone +beside):\n%s", diff)
	}
}

// TestInvariant4_poison has 1,000 of 100,000 events that the sink never takes,
// half of them refused for good, and as many that it takes at the second attempt.
// Of each hundred the i-th and the i+50th have one subject.
func TestInvariant4_poison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 100_000
		refused := func(i int) bool { return i%200 == 50 }
		failing := func(i int) bool { return i%200 == 100 }
		m := subscribed(t, "s", host.OrderSubject)
		for i := 0; i < n; i += 1000 {
			var evs []host.Event
			for j := i; j < i+1000; j++ {
				evs = append(evs, about(j, fmt.Sprint(j/100, "-", j%50)))
			}
			m.add(t, evs...)
		}
		var mu sync.Mutex
		got, last, attempts := map[int]bool{}, map[string]int{}, map[int]int{}
		now, most := 0, 0
		d := New(m, quiet(), nil, Route{
			Name: "s", Policy: Policy{Concurrency: 16, Breaker: Breaker{Failures: 5}, Retry: Backoff{Max: 10 * time.Minute, Over: time.Hour}},
			Sink: each(func(_ context.Context, d host.Delivery) error {
				i := number(&d.Event)
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				<-time.After(time.Duration(1+i%7) * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				now--
				if attempts[i]++; attempts[i] != d.Attempt {
					t.Errorf("event %d: attempt %d, want %d", i, d.Attempt, attempts[i])
				}
				switch {
				case refused(i):
					return host.Permanent(host.WithAnswer(errors.New("never"), "no such account"))
				case failing(i), i%100 == 7 && d.Attempt == 1:
					return errDown
				}
				if before, ok := last[d.Event.Subject]; ok && before >= i {
					t.Errorf("subject %s: event %d after %d", d.Event.Subject, i, before)
				}
				got[i], last[d.Event.Subject] = true, i
				return nil
			}),
		})
		stop := start(d)
		defer stop()
		pass(6 * time.Hour)
		mu.Lock()
		defer mu.Unlock()
		letters, _, err := m.DeadLetters(t.Context(), "s", "", n)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != n-1000 || len(letters) != 1000 || m.open(t, "s") != 0 {
			t.Errorf("%d delivered, %d dead, %d open, want %d, 1000 and none", len(got), len(letters), m.open(t, "s"), n-1000)
		}
		for _, l := range letters {
			reason, answer := "still failing 1h0m0s after the first attempt: the other side is down", ""
			if refused(number(&l.Event)) {
				reason, answer = "never", "no such account"
			}
			if l.Reason != reason || l.Answer != answer {
				t.Fatalf("event %d: reason %q, answer %q, want %q, %q", number(&l.Event), l.Reason, l.Answer, reason, answer)
			}
		}
		if most != 16 {
			t.Errorf("at most %d at a time, want 16", most)
		}
	})
}

func TestOrder_failingSubjectHoldsBackItselfAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := subscribed(t, "s", host.OrderSubject)
		var evs []host.Event
		for i := range 60 {
			evs = append(evs, about(i, []string{"bad", "a", "b"}[i%3]))
		}
		m.add(t, evs...)
		begun, down := time.Now(), 5*time.Hour
		var mu sync.Mutex
		order, at := map[string][]int{}, map[string]time.Time{}
		d := New(m, quiet(), nil, Route{Name: "s", Policy: Policy{Concurrency: 16}, Sink: each(func(_ context.Context, d host.Delivery) error {
			<-time.After(time.Second)
			if d.Event.Subject == "bad" && time.Since(begun) < down {
				return errDown
			}
			mu.Lock()
			defer mu.Unlock()
			order[d.Event.Subject] = append(order[d.Event.Subject], number(&d.Event))
			at[d.Event.Subject] = time.Now()
			return nil
		})})
		stop := start(d)
		defer stop()
		pass(down + time.Hour + time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for i, subject := range []string{"bad", "a", "b"} {
			if got := order[subject]; len(got) != 20 || got[0] != i || !slices.IsSorted(got) {
				t.Errorf("subject %s in the order %v", subject, got)
			}
			if done := at[subject].Sub(begun); subject != "bad" && done != 20*time.Second {
				t.Errorf("subject %s was done after %v, want 20s", subject, done)
			}
		}
	})
}

func TestDispatch_pausedUntilResumed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := subscribed(t, "s", host.OrderNone)
		var got taken
		d := New(m, quiet(), nil, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
			<-time.After(time.Second)
			got.add(d)
			return nil
		})})
		stop := start(d)
		defer stop()
		m.put(t, 4)
		d.Wake()
		synctest.Wait()
		if err := m.Pause(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		for range 48 {
			m.put(t, 1)
			d.Wake()
			pass(time.Hour)
		}
		if distinct, _ := got.count(); distinct != 4 {
			t.Errorf("%d delivered, want the 4 that were under way at the pause", distinct)
		}
		if err := m.Resume(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		d.Wake()
		pass(12 * time.Second) // 48 by 4 at a time
		if distinct, total := got.count(); distinct != 52 || total != 52 {
			t.Errorf("%d events in %d deliveries after the resume, want 52 in 52", distinct, total)
		}
	})
}

func TestDispatch_replayBesideNewEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		m := subscribed(t, "s", host.OrderNone)
		var got taken
		var mu sync.Mutex
		age := map[int]time.Duration{}
		d := New(m, quiet(), nil, Route{Name: "s", Policy: Policy{Concurrency: 1}, Sink: each(func(_ context.Context, d host.Delivery) error {
			<-time.After(time.Second)
			got.add(d)
			mu.Lock()
			defer mu.Unlock()
			age[number(&d.Event)] = time.Since(d.Event.Received)
			return nil
		})})
		stop := start(d)
		defer stop()
		m.put(t, n)
		d.Wake()
		pass(time.Hour)
		if err := m.Replay(t.Context(), "s", "", ""); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			m.put(t, 1)
			d.Wake()
			pass(5 * time.Second)
		}
		mu.Lock()
		for i := n; i < n+10; i++ {
			if age[i] == 0 || age[i] > 5*time.Second {
				t.Errorf("event %d came %v after it was new, beside a replay of %d", i, age[i], n)
			}
		}
		mu.Unlock()
		pass(time.Hour)
		want := map[int]int{1: 10, 2: n}
		have := map[int]int{}
		for _, at := range got.at {
			have[len(at)]++
		}
		if !maps.Equal(have, want) {
			t.Errorf("events by how often they came: %v, want %v", have, want)
		}
	})
}

// TestDispatch_endsWhileItWaits: what a rate, a breaker or a pause holds back
// does not hold up the end.
func TestDispatch_endsWhileItWaits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy Policy
		err    error
	}{
		"rate":    {Policy{Rate: Rate{PerSecond: 0.001, Burst: 1}}, nil},
		"breaker": {Policy{Breaker: Breaker{Failures: 1, OpenFor: time.Hour}, Concurrency: 1}, errDown},
		"asked":   {Policy{Concurrency: 1}, host.RetryAfter(errDown, time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, "s")
				m.put(t, 10)
				var got taken
				d := New(m, quiet(), nil, Route{Name: "s", Policy: tc.policy, Sink: each(func(_ context.Context, d host.Delivery) error {
					got.add(d)
					return tc.err
				})})
				stop := start(d)
				pass(time.Minute)
				begun := time.Now()
				stop()
				if took := time.Since(begun); took != 0 {
					t.Errorf("it ended after %v", took)
				}
				if _, total := got.count(); total != 1 {
					t.Errorf("%d attempts, want 1", total)
				}
				if lag, err := m.Lag(t.Context(), "s"); err != nil || lag.Leased != 0 {
					t.Errorf("lag = %+v, %v, want nothing leased", lag, err)
				}
			})
		})
	}
}

// forgetful loses settlements.
type forgetful struct {
	*mem.Store
	lose func() bool
}

func (q forgetful) Settle(ctx context.Context, sink string, s ...host.Settlement) error {
	if q.lose() {
		return errDown
	}
	return q.Store.Settle(ctx, sink, s...)
}

// TestInvariant5_atLeastOnce has a sink that does everything wrong, and a queue
// that loses settlements, by the numbers of a seed.
func TestInvariant5_atLeastOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { atLeastOnce(t, seed) })
		})
	}
}

func atLeastOnce(t *testing.T, seed uint64) {
	const n = 200
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 0))
	draw := func(n int) int { mu.Lock(); defer mu.Unlock(); return r.IntN(n) }
	var healed atomic.Bool
	order := []host.Order{host.OrderNone, host.OrderSubject}[seed%2]
	m := subscribed(t, "s", order)
	seen, attempts := map[string]host.Event{}, map[string]int{}
	taken := map[string]bool{}
	sink := sinkFunc(func(ctx context.Context, batch []host.Delivery) []error {
		mu.Lock()
		for _, d := range batch {
			id := d.Event.ID()
			if first, ok := seen[id]; ok && !cmp.Equal(first, d.Event) {
				t.Errorf("event %s changed:\n%s", id, cmp.Diff(first, d.Event))
			}
			seen[id] = d.Event
			if d.Attempt <= attempts[id] {
				t.Errorf("event %s: attempt %d after %d", id, d.Attempt, attempts[id])
			}
			attempts[id] = d.Attempt
		}
		mu.Unlock()
		<-time.After(time.Duration(draw(2000)) * time.Millisecond)
		errs := make([]error, len(batch))
		if !healed.Load() {
			switch draw(8) {
			case 0:
				panic("seed")
			case 1:
				<-ctx.Done()
			case 2:
				<-time.After(time.Minute) // beyond its deadline and the lease
			case 3:
				return make([]error, len(batch)+1)
			case 4, 5:
				for i := range errs {
					errs[i] = []error{nil, errDown, host.RetryAfter(errDown, time.Minute)}[draw(3)]
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for i, d := range batch {
			taken[d.Event.ID()] = taken[d.Event.ID()] || errs[i] == nil
		}
		return errs
	})
	d := New(forgetful{m.Store, func() bool { return !healed.Load() && draw(10) == 0 }}, quiet(), nil, Route{Name: "s", Sink: sink, Policy: Policy{
		Concurrency: 1 + draw(8), Batch: 1 + draw(4), Timeout: 10 * time.Second,
		Rate: Rate{PerSecond: float64(draw(20))}, Breaker: Breaker{Failures: draw(6)},
	}})
	stop := start(d)
	defer stop()
	for i := range n {
		m.add(t, about(i, strings.Repeat("x", draw(20))))
		d.Wake()
		pass(time.Duration(draw(60)) * time.Second)
	}
	healed.Store(true)
	pass(2 * day)
	mu.Lock()
	defer mu.Unlock()
	for id := range seen {
		if !taken[id] {
			t.Errorf("event %s was tried and never taken", id)
		}
	}
	lag, err := m.Lag(context.Background(), "s")
	if err != nil || len(seen) != n || lag.Records+uint64(lag.Leased+lag.Retrying+lag.Parked+lag.Dead) != 0 {
		t.Errorf("%d of %d events seen, lag %+v (%v)", len(seen), n, lag, err)
	}
}
