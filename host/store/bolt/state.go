package bolt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/queue"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// The buckets of state.db. Under bucketSinks each sink has a bucket with its
// filter, its position, its retries and its dead letters.
var (
	bucketState = []byte("m") // form and reserved
	bucketSinks = []byte("s") // sink's name -> its bucket

	keyReserved = []byte("reserved")

	keyFilter     = []byte("filter")   // JSON of the host.Filter
	keyPosition   = []byte("position") // record.Position
	keyOrder      = []byte("order")    // the host.Order; not there means none
	keyReplay     = []byte("replay")   // record.Replay; there while one is under way
	keyReplays    = []byte("replays")  // number of the last replay, 8 bytes
	keyPaused     = []byte("paused")   // there while the sink is paused
	bucketRetries = []byte("r")        // due, sequence, index, number of a replay -> record.Row
	bucketDead    = []byte("x")        // died, and so on -> record.Row
)

const (
	stateMapped = 256 << 20
	stateAlloc  = 4 << 20
	// reserveBlock is how many sequences are reserved at once, so that state.db
	// is not written with every commit.
	reserveBlock = 1 << 16
	// flushAfter is how long a Done may be known in memory only.
	flushAfter = 50 * time.Millisecond
)

// openState opens state.db. Where it is damaged or lost the store does not open
// by itself: nobody but an operator can say whether the sinks should have
// everything again or nothing.
func (s *Store) openState(hasSegments, clean bool) error {
	path := filepath.Join(s.dir, "state.db")
	err := s.prepareState(hasSegments, clean)
	if err == nil {
		err = s.loadState(clean)
	}
	if !disk.IsDamage(err) {
		return err
	}
	if s.options.Cursors == "" {
		return fmt.Errorf("%w; start with --cursors oldest to deliver all that is still in the log again, or now to deliver only what is new", err)
	}
	if s.state != nil {
		if err := s.state.Close(); err != nil {
			return err
		}
		s.state = nil
	}
	if _, gone := os.Stat(path); !errors.Is(gone, fs.ErrNotExist) {
		if err := disk.PutAside(s.dir, path, os.Rename); err != nil {
			return err
		}
	}
	s.note("%v; retries, dead letters and positions are lost with it, and sinks begin at %s", err, s.options.Cursors)
	clear(s.sinks)
	s.cursors = s.options.Cursors
	if err := s.prepareState(false, clean); err != nil {
		return err
	}
	return s.loadState(false)
}

// prepareState makes sure that state.db is there and whole. It is created
// before the first segment, so that segments without it are never the work of
// a crash.
func (s *Store) prepareState(hasSegments, clean bool) error {
	path := filepath.Join(s.dir, "state.db")
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && hasSegments:
		return fmt.Errorf("%s is missing, and with it how far every sink was: %w", path, disk.ErrDamaged)
	case errors.Is(err, fs.ErrNotExist):
		return disk.CreateDB(path, disk.PageSize, func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucket(bucketSinks); err != nil {
				return err
			}
			m, err := tx.CreateBucket(bucketState)
			if err != nil {
				return err
			}
			return errors.Join(m.Put(disk.KeyForm, disk.Number(disk.Form)), m.Put(keyReserved, disk.Number(0)))
		})
	case err != nil || clean:
		return err
	}
	return disk.Durable(path)
}

// loadState opens state.db and fills sinks, next and reserved from it.
func (s *Store) loadState(clean bool) error {
	path := filepath.Join(s.dir, "state.db")
	if err := disk.Damage(path, pages.Verify(path, true)); err != nil {
		return err
	}
	db, err := disk.OpenDB(path, false, stateMapped, s.options.openFile)
	if err != nil {
		return err
	}
	db.AllocSize = stateAlloc
	s.state = db
	err = s.viewState(func(tx *bbolt.Tx) error {
		m, sinks := tx.Bucket(bucketState), tx.Bucket(bucketSinks)
		if m == nil || sinks == nil {
			return fmt.Errorf("it is %w: a bucket is missing", disk.ErrDamaged)
		}
		if err := disk.CheckForm(m); err != nil {
			return err
		}
		reserved := m.Get(keyReserved)
		if len(reserved) != len(disk.Number(0)) {
			return fmt.Errorf("it is %w: no reserved sequence", disk.ErrDamaged)
		}
		if clean {
			if err := checkTally(tx); err != nil {
				return err
			}
		}
		s.reserved = binary.BigEndian.Uint64(reserved)
		s.next = s.reserved + 1
		return sinks.ForEachBucket(func(name []byte) error {
			k, err := s.loadSink(string(name), sinks.Bucket(name))
			if err != nil {
				return fmt.Errorf("sink %s: %w", name, err)
			}
			s.sinks[k.Name] = k
			s.next = max(s.next, k.Next().Seq)
			return nil
		})
	})
	return err
}

// viewState reads from state.db. Errors name the file.
func (s *Store) viewState(fn func(*bbolt.Tx) error) error {
	if err := disk.Guard(func() error { return s.state.View(fn) }); err != nil {
		return fmt.Errorf("%s: %w", s.state.Path(), err)
	}
	return nil
}

