// Package queue is what the bolt store knows in memory of a sink: how far it is,
// what is under way to it, and what waits for what. It touches no file: it says
// what is to be written, and is told what became of that.
package queue

import (
	"sync"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// Pos is the place of an event in the log.
type Pos = record.Pos

// Bounds of a sink; none may be zero.
type Bounds struct {
	// Window is how far behind the first event that is not over a walk may go
	// on: the position that is written lists what is over beyond it.
	Window int
	// Rows is how many deliveries may have a row before nothing new is taken.
	Rows int
	// Line is how many deliveries of one subject may be open. At that the walk
	// stops in front of the next one: everything that comes after is held up
	// too, until the subject has moved on.
	Line int
}

// Sink is how far one sink is. It is safe for concurrent use.
type Sink struct {
	// Name is the sink's.
	Name string
	// Leasing is held by one Lease, and by whoever must not have one beside it.
	Leasing sync.Mutex

	bounds  Bounds
	mu      sync.Mutex // held to look at what follows, briefly
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
	// lines holds the open deliveries by subject, nil without order.
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
	pos      Pos
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
	unread   bool // its event could not be read the last time
	over     bool // done or dead, or dropped
}

// New makes a sink that goes on from a position.
func New(name string, b Bounds, at record.Position) *Sink {
	return &Sink{
		Name: name, bounds: b, log: newWalk(0, at),
		open: make(map[*delivery]struct{}), tokens: make(map[uint64]*delivery),
	}
}

// Restore takes up a row of an earlier life.
func (k *Sink) Restore(key []byte, r *record.Row) error {
	due, at, number, err := ParseKey(key)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rows++
	k.enter(&delivery{
		pos: at, number: number, at: due, attempts: r.Attempts, first: r.First,
		row: append([]byte(nil), key...), copied: r.Event != nil, line: r.Line, lined: r.Lined, fresh: r.Parked,
	})
	return nil
}

// RestoreReplays takes up how many replays there were in earlier lives, and the
// one under way, nil for none. It is called before [Sink.Restore].
func (k *Sink) RestoreReplays(n uint32, r *record.Replay) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.replays = n
	if r == nil {
		return
	}
	w := newWalk(r.Number, r.Position)
	w.from, w.to, w.taken = host.Cursor(r.From), r.To, r.Taken
	k.replay, k.replays = w, max(n, r.Number)
}

// Want says what the sink wants from the next Lease on. It keeps the filter.
func (k *Sink) Want(f host.Filter, o host.Order) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.want, k.order = f, o
}

// Pause says whether the sink is paused.
func (k *Sink) Pause(paused bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.paused = paused
}

// Letters counts dead letters that come or, below zero, go.
func (k *Sink) Letters(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead += n
}

// Dead is how many dead letters there are.
func (k *Sink) Dead() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}

// Next is the place in the log that the sink has looked at up to.
func (k *Sink) Next() Pos {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.next
}

// walks are those that there are.
func (k *Sink) walks() []*walk {
	if k.replay == nil {
		return []*walk{k.log}
	}
	return []*walk{k.log, k.replay}
}

// finish says that a delivery is done. mu is held.
func (k *Sink) finish(d *delivery) {
	if d.row != nil {
		k.drops = append(k.drops, d.row)
		k.rows--
	}
	k.leave(d)
	k.exit(d)
}

// leave takes a delivery out of the window. mu is held.
func (k *Sink) leave(d *delivery) {
	if d.entry != nil {
		d.entry.over, d.entry.d = true, nil
		d.walk.shrink()
		d.entry, d.walk = nil, nil
	}
	k.dirty = true
}

// Oldest is the lowest sequence that the sink needs from the log: for what it has
// not looked at, has not settled, or has in a row without a copy of the event.
func (k *Sink) Oldest() uint64 {
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

// Lag reports how far the sink is behind, in a log from the record first to last.
func (k *Sink) Lag(now time.Time, first, last uint64) host.Lag {
	k.mu.Lock()
	defer k.mu.Unlock()
	lag := host.Lag{Dead: k.dead, Paused: k.paused}
	if k.log.next.Seq <= last {
		lag.Records = last - max(k.log.next.Seq, first) + 1
	}
	for d := range k.open {
		switch {
		case d.fresh:
			lag.Parked++
		case d.token != 0 && d.at.After(now):
			lag.Leased++
		default:
			lag.Retrying++
		}
	}
	if w := k.replay; w != nil && !w.over() {
		lag.Replay = &host.Replay{From: w.from, To: cursor(w.to), At: cursor(w.next), Taken: w.taken}
	}
	return lag
}

func cursor(at Pos) host.Cursor { return host.CursorAt(at.Seq, at.Index) }
