package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
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
			apply: func(tx *bbolt.Tx) error { return putWanted(sinkBucket(tx, name), filter, sub.Order) },
			commit: func() {
				k.mu.Lock()
				k.want, k.order = own, sub.Order
				k.mu.Unlock()
			},
		})
	}
	k = newSink(name)
	k.want, k.order = own, sub.Order
	if s.cursors != "" {
		sub.From = s.cursors
	}
	switch sub.From {
	case host.FromNow:
		k.log.next = pos{Seq: s.last.Load() + 1}
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
	position := record.Position{Low: k.log.next}
	return errors.Join(putWanted(b, filter, k.order), b.Put(keyPosition, position.Encode()))
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
	if last := s.last.Load(); k.log.next.Seq <= last {
		lag.Records = last - max(k.log.next.Seq, s.segments()[0].first) + 1
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
	return lag, nil
}

func cursor(at pos) host.Cursor { return host.CursorAt(at.Seq, at.Index) }
