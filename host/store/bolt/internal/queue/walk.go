package queue

import (
	"maps"
	"slices"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// walk is a sink's way through the log: through what is new, or a replay. The
// sink's mu is held to look at it.
type walk struct {
	// number tells apart deliveries of one event: zero for what is new, then a
	// replay's, which no other replay of the sink has.
	number uint32
	// next is the place in the log to go on from.
	next Pos
	// window are the events taken from the log, in order, from the first one
	// on that is not over.
	window []*entry
	// skip are places at or after next that are not to be taken: an earlier
	// life of the process took them, and they are over or have a row.
	skip map[Pos]struct{}
	// early are deliveries of places at or after next that have a row of an
	// earlier life; see Sink.ahead.
	early []*delivery
	// stuck is the line that was full where the walk stands.
	stuck *line

	// The bounds of a replay, and how many events it took.
	from  host.Cursor
	to    Pos
	taken uint64
}

// entry is an event in the window.
type entry struct {
	at Pos
	d  *delivery // nil for one of an earlier life
	// over: nothing holds the position here any more. settled: it will be, if
	// the transaction under way succeeds.
	over    bool
	settled bool
}

func newWalk(number uint32, p record.Position) *walk {
	w := &walk{number: number, next: p.Low, skip: make(map[Pos]struct{})}
	for _, at := range p.Above {
		w.skip[at] = struct{}{}
	}
	return w
}

// ended reports whether a replay has looked at all of its range.
func (w *walk) ended() bool { return w.number != 0 && !w.next.Before(w.to) }

// over reports whether nothing of a replay's range is needed any more.
func (w *walk) over() bool { return w.ended() && len(w.window) == 0 }

// low is the first place that is not over.
func (w *walk) low() Pos {
	if len(w.window) > 0 {
		return w.window[0].at
	}
	return w.next
}

// moveTo says that the log was looked at up to a place.
func (w *walk) moveTo(next Pos) {
	passed := false
	for at := range w.skip {
		if at.Before(next) {
			delete(w.skip, at)
			w.window = append(w.window, &entry{at: at, over: true})
			passed = true
		}
	}
	if passed {
		slices.SortFunc(w.window, func(a, b *entry) int { return compare(a.at, b.at) })
	}
	w.next = next
	w.shrink()
}

// shrink forgets the beginning of the window that is over.
func (w *walk) shrink() {
	n := 0
	for n < len(w.window) && w.window[n].over {
		n++
	}
	w.window = slices.Delete(w.window, 0, n)
}

// position is what is to be written of the walk, and how many of the window
// will be taken again after a crash. What is settled in the transaction under
// way counts as over.
func (w *walk) position() (p record.Position, again uint64) {
	p.Low = w.next
	for i := len(w.window) - 1; i >= 0; i-- {
		if e := w.window[i]; e.over || e.settled {
			p.Above = append(p.Above, e.at)
		} else {
			p.Low = e.at
			again++
		}
	}
	p.Above = slices.AppendSeq(p.Above, maps.Keys(w.skip))
	p.Above = slices.DeleteFunc(p.Above, func(at Pos) bool { return at.Before(p.Low) })
	slices.SortFunc(p.Above, compare)
	return p, again
}

// replay is what is to be written of a replay.
func (w *walk) replay() *record.Replay {
	p, again := w.position()
	return &record.Replay{Number: w.number, From: string(w.from), To: w.to, Taken: w.taken - again, Position: p}
}

func compare(a, b Pos) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}
