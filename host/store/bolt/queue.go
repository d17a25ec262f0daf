package bolt

import (
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// leaveFor is how long an event that cannot be read is left alone.
const leaveFor = time.Minute

// Subscribe implements [host.Queue]. It returns when the sink is durable. A
// changed filter counts for what was not looked at yet.
func (s *Store) Subscribe(_ context.Context, name string, sub host.Subscription) error {
	if name == "" || len(name) > bbolt.MaxKeySize {
		return fmt.Errorf("subscribe: a sink's name has 1 to %d bytes, not %d", bbolt.MaxKeySize, len(name))
	}
	s.subs.Lock()
	defer s.subs.Unlock()
	filter, err := json.Marshal(&sub.Filter)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", name, err)
	}
	own := sub.Filter.Clone()
	if k := s.sink(name); k != nil {
		return s.change(&change{
			apply: func(tx *bbolt.Tx) error { return sinkBucket(tx, name).Put(keyFilter, filter) },
			commit: func() {
				k.mu.Lock()
				k.want = own
				k.mu.Unlock()
			},
		})
	}
	k := newSink(name)
	k.want = own
	if s.cursors != "" {
		sub.From = s.cursors
	}
	switch sub.From {
	case host.FromNow:
		k.next = pos{Seq: s.last.Load() + 1}
	case host.FromOldest:
	default:
		return fmt.Errorf("subscribe %s: no such start %q", name, sub.From)
	}
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error { return createSink(tx, k, filter) },
		commit: func() {
			s.sinksMu.Lock()
			s.sinks[name] = k
			s.sinksMu.Unlock()
		},
	})
}

func createSink(tx *bbolt.Tx, k *sink, filter []byte) error {
	b, err := tx.Bucket(bucketSinks).CreateBucketIfNotExists([]byte(k.name))
	if err != nil {
		return err
	}
	for _, name := range [][]byte{bucketRetries, bucketDead} {
		if _, err := b.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	position := record.Position{Low: k.next}
	return errors.Join(b.Put(keyFilter, filter), b.Put(keyPosition, position.Encode()))
}

// Unsubscribe implements [host.Queue].
func (s *Store) Unsubscribe(_ context.Context, name string) error {
	s.subs.Lock()
	defer s.subs.Unlock()
	if s.sink(name) == nil {
		return nil
	}
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error {
			return tx.Bucket(bucketSinks).DeleteBucket([]byte(name))
		},
		commit: func() {
			s.sinksMu.Lock()
			delete(s.sinks, name)
			s.sinksMu.Unlock()
		},
	})
}

// Sinks implements [host.Queue].
func (s *Store) Sinks(context.Context) ([]string, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	s.sinksMu.RLock()
	defer s.sinksMu.RUnlock()
	return slices.Sorted(maps.Keys(s.sinks)), nil
}

// Pause implements [host.Queue]. It waits for a Lease that has begun.
func (s *Store) Pause(_ context.Context, name string) error { return s.pause(name, true) }

// Resume implements [host.Queue].
func (s *Store) Resume(_ context.Context, name string) error { return s.pause(name, false) }

func (s *Store) pause(name string, paused bool) error {
	s.subs.Lock()
	defer s.subs.Unlock()
	k, err := s.mustSink(name)
	if err != nil {
		return err
	}
	k.leasing.Lock()
	defer k.leasing.Unlock()
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error {
			b := sinkBucket(tx, name)
			if !paused {
				return b.Delete(keyPaused)
			}
			return b.Put(keyPaused, []byte{1})
		},
		commit: func() {
			k.mu.Lock()
			k.paused = paused
			k.mu.Unlock()
		},
	})
}

// sink returns a sink, nil if it is not subscribed.
func (s *Store) sink(name string) *sink {
	s.sinksMu.RLock()
	defer s.sinksMu.RUnlock()
	return s.sinks[name]
}

func (s *Store) mustSink(name string) (*sink, error) {
	if err := s.broken(); err != nil {
		return nil, err
	}
	if k := s.sink(name); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("sink %s: %w", name, host.ErrNotFound)
}

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
	l := &leasing{s: s, k: k, now: s.options.Now(), ttl: ttl, room: min(n, maxRead), bytes: maxReadBytes}
	failed := l.due()
	for end := false; l.more() && !end; {
		if end, err = l.log(ctx); err != nil {
			failed = errors.Join(failed, err)
			break
		}
	}
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
				d.at = l.now.Add(leaveFor)
				l.push(d)
				continue
			}
			d.event = ev
		}
		l.k.mu.Lock()
		l.lease(d)
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
	if len(k.due) == 0 || k.due[0].at.After(l.now) {
		return nil
	}
	d := heap.Pop(&k.due).(*delivery)
	delete(k.leases, d.token)
	d.token = 0
	return d
}

func (l *leasing) push(d *delivery) {
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	heap.Push(&l.k.due, d)
}

// lease gives out a delivery whose event was read. mu is held.
func (l *leasing) lease(d *delivery) {
	d.token = l.s.token.Add(1)
	d.attempts++
	if d.attempts == 1 {
		d.first = l.now
	}
	d.at = l.now.Add(l.ttl)
	l.k.leases[d.token] = d
	heap.Push(&l.k.due, d)
	l.room--
	l.bytes -= len(d.event.Data)
	l.out = append(l.out, host.Delivery{
		Token: d.token, Sink: l.k.name, Event: *d.event, Attempt: d.attempts, First: d.first,
	})
}

