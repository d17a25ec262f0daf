package queue

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/host"
)

const (
	// leaveFor is how long an event that cannot be read is left alone.
	leaveFor = time.Minute
	// parkShare of the window is how much a Lease parks before it has it written.
	parkShare = 4
)

// Files is the store that a sink is leased from.
type Files interface {
	// Last is the last sequence of the log.
	Last() uint64
	// Scan reads the log from a place on: up to n events that want lets through.
	Scan(at Pos, n int, want *host.Filter) (Found, error)
	// Event reads the event at a place, Copy the one that a row has.
	Event(at Pos) (*host.Event, error)
	Copy(row []byte) (*host.Event, error)
	// Lost reports whether an event is lost that could not be read, a while ago
	// neither if again. Its delivery is dropped then.
	Lost(err error, again bool) bool
	// Token makes the token of a lease; none is zero, and none comes twice.
	Token() uint64
	// Flush has what there is to flush written, and waits for it; FlushSoon does
	// not wait.
	Flush() error
	FlushSoon()
}

// Found is what a Scan found.
type Found struct {
	Events []Located
	// Next is where to go on, End that there is nothing more now.
	Next Pos
	End  bool
}

// Located is an event with its place.
type Located struct {
	At    Pos
	Event *host.Event
}

// Ask is what a Lease asks for: up to N deliveries of up to about Bytes of data
// together, for TTL from Now on.
type Ask struct {
	N, Bytes int
	Now      time.Time
	TTL      time.Duration
}

// Lease implements the role of [host.Queue] for one sink. Leasing is held. An
// error comes with what was leased in spite of it.
func (k *Sink) Lease(ctx context.Context, s Files, a Ask) (host.Leased, error) {
	k.mu.Lock()
	ready, paused, where := k.want.Ready(), k.paused, k.want.Where
	k.mu.Unlock()
	if !ready {
		return host.Leased{}, fmt.Errorf("the expression %q is not compiled", where)
	}
	if paused {
		return host.Leased{}, nil
	}
	l := &leasing{s: s, k: k, now: a.Now, ttl: a.TTL, room: a.N, bytes: a.Bytes}
	l.arrange()
	// Where the walk came up to rows of an earlier life, they are due after it.
	err := errors.Join(l.due(), l.walk(ctx), l.due())
	return host.Leased{Deliveries: l.out, Next: l.next()}, err
}

// leasing is one Lease under way.
type leasing struct {
	s     Files
	k     *Sink
	now   time.Time
	ttl   time.Duration
	room  int
	bytes int
	out   []host.Delivery
}

func (l *leasing) more() bool { return l.room > 0 && l.bytes > 0 }

// due leases what has fallen due: retries, and deliveries whose lease has
// ended. What cannot be read is left alone for a while, so that it does not
// hold up the rest; what is lost is dropped.
func (l *leasing) due() (failed error) {
	for l.more() {
		d := l.pop()
		if d == nil {
			return failed
		}
		ev, err := d.event, error(nil)
		if ev == nil {
			ev, err = l.read(d)
		}
		l.k.mu.Lock()
		switch {
		case err != nil && l.s.Lost(err, d.unread):
			l.k.finish(d)
		case err != nil:
			failed = err
			d.at, d.unread = l.now.Add(leaveFor), true
			l.k.ready(d)
		case l.k.waits(d):
			l.k.ready(d)
		default:
			d.event, d.unread = ev, false
			l.lease(d)
		}
		l.k.mu.Unlock()
	}
	return failed
}

// read reads the event of a delivery: from its row if that has it, else from the
// log.
func (l *leasing) read(d *delivery) (*host.Event, error) {
	if d.copied {
		return l.s.Copy(d.row)
	}
	return l.s.Event(d.pos)
}

// pop takes the next due delivery out of the heap and ends its lease.
//
// Invariant 5: what was leased and not settled comes back, and the token that
// it was leased under counts no longer.
func (l *leasing) pop() *delivery {
	k := l.k
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.due) > 0 && !k.due[0].at.After(l.now) {
		d := heap.Pop(&k.due).(*delivery)
		delete(k.tokens, d.token)
		d.token = 0
		// An earlier one may have come after it was leased, or the order.
		if !k.waits(d) {
			return d
		}
		k.ready(d)
	}
	return nil
}

