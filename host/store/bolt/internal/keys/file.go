package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/dedup"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// The buckets of a file of keys, and the keys of its meta bucket beside
// [disk.KeyForm].
var (
	bucketMeta   = []byte("m") // form, and what follows below
	bucketBlocks = []byte("k") // least hash of a block -> the block
	bucketFilter = []byte("f") // number -> a part of the filter

	keyHead = []byte("head") // see head
)

// blocksPerTx bounds what writing a file of keys holds in memory.
const blocksPerTx = 1000

// file is a file of dedup keys: those of the records of a range of sequences,
// sorted, and never changed.
type file struct {
	path        string
	first, last uint64
	// newest is when the last of them was committed, by the store's clock.
	newest time.Time
	count  int
	filter dedup.Filter
	db     *bbolt.DB
	bad    atomic.Bool // a block of it could not be read
}

func filePath(dir string, first, last uint64) string {
	return filepath.Join(dir, "dedup", fmt.Sprintf("%020d-%020d.db", first, last))
}

// fileRange is the inverse of filePath.
func fileRange(path string) (first, last uint64, err error) {
	name := filepath.Base(path)
	if n, err := fmt.Sscanf(name, "%020d-%020d.db", &first, &last); n != 2 || err != nil ||
		filepath.Base(filePath("", first, last)) != name || last < first {
		return 0, 0, fmt.Errorf("%s is no file of dedup keys", path)
	}
	return first, last, nil
}

// span says what a file of keys is of.
type span struct {
	first, last uint64
	newest      time.Time
	count       int // entries at most
}

// writeFile makes a file of entries, which come sorted and each hash once.
func writeFile(dir string, of span, entries iter.Seq[dedup.Entry]) error {
	return disk.CreateFile(filePath(dir, of.first, of.last), disk.PageSize, func(db *bbolt.DB) error {
		w := &writer{db: db, filter: dedup.NewFilter(of.count)}
		for e := range entries {
			if len(w.entries) == dedup.BlockEntries {
				if err := w.block(e.Hash); err != nil {
					return err
				}
			}
			w.entries = append(w.entries, e)
			w.filter.Add(e.Hash)
			w.count++
		}
		if err := w.block(host.Hash{}); err != nil {
			return err
		}
		return w.end(of)
	})
}

// writer writes a file of keys, a block at a time.
type writer struct {
	db      *bbolt.DB
	filter  dedup.Filter
	count   int
	low     host.Hash
	entries []dedup.Entry
	blocks  []coded
}

type coded struct {
	low   host.Hash
	block []byte
}

// block ends a block; the next one begins at high.
func (w *writer) block(high host.Hash) error {
	w.blocks = append(w.blocks, coded{w.low, dedup.EncodeBlock(w.low, high, w.entries)})
	w.low, w.entries = high, w.entries[:0]
	if len(w.blocks) < blocksPerTx {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	err := w.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketBlocks)
		if err != nil {
			return err
		}
		b.FillPercent = 1
		for i := range w.blocks {
			if err := b.Put(w.blocks[i].low[:], w.blocks[i].block); err != nil {
				return err
			}
		}
		return nil
	})
	w.blocks = w.blocks[:0]
	return err
}

func (w *writer) end(of span) error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.db.Update(func(tx *bbolt.Tx) error {
		f, err := tx.CreateBucket(bucketFilter)
		if err != nil {
			return err
		}
		for i, part := range w.filter.Encode() {
			if err := f.Put(disk.Number(uint64(i)), part); err != nil {
				return err
			}
		}
		m, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		h := head{of.first, of.last, record.Stamp(of.newest), uint64(w.count), uint64(w.filter.Words())} //nolint:gosec // never negative
		return errors.Join(m.Put(disk.KeyForm, disk.Number(disk.Form)), m.Put(keyHead, h.coded()))
	})
}

// head is what a file of keys says of itself: the sequences of its first and last
// record, when that one was committed, how many entries it has, and the words of
// its filter.
type head [5]uint64

