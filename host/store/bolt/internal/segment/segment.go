// Package segment is one file of the bolt store's log: how it is made, opened,
// checked and copied when it is damaged.
package segment

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

	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// The buckets of a segment. One of form 1 has a further one, d, which is not
// looked at any more: the records have every key.
var (
	BucketMeta = []byte("m") // form, first, previous, created and batch
	BucketLog  = []byte("l") // sequence -> record
	BucketKept = []byte("k") // sequence of a kept callback -> nothing
)

// KeyBatch is the key of the [Mark] in the meta bucket.
var KeyBatch = []byte("batch")

// The other keys of the meta bucket, beside [disk.KeyForm].
var (
	keyFirst    = []byte("first")    // sequence the segment begins at
	keyPrevious = []byte("previous") // sequence of the last record before it
	keyCreated  = []byte("created")  // when it was made, Unix nanoseconds
	keyMended   = []byte("mended")   // there in a copy of what could be read of a damaged segment
)

// Fill packs the pages of the log: sequences only rise, so that no page is ever
// inserted into. bbolt does not store it; it is set in every transaction.
const Fill = 0.95

// pageSize is that of a segment's pages. bbolt writes each with a call of its own,
// and a commit of many records fills many: with 8 KiB a commit of many takes clearly
// less time than with 4, and with 16 or 32 no less.
const pageSize = 8 << 10

// File is one file of the log: the records from a sequence on, up to the next
// segment's. The last one is active, and only that one is written to.
type File struct {
	Path     string
	First    uint64
	Previous uint64    // sequence of the last record before it
	Created  time.Time // by the store's clock; zero if that is not known
	DB       *bbolt.DB
	Size     atomic.Int64 // bytes in use
	// Last is the last record of one that is not active; zero for none.
	Last atomic.Uint64
	Kept atomic.Int64 // callbacks kept in it
	// Mended: it is a copy without what could not be read.
	Mended bool
	// Damaged: something in it could not be read.
	Damaged atomic.Bool
	verify  sync.Once
	unsound error // valid once verify has run
}

// Path is where the segment lies that begins at a sequence, in a store's
// directory.
func Path(dir string, first uint64) string {
	return filepath.Join(dir, "seg", fmt.Sprintf("%020d.db", first))
}

// Mark is what each commit leaves in the meta bucket: the sequences of its first
// and last record, and how many callbacks of the segment were kept. Form 1 has
// the first alone.
type Mark struct{ First, Last, Kept uint64 }

// Encode returns the mark as the file has it.
func (m Mark) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, m.First)
	b = binary.BigEndian.AppendUint64(b, m.Last)
	return binary.BigEndian.AppendUint64(b, m.Kept)
}

