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

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
)

// The buckets of a segment.
var (
	bucketMeta  = []byte("m") // form, first and batch
	bucketLog   = []byte("l") // sequence -> record
	bucketDedup = []byte("d") // key -> place
	bucketKept  = []byte("k") // sequence of a kept callback -> nothing
)

// The keys of the meta bucket, in segments and in state.db.
var (
	keyForm  = []byte("form")  // version of the file's form, 8 bytes
	keyFirst = []byte("first") // sequence the segment begins at
	keyBatch = []byte("batch") // sequence the last commit began at
)

// form is the version of the files' form. A file of a later one is refused.
const form = 1

// Address space kept for a segment: 2 GiB, none where an int has 32 bits.
const segmentMapped = int(^uint(0)>>63) << 31

// segment is one file of the log: the records from a sequence on, up to the
// next segment's. The last one is active, and only that one is written to.
type segment struct {
	path  string
	first uint64
	db    *bbolt.DB
}

// place is where the event or the item set aside with some key is: the record,
// and the index in it (those of items behind those of events).
type place struct {
	seq     uint64
	index   int
	content host.Content
}

// coded is the value of a key in the dedup bucket.
func (p place) coded() []byte {
	b := binary.BigEndian.AppendUint64(nil, p.seq)
	b = append(b, p.content[:]...)
	return binary.AppendUvarint(b, uint64(p.index)) //nolint:gosec // never negative
}

// maxIndex is above every index in a record: events, then items set aside,
// 65,535 each at most.
const maxIndex = 1 << 17

func parsePlace(b []byte) (place, error) {
	const fixed = 16
	if len(b) < fixed {
		return place{}, errors.New("damaged dedup entry")
	}
	index, n := binary.Uvarint(b[fixed:])
	if n != len(b)-fixed || index > maxIndex {
		return place{}, errors.New("damaged dedup entry")
	}
	p := place{seq: binary.BigEndian.Uint64(b), index: int(index)}
	copy(p.content[:], b[8:fixed])
	return p, nil
}

func seqKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, "seg", fmt.Sprintf("%020d.db", first))
}

// createSegment makes an empty segment that begins at first.
func createSegment(dir string, first uint64) error {
	return createDB(segmentPath(dir, first), func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketLog, bucketDedup, bucketKept} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		m, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		return errors.Join(m.Put(keyForm, seqKey(form)), m.Put(keyFirst, seqKey(first)), m.Put(keyBatch, seqKey(first)))
	})
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
		if strings.HasSuffix(e.Name(), tempSuffix) {
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
	db, err := openDB(g.path, !active, segmentMapped, s.options.openFile)
	if err != nil {
		return nil, err
	}
	g.db = db
	if err := g.check(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return g, nil
}

// check reports whether the file is a segment of a form that is known.
func (g *segment) check() error {
	return g.view(func(tx *bbolt.Tx) error {
		m := tx.Bucket(bucketMeta)
		if m == nil || tx.Bucket(bucketLog) == nil || tx.Bucket(bucketDedup) == nil || tx.Bucket(bucketKept) == nil {
			return errors.New("it is damaged or no segment: a bucket is missing")
		}
		if err := checkForm(m); err != nil {
			return err
		}
		if !bytes.Equal(m.Get(keyFirst), seqKey(g.first)) {
			return errors.New("its name is not that of the sequence it begins at")
		}
		return nil
	})
}

// checkForm refuses a file of another version.
//
// Invariant 10: a later version reads form 1; this one knows no other.
func checkForm(m *bbolt.Bucket) error {
	if got := m.Get(keyForm); !bytes.Equal(got, seqKey(form)) {
		return fmt.Errorf("its form is %x, and this version of postern knows only %x", got, seqKey(form))
	}
	return nil
}

// view reads from the segment. Errors name the file; what fn keeps it must
// copy.
func (g *segment) view(fn func(*bbolt.Tx) error) error {
	if err := guard(func() error { return g.db.View(fn) }); err != nil {
		return fmt.Errorf("segment %s: %w", g.path, err)
	}
	return nil
}

// find looks a key up.
func (g *segment) find(key host.Hash) (p place, found bool, err error) {
	err = g.view(func(tx *bbolt.Tx) error {
		p, found, err = findIn(tx.Bucket(bucketDedup), key)
		return err
	})
	return p, found, err
}

func findIn(d *bbolt.Bucket, key host.Hash) (place, bool, error) {
	v := d.Get(key[:])
	if v == nil {
		return place{}, false, nil
	}
	p, err := parsePlace(v)
	return p, err == nil, err
}

// survey returns the last sequence, zero for none, and how many callbacks are
// kept.
func (g *segment) survey() (last uint64, kept int, err error) {
	err = g.view(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(bucketLog).Cursor().Last(); len(k) == 8 {
			last = binary.BigEndian.Uint64(k)
		}
		c := tx.Bucket(bucketKept).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			kept++
		}
		return nil
	})
	return last, kept, err
}
