package pages

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// The form of the other pages: behind the header (number of the page 8, flags 2,
// elements 2, further pages that belong to it 4) elements of 16 bytes: in a
// branch position and length of the key (4 each) and the page below (8), in a
// leaf flags, position, length of the key and of the value (4 each). A position
// counts from its element. The value of a bucket is its root page and a
// sequence (8 each); root zero means that the page itself follows.
const (
	elementSize = 16
	flagBranch  = 0x01
	flagLeaf    = 0x02
	flagBucket  = 0x01
	bucketSize  = 16
	maxDepth    = 32
)

// A freelist has its own flags, and behind the header the numbers of the free
// pages (8 each); if it has 65,535 elements or more, the first number is how
// many.
const (
	flagFreelist = 0x10
	manyFree     = 0xffff
)

// Tree reads a bbolt file page by page, with every length, place and number
// checked: where bbolt would follow a damaged page for ever, or end the process,
// this is an error. It reads the last transaction.
type Tree struct {
	f    *os.File
	m    meta
	seen map[uint64]bool
}

// OpenTree opens the file for reading.
func OpenTree(path string) (*Tree, error) {
	f, err := os.Open(path) //nolint:gosec // the store's own file
	if err != nil {
		return nil, err
	}
	m, err := newest(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Tree{f: f, m: m}, nil
}

// Close closes the file.
func (t *Tree) Close() error { return t.f.Close() }

// own marks a page as used, once.
func (t *Tree) own(id uint64) error {
	if id < 2 || id >= t.m.high {
		return fmt.Errorf("page %d is outside the file", id)
	}
	if t.seen[id] {
		return fmt.Errorf("page %d is used twice", id)
	}
	t.seen[id] = true
	return nil
}

// page is one page with those that belong to it.
type page struct {
	flags uint16
	count int
	b     []byte
}

// read reads a page and checks its header.
func (t *Tree) read(id uint64) (page, error) {
	if err := t.own(id); err != nil {
		return page{}, err
	}
	b := make([]byte, t.m.pageSize)
	at := int64(id) * t.m.pageSize //nolint:gosec // below the high-water mark
	if _, err := t.f.ReadAt(b, at); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	if got := binary.NativeEndian.Uint64(b); got != id {
		return page{}, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	p, more, err := parsePage(b)
	if err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	if more == 0 {
		return p, nil
	}
	if more >= t.m.high-id {
		return page{}, fmt.Errorf("page %d has %d further ones, more than the file", id, more)
	}
	for i := range more {
		if err := t.own(id + 1 + i); err != nil {
			return page{}, err
		}
	}
	p.b = make([]byte, (1+int64(more))*t.m.pageSize) //nolint:gosec // below the high-water mark
	if _, err := t.f.ReadAt(p.b, at); err != nil {
		return page{}, fmt.Errorf("page %d: %w", id, err)
	}
	return p, nil
}

func parsePage(b []byte) (p page, more uint64, err error) {
	if len(b) < headerSize {
		return page{}, 0, errors.New("no room for a header")
	}
	p = page{flags: binary.NativeEndian.Uint16(b[8:]), count: int(binary.NativeEndian.Uint16(b[10:])), b: b}
	if p.flags != flagBranch && p.flags != flagLeaf && p.flags != flagFreelist {
		return page{}, 0, fmt.Errorf("flags %#x are those of no page of a tree", p.flags)
	}
	return p, uint64(binary.NativeEndian.Uint32(b[12:])), nil
}

// cut returns size bytes of the page at pos behind the i-th element.
func (p page) cut(i int, pos, size uint32) ([]byte, error) {
	from := uint64(headerSize+i*elementSize) + uint64(pos) //nolint:gosec // never negative
	if to := from + uint64(size); to <= uint64(len(p.b)) {
		return p.b[from:to:to], nil
	}
	return nil, fmt.Errorf("element %d reaches beyond its page", i)
}

func (p page) element(i int) ([]byte, error) {
	from := headerSize + i*elementSize
	if from+elementSize > len(p.b) {
		return nil, fmt.Errorf("element %d is outside its page", i)
	}
	return p.b[from : from+elementSize], nil
}

// branch returns key and page below of the i-th element of a branch.
func (p page) branch(i int) (key []byte, below uint64, err error) {
	e, err := p.element(i)
	if err != nil {
		return nil, 0, err
	}
	order := binary.NativeEndian
	key, err = p.cut(i, order.Uint32(e), order.Uint32(e[4:]))
	return key, order.Uint64(e[8:]), err
}

// leaf returns flags, key and value of the i-th element of a leaf.
func (p page) leaf(i int) (flags uint32, key, value []byte, err error) {
	e, err := p.element(i)
	if err != nil {
		return 0, nil, nil, err
	}
	order := binary.NativeEndian
	pos, ksize, vsize := order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:])
	if pos > math.MaxUint32-ksize {
		return 0, nil, nil, fmt.Errorf("element %d reaches beyond its page", i)
	}
	if key, err = p.cut(i, pos, ksize); err != nil {
		return 0, nil, nil, err
	}
	value, err = p.cut(i, pos+ksize, vsize)
	return order.Uint32(e), key, value, err
}