func (s *Store) loadSink(name string, b *bbolt.Bucket) (*queue.Sink, error) {
	var want host.Filter
	if err := json.Unmarshal(b.Get(keyFilter), &want); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	p, err := record.ParsePosition(b.Get(keyPosition))
	if err != nil {
		return nil, err
	}
	k := s.newSink(name, p)
	k.Want(want, host.Order(b.Get(keyOrder)))
	k.Pause(b.Get(keyPaused) != nil)
	if err := loadReplay(k, b); err != nil {
		return nil, err
	}
	retries, dead := b.Bucket(bucketRetries), b.Bucket(bucketDead)
	if retries == nil || dead == nil {
		return nil, errors.New("a bucket is missing")
	}
	err = retries.ForEach(func(key, value []byte) error {
		row, err := record.ParseRow(value)
		if err != nil {
			return err
		}
		return k.Restore(key, row)
	})
	if err != nil {
		return nil, err
	}
	return k, dead.ForEach(func([]byte, []byte) error {
		k.Letters(1)
		return nil
	})
}

// loadReplay reads the replay of a sink, if one is under way.
func loadReplay(k *queue.Sink, b *bbolt.Bucket) error {
	var replays uint64
	if n := b.Get(keyReplays); len(n) == len(disk.Number(0)) {
		replays = binary.BigEndian.Uint64(n)
	} else if n != nil {
		return errors.New("damaged number of replays")
	}
	var r *record.Replay
	if v := b.Get(keyReplay); v != nil {
		var err error
		if r, err = record.ParseReplay(v); err != nil {
			return err
		}
	}
	k.RestoreReplays(uint32(replays), r)
	return nil
}

// change is one request to write to state.db.
type change struct {
	// apply writes it; it runs in the transaction.
	apply func(tx *bbolt.Tx) error
	// commit and revert run after the transaction, one of them, before change
	// returns. Nil does nothing.
	commit func()
	revert func()
	err    error
	done   chan struct{}
}

// change makes a change durable, with what other changes are under way.
func (s *Store) change(c *change) error {
	c.done = make(chan struct{})
	if !s.changes.Submit(c) {
		return host.Errorf(host.StoreUnavailable, "the store is closed")
	}
	<-c.done
	return c.err
}

// flushSoon has the sinks' positions written within flushAfter.
func (s *Store) flushSoon() {
	if !s.armed.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(flushAfter, func() {
		s.armed.Store(false)
		// No room means that other changes are under way, and every commit
		// writes the positions.
		s.changes.Offer(&change{done: make(chan struct{})})
	})
}

// errNothing ends a transaction that has nothing to write, without a commit.
var errNothing = errors.New("nothing to write")

// commitChanges makes a batch durable, together with the positions of all sinks
// that moved.
//
// Invariant 4: a retry or a dead letter is written in the transaction that
// moves the position past its event, or lists it there as over.
func (s *Store) commitChanges(all []*change) {
	var moved []*queue.Flush
	err := s.broken()
	if err == nil {
		err = s.update(s.state, func(tx *bbolt.Tx) (err error) {
			wrote := false
			for _, c := range all {
				if c.apply == nil {
					continue
				}
				wrote = true
				if err := c.apply(tx); err != nil {
					return err
				}
			}
			if moved, err = s.putPositions(tx); err == nil && len(moved) == 0 && !wrote {
				return errNothing
			}
			return err
		})
		err = s.judge("write state", err)
	}
	for _, f := range moved {
		f.End(err == nil)
	}
	for _, c := range all {
		after := c.commit
		if err != nil {
			after = c.revert
		}
		if after != nil {
			after()
		}
		c.err = err
		close(c.done)
	}
}

// putPositions writes how far the sinks are and drops the rows of what is done.
func (s *Store) putPositions(tx *bbolt.Tx) ([]*queue.Flush, error) {
	s.sinksMu.RLock()
	defer s.sinksMu.RUnlock()
	var moved []*queue.Flush
	for _, k := range s.sinks {
		b := sinkBucket(tx, k.Name)
		if b == nil {
			continue
		}
		f := k.Flush()
		if f == nil {
			continue
		}
		moved = append(moved, f)
		if err := putFlush(b, f); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

func putFlush(b *bbolt.Bucket, f *queue.Flush) error {
	if err := b.Put(keyPosition, f.Position.Encode()); err != nil {
		return err
	}
	if f.Replay == nil {
		if err := b.Delete(keyReplay); err != nil {
			return err
		}
	} else if err := b.Put(keyReplay, f.Replay.Encode()); err != nil {
		return err
	}
	retries := b.Bucket(bucketRetries)
	for _, p := range f.Parked {
		if err := retries.Put(p.Key, p.Row); err != nil {
			return err
		}
	}
	for _, key := range f.Drops {
		if err := retries.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// sinkBucket returns a sink's bucket, nil if it is not subscribed.
func sinkBucket(tx *bbolt.Tx, name string) *bbolt.Bucket {
	return tx.Bucket(bucketSinks).Bucket([]byte(name))
}

func putReserved(tx *bbolt.Tx, seq uint64) error {
	return tx.Bucket(bucketState).Put(keyReserved, disk.Number(seq))
}

// reserve makes sure that no sequence up to seq is ever given out again, even
// if the segment that holds it is lost: a sink that is past it would never see
// the new record.
func (s *Store) reserve(seq uint64) error {
	if seq <= s.reserved {
		return nil
	}
	seq += reserveBlock
	err := s.change(&change{apply: func(tx *bbolt.Tx) error { return putReserved(tx, seq) }})
	if err == nil {
		s.reserved = seq
	}
	return err
}
