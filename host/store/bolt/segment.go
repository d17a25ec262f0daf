package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// The buckets of a segment. One of form 1 has a further one, d, which is not
// looked at any more: the records have every key.
var (
	bucketMeta = []byte("m") // form, first, previous, created and batch
	bucketLog  = []byte("l") // sequence -> record
	bucketKept = []byte("k") // sequence of a kept callback -> nothing
)

// The keys of the meta bucket, in segments and in the other files.
var (
	keyForm     = []byte("form")     // version of the file's form, 8 bytes
	keyFirst    = []byte("first")    // sequence the segment begins at
	keyPrevious = []byte("previous") // sequence of the last record before it
	keyCreated  = []byte("created")  // when it was made, Unix nanoseconds
	keyBatch    = []byte("batch")    // see batchMark
	keyMended   = []byte("mended")   // there in a copy of what could be read of a damaged segment
)

// form is the version of the files' form. A file of a later one is refused, one
// of form 1 becomes one of form 2 when it is written to.
const (
	form1 = 1
	form  = 2
)

// segment is one file of the log: the records from a sequence on, up to the
// next segment's. The last one is active, and only that one is written to.
type segment struct {
	path     string
	first    uint64
	previous uint64    // sequence of the last record before it
	created  time.Time // by the store's clock; zero if that is not known
	db       *bbolt.DB
	size     atomic.Int64 // bytes in use
	// last is the last record of one that is not active; zero for none.
	last atomic.Uint64
	kept atomic.Int64 // callbacks kept in it
	// mended: it is a copy without what could not be read.
	mended bool
	// damaged: something in it could not be read.
	damaged atomic.Bool
	verify  sync.Once
	unsound error // valid once verify has run
}

// place is where the event or the item set aside with some key is: the record,
// and the index in it (those of items behind those of events).
type place struct {
	seq     uint64
	index   int
	content host.Content
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, "seg", fmt.Sprintf("%020d.db", first))
}

func parseSeq(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: a sequence of %d bytes", disk.ErrDamaged, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// batchMark is what each commit leaves in the meta bucket: the sequences of its
// first and last record, and how many callbacks of the segment were kept. Form 1
// has the first alone.
type batchMark struct{ first, last, kept uint64 }

func (m batchMark) coded() []byte {
	b := binary.BigEndian.AppendUint64(nil, m.first)
	b = binary.BigEndian.AppendUint64(b, m.last)
	return binary.BigEndian.AppendUint64(b, m.kept)
}

func parseMark(b []byte) (batchMark, error) {
	if len(b) != 24 {
		return batchMark{}, fmt.Errorf("%w: no mark of the last commit", disk.ErrDamaged)
	}
	return batchMark{
		binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// segmentHead is what a new segment says of itself.
type segmentHead struct {
	first, previous uint64
	created         time.Time
	mended          bool
}

// fillSegment makes the buckets of a segment.
func fillSegment(tx *bbolt.Tx, h segmentHead) error {
	for _, name := range [][]byte{bucketLog, bucketKept} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	m, err := tx.CreateBucket(bucketMeta)
	if err != nil {
		return err
	}
	if h.mended {
		if err := m.Put(keyMended, seqKey(h.first)); err != nil {
			return err
		}
	}
	return errors.Join(
		m.Put(keyForm, seqKey(form)), m.Put(keyFirst, seqKey(h.first)), m.Put(keyPrevious, seqKey(h.previous)),
		m.Put(keyCreated, seqKey(record.Stamp(h.created))), m.Put(keyBatch, batchMark{first: h.first}.coded()),
	)
}

// createSegment makes an empty segment.
func createSegment(dir string, h segmentHead) error {
	return disk.CreateDB(segmentPath(dir, h.first), func(tx *bbolt.Tx) error { return fillSegment(tx, h) })
}

// listSegments returns the first sequences of the segments, rising, and removes
// what a crash left of one that was not complete.
func listSegments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "seg"))
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), disk.TempSuffix) {
			if err := os.Remove(filepath.Join(dir, "seg", e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		first, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), ".db"), 10, 64)
		if err != nil || segmentPath(dir, first) != filepath.Join(dir, "seg", e.Name()) {
			return nil, fmt.Errorf("%s is no segment", filepath.Join(dir, "seg", e.Name()))
		}
		firsts = append(firsts, first)
	}
	return firsts, nil
}