// visit is what a walk does with what it finds. Nil does nothing.
type visit struct {
	// leaf is called with each key and value that is no bucket's.
	leaf func(key, value []byte) error
	// bucket says whether to walk through a bucket inside; nil means yes.
	bucket func(key []byte) bool
	// lost is called for each page, and what is below it, that cannot be read;
	// nil ends the walk there.
	lost func(error)
	// skipLeaves says that the pages of the lowest level are not read.
	skipLeaves bool
}

// check reports a key that is out of its place. Who takes what can be read takes
// it wherever it is.
func (v *visit) check(in *span, key []byte, first bool) error {
	if v.lost != nil {
		return nil
	}
	return in.next(key, first)
}

func (v *visit) lose(err error) error {
	if err == nil || v.lost == nil {
		return err
	}
	v.lost(err)
	return nil
}

// depth is how many levels lie below a page, by its first elements.
func (t *Tree) depth(id uint64) (int, error) {
	seen := t.seen
	defer func() { t.seen = seen }()
	t.seen = make(map[uint64]bool)
	for d := range maxDepth {
		p, err := t.read(id)
		if err != nil {
			return 0, err
		}
		if p.flags == flagLeaf {
			return d, nil
		}
		if _, id, err = p.branch(0); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("the tree is too deep")
}

// span is what the keys below a page lie in: from low on, up to high if that is
// not nil.
type span struct{ low, high []byte }

// next reports what is wrong with a key that comes behind others, and narrows the
// span to what may come behind it.
func (s *span) next(key []byte, first bool) error {
	c := bytes.Compare(key, s.low)
	if c < 0 || c == 0 && !first || s.high != nil && bytes.Compare(key, s.high) >= 0 {
		return errors.New("a key is out of its place")
	}
	s.low = key
	return nil
}

// walk goes through the tree below a page. levels is how many lie below it, -1
// if that is not known.
func (t *Tree) walk(id uint64, levels int, in span, v *visit) error {
	if levels == 0 && v.skipLeaves {
		return nil
	}
	p, err := t.read(id)
	if err != nil {
		return v.lose(err)
	}
	if p.flags == flagLeaf {
		if levels > 0 {
			return v.lose(fmt.Errorf("page %d is a leaf above the lowest level", id))
		}
		return t.leaves(p, id, in, v)
	}
	if p.flags != flagBranch || levels == 0 || p.count == 0 {
		return v.lose(fmt.Errorf("page %d is a branch with nothing below", id))
	}
	for i := range p.count {
		key, below, err := p.branch(i)
		if err == nil {
			err = v.check(&in, key, i == 0)
		}
		if err != nil {
			if err := v.lose(fmt.Errorf("page %d: %w", id, err)); err != nil {
				return err
			}
			continue
		}
		child := span{low: key, high: in.high}
		if i+1 < p.count {
			if child.high, _, err = p.branch(i + 1); err != nil {
				child.high = nil // which the next round tells
			}
		}
		if err := t.walk(below, max(levels-1, -1), child, v); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) leaves(p page, id uint64, in span, v *visit) error {
	for i := range p.count {
		flags, key, value, err := p.leaf(i)
		if err == nil && flags > flagBucket {
			err = fmt.Errorf("element %d has unknown flags", i)
		}
		if err == nil {
			err = v.check(&in, key, i == 0)
		}
		if err == nil && flags == flagBucket {
			err = t.inside(key, value, v)
		} else if err == nil && v.leaf != nil {
			if err := v.leaf(key, value); err != nil {
				return err
			}
		}
		if err != nil {
			if err := v.lose(fmt.Errorf("page %d: %w", id, err)); err != nil {
				return err
			}
		}
	}
	return nil
}

// inside goes through a bucket that stands in a leaf.
func (t *Tree) inside(key, value []byte, v *visit) error {
	if v.bucket != nil && !v.bucket(key) {
		return nil
	}
	if len(value) < bucketSize {
		return fmt.Errorf("bucket %q is cut off", key)
	}
	root := binary.NativeEndian.Uint64(value)
	if root == 0 {
		p, _, err := parsePage(value[bucketSize:])
		if err != nil || p.flags != flagLeaf {
			return fmt.Errorf("bucket %q is no leaf: %w", key, err)
		}
		return t.leaves(p, 0, span{}, v)
	}
	levels := -1
	if v.skipLeaves {
		var err error
		if levels, err = t.depth(root); err != nil {
			return fmt.Errorf("bucket %q: %w", key, err)
		}
	}
	return t.walk(root, levels, span{}, v)
}

func (t *Tree) all(v *visit) error {
	t.seen = make(map[uint64]bool)
	return t.walk(t.m.root, -1, span{}, v)
}

// Each calls fn with every key and value of a bucket at the top that can be
// read, in order if the tree is, and lost for what cannot.
func (t *Tree) Each(bucket []byte, fn func(key, value []byte) error, lost func(error)) error {
	inside := false
	return t.all(&visit{
		lost: lost,
		bucket: func(key []byte) bool {
			inside = bytes.Equal(key, bucket)
			return inside
		},
		leaf: func(key, value []byte) error {
			if !inside {
				return nil
			}
			return fn(key, value)
		},
	})
}

// free marks the free pages, and reports a page that is neither free nor used.
func (t *Tree) free() error {
	p, err := t.read(t.m.freelist)
	if err != nil {
		return err
	}
	if p.flags != flagFreelist {
		return fmt.Errorf("page %d is no freelist", t.m.freelist)
	}
	ids := p.b[headerSize:]
	n := uint64(p.count) //nolint:gosec // never negative
	if n == manyFree {
		n = binary.NativeEndian.Uint64(ids)
		ids = ids[8:]
	}
	if n > uint64(len(ids)/8) {
		return errors.New("the freelist is cut off")
	}
	for i := range n {
		if err := t.own(binary.NativeEndian.Uint64(ids[8*i:])); err != nil {
			return err
		}
	}
	if used := uint64(len(t.seen)) + 2; used != t.m.high {
		return fmt.Errorf("%d of %d pages are neither used nor free", t.m.high-used, t.m.high)
	}
	return nil
}

// Verify reports what is wrong with the pages of the file: with whole of all of
// them and of the list of free ones, so that the file can be written to, else of
// those above the lowest level, which are a hundredth, and enough for every
// search to end. A page that it passes can still hold wrong bytes.
func Verify(path string, whole bool) error {
	t, err := OpenTree(path)
	if err != nil {
		return err
	}
	err = t.all(&visit{skipLeaves: !whole})
	if err == nil && whole {
		err = t.free()
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it is cut off")
	}
	return errors.Join(err, t.Close())
}
