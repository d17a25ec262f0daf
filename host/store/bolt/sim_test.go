package bolt

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest"
)

// fate is where an event of the simulation is, for the model.
type fate uint8

const (
	waiting fate = iota // never leased, or leased and not settled
	retried             // durably: it comes back as a further attempt
	done                // comes back only after a kill
	maybe               // done before a kill
	dead
	over // discarded, or done before a close
)

// held is a lease of the simulation.
type held struct {
	token uint64
	until time.Time
}

// simulation runs one sink against a model that knows only what every call
// promises.
type simulation struct {
	t      *testing.T
	s      *Store
	dir    string
	now    time.Time
	r      *rand.Rand
	fates  map[string]fate
	leases map[string]held // by event
	events int
}

// TestInvariant4_everyEventIsDoneOrDead appends, leases, settles in any order
// and late, redrives, discards, closes and kills at random.
func TestInvariant4_everyEventIsDoneOrDead(t *testing.T) {
	for seed := range uint64(8) {
		m := &simulation{
			t: t, dir: t.TempDir(), now: time.Unix(1e9, 0), r: rand.New(rand.NewPCG(seed, 1)),
			fates: make(map[string]fate), leases: make(map[string]held),
		}
		m.open()
		if err := m.s.Subscribe(t.Context(), "a", host.Subscription{Filter: host.Filter{Tenants: []string{"acme"}}, From: host.FromOldest}); err != nil {
			t.Fatal(err)
		}
		for range 250 {
			m.step()
		}
		m.drain()
		closeStore(t, m.s)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (m *simulation) open() {
	m.s = open(m.t, m.dir, Options{Now: func() time.Time { return m.now }, MaxRetries: 30})
	// No lease survives.
	clear(m.leases)
}

func (m *simulation) step() {
	switch n := m.r.IntN(100); {
	case n < 30:
		m.append()
	case n < 55:
		m.lease(1 + m.r.IntN(6))
	case n < 85:
		m.settle()
	case n < 90:
		m.now = m.now.Add(time.Duration(m.r.IntN(90)) * time.Second)
	case n < 94:
		m.move(m.s.Redrive, waiting)
	case n < 96:
		m.move(m.s.Discard, over)
	case n < 98:
		kill(m.t, m.s)
		m.ended(maybe)
		m.open()
	default:
		closeStore(m.t, m.s)
		m.ended(over)
		m.open()
	}
}

// ended says what became of what was done.
func (m *simulation) ended(to fate) {
	for id, f := range m.fates {
		if f == done {
			m.fates[id] = to
		}
	}
}

func (m *simulation) append() {
	var events []host.Event
	for range 1 + m.r.IntN(3) {
		ev := storetest.SampleEvent(m.events, 0)
		if m.r.IntN(3) == 0 {
			ev.Tenant = "globex" // not asked for
		} else {
			m.fates[ev.ID()] = waiting
		}
		events = append(events, ev)
		m.events++
	}
	if _, err := m.s.Append(m.t.Context(), storetest.SampleRecord(m.events, events...)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *simulation) lease(n int) int {
	l, err := m.s.Lease(m.t.Context(), "a", n, time.Minute)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, d := range l.Deliveries {
		id := d.Event.ID()
		switch f, known := m.fates[id]; {
		case !known && d.Event.Tenant == "acme", f == done, f == dead, f == over:
			m.t.Errorf("event %s was delivered with fate %d", d.Event.Subject, f)
		case f == retried && d.Attempt < 2:
			m.t.Errorf("event %s came back from a retry as new", d.Event.Subject)
		}
		if m.fates[id] == maybe {
			m.fates[id] = waiting
		}
		if l, ok := m.leases[id]; ok && m.now.Before(l.until) {
			m.t.Errorf("event %s is leased twice", d.Event.Subject)
		}
		m.leases[id] = held{d.Token, m.now.Add(time.Minute)}
	}
	return len(l.Deliveries)
}

func (m *simulation) settle() {
	for id, l := range m.leases {
		st := host.Settlement{Token: l.token, Outcome: host.Outcome(1 + m.r.IntN(3))}
		st.At = m.now.Add(time.Duration(m.r.IntN(100)) * time.Second)
		if err := m.s.Settle(m.t.Context(), "a", st); err != nil {
			m.t.Fatal(err)
		}
		delete(m.leases, id)
		if m.now.Before(l.until) {
			m.fates[id] = map[host.Outcome]fate{host.Done: done, host.Again: retried, host.Dead: dead}[st.Outcome]
		}
		if m.r.IntN(3) > 0 {
			return
		}
	}
}

// move redrives or discards one dead letter, or all.
func (m *simulation) move(do func(ctx context.Context, sink string, ids ...string) (int, error), to fate) {
	var ids []string
	want := 0
	all := m.r.IntN(4) == 0
	for id, f := range m.fates {
		if f == dead && (all || want == 0) {
			want++
			m.fates[id] = to
			ids = append(ids, id)
		}
	}
	if want == 0 {
		return
	}
	if all {
		ids = nil
	}
	if got, err := do(m.t.Context(), "a", ids...); got != want || err != nil {
		m.t.Errorf("moved %d dead letters, %v, want %d", got, err, want)
	}
}

// drain does what is left and compares.
func (m *simulation) drain() {
	for range 50 {
		m.now = m.now.Add(2 * time.Minute)
		for m.lease(100) > 0 {
			for id, l := range m.leases {
				if err := m.s.Settle(m.t.Context(), "a", host.Settlement{Token: l.token, Outcome: host.Done}); err != nil {
					m.t.Fatal(err)
				}
				m.fates[id] = done
			}
			clear(m.leases)
		}
	}
	letters := 0
	for id, f := range m.fates {
		switch f {
		case dead:
			letters++
		case waiting, retried:
			m.t.Errorf("event %s is neither done nor dead", id)
		case done, maybe, over:
		}
	}
	if got, err := m.s.Lag(m.t.Context(), "a"); err != nil || got != (host.Lag{Dead: letters}) {
		m.t.Errorf("lag %+v, %v, want %d dead and nothing else", got, err, letters)
	}
}
