package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/bolt/internal/segment"
)

// Kept and held callbacks lie in the log and wait for an operator. They are
// marked and counted alike, and called kept here.

// bucketDropped of state.db has the sequences of those that count as
// kept no more. The log is not written to again, and so cannot say it.
var bucketDropped = []byte("k")

// countHeld counts those that are held. One that cannot be read counts as kept.
func (s *Store) countHeld() {
	all, err := s.keptAfter(0, math.MaxUint64, math.MaxInt)
	if err != nil {
		s.options.Log.Error("cannot tell how many callbacks are held", "err", err)
	}
	var held int64
	for _, seq := range all {
		_ = s.record(seq, func(b []byte) error {
			e, err := record.Look(b, seq)
			if err == nil && e.Kind == host.Held {
				held++
			}
			return err
		})
	}
	s.held.Store(held)
}

// subtractDropped has what was dropped not count as kept, once the segments are
// open. A mark of what is lost is passed over.
func (s *Store) subtractDropped() error {
	all := s.segments()
	return s.viewState(func(tx *bbolt.Tx) error {
		dropped := tx.Bucket(bucketDropped)
		if dropped == nil {
			return nil
		}
		return dropped.ForEach(func(k, _ []byte) error {
			seq, err := disk.ParseNumber(k)
			if err != nil {
				return err
			}
			// What cannot be read counts: the bound holds all the earlier.
			_ = all[holding(all, seq)].View(func(tx *bbolt.Tx) error {
				if found, _ := tx.Bucket(segment.BucketKept).Cursor().Seek(k); bytes.Equal(found, k) {
					s.kept.Add(-1)
				}
				return nil
			})
			return nil
		})
	})
}

// keptAfter returns the sequences of the kept callbacks behind one sequence and
// not behind another, up to n of them, rising, but for those that were dropped.
func (s *Store) keptAfter(after, last uint64, n int) ([]uint64, error) {
	var out []uint64
	for last = min(last, s.last.Load()); after < last && len(out) < n; {
		marks, looked, err := s.keptMarks(after+1, last)
		if err != nil {
			return nil, err
		}
		if out, err = s.appendUndropped(out, marks); err != nil {
			return nil, err
		}
		after = looked
	}
	return out[:min(n, len(out))], nil
}

// keptMarks reads the marks of kept callbacks from one sequence on, in one
// segment and one transaction, and returns how far it got. A mark that is not of
// this segment is damage: what it stood for would be missed.
func (s *Store) keptMarks(from, last uint64) (marks []uint64, looked uint64, err error) {
	err = s.viewAt(from, func(tx *bbolt.Tx, all []*segment.File, i int) error {
		marks, looked = nil, last
		end := uint64(math.MaxUint64)
		if i < len(all)-1 {
			end = all[i+1].First - 1
			looked = min(last, end)
		}
		c, next := tx.Bucket(segment.BucketKept).Cursor(), from
		for k, _ := c.Seek(disk.Number(from)); k != nil && len(marks) < maxRead; k, _ = c.Next() {
			seq, err := disk.ParseNumber(k)
			if err == nil && (seq < next || seq > end) {
				err = fmt.Errorf("mark of kept callback %d: %w: it is out of its place", seq, disk.ErrDamaged)
			}
			if err != nil || seq > looked {
				return err
			}
			next = seq + 1
			if marks = append(marks, seq); len(marks) == maxRead {
				looked = seq
			}
		}
		return nil
	})
	return marks, looked, err
}

func (s *Store) appendUndropped(out, marks []uint64) ([]uint64, error) {
	err := s.viewState(func(tx *bbolt.Tx) error {
		dropped := tx.Bucket(bucketDropped)
		for _, seq := range marks {
			if dropped == nil || dropped.Get(disk.Number(seq)) == nil {
				out = append(out, seq)
			}
		}
		return nil
	})
	return out, err
}

