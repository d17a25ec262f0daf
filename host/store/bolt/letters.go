package bolt

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/queue"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// maxLetters is how many dead letters one transaction moves or lists.
const maxLetters = 1000

// letter is a dead letter with its key.
type letter struct {
	key  []byte
	died time.Time
	row  *record.Row
}

// letters reads up to n dead letters of a sink behind a key, the oldest first,
// of which match says yes; a nil match takes all. It ends early when what it
// holds is large, and reports whether there may be more.
func (s *Store) letters(
	name string, after []byte, n int, match func(*record.Row) bool,
) (out []letter, more bool, err error) {
	err = s.viewState(func(tx *bbolt.Tx) error {
		b := sinkBucket(tx, name)
		if b == nil {
			return nil
		}
		c := b.Bucket(bucketDead).Cursor()
		k, v := c.Seek(after)
		if k != nil && bytes.Equal(k, after) {
			k, v = c.Next()
		}
		for size := 0; k != nil; k, v = c.Next() {
			if len(out) == n || size >= maxReadBytes {
				more = true
				return nil
			}
			row, err := record.ParseRow(v)
			if err != nil {
				return err
			}
			died, _, _, err := queue.ParseKey(k)
			if err != nil {
				return err
			}
			if row.Event == nil {
				return fmt.Errorf("dead letter %x: %w without its event", k, record.ErrDamaged)
			}
			if match == nil || match(row) {
				out = append(out, letter{key: bytes.Clone(k), died: died, row: row})
				size += len(v)
			}
		}
		return nil
	})
	return out, more, err
}

// DeadLetters implements [host.Queue].
func (s *Store) DeadLetters(
	_ context.Context, name string, after host.Cursor, n int,
) ([]host.DeadLetter, host.Cursor, error) {
	if _, err := s.mustSink(name); err != nil {
		return nil, "", err
	}
	behind, err := hex.DecodeString(string(after))
	if err != nil {
		return nil, "", fmt.Errorf("dead letters of %s: cursor %q is not one of this list", name, after)
	}
	if n <= 0 {
		n = defaultLimit
	}
	found, more, err := s.letters(name, behind, min(n, maxLetters), nil)
	if err != nil {
		return nil, "", fmt.Errorf("dead letters of %s: %w", name, err)
	}
	out := make([]host.DeadLetter, 0, len(found))
	for _, l := range found {
		out = append(out, host.DeadLetter{
			Sink: name, Event: *l.row.Event, Attempts: l.row.Attempts,
			First: l.row.First, Died: l.died, Reason: l.row.Reason, Answer: l.row.Answer,
		})
	}
	if !more {
		return out, "", nil
	}
	return out, host.Cursor(hex.EncodeToString(found[len(found)-1].key)), nil
}

// Redrive implements [host.Queue]. It works in steps of some hundred: after an
// error the number says how many were redriven all the same.
func (s *Store) Redrive(_ context.Context, name string, ids ...string) (int, error) {
	now := s.options.Now()
	return s.eachLetter(name, ids, func(k *queue.Sink, some []letter) error {
		moves := make([]*queue.Move, 0, len(some))
		for _, l := range some {
			m, err := queue.Redrive(l.key, l.row.Event, now)
			if err != nil {
				return err
			}
			moves = append(moves, m)
		}
		return s.change(&change{
			apply: func(tx *bbolt.Tx) error {
				if err := dropLetters(tx, name, some); err != nil {
					return err
				}
				return putMoves(tx, name, moves)
			},
			commit: func() { k.Redriven(moves) },
		})
	})
}

// Discard implements [host.Queue]. It works in steps, like Redrive.
func (s *Store) Discard(_ context.Context, name string, ids ...string) (int, error) {
	return s.eachLetter(name, ids, func(k *queue.Sink, some []letter) error {
		return s.change(&change{
			apply:  func(tx *bbolt.Tx) error { return dropLetters(tx, name, some) },
			commit: func() { k.Letters(-len(some)) },
		})
	})
}

// eachLetter hands the dead letters with these ids, or all, to fn, some at a
// time. Redrive and Discard of one store do not run at once, so that what was
// read is still there when it is moved.
func (s *Store) eachLetter(name string, ids []string, fn func(*queue.Sink, []letter) error) (int, error) {
	s.subs.Lock()
	defer s.subs.Unlock()
	k, err := s.mustSink(name)
	if err != nil {
		return 0, err
	}
	match := func(r *record.Row) bool { return len(ids) == 0 || slices.Contains(ids, r.Event.ID()) }
	// Not those that die meanwhile.
	left := k.Dead()
	n := 0
	var after []byte
	for {
		some, more, err := s.letters(name, after, min(maxLetters, left), match)
		if err != nil {
			return n, fmt.Errorf("dead letters of %s: %w", name, err)
		}
		if len(some) == 0 {
			return n, nil
		}
		if err := fn(k, some); err != nil {
			return n, err
		}
		n += len(some)
		left -= len(some)
		after = some[len(some)-1].key
		if !more || left <= 0 {
			return n, nil
		}
	}
}

func dropLetters(tx *bbolt.Tx, name string, some []letter) error {
	b := sinkBucket(tx, name)
	if b == nil {
		return nil
	}
	dead := b.Bucket(bucketDead)
	for _, l := range some {
		if err := dead.Delete(l.key); err != nil {
			return err
		}
	}
	return nil
}
