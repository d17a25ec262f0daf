package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Touch is a key of a bucket.
type Touch struct {
	Bucket string
	Key    []byte
}

// Fresh returns keys such that every page of the buckets which the last
// transaction wrote lies above or at the leaf of one of them: putting those
// keys again writes all those pages again.
//
// It is nil when a later transaction had begun: one meta page is not valid then,
// or the tree before the last is overwritten. Nothing has to be written again
// in that case, because no transaction begins before the last one is synced.
//
// The keys a transaction put do not tell: splitting a page writes siblings
// that hold none of them. So the trees of the last two transactions, which a
// bbolt file always has, are compared: a page that both have was not written.
func Fresh(path string) ([]Touch, error) {
	f, err := os.Open(path) //nolint:gosec // the store's own file
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	now, err := newest(f)
	if err != nil {
		return nil, err
	}
	before, err := readMeta(f, now.pageSize*int64((now.tx+1)%2))
	if err != nil || before.tx+1 != now.tx {
		return nil, nil //nolint:nilerr // see above
	}
	t := &trees{f: f, meta: now}
	roots, err := t.buckets(now.root)
	if err != nil {
		return nil, err
	}
	old, err := t.buckets(before.root)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	for name, root := range roots {
		// A bucket that is inline lies in a page of the root, which every
		// transaction writes.
		if root == 0 {
			continue
		}
		err := t.compare(name, []uint64{root}, []uint64{old[name]})
		if errors.Is(err, errOverwritten) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return t.found, nil
}

// errOverwritten says that the tree before the last is not whole.
var errOverwritten = errors.New("overwritten by a later transaction")

// trees reads the pages of one file.
type trees struct {
	f     *os.File
	meta  meta
	found []Touch
}

// The form of a page: a header of id (8 bytes), flags, count (2 each) and
// overflow (4), then elements of 16 bytes. A branch's are position, key size (4
// each) and page (8); a leaf's are flags, position, key size and value size (4
// each). Positions count from the element.
const (
	elementSize = 16
	isBranch    = 0x01
	isLeaf      = 0x02
	isBucket    = 0x01
)

type page struct {
	b      []byte
	branch bool
	count  int
}

func (t *trees) page(id uint64) (*page, error) {
	if id < 2 || id >= t.meta.high {
		return nil, fmt.Errorf("page %d is not in the file", id)
	}
	at := int64(id) * t.meta.pageSize //nolint:gosec // below the file's size
	head := make([]byte, headerSize)
	if _, err := t.f.ReadAt(head, at); err != nil {
		return nil, err
	}
	order := binary.NativeEndian
	flags, overflow := order.Uint16(head[8:]), uint64(order.Uint32(head[12:]))
	if order.Uint64(head) != id || (flags != isBranch && flags != isLeaf) || id+overflow >= t.meta.high {
		return nil, fmt.Errorf("page %d is damaged", id)
	}
	p := &page{b: make([]byte, (int64(overflow)+1)*t.meta.pageSize), branch: flags == isBranch, count: int(order.Uint16(head[10:]))} //nolint:gosec // below the file's size
	if _, err := t.f.ReadAt(p.b, at); err != nil {
		return nil, err
	}
	if headerSize+p.count*elementSize > len(p.b) {
		return nil, fmt.Errorf("page %d is damaged", id)
	}
	return p, nil
}

func (p *page) word(i, at int) uint32 {
	return binary.NativeEndian.Uint32(p.b[headerSize+i*elementSize+at:])
}

// child returns the page below the i-th element of a branch.
func (p *page) child(i int) uint64 {
	return binary.NativeEndian.Uint64(p.b[headerSize+i*elementSize+8:])
}

// item returns key and value of the i-th element of a leaf.
func (p *page) item(i int) (key, value []byte, err error) {
	start := headerSize + i*elementSize + int(p.word(i, 4))
	middle := start + int(p.word(i, 8))
	end := middle + int(p.word(i, 12))
	if end > len(p.b) {
		return nil, nil, errors.New("an element reaches beyond its page")
	}
	return p.b[start:middle], p.b[middle:end], nil
}

// buckets returns the root page of every bucket, zero for an inline one.
func (t *trees) buckets(id uint64) (map[string]uint64, error) {
	all := make(map[string]uint64)
	seen := make(map[uint64]struct{}) // an overwritten tree may have a circle
	for ids := []uint64{id}; len(ids) > 0; {
		id, ids = ids[0], ids[1:]
		if _, ok := seen[id]; ok {
			continue
		}
		seen[id] = struct{}{}
		p, err := t.page(id)
		if err != nil {
			return nil, err
		}
		for i := range p.count {
			if p.branch {
				ids = append(ids, p.child(i))
				continue
			}
			key, value, err := p.item(i)
			if err != nil {
				return nil, err
			}
			if p.word(i, 0)&isBucket != 0 && len(value) >= 8 {
				all[string(key)] = binary.NativeEndian.Uint64(value)
			}
		}
	}
	return all, nil
}

// compare goes down two trees of a bucket at once, through pages that only one
// of them has. Where their heights differ it looks at more pages than it must.
func (t *trees) compare(bucket string, now, before []uint64) error {
	for len(now) > 0 {
		fresh, gone := without(now, before), without(before, now)
		now, before = nil, nil
		for _, id := range fresh {
			p, err := t.page(id)
			if err != nil {
				return err
			}
			key, err := t.first(p)
			if err != nil {
				return err
			}
			if key != nil {
				t.found = append(t.found, Touch{bucket, key})
			}
			now = append(now, p.children()...)
		}
		for _, id := range gone {
			if id == 0 {
				continue // it was inline, or not there
			}
			p, err := t.page(id)
			if err != nil {
				return errOverwritten
			}
			before = append(before, p.children()...)
		}
	}
	return nil
}

func (p *page) children() []uint64 {
	if !p.branch {
		return nil
	}
	ids := make([]uint64, p.count)
	for i := range ids {
		ids[i] = p.child(i)
	}
	return ids
}

// first returns the first key below a page, nil for an empty leaf.
func (t *trees) first(p *page) ([]byte, error) {
	var err error
	for p.branch {
		if p.count == 0 {
			return nil, errors.New("a branch page is empty")
		}
		if p, err = t.page(p.child(0)); err != nil {
			return nil, err
		}
	}
	if p.count == 0 {
		return nil, nil
	}
	key, _, err := p.item(0)
	return slices.Clone(key), err
}

// without returns what of a is not in b, each once.
func without(a, b []uint64) []uint64 {
	in := make(map[uint64]struct{}, len(b))
	for _, id := range b {
		in[id] = struct{}{}
	}
	var out []uint64
	for _, id := range a {
		if _, ok := in[id]; !ok {
			out = append(out, id)
			in[id] = struct{}{}
		}
	}
	return out
}
