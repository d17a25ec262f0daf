package bolt

import (
	"container/heap"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// maxWindow is how far behind the first event that is not over a sink may go
// on: the position that is written lists what is over beyond it.
const maxWindow = 4096

// sink is how far one sink is, in memory. What must survive is in state.db.
type sink struct {
	name string
	// leasing is held by one Lease, which reads files under it; mu by whoever
	// looks at what follows, briefly.
	leasing sync.Mutex
	mu      sync.Mutex
	want    host.Filter
	paused  bool
	// next is the place in the log to go on from.
	next pos
	// window are the events taken from the log, in order, from the first one
	// on that is not over.
	window []*entry
	// skip are places at or after next that are not to be taken: an earlier
	// life of the process took them, and they are over or have a row.
	skip map[pos]struct{}
	// due holds every delivery that is not over, dead or being settled.
	due    deliveries
	leases map[uint64]*delivery
	rows   int // retries
	dead   int // dead letters
	drops  [][]byte
	dirty  bool // next, window or drops differ from what is written
}

// entry is an event in the window.
type entry struct {
	at pos
	// over: nothing holds the position here any more. settled: it will be, if
	// the transaction under way succeeds.
	over    bool
	settled bool
}

// delivery is an event that was leased at least once, or was redriven.
type delivery struct {
	pos      pos
	at       time.Time // when its lease ends, or its retry is due
	token    uint64    // zero: not leased
	attempts int
	first    time.Time
	event    *host.Event // while leased
	row      []byte      // key of its retry row, nil without one
	copied   bool        // the row has the event
	entry    *entry      // its place in the window, nil once that is over
	index    int         // in the heap
}

func newSink(name string) *sink {
	return &sink{name: name, skip: make(map[pos]struct{}), leases: make(map[uint64]*delivery)}
}

// restore takes up a retry of an earlier life.
func (k *sink) restore(d *delivery) {
	k.rows++
	heap.Push(&k.due, d)
}

// moveTo says that the log was looked at up to a place. mu is held.
func (k *sink) moveTo(next pos) {
	passed := false
	for at := range k.skip {
		if at.Before(next) {
			delete(k.skip, at)
			k.window = append(k.window, &entry{at: at, over: true})
			passed = true
		}
	}
	if passed {
		slices.SortFunc(k.window, func(a, b *entry) int { return compare(a.at, b.at) })
	}
	k.next = next
	k.shrink()
}

func compare(a, b pos) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}

// shrink forgets the beginning of the window that is over. mu is held.
func (k *sink) shrink() {
	n := 0
	for n < len(k.window) && k.window[n].over {
		n++
	}
	k.window = slices.Delete(k.window, 0, n)
	k.dirty = true
}

// finish says that a delivery is done. mu is held.
func (k *sink) finish(d *delivery) {
	if d.row != nil {
		k.drops = append(k.drops, d.row)
		k.rows--
	}
	k.leave(d)
}

// leave takes a delivery out of the window. mu is held.
func (k *sink) leave(d *delivery) {
	if d.entry != nil {
		d.entry.over = true
		d.entry = nil
	}
	k.shrink()
}

// flush is a position under way to the disk.
type flush struct {
	k        *sink
	position record.Position
	drops    [][]byte
}

// flush returns what is to be written of the sink, nil for nothing. What is
// settled in the transaction under way counts as over.
func (k *sink) flush() *flush {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.dirty {
		return nil
	}
	f := &flush{k: k, drops: k.drops, position: record.Position{Low: k.next}}
	k.drops, k.dirty = nil, false
	for i := len(k.window) - 1; i >= 0; i-- {
		if e := k.window[i]; e.over || e.settled {
			f.position.Above = append(f.position.Above, e.at)
		} else {
			f.position.Low = e.at
		}
	}
	f.position.Above = slices.AppendSeq(f.position.Above, maps.Keys(k.skip))
	f.position.Above = slices.DeleteFunc(f.position.Above, func(at pos) bool { return at.Before(f.position.Low) })
	slices.SortFunc(f.position.Above, compare)
	return f
}

// end says what became of the transaction.
func (f *flush) end(ok bool) {
	if ok {
		return
	}
	f.k.mu.Lock()
	defer f.k.mu.Unlock()
	f.k.drops = append(f.k.drops, f.drops...)
	f.k.dirty = true
}

// deliveries is a heap by time.
type deliveries []*delivery

func (h deliveries) Len() int           { return len(h) }
func (h deliveries) Less(i, j int) bool { return h.before(h[i], h[j]) }

func (h deliveries) before(a, b *delivery) bool {
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0
	}
	return a.pos.Before(b.pos)
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
	return d
}
