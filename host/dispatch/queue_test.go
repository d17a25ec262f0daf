package dispatch

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
)

// engine is a queue with what the tests need to fill it and to look into it.
type engine interface {
	Queue
	// put makes n new events due for every sink.
	put(t *testing.T, n int)
	dead(t *testing.T, sink string) []host.DeadLetter
	// open is how many deliveries are neither done nor dead.
	open(t *testing.T, sink string) int
}

// onEveryEngine runs one body over each queue.
func onEveryEngine(t *testing.T, body func(t *testing.T, open func(sinks ...string) engine)) {
	t.Run("fake", func(t *testing.T) {
		body(t, func(sinks ...string) engine { return newFake(sinks...) })
	})
	t.Run("mem", func(t *testing.T) {
		body(t, func(sinks ...string) engine { return newModel(t, sinks...) })
	})
}

// event is the i-th event of a test; its subject tells it from the others.
func event(i int) host.Event {
	ev := host.Event{
		Type: "payment.succeeded", Source: "/t/e", Subject: fmt.Sprint(i), Tenant: "t", Endpoint: "e",
		Provider: "p", VerifiedBy: host.HMACSHA256, Covers: host.CoversBody,
		Time: time.Now(), Received: time.Now(), Data: []byte(`{}`),
	}
	copy(ev.Key[:], fmt.Sprintf("%016d", i))
	return ev
}

// model is the store in memory as an engine.
type model struct {
	*mem.Store

	mu     sync.Mutex
	events int
	done   map[string]int
}

func newModel(t *testing.T, sinks ...string) *model {
	t.Helper()
	m := &model{Store: mem.New(mem.Options{}), done: map[string]int{}}
	for _, s := range sinks {
		if err := m.Subscribe(context.Background(), s, host.Subscription{From: host.FromOldest}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *model) put(t *testing.T, n int) {
	t.Helper()
	for range n {
		rec := &host.Record{Kind: host.Accepted, Tenant: "t", Endpoint: "e", Events: []host.Event{event(m.events)}}
		if _, err := m.Append(context.Background(), rec); err != nil {
			t.Fatal(err)
		}
		m.events++
	}
}

func (m *model) dead(t *testing.T, sink string) []host.DeadLetter {
	t.Helper()
	letters, _, err := m.DeadLetters(context.Background(), sink, "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return letters
}

// Settle counts what is done, which the store forgets.
func (m *model) Settle(ctx context.Context, sink string, ss ...host.Settlement) error {
	err := m.Store.Settle(ctx, sink, ss...)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range ss {
		if s.Outcome == host.Done && err == nil {
			m.done[sink]++
		}
	}
	return err
}

// open is exact, where the store's own lag is an upper bound.
func (m *model) open(t *testing.T, sink string) int {
	t.Helper()
	dead := len(m.dead(t, sink))
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events - dead - m.done[sink]
}

// fake is a queue in memory, with hooks that stand before its methods.
type fake struct {
	mu     sync.Mutex
	tokens uint64
	events int
	rows   map[string][]*row

	leases   int
	onLease  func() error
	onSettle func(ctx context.Context) error
}

type row struct {
	host.Delivery
	due     time.Time
	leased  bool
	outcome host.Outcome
	reason  string
	answer  string
	died    time.Time
}

func newFake(sinks ...string) *fake {
	f := &fake{rows: map[string][]*row{}}
	for _, s := range sinks {
		f.rows[s] = nil
	}
	return f
}

func (f *fake) Lease(ctx context.Context, sink string, n int, ttl time.Duration) (host.Leased, error) {
	if f.onLease != nil {
		if err := f.onLease(); err != nil {
			return host.Leased{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases++
	if err := ctx.Err(); err != nil {
		return host.Leased{}, err
	}
	var out host.Leased
	now := time.Now()
	for _, r := range f.rows[sink] {
		if r.outcome == host.Done || r.outcome == host.Dead {
			continue
		}
		if !r.due.After(now) && len(out.Deliveries) < n {
			f.tokens++
			r.Token, r.leased, r.due = f.tokens, true, now.Add(ttl)
			r.Attempt++
			if r.First.IsZero() {
				r.First = now
			}
			out.Deliveries = append(out.Deliveries, r.Delivery)
		}
		if out.Next.IsZero() || r.due.Before(out.Next) {
			out.Next = r.due
		}
	}
	return out, nil
}

func (f *fake) Settle(ctx context.Context, sink string, ss ...host.Settlement) error {
	if f.onSettle != nil {
		if err := f.onSettle(ctx); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for _, s := range ss {
		for _, r := range f.rows[sink] {
			if !r.leased || r.Token != s.Token || !now.Before(r.due) {
				continue
			}
			r.leased, r.outcome, r.reason, r.answer, r.due, r.died = false, s.Outcome, s.Reason, s.Answer, s.At, now
		}
	}
	return nil
}

// reasons returns the outcome and the reason of every row, "retry: …".
func (f *fake) reasons(sink string) (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rows[sink] {
		out = append(out, r.outcome.String()+": "+r.reason)
	}
	return out
}

func (f *fake) put(_ *testing.T, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		for sink := range f.rows {
			r := &row{due: time.Now()}
			r.Sink, r.Event = sink, event(f.events)
			f.rows[sink] = append(f.rows[sink], r)
		}
		f.events++
	}
}

func (f *fake) dead(_ *testing.T, sink string) (out []host.DeadLetter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rows[sink] {
		if r.outcome == host.Dead {
			out = append(out, host.DeadLetter{
				Sink: sink, Event: r.Event, Attempts: r.Attempt,
				First: r.First, Died: r.died, Reason: r.reason, Answer: r.answer,
			})
		}
	}
	return out
}

func (f *fake) open(_ *testing.T, sink string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rows[sink] {
		if r.outcome != host.Done && r.outcome != host.Dead {
			n++
		}
	}
	return n
}
