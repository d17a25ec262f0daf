package bolt

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

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
		d := k.tokens[st.Token]
		// Invariant 5: a late settle is ignored, also when nobody has leased
		// the event again yet.
		if d == nil || !now.Before(d.at) {
			continue
		}
		delete(k.tokens, st.Token)
		k.unheap(d)
		d.token = 0
		if st.Outcome == host.Done {
			k.finish(d)
			continue
		}
		d.moving = true
		moves = append(moves, newMove(d, st, now))
	}
	return moves
}

func newMove(d *delivery, st host.Settlement, now time.Time) *move {
	m := &move{d: d, at: unstamp(stamp(st.At))}
	d.know(d.event)
	row := record.Row{
		Attempts: d.attempts, First: d.first, Reason: bounded(st.Reason), Answer: bounded(st.Answer),
		Line: d.line, Lined: true,
	}
	if d.copied {
		row.Event = d.event
	}
	if st.Outcome == host.Dead {
		// A dead letter has its own copy: it may outlive the segment.
		m.dead, m.at, row.Event = true, unstamp(stamp(now)), d.event
	}
	m.key, m.row = rowKey(m.at, d.pos, d.number), row.Encode()
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
		d.moving = false
		if d.row != nil {
			k.rows--
		}
		if m.dead {
			k.dead++
			k.exit(d)
			continue
		}
		d.row, d.at, d.event = m.key, m.at, nil
		k.rows++
		k.ready(d)
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
		m.d.moving = false
		k.ready(m.d)
	}
}
