package bolt

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

const (
	// leaveFor is how long an event that cannot be read is left alone.
	leaveFor = time.Minute
	// parkShare of the window is how much a Lease parks before it has it written.
	parkShare = 4
)

// Lease implements [host.Queue]. It returns at most 256 deliveries of about
// 1 MiB together; when there is more, Next is not after now.
func (s *Store) Lease(ctx context.Context, name string, n int, ttl time.Duration) (host.Leased, error) {
	k, err := s.mustSink(name)
	if err != nil {
		return host.Leased{}, err
	}
	k.leasing.Lock()
	defer k.leasing.Unlock()
	if paused, err := k.mayLease(); paused || err != nil {
		return host.Leased{}, err
	}
	s.arrange(k)
	l := &leasing{s: s, k: k, now: s.options.Now(), ttl: ttl, room: min(n, maxRead), bytes: maxReadBytes}
	failed := errors.Join(l.due(), l.walk(ctx))
	if failed != nil && len(l.out) == 0 {
		return host.Leased{}, fmt.Errorf("lease for %s: %w", name, failed)
	}
	return host.Leased{Deliveries: l.out, Next: l.next()}, nil
}

// mayLease reports whether the sink is paused, or why nothing can be leased to it.
func (k *sink) mayLease() (paused bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.want.Ready() {
		err = fmt.Errorf("lease for %s: the expression %q is not compiled", k.name, k.want.Where)
	}
	return k.paused, err
}

// leasing is one Lease under way.
type leasing struct {
	s     *Store
	k     *sink
	now   time.Time
	ttl   time.Duration
	room  int
	bytes int
	out   []host.Delivery
}

func (l *leasing) more() bool { return l.room > 0 && l.bytes > 0 }

// due leases what has fallen due: retries, and deliveries whose lease has
// ended. What cannot be read is left alone for a while, so that it does not
// hold up the rest.
func (l *leasing) due() (failed error) {
	for l.more() {
		d := l.pop()
		if d == nil {
			return failed
		}
		if d.event == nil {
			ev, err := l.s.deliveryEvent(l.k, d)
			if err != nil {
				failed = err
				l.leave(d)
				continue
			}
			d.event = ev
		}
		l.k.mu.Lock()
		if l.k.waits(d) {
			l.k.ready(d)
		} else {
			l.lease(d)
		}
		l.k.mu.Unlock()
	}
	return failed
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

// leave has a delivery that cannot be read left alone for a while.
func (l *leasing) leave(d *delivery) {
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	d.at = l.now.Add(leaveFor)
	l.k.ready(d)
}

// lease gives out a delivery whose event was read. mu is held.
func (l *leasing) lease(d *delivery) {
	d.token = l.s.token.Add(1)
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
		Token: d.token, Sink: l.k.name, Event: *d.event, Attempt: d.attempts, First: d.first,
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
	bound := l.s.options.maxWindow
	if len(w.window) >= bound {
		k.unpin(w)
	}
	if len(k.parking) > bound/parkShare || (len(k.parking) > 0 && len(w.window) >= bound) {
		k.mu.Unlock()
		// What is parked leaves the window only once it has a row.
		if err := l.s.change(&change{}); err != nil {
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
	c, err := l.s.scan(at, n, &want)
	if err != nil {
		return false, err
	}
	l.s.pass(c.damage)
	k.mu.Lock()
	defer k.mu.Unlock()
	stopped := l.take(w, &c)
	if w.next != at {
		k.admit(w)
		k.dirty = true
		l.s.flushSoon()
	}
	return c.end || stopped, nil
}

// take leases what was found, parks what waits for an earlier one of its
// subject, and moves the walk on. It reports whether a full line stops the walk.
// mu is held.
//
// Invariant 6: a subject that fails holds up nothing but itself, and neither the
// position nor the window: what is parked has a row.
func (l *leasing) take(w *walk, c *chunk) (stopped bool) {
	k := l.k
	next := c.next
	for i := range c.events {
		found := &c.events[i]
		if w.number != 0 && !found.at.Before(w.to) {
			break
		}
		if _, seen := w.skip[found.at]; seen {
			continue
		}
		d := &delivery{pos: found.at, number: w.number, event: &found.event}
		if k.lines != nil {
			d.know(d.event)
			if full := k.lines[d.line]; full.full(l.s.options.maxParked) {
				next, stopped, w.stuck = d.pos, true, full
				break
			}
		}
		e := &entry{at: d.pos, d: d}
		w.window = append(w.window, e)
		w.taken++
		w.next = pos{Seq: d.pos.Seq, Index: d.pos.Index + 1}
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
	return w.next.Seq <= l.s.last.Load() && !w.ended() &&
		l.k.rows < l.s.options.MaxRetries && !w.stuck.full(l.s.options.maxParked)
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

// deliveryEvent reads the event of a delivery: from its row if that has it,
// else from the log.
func (s *Store) deliveryEvent(k *sink, d *delivery) (*host.Event, error) {
	if !d.copied {
		return s.event(d.pos)
	}
	var ev *host.Event
	err := s.viewState(func(tx *bbolt.Tx) error {
		b := sinkBucket(tx, k.name)
		if b == nil {
			return host.ErrNotFound
		}
		row, err := record.ParseRow(b.Bucket(bucketRetries).Get(d.row))
		if err != nil {
			return err
		}
		if ev = row.Event; ev == nil {
			return host.ErrNotFound
		}
		return nil
	})
	return ev, err
}
