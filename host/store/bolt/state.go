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
	"github.com/postern/postern/host/store/bolt/internal/pages"
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
		err = s.loadState()
	}
	if !isDamage(err) {
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
		if err := s.putAside(path, os.Rename); err != nil {
			return err
		}
	}
	s.note("%v; retries, dead letters and positions are lost with it, and sinks begin at %s", err, s.options.Cursors)
	clear(s.sinks)
	s.cursors = s.options.Cursors
	if err := s.prepareState(false, clean); err != nil {
		return err
	}
	return s.loadState()
}

// prepareState makes sure that state.db is there and whole. It is created
// before the first segment, so that segments without it are never the work of
// a crash.
func (s *Store) prepareState(hasSegments, clean bool) error {
	path := filepath.Join(s.dir, "state.db")
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && hasSegments:
		return fmt.Errorf("%s is missing, and with it how far every sink was: %w", path, errDamaged)
	case errors.Is(err, fs.ErrNotExist):
		return createDB(path, func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucket(bucketSinks); err != nil {
				return err
			}
			m, err := tx.CreateBucket(bucketState)
			if err != nil {
				return err
			}
			return errors.Join(m.Put(keyForm, seqKey(form)), m.Put(keyReserved, seqKey(0)))
		})
	case err != nil || clean:
		return err
	}
	return durable(path)
}

// loadState opens state.db and fills sinks, next and reserved from it.
func (s *Store) loadState() error {
	path := filepath.Join(s.dir, "state.db")
	if err := damage(path, pages.Verify(path, true)); err != nil {
		return err
	}
	db, err := openDB(path, false, stateMapped, s.options.openFile)
	if err != nil {
		return err
	}
	db.AllocSize = stateAlloc
	s.state = db
	err = s.viewState(func(tx *bbolt.Tx) error {
		m, sinks := tx.Bucket(bucketState), tx.Bucket(bucketSinks)
		if m == nil || sinks == nil {
			return fmt.Errorf("it is %w: a bucket is missing", errDamaged)
		}
		if err := checkForm(m); err != nil {
			return err
		}
		reserved := m.Get(keyReserved)
		if len(reserved) != len(seqKey(0)) {
			return fmt.Errorf("it is %w: no reserved sequence", errDamaged)
		}
		s.reserved = binary.BigEndian.Uint64(reserved)
		s.next = s.reserved + 1
		return sinks.ForEachBucket(func(name []byte) error {
			k, err := loadSink(string(name), sinks.Bucket(name))
			if err != nil {
				return fmt.Errorf("sink %s: %w", name, err)
			}
			s.sinks[k.name] = k
			s.next = max(s.next, k.log.next.Seq)
			return nil
		})
	})
	return err
}

// viewState reads from state.db. Errors name the file.
func (s *Store) viewState(fn func(*bbolt.Tx) error) error {
	if err := guard(func() error { return s.state.View(fn) }); err != nil {
		return fmt.Errorf("%s: %w", s.state.Path(), err)
	}
	return nil
}

