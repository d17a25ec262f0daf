//go:build linux

package crashfs

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Cut says what of the unsynced is on the disk after the power has failed.
type Cut string

// The cuts.
const (
	None   Cut = "none"   // nothing of it
	All    Cut = "all"    // all of it, as after a kill
	Prefix Cut = "prefix" // the first some, the last of them torn
	Subset Cut = "subset" // any of them
	Torn   Cut = "torn"   // any, and of each write any sectors
)

// Image is the state at one operation: what is durable, and what is not.
type Image struct {
	root    *node
	files   map[*node]content
	names   map[*node]map[string]*node
	pending []change
}

// Image takes the state. See Watch for when it may be called.
func (f *FS) Image() *Image {
	im := &Image{
		root: f.root, files: make(map[*node]content), names: make(map[*node]map[string]*node),
		pending: slices.Clone(f.pending),
	}
	for _, n := range f.nodes {
		if n.dir {
			im.names[n] = maps.Clone(n.saved)
		} else {
			im.files[n] = n.disk.clone()
		}
	}
	return im
}

// Pending is how many operations are not durable.
func (im *Image) Pending() int { return len(im.pending) }

// Cut returns one of the states that the power may leave. The same numbers from
// r give the same one.
func (im *Image) Cut(how Cut, r *rand.Rand) *Tree {
	out := &state{files: maps.Clone(im.files), names: maps.Clone(im.names), owned: make(map[*node]bool)}
	last := len(im.pending)
	chance := 0.1 + 0.8*r.Float64()
	switch how {
	case None:
		last = 0
	case Prefix:
		last = r.IntN(last + 1)
	default:
	}
	for i, c := range im.pending[:last] {
		torn := how == Torn || how == Prefix && i == last-1
		if (how == Subset || how == Torn) && r.Float64() > chance {
			continue
		}
		if torn && c.data != nil {
			out.tear(&c, r)
			continue
		}
		out.do(&c)
	}
	return out.tree(im.root)
}

// state is an image being completed. Contents and names are copied when they are
// first changed.
type state struct {
	files map[*node]content
	names map[*node]map[string]*node
	owned map[*node]bool
}

func (s *state) do(c *change) {
	for _, m := range c.names {
		if !s.owned[m.dir] {
			s.names[m.dir], s.owned[m.dir] = maps.Clone(s.names[m.dir]), true
		}
		set(s.names[m.dir], m.name, m.to)
	}
	if c.file == nil {
		return
	}
	own := s.files[c.file]
	if !s.owned[c.file] {
		own, s.owned[c.file] = own.clone(), true
	}
	c.apply(&own)
	s.files[c.file] = own
}

// tear does some sectors of a write. Where it made the file longer, the rest
// reads as zeros.
func (s *state) tear(c *change, r *rand.Rand) {
	for from := 0; from < len(c.data); {
		to := min(len(c.data), from+sector-int((c.at+int64(from))%sector))
		if r.IntN(2) == 0 {
			s.do(&change{file: c.file, at: c.at + int64(from), data: c.data[from:to]})
		}
		from = to
	}
	if end := c.at + int64(len(c.data)); end > s.files[c.file].size && r.IntN(2) == 0 {
		s.do(&change{file: c.file, at: end})
	}
}

func (s *state) tree(root *node) *Tree {
	t := &Tree{files: make(map[string]content)}
	s.walk(t, root, ".")
	slices.Sort(t.dirs)
	return t
}

func (s *state) walk(t *Tree, dir *node, at string) {
	for name, n := range s.names[dir] {
		full := path.Join(at, name)
		if n.dir {
			t.dirs = append(t.dirs, full)
			s.walk(t, n, full)
			continue
		}
		t.files[full] = s.files[n]
	}
}

// Tree is what is on a disk. It does not change.
type Tree struct {
	dirs  []string
	files map[string]content
}

// Dirs lists the directories but the root, parents first.
func (t *Tree) Dirs() []string { return t.dirs }

// Files lists the files, sorted.
func (t *Tree) Files() []string { return slices.Sorted(maps.Keys(t.files)) }

// Pages lists the numbers of a file's pages of 4,096 bytes that are no holes,
// rising.
func (t *Tree) Pages(file string) []int64 { return slices.Sorted(maps.Keys(t.files[file].pages)) }

// Flip returns the tree with one bit of a file changed.
func (t *Tree) Flip(file string, at int64, bit uint) *Tree {
	out := &Tree{dirs: t.dirs, files: maps.Clone(t.files)}
	c := t.files[file]
	c = c.clone()
	var b [1]byte
	c.read(at, b[:])
	b[0] ^= 1 << bit
	c.write(at, b[:])
	out.files[file] = c
	return out
}

// Write makes the tree under dir, which must be there. Holes stay holes.
func (t *Tree) Write(dir string) error {
	for _, d := range t.Dirs() {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, c := range t.files {
		if err := writeFile(filepath.Join(dir, name), &c); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(name string, c *content) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // a test's own file
	if err != nil {
		return err
	}
	for i, p := range c.pages {
		if _, err := f.WriteAt(p[:min(pageSize, c.size-i*pageSize)], i*pageSize); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Truncate(c.size), f.Close())
}

// Read takes a tree up from a directory.
func Read(dir string) (*Tree, error) {
	t := &Tree{files: make(map[string]content)}
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, name)
		switch {
		case err != nil || rel == ".":
			return err
		case e.IsDir():
			t.dirs = append(t.dirs, rel)
			return nil
		}
		b, err := os.ReadFile(name) //nolint:gosec // a test's own file
		c := newContent()
		c.writeSparse(b)
		t.files[rel] = c
		return err
	})
	return t, err
}

// writeSparse is write at the beginning, pages of zeros left out.
func (c *content) writeSparse(b []byte) {
	var zero [pageSize]byte
	each(0, len(b), func(i int64, _, first, last int) {
		if string(b[first:last]) != string(zero[:last-first]) {
			c.write(i*pageSize, b[first:last])
		}
	})
	c.size = int64(len(b))
}