// log leases events that the sink has not seen, from one read of the log, and
// reports whether there is nothing more for it now.
func (l *leasing) log(ctx context.Context) (end bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	k := l.k
	k.mu.Lock()
	at, want := k.next, k.want
	// Back-pressure: a sink that fails or hangs stops being given new events
	// instead of filling memory and state.db.
	n, held := min(l.room, maxWindow-len(k.window)), l.held()
	k.mu.Unlock()
	if held {
		return true, nil
	}
	c, err := l.s.scan(at, n, &want)
	if err != nil {
		return false, err
	}
	l.s.pass(c.damage)
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range c.events {
		found := &c.events[i]
		if _, seen := k.skip[found.at]; seen {
			continue
		}
		e := &entry{at: found.at}
		k.window = append(k.window, e)
		l.lease(&delivery{pos: found.at, event: &found.event, entry: e})
	}
	if c.next != at {
		k.moveTo(c.next)
		l.s.flushSoon()
	}
	return c.end, nil
}

// held reports whether the sink gets nothing new for now. mu is held.
func (l *leasing) held() bool {
	return len(l.k.window) >= maxWindow || l.k.rows >= l.s.options.MaxRetries
}

// next is when to lease again.
func (l *leasing) next() time.Time {
	k := l.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next.Seq <= l.s.last.Load() && !l.held() {
		return l.now
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

// move is a delivery on its way into a row.
type move struct {
	d    *delivery
	dead bool
	at   time.Time
	key  []byte
	row  []byte
}

// Settle implements [host.Queue].
func (s *Store) Settle(_ context.Context, name string, all ...host.Settlement) error {
	if err := s.broken(); err != nil {
		return err
	}
	k := s.sink(name)
	if k == nil {
		return nil
	}
	moves := k.settle(s.options.Now(), all)
	if len(moves) == 0 {
		s.flushSoon()
		return nil
	}
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error {
			if s.sink(name) != k {
				return nil // unsubscribed since, and perhaps another of that name
			}
			return k.putMoves(tx, moves)
		},
		commit: func() { k.endMoves(moves) },
		revert: func() { k.revertMoves(moves) },
	})
}

// settle ends the leases. It returns what must become a row, which then
// belongs to the caller.
func (k *sink) settle(now time.Time, all []host.Settlement) []*move {
	k.mu.Lock()
	defer k.mu.Unlock()
	var moves []*move
	for _, st := range all {
		d := k.leases[st.Token]
		// Invariant 5: a late settle is ignored, also when nobody has leased
		// the event again yet.
		if d == nil || !now.Before(d.at) {
			continue
		}
		delete(k.leases, st.Token)
		heap.Remove(&k.due, d.index)
		d.token = 0
		if st.Outcome == host.Done {
			k.finish(d)
			continue
		}
		moves = append(moves, newMove(d, st, now))
	}
	return moves
}

func newMove(d *delivery, st host.Settlement, now time.Time) *move {
	m := &move{d: d, at: unstamp(stamp(st.At))}
	row := record.Row{Attempts: d.attempts, First: d.first, Reason: bounded(st.Reason), Answer: bounded(st.Answer)}
	if d.copied {
		row.Event = d.event
	}
	if st.Outcome == host.Dead {
		// A dead letter has its own copy: it may outlive the segment.
		m.dead, m.at, row.Event = true, unstamp(stamp(now)), d.event
	}
	m.key, m.row = rowKey(m.at, d.pos), row.Encode()
	return m
}

func bounded(s string) string { return s[:min(len(s), host.MaxReason)] }

func (k *sink) putMoves(tx *bbolt.Tx, moves []*move) error {
	b := sinkBucket(tx, k.name)
	if b == nil {
		return nil // unsubscribed since
	}
	retries, dead := b.Bucket(bucketRetries), b.Bucket(bucketDead)
	for _, m := range moves {
		if m.d.row != nil {
			if err := retries.Delete(m.d.row); err != nil {
				return err
			}
		}
		to := retries
		if m.dead {
			to = dead
		}
		if err := to.Put(m.key, m.row); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		if m.d.entry != nil {
			m.d.entry.settled = true
			k.dirty = true
		}
	}
	return nil
}

// endMoves says that the rows are durable.
func (k *sink) endMoves(moves []*move) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		d := m.d
		k.leave(d)
		if d.row != nil {
			k.rows--
		}
		if m.dead {
			k.dead++
			continue
		}
		d.row, d.at, d.event = m.key, m.at, nil
		k.rows++
		heap.Push(&k.due, d)
	}
}

// revertMoves says that the rows were not written: the deliveries come back when
// their leases would have ended, so that a full disk makes no sink be called in
// a loop.
func (k *sink) revertMoves(moves []*move) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		if m.d.entry != nil {
			m.d.entry.settled = false
		}
		heap.Push(&k.due, m.d)
	}
}

// Lag implements [host.Queue].
func (s *Store) Lag(_ context.Context, name string) (host.Lag, error) {
	k, err := s.mustSink(name)
	if err != nil {
		return host.Lag{}, err
	}
	now := s.options.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	lag := host.Lag{Dead: k.dead, Paused: k.paused}
	if last := s.last.Load(); k.next.Seq <= last {
		lag.Records = last - max(k.next.Seq, s.segments()[0].first) + 1
	}
	for _, d := range k.due {
		if d.token != 0 && d.at.After(now) {
			lag.Leased++
		} else {
			lag.Retrying++
		}
	}
	return lag, nil
}