// openSegment opens a segment that exists; all but the active one for reading
// only.
func (s *Store) openSegment(first uint64, active bool) (*segment, error) {
	g := &segment{path: segmentPath(s.dir, first), first: first}
	mapped := 0
	if active {
		// Growing would wait for readers, and a backup is one.
		mapped = s.options.mapped()
		if err := disk.Damage(g.path, pages.Verify(g.path, true)); err != nil {
			return nil, err
		}
		// Whole, and not to be walked again while it is written to.
		g.verify.Do(func() {})
	}
	db, err := disk.OpenDB(g.path, !active, mapped, s.options.openFile)
	if err != nil {
		return nil, err
	}
	db.AllocSize = s.options.alloc()
	g.db = db
	if err := g.check(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return g, nil
}

// check reports whether the file is a segment of a form that is known.
func (g *segment) check() error {
	return g.view(func(tx *bbolt.Tx) error {
		g.size.Store(tx.Size())
		m := tx.Bucket(bucketMeta)
		if m == nil || tx.Bucket(bucketLog) == nil || tx.Bucket(bucketKept) == nil {
			return fmt.Errorf("%w: it is no segment, or a bucket is missing", disk.ErrDamaged)
		}
		if err := checkForm(m); err != nil {
			return err
		}
		if !bytes.Equal(m.Get(keyFirst), seqKey(g.first)) {
			return fmt.Errorf("%w: its name is not that of the sequence it begins at", disk.ErrDamaged)
		}
		if bytes.Equal(m.Get(keyForm), seqKey(form1)) {
			return nil
		}
		g.mended = m.Get(keyMended) != nil
		created, err := parseSeq(m.Get(keyCreated))
		if err != nil {
			return err
		}
		g.created = record.Unstamp(created)
		g.previous, err = parseSeq(m.Get(keyPrevious))
		return err
	})
}

// checkForm refuses a file of another version.
//
// Invariant 10: forms 1 and 2 are read; this version knows no other.
func checkForm(m *bbolt.Bucket) error {
	if got := m.Get(keyForm); !bytes.Equal(got, seqKey(form)) && !bytes.Equal(got, seqKey(form1)) {
		return fmt.Errorf("its form is %x, and this version of postern knows only %x and %x", got, seqKey(form1), seqKey(form))
	}
	return nil
}

// sound reports whether the pages of the segment can be walked without bbolt
// being led in circles. It reads a hundredth of them, once.
func (g *segment) sound() error {
	g.verify.Do(func() {
		g.unsound = disk.Damage(g.path, pages.Verify(g.path, false))
	})
	return g.unsound
}

// view reads from the segment. Errors name the file; what fn keeps it must
// copy.
func (g *segment) view(fn func(*bbolt.Tx) error) error {
	if err := disk.Guard(func() error { return g.db.View(fn) }); err != nil {
		return fmt.Errorf("segment %s: %w", g.path, err)
	}
	return nil
}

// survey returns the last sequence, zero for none, and how many callbacks are
// kept. It is an error if that is not what the last commit left.
func (g *segment) survey() (last uint64, kept int, err error) {
	if err := g.sound(); err != nil {
		return 0, 0, err
	}
	err = g.view(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(bucketLog).Cursor().Last(); k != nil {
			if last, err = parseSeq(k); err != nil {
				return err
			}
		}
		c := tx.Bucket(bucketKept).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			kept++
		}
		m := tx.Bucket(bucketMeta)
		if bytes.Equal(m.Get(keyForm), seqKey(form1)) {
			return nil
		}
		mark, err := parseMark(m.Get(keyBatch))
		if err == nil && (mark.last != last || mark.kept != uint64(kept)) { //nolint:gosec // never negative
			err = fmt.Errorf("%w: it ends at record %d with %d kept, and not at %d with %d",
				disk.ErrDamaged, last, kept, mark.last, mark.kept)
		}
		return err
	})
	return last, kept, err
}
