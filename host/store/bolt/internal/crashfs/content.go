//go:build linux

package crashfs

const (
	pageSize = 4096
	sector   = 512
)

// content is what a file holds: a size, and the pages that are no holes. A page
// is never changed once it is in, so that copies share them.
type content struct {
	size  int64
	pages map[int64]*[pageSize]byte
}

func newContent() content { return content{pages: make(map[int64]*[pageSize]byte)} }

func (c *content) clone() content {
	out := content{size: c.size, pages: make(map[int64]*[pageSize]byte, len(c.pages))}
	for i, p := range c.pages {
		out.pages[i] = p
	}
	return out
}

// each calls fn for the pages that n bytes from at on touch: with the page's
// number, where in it, and which of the bytes.
func each(at int64, n int, fn func(page int64, from, first, last int)) {
	for done := 0; done < n; {
		pos := at + int64(done)
		from := int(pos % pageSize)
		last := min(n, done+pageSize-from)
		fn(pos/pageSize, from, done, last)
		done = last
	}
}

func (c *content) write(at int64, b []byte) {
	each(at, len(b), func(i int64, from, first, last int) {
		fresh := new([pageSize]byte)
		if old := c.pages[i]; old != nil {
			*fresh = *old
		}
		copy(fresh[from:], b[first:last])
		c.pages[i] = fresh
	})
	c.size = max(c.size, at+int64(len(b)))
}

// holes reports whether a write of n bytes needs a page more.
func (c *content) holes(at int64, n int) bool {
	found := false
	each(at, n, func(i int64, _, _, _ int) { found = found || c.pages[i] == nil })
	return found
}

// resize cuts off or adds a hole.
func (c *content) resize(size int64) {
	if size < c.size {
		for i, p := range c.pages {
			switch start := i * pageSize; {
			case start >= size:
				delete(c.pages, i)
			case start+pageSize > size:
				fresh := new([pageSize]byte)
				copy(fresh[:size-start], p[:])
				c.pages[i] = fresh
			}
		}
	}
	c.size = size
}

// read fills b from at on and returns how much there is.
func (c *content) read(at int64, b []byte) int {
	n := int(max(0, min(int64(len(b)), c.size-at)))
	each(at, n, func(i int64, from, first, last int) {
		if p := c.pages[i]; p != nil {
			copy(b[first:last], p[from:])
		} else {
			clear(b[first:last])
		}
	})
	return n
}
