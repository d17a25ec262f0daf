package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/queue"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// Subscribe implements [host.Queue]. It returns when the sink is durable. A
// changed filter counts for what was not looked at yet.
func (s *Store) Subscribe(_ context.Context, name string, sub host.Subscription) error {
	if name == "" || len(name) > bbolt.MaxKeySize {
		return fmt.Errorf("subscribe: a sink's name has 1 to %d bytes, not %d", bbolt.MaxKeySize, len(name))
	}
	switch sub.Order {
	case "", host.OrderNone, host.OrderSubject:
	default:
		return fmt.Errorf("subscribe %s: no such order %q", name, sub.Order)
	}
	s.subs.Lock()
	defer s.subs.Unlock()
	filter, err := json.Marshal(&sub.Filter)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", name, err)
	}
	k := s.sink(name)
	own := sub.Filter.Clone()
	if k != nil {
		return s.change(&change{
			apply:  func(tx *bbolt.Tx) error { return putWanted(sinkBucket(tx, name), filter, sub.Order) },
			commit: func() { k.Want(own, sub.Order) },
		})
	}
	if s.cursors != "" {
		sub.From = s.cursors
	}
	var position record.Position
	switch sub.From {
	case host.FromNow:
		position.Low.Seq = s.last.Load() + 1
	case host.FromOldest:
	default:
		return fmt.Errorf("subscribe %s: no such start %q", name, sub.From)
	}
	k = s.newSink(name, position)
	k.Want(own, sub.Order)
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error { return createSink(tx, name, filter, sub.Order, position) },
		commit: func() {
			s.sinksMu.Lock()
			s.sinks[name] = k
			s.sinksMu.Unlock()
		},
	})
}

func (s *Store) newSink(name string, at record.Position) *queue.Sink {
	o := &s.options
	return queue.New(name, queue.Bounds{Window: o.maxWindow, Rows: o.MaxRetries, Line: o.maxParked}, at)
}

func createSink(tx *bbolt.Tx, name string, filter []byte, order host.Order, at record.Position) error {
	b, err := tx.Bucket(bucketSinks).CreateBucketIfNotExists([]byte(name))
	if err != nil {
		return err
	}
	for _, name := range [][]byte{bucketRetries, bucketDead} {
		if _, err := b.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return errors.Join(putWanted(b, filter, order), b.Put(keyPosition, at.Encode()))
}

func putWanted(b *bbolt.Bucket, filter []byte, order host.Order) error {
	return errors.Join(b.Put(keyFilter, filter), b.Put(keyOrder, []byte(order)))
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
	k.Leasing.Lock()
	defer k.Leasing.Unlock()
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error {
			b := sinkBucket(tx, name)
			if !paused {
				return b.Delete(keyPaused)
			}
			return b.Put(keyPaused, []byte{1})
		},
		commit: func() { k.Pause(paused) },
	})
}

// sink returns a sink, nil if it is not subscribed.
func (s *Store) sink(name string) *queue.Sink {
	s.sinksMu.RLock()
	defer s.sinksMu.RUnlock()
	return s.sinks[name]
}

func (s *Store) mustSink(name string) (*queue.Sink, error) {
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
	k.Leasing.Lock()
	defer k.Leasing.Unlock()
	ask := queue.Ask{N: min(n, maxRead), Bytes: maxReadBytes, Now: s.options.Now(), TTL: ttl}
	l, err := k.Lease(ctx, &sinkFiles{s: s, sink: name}, ask)
	if err != nil && len(l.Deliveries) == 0 {
		return host.Leased{}, fmt.Errorf("lease for %s: %w", name, err)
	}
	return l, nil
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
	moves := k.Settle(s.options.Now(), all)
	if len(moves) == 0 {
		s.flushSoon()
		return nil
	}
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error {
			if s.sink(name) != k {
				return nil // unsubscribed since, and perhaps another of that name
			}
			k.Begin(moves)
			return putMoves(tx, name, moves)
		},
		commit: func() { k.End(moves) },
		revert: func() { k.Revert(moves) },
	})
}

func putMoves(tx *bbolt.Tx, name string, moves []*queue.Move) error {
	b := sinkBucket(tx, name)
	if b == nil {
		return nil // unsubscribed since
	}
	retries, dead := b.Bucket(bucketRetries), b.Bucket(bucketDead)
	for _, m := range moves {
		if m.Old != nil {
			if err := retries.Delete(m.Old); err != nil {
				return err
			}
		}
		to := retries
		if m.Dead {
			to = dead
		}
		if err := to.Put(m.Key, m.Row); err != nil {
			return err
		}
	}
	return nil
}

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
	k.Leasing.Lock()
	defer k.Leasing.Unlock()
	if end := (pos{Seq: s.last.Load() + 1}); to == "" || end.Before(high) {
		high = end
	}
	number, back, err := k.StartReplay(from, low, high)
	switch {
	case err != nil:
		return fmt.Errorf("replay to %s: %w", name, err)
	case number == 0:
		return nil
	}
	return s.change(&change{
		apply: func(tx *bbolt.Tx) error {
			return sinkBucket(tx, name).Put(keyReplays, disk.Number(uint64(number)))
		},
		revert: back,
	})
}

func cursorPos(c host.Cursor) (pos, error) {
	seq, index, err := c.At()
	return pos{Seq: seq, Index: index}, err
}

// StopReplay implements [host.Queue]. What was leased before the store was opened
// counts as never leased.
func (s *Store) StopReplay(_ context.Context, name string) error {
	s.subs.Lock()
	defer s.subs.Unlock()
	k, err := s.mustSink(name)
	if err != nil {
		return err
	}
	k.Leasing.Lock()
	defer k.Leasing.Unlock()
	if !k.StopReplay() {
		return nil
	}
	return s.change(&change{})
}

// Lag implements [host.Queue].
func (s *Store) Lag(_ context.Context, name string) (host.Lag, error) {
	k, err := s.mustSink(name)
	if err != nil {
		return host.Lag{}, err
	}
	return k.Lag(s.options.Now(), s.segments()[0].First, s.last.Load()), nil
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
		needed = min(needed, k.Oldest())
	}
	s.sinksMu.RUnlock()
	if err := s.change(&change{}); err != nil {
		return 0
	}
	return needed
}