// ParseMark is the inverse of [Mark.Encode].
func ParseMark(b []byte) (Mark, error) {
	if len(b) != 24 {
		return Mark{}, fmt.Errorf("%w: no mark of the last commit", disk.ErrDamaged)
	}
	return Mark{
		binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// Head is what a new segment says of itself: the sequence it begins at, that of
// the last record before it, and when it was made.
type Head struct {
	First, Previous uint64
	Created         time.Time
	mended          bool
}

// fill makes the buckets of a segment.
func fill(tx *bbolt.Tx, h Head) error {
	for _, name := range [][]byte{BucketLog, BucketKept} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	m, err := tx.CreateBucket(BucketMeta)
	if err != nil {
		return err
	}
	if h.mended {
		if err := m.Put(keyMended, disk.Number(h.First)); err != nil {
			return err
		}
	}
	return errors.Join(
		m.Put(disk.KeyForm, disk.Number(disk.Form)), m.Put(keyFirst, disk.Number(h.First)), m.Put(keyPrevious, disk.Number(h.Previous)),
		m.Put(keyCreated, disk.Number(record.Stamp(h.Created))), m.Put(KeyBatch, Mark{First: h.First}.Encode()),
	)
}

// Create makes an empty segment in a store's directory, whole or not at all.
func Create(dir string, h Head) error {
	return disk.CreateDB(Path(dir, h.First), pageSize, func(tx *bbolt.Tx) error { return fill(tx, h) })
}

// List returns the first sequences of the segments, rising, and removes
// what a crash left of one that was not complete.
func List(dir string) ([]uint64, error) {
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
		if err != nil || Path(dir, first) != filepath.Join(dir, "seg", e.Name()) {
			return nil, fmt.Errorf("%s is no segment", filepath.Join(dir, "seg", e.Name()))
		}
		firsts = append(firsts, first)
	}
	return firsts, nil
}

// Options of opening a segment. A nil OpenFile means os.OpenFile.
type Options struct {
	// Mapped is the address space kept for the active segment, and Alloc by how
	// much it grows at a time, both in bytes.
	Mapped, Alloc int
	OpenFile      func(string, int, os.FileMode) (*os.File, error)
}

// Open opens a segment that exists; all but the active one for reading only. The
// active one is read whole before. A damaged one is an error by [disk.IsDamage].
func Open(dir string, first uint64, active bool, o Options) (*File, error) {
	g := &File{Path: Path(dir, first), First: first}
	mapped := 0
	if active {
		// Growing would wait for readers, and a backup is one.
		mapped = o.Mapped
		if err := disk.Damage(g.Path, pages.Verify(g.Path, true)); err != nil {
			return nil, err
		}
		// Whole, and not to be walked again while it is written to.
		g.verify.Do(func() {})
	}
	db, err := disk.OpenDB(g.Path, !active, mapped, o.OpenFile)
	if err != nil {
		return nil, err
	}
	db.AllocSize = o.Alloc
	g.DB = db
	if err := g.check(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return g, nil
}

// check reports whether the file is a segment of a form that is known.
func (g *File) check() error {
	return g.View(func(tx *bbolt.Tx) error {
		g.Size.Store(tx.Size())
		m := tx.Bucket(BucketMeta)
		if m == nil || tx.Bucket(BucketLog) == nil || tx.Bucket(BucketKept) == nil {
			return fmt.Errorf("%w: it is no segment, or a bucket is missing", disk.ErrDamaged)
		}
		if err := disk.CheckForm(m); err != nil {
			return err
		}
		if !bytes.Equal(m.Get(keyFirst), disk.Number(g.First)) {
			return fmt.Errorf("%w: its name is not that of the sequence it begins at", disk.ErrDamaged)
		}
		if bytes.Equal(m.Get(disk.KeyForm), disk.Number(disk.Form1)) {
			return nil
		}
		g.Mended = m.Get(keyMended) != nil
		created, err := disk.ParseNumber(m.Get(keyCreated))
		if err != nil {
			return err
		}
		g.Created = record.Unstamp(created)
		g.Previous, err = disk.ParseNumber(m.Get(keyPrevious))
		return err
	})
}

// Sound reports whether the pages of the segment can be walked without bbolt
// being led in circles. It reads a hundredth of them, once.
func (g *File) Sound() error {
	g.verify.Do(func() {
		g.unsound = disk.Damage(g.Path, pages.Verify(g.Path, false))
	})
	return g.unsound
}

// View reads from the segment. Errors name the file; what fn keeps it must
// copy.
func (g *File) View(fn func(*bbolt.Tx) error) error {
	if err := disk.Guard(func() error { return g.DB.View(fn) }); err != nil {
		return fmt.Errorf("segment %s: %w", g.Path, err)
	}
	return nil
}

// Survey returns the last sequence, zero for none, and how many callbacks are
// kept. It is an error if that is not what the last commit left.
func (g *File) Survey() (last uint64, kept int, err error) {
	if err := g.Sound(); err != nil {
		return 0, 0, err
	}
	err = g.View(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(BucketLog).Cursor().Last(); k != nil {
			if last, err = disk.ParseNumber(k); err != nil {
				return err
			}
		}
		c := tx.Bucket(BucketKept).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			kept++
		}
		m := tx.Bucket(BucketMeta)
		if bytes.Equal(m.Get(disk.KeyForm), disk.Number(disk.Form1)) {
			return nil
		}
		mark, err := ParseMark(m.Get(KeyBatch))
		if err == nil && (mark.Last != last || mark.Kept != uint64(kept)) { //nolint:gosec // never negative
			err = fmt.Errorf("%w: it ends at record %d with %d kept, and not at %d with %d",
				disk.ErrDamaged, last, kept, mark.Last, mark.Kept)
		}
		return err
	})
	return last, kept, err
}

// Walk calls fn with every record from one sequence on to another, until fn
// returns an error. The bytes are gone when fn returns.
func (g *File) Walk(first, last uint64, fn func(seq uint64, b []byte) error) error {
	return g.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(BucketLog).Cursor()
		for k, v := c.Seek(disk.Number(first)); k != nil; k, v = c.Next() {
			seq, err := disk.ParseNumber(k)
			if err != nil {
				return err
			}
			if seq > last {
				return nil
			}
			if err := fn(seq, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Upgrade makes an active segment of form 1 one of the present form, made now.
func (g *File) Upgrade(now time.Time) error {
	if !g.Created.IsZero() {
		return nil
	}
	g.Created = now
	mark := Mark{Last: g.Last.Load()}
	err := disk.Guard(func() error {
		return g.DB.Update(func(tx *bbolt.Tx) error {
			m := tx.Bucket(BucketMeta)
			first, err := disk.ParseNumber(m.Get(KeyBatch))
			mark.First, mark.Kept = first, uint64(tx.Bucket(BucketKept).Stats().KeyN) //nolint:gosec // never negative
			return errors.Join(err, m.Put(disk.KeyForm, disk.Number(disk.Form)), m.Put(keyPrevious, disk.Number(g.Previous)),
				m.Put(keyCreated, disk.Number(record.Stamp(g.Created))), m.Put(KeyBatch, mark.Encode()))
		})
	})
	if err != nil {
		return fmt.Errorf("upgrade segment %s: %w", g.Path, err)
	}
	return nil
}

// Seal commits a transaction that changes nothing: bbolt has two meta pages, and
// after it both lead to all records, so that losing one of them loses none. A
// full disk leaves it out.
func (g *File) Seal() error {
	err := disk.Guard(func() error {
		return g.DB.Update(func(tx *bbolt.Tx) error {
			m := tx.Bucket(BucketMeta)
			return m.Put(KeyBatch, bytes.Clone(m.Get(KeyBatch)))
		})
	})
	if disk.IsFull(err) {
		return nil
	}
	return err
}

// Remove closes the file and unlinks it, durably.
func (g *File) Remove() error {
	if err := g.DB.Close(); err != nil {
		return err
	}
	if err := disk.Remove(g.Path); err != nil {
		return err
	}
	return disk.Sync(filepath.Dir(g.Path))
}