// listKept lists kept callbacks behind a sequence, up to n that are wanted. More
// says that another is wanted. The page ends early when it is large.
//
// What is damaged is logged and left out: it must not hide what is behind it.
func (s *Store) listKept(
	ctx context.Context, want host.Wanted, after uint64, n int,
) (out []host.Rejected, more bool, err error) {
	if want.Reason != "" && want.Reason != host.ReasonKept && want.Reason != host.ReasonHeld {
		return nil, false, nil
	}
	for size := 0; ; {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		some, err := s.keptAfter(after, math.MaxUint64, maxRead)
		if err != nil || len(some) == 0 {
			return out, false, err
		}
		for _, seq := range some {
			r, err := s.keptCallback(seq)
			switch {
			case err != nil:
				s.options.Log.Error("kept callback left out of the list", "seq", seq, "err", err)
			case want.Reason != "" && want.Reason != r.Reason:
			case (want.Tenant != "" && want.Tenant != r.Tenant) || (want.Endpoint != "" && want.Endpoint != r.Endpoint):
			case len(out) >= n || size >= maxReadBytes:
				return out, true, nil
			default:
				out = append(out, *r)
				size += len(r.Callback.Body)
			}
			after = seq
		}
	}
}

// keptCallback reads the kept callback with this sequence from the log.
func (s *Store) keptCallback(seq uint64) (r *host.Rejected, err error) {
	err = s.record(seq, func(b []byte) error {
		rec, err := record.Decode(b, seq)
		if err != nil {
			return err
		}
		r = rec.Waiting(seq)
		return nil
	})
	return r, err
}

// getKept returns a kept callback that was not dropped.
func (s *Store) getKept(seq uint64, id string) (*host.Rejected, error) {
	if err := s.mustBeKept(seq); err != nil {
		return nil, err
	}
	r, err := s.keptCallback(seq)
	if err == nil && r.ID != id {
		return nil, host.ErrNotFound
	}
	return r, err
}

func (s *Store) mustBeKept(seq uint64) error {
	if seq == 0 {
		return host.ErrNotFound
	}
	found, err := s.keptAfter(seq-1, seq, 1)
	if err == nil && len(found) == 0 {
		err = host.ErrNotFound
	}
	return err
}

// dropKept has a kept callback count no more.
//
// Invariant 1: nothing else takes a callback off the kept ones.
func (s *Store) dropKept(seq uint64, id string) error {
	if err := s.mustBeKept(seq); err != nil {
		return err
	}
	// What cannot be read can be dropped all the same.
	r, err := s.keptCallback(seq)
	if err == nil && r.ID != id {
		return host.ErrNotFound
	}
	gone := false
	err = s.change(&change{
		apply: func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketDropped)
			if err != nil {
				return err
			}
			if gone = b.Get(disk.Number(seq)) != nil; gone {
				return nil
			}
			return b.Put(disk.Number(seq), []byte{1})
		},
		commit: func() {
			if gone {
				return
			}
			s.kept.Add(-1)
			if r != nil && r.Held != nil {
				s.held.Add(-1)
			}
		},
	})
	if err == nil && gone {
		err = host.ErrNotFound
	}
	return err
}

// keptFrom reports whether a kept callback that was not dropped has one of the
// sequences from first to last. When that cannot be read it is true.
//
// Invariant 1: what is kept is never dropped but by name, and so the log that
// holds it stays.
func (s *Store) keptFrom(first, last uint64) bool {
	found, err := s.keptAfter(max(first, 1)-1, last, 1)
	if err != nil {
		s.options.Log.Error("cannot tell whether callbacks are kept", "first", first, "last", last, "err", err)
	}
	return err != nil || len(found) > 0
}

// forgetKept forgets which callbacks before a sequence were dropped, once the
// log has none of them any more. What cannot be written now is left for the
// next time.
func (s *Store) forgetKept(before uint64) {
	for {
		var old [][]byte
		err := s.viewState(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketDropped)
			if b == nil {
				return nil
			}
			c := b.Cursor()
			for k, _ := c.First(); k != nil && len(old) < maxLetters && binary.BigEndian.Uint64(k) < before; k, _ = c.Next() {
				old = append(old, bytes.Clone(k))
			}
			return nil
		})
		if err == nil && len(old) > 0 {
			err = s.change(&change{apply: func(tx *bbolt.Tx) error {
				var errs []error
				for _, k := range old {
					errs = append(errs, tx.Bucket(bucketDropped).Delete(k))
				}
				return errors.Join(errs...)
			}})
		}
		if err != nil {
			s.options.Log.Error("dropped callbacks not forgotten", "before", before, "err", err)
		}
		if err != nil || len(old) == 0 {
			return
		}
	}
}
