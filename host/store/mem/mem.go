// Package mem keeps events in memory. It is the model of a store: the smallest
// thing that keeps the contract of [host.Store] but for durability, for tests
// of what stands on a store and for measuring without a disk.
package mem

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/postern/postern/host"
)

// The bounds when Options name none.
const (
	defaultMaxKept = 10_000
	defaultMaxRing = 1_000
)

// Options of a store. The zero value is usable.
type Options struct {
	// Now is the clock of leases and retries; nil means time.Now.
	Now func() time.Time
	// MaxKept is how many kept and held callbacks are taken before KeptFull; zero
	// means 10,000.
	MaxKept int
	// MaxRing is how many refused callbacks of one endpoint and reason are held
	// before the oldest goes; zero means 1,000.
	MaxRing int
}

// Store implements [host.Store] without files. Nothing survives it. It is safe
// for concurrent use; every call holds one lock. Timeline and Search answer
// [host.ErrUnsupported].
type Store struct {
	host.Unsupported

	mu      sync.Mutex
	now     func() time.Time
	maxKept int
	records []record // sequence 1 is records[0]
	seen    map[host.Hash]place
	kept    map[uint64]bool // sequences of what is kept or held and was not dropped
	maxRing int
	refused []host.Rejected // the oldest first
	put     uint64          // how many were put so far
	sinks   map[string]*sink
	token   uint64
	failed  chan struct{}
}

var _ host.Store = (*Store)(nil)

// record is a stored callback with the disposition of each of its parts.
type record struct {
	host.Record

	events []host.Disposition
	aside  []host.Disposition
}

// place is where the event or the item set aside with some key is.
type place struct {
	seq     uint64
	index   int // -1 for an item set aside
	content host.Content
}

// New makes an empty store.
func New(o Options) *Store {
	s := &Store{
		now:     o.Now,
		maxKept: o.MaxKept,
		maxRing: o.MaxRing,
		kept:    make(map[uint64]bool),
		seen:    make(map[host.Hash]place),
		sinks:   make(map[string]*sink),
		// Tokens of another store must not fit this one.
		token:  rand.Uint64(), //nolint:gosec // it tells leases apart and guards nothing
		failed: make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.maxKept == 0 {
		s.maxKept = defaultMaxKept
	}
	if s.maxRing == 0 {
		s.maxRing = defaultMaxRing
	}
	return s
}

// Append implements [host.Appender].
func (s *Store) Append(ctx context.Context, rec *host.Record) (host.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return host.Receipt{}, host.Errorf(host.StoreFull, "append: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	full := rec.Kind.Waits() && len(s.kept) >= s.maxKept
	if full && (rec.Kind == host.Kept || s.heldNew(rec)) {
		return host.Receipt{}, host.Errorf(host.KeptFull, "append: %d callbacks are kept or held already", len(s.kept))
	}
	r := record{Record: copyRecord(rec)}
	seq := uint64(len(s.records)) + 1
	anew := rec.Kind == host.Ignored || rec.Kind == host.Kept
	if rec.Kind == host.Held {
		anew = s.hold(&r, seq)
	} else {
		anew = s.judge(&r, seq) || anew
	}
	if !anew {
		return host.Receipt{Events: copyOf(r.events), Aside: copyOf(r.aside)}, nil
	}
	if rec.Kind.Waits() {
		s.kept[seq] = true
	}
	s.records = append(s.records, r)
	return host.Receipt{Seq: seq, Events: copyOf(r.events), Aside: copyOf(r.aside)}, nil
}

// judge fills the dispositions and remembers what is new, and reports whether
// anything is.
func (s *Store) judge(r *record, seq uint64) bool {
	anew := false
	for i := range r.Events {
		ev := &r.Events[i]
		d := s.disposition(ev)
		ev.Conflict = d == host.Conflicted
		if d != host.Duplicate {
			anew = true
			key := ev.Key
			if ev.Conflict {
				key = ev.ConflictKey
			}
			s.seen[key] = place{seq: seq, index: i, content: ev.Content}
		}
		r.events = append(r.events, d)
	}
	for i := range r.Aside {
		key, d := r.Aside[i].Key, host.SetAside
		if _, ok := s.seen[key]; ok {
			d = host.Duplicate
		} else {
			anew = true
			s.seen[key] = place{seq: seq, index: -1}
		}
		r.aside = append(r.aside, d)
	}
	return anew
}

// heldNew reports whether a record of kind Held is to be stored.
func (s *Store) heldNew(r *host.Record) bool {
	if _, ok := s.seen[r.Aside[0].Key]; ok {
		return false
	}
	anew := len(r.Events) == 0 && len(r.Aside) == 1
	for i := range r.Events {
		anew = anew || s.disposition(&r.Events[i]) != host.Duplicate
	}
	for i := range r.Aside[1:] {
		_, ok := s.seen[r.Aside[1+i].Key]
		anew = anew || !ok
	}
	return anew
}

// hold is judge for a record of kind Held.
func (s *Store) hold(r *record, seq uint64) bool {
	anew, events, aside := s.heldNew(&r.Record), host.Duplicate, host.Duplicate
	if anew {
		events, aside = host.Withheld, host.SetAside
		s.seen[r.Aside[0].Key] = place{seq: seq, index: -1}
	}
	for range r.Events {
		r.events = append(r.events, events)
	}
	for range r.Aside {
		r.aside = append(r.aside, aside)
		aside = events
	}
	return anew
}

// disposition judges one event by its key, its content and, for a conflict,
// the key of the conflict.
//
// Invariant 3: a conflict is stored once for each key and content.
func (s *Store) disposition(ev *host.Event) host.Disposition {
	first, ok := s.seen[ev.Key]
	if !ok {
		return host.Stored
	}
	if first.content == ev.Content {
		return host.Duplicate
	}
	if _, ok := s.seen[ev.ConflictKey]; ok {
		return host.Duplicate
	}
	return host.Conflicted
}

// Status implements [host.Store].
func (s *Store) Status(context.Context) (host.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := host.Status{Engine: "mem", Quarantined: len(s.refused)}
	for seq := range s.kept {
		if s.records[seq-1].Kind == host.Held {
			st.Held++
		} else {
			st.Kept++
		}
	}
	if len(s.records) > 0 {
		st.Segments, st.Oldest = 1, s.records[0].Callback.Received
	}
	return st, nil
}

// Failed implements [host.Store]; memory does not fail.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Close implements [host.Store].
func (s *Store) Close() error { return nil }