// coded has a checksum: with another time the keys would expire too early.
func (h head) coded() []byte {
	var b []byte
	for _, n := range h {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func parseHead(b []byte) (h head, err error) {
	n := 8 * len(h)
	if len(b) != n+crc32.Size || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return h, fmt.Errorf("%w: checksum of its head", dedup.ErrDamaged)
	}
	for i := range h {
		h[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return h, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// open opens a file of keys, and reads its filter.
func (x *Index) open(path string) (*file, error) {
	first, last, err := fileRange(path)
	if err != nil {
		return nil, err
	}
	db, err := disk.OpenDB(path, true, 0, x.o.OpenFile)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, first: first, last: last, db: db}
	if err := f.view(f.load); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return f, nil
}

func (f *file) load(tx *bbolt.Tx) error {
	m, filter := tx.Bucket(bucketMeta), tx.Bucket(bucketFilter)
	if m == nil || filter == nil || tx.Bucket(bucketBlocks) == nil {
		return fmt.Errorf("%w: a bucket is missing", dedup.ErrDamaged)
	}
	if err := disk.CheckForm(m); err != nil {
		return err
	}
	h, err := parseHead(m.Get(keyHead))
	if err != nil {
		return err
	}
	if h[0] != f.first || h[1] != f.last {
		return fmt.Errorf("%w: its name is not that of what it holds", dedup.ErrDamaged)
	}
	f.newest, f.count = record.Unstamp(h[2]), int(h[3]) //nolint:gosec // the size of something in memory
	var parts [][]byte
	if err := filter.ForEach(func(_, v []byte) error {
		parts = append(parts, v)
		return nil
	}); err != nil {
		return err
	}
	f.filter, err = dedup.DecodeFilter(int(h[4]), parts) //nolint:gosec // compared with what is there
	return err
}

// view reads from the file. Errors name it.
func (f *file) view(fn func(*bbolt.Tx) error) error {
	if err := disk.Guard(func() error { return f.db.View(fn) }); err != nil {
		return fmt.Errorf("dedup file %s: %w", f.path, err)
	}
	return nil
}

// find looks a hash up. A block that cannot be read, or that does not answer for
// the hash, is an error.
func (f *file) find(h host.Hash) (p Place, found bool, err error) {
	err = f.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketBlocks).Cursor()
		k, v := c.Seek(h[:])
		if k == nil {
			k, v = c.Last()
		} else if string(k) != string(h[:]) {
			k, v = c.Prev()
		}
		if k == nil {
			return fmt.Errorf("%w: no block answers for %x", dedup.ErrDamaged, h)
		}
		block, err := dedup.ParseBlock(v)
		if err != nil {
			return err
		}
		e, ok, err := block.Find(h)
		p, found = Place{Seq: e.Seq, Index: e.Index, Content: e.Content}, ok
		return err
	})
	return p, found, err
}

// cursor reads the entries of a file in order, a block at a time.
type cursor struct {
	f       *file
	buffer  []dedup.Entry
	entries []dedup.Entry // the rest of a block
	next    host.Hash     // the least hash of the block behind it
	ended   bool
	// lost is told of what cannot be read, which is left out.
	lost func(error)
}

// peek returns the entry that the cursor stands at; nil at the end.
func (c *cursor) peek() *dedup.Entry {
	for len(c.entries) == 0 {
		if c.ended {
			return nil
		}
		if err := c.f.view(c.block); err != nil {
			c.lost(err)
			c.ended = true
		}
	}
	return &c.entries[0]
}

// skip moves on by an entry.
func (c *cursor) skip() { c.entries = c.entries[1:] }

// block reads the next block that can be read.
func (c *cursor) block(tx *bbolt.Tx) error {
	blocks := tx.Bucket(bucketBlocks).Cursor()
	for k, v := blocks.Seek(c.next[:]); k != nil; k, v = blocks.Next() {
		block, err := dedup.ParseBlock(v)
		if err != nil {
			c.lost(fmt.Errorf("dedup file %s: %w", c.f.path, err))
			continue
		}
		low, high := block.Bounds()
		last := high == host.Hash{}
		if low != c.next {
			c.lost(fmt.Errorf("dedup file %s: %w: a block is missing", c.f.path, dedup.ErrDamaged))
		}
		if bytes.Compare(low[:], c.next[:]) < 0 || (!last && bytes.Compare(high[:], c.next[:]) <= 0) {
			continue // out of its place: entries come in order, and it goes on
		}
		c.next, c.ended = high, last
		c.buffer = c.buffer[:0]
		for i := range block.Len() {
			c.buffer = append(c.buffer, block.At(i))
		}
		c.entries = c.buffer
		return nil
	}
	return fmt.Errorf("%w: its end is missing", dedup.ErrDamaged)
}

// merged yields the entries of cursors in order. Of those with the same hash it
// yields that of the first cursor.
func merged(cursors ...*cursor) iter.Seq[dedup.Entry] {
	return func(yield func(dedup.Entry) bool) {
		for {
			var least *dedup.Entry
			for _, c := range cursors {
				if e := c.peek(); e != nil && (least == nil || dedup.Compare(*e, *least) < 0) {
					least = e
				}
			}
			if least == nil {
				return
			}
			e := *least
			if !yield(e) {
				return
			}
			for _, c := range cursors {
				if next := c.peek(); next != nil && next.Hash == e.Hash {
					c.skip()
				}
			}
		}
	}
}

// List returns the files of keys in a store's directory, rising, and the last
// sequence that one of them has keys of; zero without files. It removes what a
// crash left: a file that was not complete, and those that were merged into
// another.
func List(dir string) (paths []string, last uint64, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, "dedup"))
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, "dedup", e.Name())
		if strings.HasSuffix(path, disk.TempSuffix) {
			if err := os.Remove(path); err != nil {
				return nil, 0, err
			}
			continue
		}
		first, end, err := fileRange(path)
		if err != nil {
			return nil, 0, err
		}
		// By name, so that of two that begin together the longer one comes last.
		if n := len(paths) - 1; n >= 0 {
			before, covered, _ := fileRange(paths[n])
			if end <= covered {
				if err := os.Remove(path); err != nil {
					return nil, 0, err
				}
				continue
			}
			if before == first {
				if err := os.Remove(paths[n]); err != nil {
					return nil, 0, err
				}
				paths = paths[:n]
			}
		}
		paths = append(paths, path)
		last = end
	}
	return paths, last, nil
}
