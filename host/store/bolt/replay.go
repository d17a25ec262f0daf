package bolt

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// Replay implements [host.Queue]. It waits for a Lease that has begun, and
// returns when the replay is durable.
func (s *Store) Replay(_ context.Context, name string, from, to host.Cursor) error {
	low, err := cursorPos(from)
	if err != nil {
		return fmt.Errorf("replay to %s: from: %w", name, err)
	}
	high, err := cursorPos(to)
	if err != nil {
		return fmt.Errorf("replay to %s: to: %w", name, err)
	}
	s.subs.Lock()
	defer s.subs.Unlock()
	k, err := s.mustSink(name)
	if err != nil {
		return err
	}
	// Nothing is leased before it is known that the replay will be there.
	k.leasing.Lock()
	defer k.leasing.Unlock()
	if end := (pos{Seq: s.last.Load() + 1}); to == "" || end.Before(high) {
		high = end
	}
	k.mu.Lock()
	old := k.replay
	if old != nil && !old.over() {
		k.mu.Unlock()
		return fmt.Errorf("replay to %s: %w", name, host.ErrBusy)
	}
	if !low.Before(high) {
		k.mu.Unlock()
		return nil // there is nothing in it
	}
	k.replays++
	number := uint64(k.replays)
	w := newWalk(k.replays, record.Position{Low: low})
	w.from, w.to = from, high
	k.replay, k.dirty = w, true
	k.mu.Unlock()
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error { return sinkBucket(tx, name).Put(keyReplays, seqKey(number)) },
		revert: func() {
			k.mu.Lock()
			k.replay = old
			k.mu.Unlock()
		},
	})
}

func cursorPos(c host.Cursor) (pos, error) {
	seq, index, err := c.At()
	return pos{Seq: seq, Index: index}, err
}

// StopReplay implements [host.Queue]. What is leased gets a row in the
// transaction that ends the replay; what was never leased is dropped.
func (s *Store) StopReplay(_ context.Context, name string) error {
	s.subs.Lock()
	defer s.subs.Unlock()
	k, err := s.mustSink(name)
	if err != nil {
		return err
	}
	k.leasing.Lock()
	defer k.leasing.Unlock()
	k.mu.Lock()
	w := k.replay
	if w == nil || w.over() {
		k.mu.Unlock()
		return nil
	}
	for d := range k.open {
		switch {
		case d.number != w.number:
		case d.fresh:
			k.finish(d)
		case d.entry != nil:
			k.parking = append(k.parking, d)
		}
	}
	k.replay, k.dirty = nil, true
	k.admit(w)
	k.mu.Unlock()
	return s.change(&change{})
}