func loadSink(name string, b *bbolt.Bucket) (*sink, error) {
	k := newSink(name)
	if err := json.Unmarshal(b.Get(keyFilter), &k.want); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	p, err := record.ParsePosition(b.Get(keyPosition))
	if err != nil {
		return nil, err
	}
	k.log = newWalk(0, p)
	if err := loadReplay(k, b); err != nil {
		return nil, err
	}
	k.order, k.paused = host.Order(b.Get(keyOrder)), b.Get(keyPaused) != nil
	retries, dead := b.Bucket(bucketRetries), b.Bucket(bucketDead)
	if retries == nil || dead == nil {
		return nil, errors.New("a bucket is missing")
	}
	err = retries.ForEach(func(key, value []byte) error {
		due, at, number, err := parseRowKey(key)
		if err != nil {
			return err
		}
		row, err := record.ParseRow(value)
		if err != nil {
			return err
		}
		k.restore(&delivery{
			pos: at, number: number, at: due, attempts: row.Attempts, first: row.First,
			row: clone(key), copied: row.Event != nil, line: row.Line, lined: row.Lined, fresh: row.Parked,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return k, dead.ForEach(func([]byte, []byte) error {
		k.dead++
		return nil
	})
}

// loadReplay reads the replay of a sink, if one is under way.
func loadReplay(k *sink, b *bbolt.Bucket) error {
	if n := b.Get(keyReplays); n != nil {
		if len(n) != len(seqKey(0)) {
			return errors.New("damaged number of replays")
		}
		k.replays = uint32(binary.BigEndian.Uint64(n)) //nolint:gosec // it was one
	}
	v := b.Get(keyReplay)
	if v == nil {
		return nil
	}
	r, err := record.ParseReplay(v)
	if err != nil {
		return err
	}
	w := newWalk(r.Number, r.Position)
	w.from, w.to, w.taken = host.Cursor(r.From), r.To, r.Taken
	k.replay, k.replays = w, max(k.replays, r.Number)
	return nil
}

// rowKey orders rows by time. What is of a replay has its number at the end, so
// that several deliveries of one event can fall due at once.
func rowKey(t time.Time, at pos, number uint32) []byte {
	b := binary.BigEndian.AppendUint64(nil, stamp(t))
	b = binary.BigEndian.AppendUint64(b, at.Seq)
	b = binary.BigEndian.AppendUint16(b, uint16(at.Index)) //nolint:gosec // an event's index
	if number != 0 {
		b = binary.BigEndian.AppendUint32(b, number)
	}
	return b
}

func parseRowKey(b []byte) (t time.Time, at pos, number uint32, err error) {
	const short, long = 18, 22
	switch len(b) {
	case long:
		number = binary.BigEndian.Uint32(b[short:])
	case short:
	default:
		return t, at, 0, errors.New("damaged key of a row")
	}
	at = pos{Seq: binary.BigEndian.Uint64(b[8:]), Index: int(binary.BigEndian.Uint16(b[16:]))}
	return unstamp(binary.BigEndian.Uint64(b)), at, number, nil
}

// The times that a key can hold, in Unix nanoseconds.
var (
	firstStamp = time.Unix(0, 0)
	lastStamp  = time.Unix(0, 1<<63-1)
)

func stamp(t time.Time) uint64 {
	if t.Before(firstStamp) {
		t = firstStamp
	}
	if t.After(lastStamp) {
		t = lastStamp
	}
	return uint64(t.UnixNano())
}

func unstamp(v uint64) time.Time { return time.Unix(0, int64(v)).UTC() } //nolint:gosec // made by stamp

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
	if !s.changes.submit(c) {
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
		s.changes.offer(&change{done: make(chan struct{})})
	})
}

// commitChanges makes a batch durable, together with the positions of all sinks
// that moved.
//
// Invariant 4: a retry or a dead letter is written in the transaction that
// moves the position past its event, or lists it there as over.
func (s *Store) commitChanges(all []*change) {
	var moved []*flush
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
		f.end(err == nil)
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
func (s *Store) putPositions(tx *bbolt.Tx) ([]*flush, error) {
	s.sinksMu.RLock()
	defer s.sinksMu.RUnlock()
	var moved []*flush
	for _, k := range s.sinks {
		b := sinkBucket(tx, k.name)
		if b == nil {
			continue
		}
		f := k.flush()
		if f == nil {
			continue
		}
		moved = append(moved, f)
		if err := f.put(b); err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// put writes what a flush holds.
func (f *flush) put(b *bbolt.Bucket) error {
	if err := b.Put(keyPosition, f.position.Encode()); err != nil {
		return err
	}
	if f.replay == nil {
		if err := b.Delete(keyReplay); err != nil {
			return err
		}
	} else if err := b.Put(keyReplay, f.replay.Encode()); err != nil {
		return err
	}
	retries := b.Bucket(bucketRetries)
	for _, p := range f.parked {
		if err := retries.Put(p.key, p.row); err != nil {
			return err
		}
	}
	for _, key := range f.drops {
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
	return tx.Bucket(bucketState).Put(keyReserved, seqKey(seq))
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