// lease gives out a delivery whose event was read. mu is held.
func (l *leasing) lease(d *delivery) {
	d.token = l.s.Token()
	d.attempts++
	if d.attempts == 1 {
		d.first = l.now
	}
	d.at, d.fresh = l.now.Add(l.ttl), false
	l.k.tokens[d.token] = d
	heap.Push(&l.k.due, d)
	l.room--
	l.bytes -= len(d.event.Data)
	l.out = append(l.out, host.Delivery{
		Token: d.token, Sink: l.k.Name, Event: *d.event, Attempt: d.attempts, First: d.first,
	})
}

// walk leases events that the sink has not seen, and those of a replay: the two
// share the room, and neither waits for the other's end.
func (l *leasing) walk(ctx context.Context) error {
	k := l.k
	k.mu.Lock()
	walks := k.walks()
	if k.turns++; k.turns%2 == 0 {
		slices.Reverse(walks)
	}
	k.mu.Unlock()
	for l.more() && len(walks) > 0 {
		share := (l.room + len(walks) - 1) / len(walks)
		var left []*walk
		for _, w := range walks {
			if !l.more() {
				break
			}
			end, err := l.log(ctx, w, min(share, l.room))
			if err != nil {
				return err
			}
			if !end {
				left = append(left, w)
			}
		}
		walks = left
	}
	return nil
}

// log leases from one read of the log, and reports whether there is nothing more
// for this walk now.
func (l *leasing) log(ctx context.Context, w *walk, room int) (end bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	k := l.k
	k.mu.Lock()
	bound := k.bounds.Window
	if len(w.window) >= bound {
		k.unpin(w)
	}
	if len(k.parking) > bound/parkShare || (len(k.parking) > 0 && len(w.window) >= bound) {
		k.mu.Unlock()
		// What is parked leaves the window only once it has a row.
		if err := l.s.Flush(); err != nil {
			return false, err
		}
		k.mu.Lock()
	}
	at, want := w.next, k.want
	n, on := min(room, bound-len(w.window)), l.on(w)
	k.mu.Unlock()
	if !on || n <= 0 {
		return true, nil
	}
	found, err := l.s.Scan(at, n, &want)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	stopped := l.take(w, &found)
	if w.next != at {
		k.admit(w)
		k.dirty = true
		l.s.FlushSoon()
	}
	return found.End || stopped, nil
}

// take leases what was found, parks what waits for an earlier one of its
// subject, and moves the walk on. It reports whether a full line stops the walk.
// mu is held.
//
// Invariant 6: a subject that fails holds up nothing but itself, and neither the
// position nor the window: what is parked has a row.
func (l *leasing) take(w *walk, found *Found) (stopped bool) {
	k := l.k
	next := found.Next
	for _, at := range found.Events {
		if w.number != 0 && !at.At.Before(w.to) {
			break
		}
		if _, seen := w.skip[at.At]; seen {
			continue
		}
		d := &delivery{pos: at.At, number: w.number, event: at.Event}
		if k.lines != nil {
			d.know(d.event)
			if full := k.lines[d.line]; full.full(k.bounds.Line) {
				next, stopped, w.stuck = d.pos, true, full
				break
			}
		}
		e := &entry{at: d.pos, d: d}
		w.window = append(w.window, e)
		w.taken++
		w.next = Pos{Seq: d.pos.Seq, Index: d.pos.Index + 1}
		d.walk, d.entry = w, e
		if k.insert(d); !k.waits(d) {
			l.lease(d)
			continue
		}
		d.at, d.fresh, d.event = l.now, true, nil
		k.parking = append(k.parking, d)
	}
	if w.number != 0 && w.to.Before(next) {
		next = w.to
	}
	w.moveTo(next)
	return stopped
}

// on reports whether there is something for a walk that may be taken now. mu is
// held.
//
// Back-pressure: a sink that fails or hangs stops being given new events instead
// of filling memory and state.db.
func (l *leasing) on(w *walk) bool {
	b := &l.k.bounds
	return w.next.Seq <= l.s.Last() && !w.ended() && l.k.rows < b.Rows && !w.stuck.full(b.Line)
}

// next is when to lease again.
func (l *leasing) next() time.Time {
	k := l.k
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.walks() {
		if l.on(w) {
			return l.now
		}
	}
	if len(k.due) == 0 {
		return time.Time{}
	}
	return k.due[0].at
}
