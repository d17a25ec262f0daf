//go:build linux

package crashfs

import (
	"maps"
	"path"
)

// node is a file or a directory: as it is seen, and as it is on the disk.
type node struct {
	id     uint64
	dir    bool
	mode   uint32
	parent *node
	name   string

	live, disk   content          // of a file
	names, saved map[string]*node // of a directory
}

func (f *FS) newNode(parent *node, name string, dir bool, mode uint32) *node {
	n := &node{id: uint64(len(f.nodes) + 1), dir: dir, mode: mode & 0o7777, parent: parent, name: name}
	if dir {
		n.names, n.saved = make(map[string]*node), make(map[string]*node)
	} else {
		n.live, n.disk = newContent(), newContent()
	}
	f.nodes[n.id] = n
	return n
}

func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	return path.Join(n.parent.path(), n.name)
}

// change is one operation that is not durable yet.
type change struct {
	file *node
	// Of a write: where and what. Without data the size becomes at.
	at   int64
	data []byte
	// Of names: what they lead to from then on, nil for nothing.
	names []naming
}

type naming struct {
	dir  *node
	name string
	to   *node
}

// of reports whether a sync of the node makes the change durable.
func (c *change) of(n *node) bool {
	for _, m := range c.names {
		if m.dir == n {
			return true
		}
	}
	return c.file == n
}

func (c *change) apply(to *content) {
	if c.data == nil {
		to.resize(c.at)
	} else {
		to.write(c.at, c.data)
	}
}

// alter does a change to a file's content.
func (f *FS) alter(c change) {
	c.apply(&c.file.live)
	f.pending = append(f.pending, c)
}

// rename does a change to names.
func (f *FS) rename(names ...naming) {
	for _, m := range names {
		set(m.dir.names, m.name, m.to)
		if m.to != nil {
			m.to.parent, m.to.name = m.dir, m.name
		}
	}
	f.pending = append(f.pending, change{names: names})
}

func set(names map[string]*node, name string, to *node) {
	if to == nil {
		delete(names, name)
	} else {
		names[name] = to
	}
}

// sync makes what is pending of a node durable. One that fails drops the bytes
// of a file, and leaves names pending, as a journal does.
func (f *FS) sync(n *node, fails bool) {
	left := f.pending[:0:0]
	for _, c := range f.pending {
		switch {
		case !c.of(n), fails && c.file == nil:
			left = append(left, c)
		case fails:
		case c.file != nil:
			c.apply(&n.disk)
		default:
			for _, m := range c.names {
				set(m.dir.saved, m.name, m.to)
			}
		}
	}
	f.pending = left
}

// load makes the tree what is on the disk.
func (f *FS) load(t *Tree) {
	dirs := map[string]*node{".": f.root}
	add := func(name string, dir bool) *node {
		parent := dirs[path.Dir(name)]
		n := f.newNode(parent, path.Base(name), dir, 0o600)
		parent.names[n.name], parent.saved[n.name] = n, n
		return n
	}
	for _, name := range t.Dirs() {
		n := add(name, true)
		n.mode = 0o700
		dirs[name] = n
	}
	for name, c := range maps.All(t.files) {
		n := add(name, false)
		n.live, n.disk = c.clone(), c.clone()
	}
}
