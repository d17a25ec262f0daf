package bolt

import (
	"cmp"
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// sink is how far one sink is, in memory. What must survive is in state.db.
type sink struct {
	name string
	// leasing is held by one Lease, which reads files under it; mu by whoever
	// looks at what follows, briefly.
	leasing sync.Mutex
	mu      sync.Mutex
	want    host.Filter
	order   host.Order
	paused  bool
	log     *walk
	replay  *walk  // nil without one
	replays uint32 // the number of the last replay
	turns   int    // how often a Lease was asked for, for the walks to take turns

	// open holds every delivery that is neither done nor dead; due those of
	// them that wait for nothing but their time.
	open   map[*delivery]struct{}
	due    deliveries
	tokens map[uint64]*delivery
	// lines holds the open deliveries by subject, nil without order; see
	// order.go.
	lines map[lineKey]*line
	// parking are deliveries that are to have a row instead of a place in their
	// walk's window.
	parking []*delivery
	rows    int // retries, and what is parked
	dead    int // dead letters
	drops   [][]byte
	dirty   bool // the walks, parking or drops differ from what is written
}

// delivery is an event that was taken from the log, or was redriven.
type delivery struct {
	pos      pos
	number   uint32    // of its walk
	at       time.Time // when its lease ends, or its retry is due
	token    uint64    // zero: not leased
	attempts int
	first    time.Time
	event    *host.Event // while leased
	row      []byte      // key of its row, nil without one
	copied   bool        // the row has the event
	walk     *walk       // that has its place in the window, nil once that is over
	entry    *entry      // its place there
	index    int         // in the heap; -1: it is not there
	line     lineKey
	lined    bool // line is known
	fresh    bool // parked, and never leased since
	moving   bool // on its way into a row
	over     bool // done or dead, or dropped
}

func newSink(name string) *sink {
	return &sink{
		name: name, log: newWalk(0, record.Position{}),
		open: make(map[*delivery]struct{}), tokens: make(map[uint64]*delivery),
	}
}

// walks are those that there are.
func (k *sink) walks() []*walk {
	if k.replay == nil {
		return []*walk{k.log}
	}
	return []*walk{k.log, k.replay}
}

// restore takes up a row of an earlier life.
func (k *sink) restore(d *delivery) {
	k.rows++
	k.enter(d)
}

// finish says that a delivery is done. mu is held.
func (k *sink) finish(d *delivery) {
	if d.row != nil {
		k.drops = append(k.drops, d.row)
		k.rows--
	}
	k.leave(d)
	k.exit(d)
}

// leave takes a delivery out of the window. mu is held.
func (k *sink) leave(d *delivery) {
	if d.entry != nil {
		d.entry.over, d.entry.d = true, nil
		d.walk.shrink()
		d.entry, d.walk = nil, nil
	}
	k.dirty = true
}

// unpin has what is under way in a full window parked, so that a delivery that
// takes long holds up nobody else. mu is held.
func (k *sink) unpin(w *walk) {
	for _, e := range w.window {
		if e.d != nil && !e.settled && !e.d.moving {
			k.parking, k.dirty = append(k.parking, e.d), true
		}
	}
}

// oldest is the lowest sequence that is needed from the log.
func (k *sink) oldest() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	needed := k.log.low().Seq
	if k.replay != nil {
		needed = min(needed, k.replay.low().Seq)
	}
	for d := range k.open {
		if !d.copied {
			needed = min(needed, d.pos.Seq)
		}
	}
	return needed
}

// oldestNeeded is the lowest sequence that a sink still needs from the log: for
// what it has not looked at, has not settled, or has in a row without a copy of
// the event. It blocks for one commit to state.db, so that nothing that is there
// after a crash needs more; zero when that fails.
//
// Invariant 4: what is below it is done, dead or was never wanted.
func (s *Store) oldestNeeded() uint64 {
	needed := s.last.Load() + 1
	s.sinksMu.RLock()
	for _, k := range s.sinks {
		needed = min(needed, k.oldest())
	}
	s.sinksMu.RUnlock()
	if err := s.change(&change{}); err != nil {
		return 0
	}
	return needed
}

// flush is what is under way to the disk of one sink.
type flush struct {
	k        *sink
	position record.Position
	replay   *record.Replay // nil: there is none
	drops    [][]byte
	parked   []parked
}

// parked is a delivery that gets a row.
type parked struct {
	d   *delivery
	key []byte
	row []byte
}

// flush returns what is to be written of the sink, nil for nothing.
func (k *sink) flush() *flush {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.dirty {
		return nil
	}
	f := &flush{k: k, drops: k.drops, parked: k.park()}
	k.drops, k.dirty = nil, false
	f.position, _ = k.log.position()
	if k.replay != nil && !k.replay.over() {
		f.replay = k.replay.replay()
	}
	return f
}

// park takes what is to get a row now. What is being settled in the transaction
// under way has one already, and may need it if that fails. mu is held.
func (k *sink) park() []parked {
	var out []parked
	var left []*delivery
	for _, d := range k.parking {
		switch {
		case d.over || d.row != nil || d.entry == nil:
		case d.entry.settled:
			left = append(left, d)
		default:
			d.entry.settled = true
			row := record.Row{Attempts: d.attempts, First: d.first, Parked: d.fresh, Line: d.line, Lined: d.lined}
			at := unstamp(stamp(d.at))
			if d.token != 0 {
				// The attempt under way counts once it is settled, and a lease does
				// not survive: it is due at once then.
				row.Attempts, at = row.Attempts-1, unstamp(stamp(d.first))
			}
			out = append(out, parked{d: d, key: rowKey(at, d.pos, d.number), row: row.Encode()})
		}
	}
	k.parking = left
	return out
}

// end says what became of the transaction.
func (f *flush) end(ok bool) {
	k := f.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if ok && f.replay == nil && k.replay != nil && k.replay.over() {
		k.replay = nil
	}
	for _, p := range f.parked {
		switch {
		case !ok && p.d.entry != nil:
			p.d.entry.settled = false
			k.parking = append(k.parking, p.d)
		case ok && p.d.over:
			k.drops, k.dirty = append(k.drops, p.key), true
		case ok:
			p.d.row = p.key
			k.rows++
			k.leave(p.d)
		}
	}
	if !ok {
		k.drops, k.dirty = append(k.drops, f.drops...), true
	}
}

// deliveries is a heap by time.
type deliveries []*delivery

func (h deliveries) Len() int           { return len(h) }
func (h deliveries) Less(i, j int) bool { return h.before(h[i], h[j]) }

func (h deliveries) before(a, b *delivery) bool {
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0
	}
	return byPlace(a, b) < 0
}

// byPlace orders deliveries by their place, those of one event by their walk.
func byPlace(a, b *delivery) int {
	if c := compare(a.pos, b.pos); c != 0 {
		return c
	}
	return cmp.Compare(a.number, b.number)
}

func (h deliveries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *deliveries) Push(x any) {
	d := x.(*delivery)
	d.index = len(*h)
	*h = append(*h, d)
}

// Pop implements [heap.Interface].
func (h *deliveries) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	d.index = -1
	return d
}

// unheap takes a delivery out of due. mu is held.
func (k *sink) unheap(d *delivery) {
	if d.index >= 0 {
		heap.Remove(&k.due, d.index)
	}
}

// insertSorted puts d in its place among others.
func insertSorted(all []*delivery, d *delivery) []*delivery {
	i, _ := slices.BinarySearchFunc(all, d, byPlace)
	return slices.Insert(all, i, d)
}
