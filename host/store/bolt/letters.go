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
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// maxLetters is how many dead letters one transaction moves or lists.
const maxLetters = 1000

// letter is a dead letter with its key.
type letter struct {
	key  []byte
	died time.Time
	pos  pos
	walk uint32 // number of the walk that took it
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
			died, at, number, err := parseRowKey(k)
			if err != nil {
				return err
			}
			if row.Event == nil {
				return fmt.Errorf("dead letter %x: %w without its event", k, record.ErrDamaged)
			}
			if match == nil || match(row) {
				out = append(out, letter{key: clone(k), died: died, pos: at, walk: number, row: row})
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
	return s.eachLetter(name, ids, func(k *sink, some []letter) error {
		moves := make([]*move, 0, len(some))
		for _, l := range some {
			at := unstamp(stamp(now))
			d := &delivery{pos: l.pos, number: l.walk, copied: true}
			d.know(l.row.Event)
			row := record.Row{Event: l.row.Event, Line: d.line, Lined: true}
			moves = append(moves, &move{d: d, at: at, key: rowKey(at, l.pos, l.walk), row: row.Encode()})
		}
		return s.change(&change{
			apply: func(tx *bbolt.Tx) error {
				if err := dropLetters(tx, k, some); err != nil {
					return err
				}
				return k.putMoves(tx, moves)
			},
			commit: func() {
				k.redriven(moves)
			},
		})
	})
}

// redriven takes up what are retries now.
func (k *sink) redriven(moves []*move) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		m.d.row, m.d.at = m.key, m.at
		k.enter(m.d)
	}
	k.rows += len(moves)
	k.dead -= len(moves)
}

// Discard implements [host.Queue]. It works in steps, like Redrive.
func (s *Store) Discard(_ context.Context, name string, ids ...string) (int, error) {
	return s.eachLetter(name, ids, func(k *sink, some []letter) error {
		return s.change(&change{
			apply: func(tx *bbolt.Tx) error { return dropLetters(tx, k, some) },
			commit: func() {
				k.mu.Lock()
				k.dead -= len(some)
				k.mu.Unlock()
			},
		})
	})
}

// eachLetter hands the dead letters with these ids, or all, to fn, some at a
// time. Redrive and Discard of one store do not run at once, so that what was
// read is still there when it is moved.
func (s *Store) eachLetter(name string, ids []string, fn func(*sink, []letter) error) (int, error) {
	s.subs.Lock()
	defer s.subs.Unlock()
	k, err := s.mustSink(name)
	if err != nil {
		return 0, err
	}
	match := func(r *record.Row) bool { return len(ids) == 0 || slices.Contains(ids, r.Event.ID()) }
	// Not those that die meanwhile.
	k.mu.Lock()
	left := k.dead
	k.mu.Unlock()
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

func dropLetters(tx *bbolt.Tx, k *sink, some []letter) error {
	b := sinkBucket(tx, k.name)
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
