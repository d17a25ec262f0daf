//go:build linux

// Package crashfs is a file system for crash tests: it keeps what is not synced
// apart from what is, cuts crash images at any operation, and refuses
// operations on demand.
//
// It follows POSIX at its meanest. What was written to a file is durable once the
// file was synced, a name once its directory was; a rename is durable, in both
// directories at once, when either of them was synced. Nothing follows from
// order: of what is not synced any part may be on the disk. A rename is whole or
// not there.
//
// A sync of a file that fails drops what it should have written, as Linux does:
// readers go on seeing it, and no later sync brings it to the disk. Names are a
// journal's business: they stay pending.
//
// Only other processes may map its files: a page fault stops the garbage
// collector of the process that would have to answer it.
package crashfs

import (
	"log"
	"math"
	"os"
	"path"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Kind is what an operation does.
type Kind string

// The kinds. Sync is of a file, by fsync and fdatasync alike; SyncDir of a
// directory.
const (
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	SyncDir  Kind = "syncdir"
	Create   Kind = "create"
	Mkdir    Kind = "mkdir"
	Rename   Kind = "rename"
	Unlink   Kind = "unlink"
	// Note is a write to the file [Notes].
	Note Kind = "note"
)

// Notes is a file at the root that is in no image. What is written to it is
// handed to Watch in one order with all other operations: what a note tells of
// was over before every operation that follows.
const Notes = "notes"

// Op is an operation about to happen.
type Op struct {
	Kind Kind
	// Path is relative to the root; of a rename the new one.
	Path string
	// Room says that it needs room on the disk: a write into a hole or beyond the
	// end, a new name. What lies on the disk already is overwritten in place.
	Room bool
	// Note is what is written, of a note. It is valid during the call only.
	Note []byte
}

// Fault is what happens instead of, or after, an operation. The zero value lets
// it happen.
type Fault struct {
	// Errno refuses the operation.
	Errno syscall.Errno
	// Lie has a sync succeed without making anything durable.
	Lie bool
	// After runs when the operation is done and before it is answered, under
	// the rules of Watch. It does not run for one that is refused.
	After func()
}

// FS is a mounted file system. It lives in memory.
type FS struct {
	fuse.RawFileSystem

	server *fuse.Server
	dir    string

	mu      sync.Mutex
	watch   func(Op) Fault
	halted  bool
	full    bool
	nodes   map[uint64]*node
	root    *node
	pending []change
}

// Mount mounts a file system on dir that holds tree, durably; nil for an empty
// one. It needs /dev/fuse and the right to mount.
func Mount(dir string, tree *Tree) (*FS, error) {
	f := &FS{RawFileSystem: fuse.NewDefaultRawFileSystem(), dir: dir, nodes: make(map[uint64]*node)}
	f.root = f.newNode(nil, "", true, 0o700)
	if tree != nil {
		f.load(tree)
	}
	server, err := fuse.NewServer(f, dir, &fuse.MountOptions{
		FsName: "crashfs", Name: "crashfs", DirectMountStrict: true, DisableXAttrs: true,
		DisableReadDirPlus: true, Logger: log.New(os.Stderr, "", 0),
	})
	if err != nil {
		return nil, err
	}
	f.server = server
	go server.Serve()
	return f, server.WaitMount()
}

// Unmount ends it; every process that used it must have ended.
func (f *FS) Unmount() error { return f.server.Unmount() }

// Watch has fn called before each operation that changes something or syncs, and
// before each note. Nothing happens meanwhile. Within fn, and within Do, the
// methods Image, Halt and Fill may be called, and no others. Nil watches nothing.
func (f *FS) Watch(fn func(Op) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = fn
}

// Do runs fn while nothing happens, under the rules of Watch.
func (f *FS) Do(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

// Halt has every later operation fail with EIO, reads and notes apart, until it
// is called with false.
func (f *FS) Halt(on bool) { f.halted = on }

// Fill makes the disk full, or not: what needs room fails with ENOSPC. (A write
// that needs none must not be refused for want of it: the kernel has put it into
// pages that are mapped already, which an error does not undo.)
func (f *FS) Fill(on bool) { f.full = on }

// begin asks what is to happen to an operation on a node, or on a name in it. mu
// is held.
func (f *FS) begin(kind Kind, n *node, name string, room bool) (Fault, fuse.Status) {
	op := Op{Kind: kind, Path: path.Join(n.path(), name), Room: room}
	var fault Fault
	if f.halted {
		fault.Errno = syscall.EIO
	} else if f.watch != nil {
		fault = f.watch(op)
	}
	if fault.Errno == 0 && f.full && op.Room {
		fault.Errno = syscall.ENOSPC
	}
	return fault, fuse.Status(fault.Errno) //nolint:gosec // a small number
}

// done ends an operation.
func (fault *Fault) done() fuse.Status {
	if fault.After != nil {
		fault.After()
	}
	return fuse.OK
}

// StatFs implements [fuse.RawFileSystem].
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Bsize, out.Frsize, out.NameLen = pageSize, pageSize, 255
	out.Blocks, out.Files, out.Ffree = 1<<28, 1<<20, 1<<20
	if !f.full {
		out.Bfree, out.Bavail = out.Blocks, out.Blocks
	}
	return fuse.OK
}

// valid is how long the kernel may keep what it knows: for ever, because nobody
// else changes it.
const valid = math.MaxInt32

func (f *FS) attr(n *node, out *fuse.Attr) {
	out.Ino, out.Nlink, out.Mode, out.Blksize = n.id, 1, n.mode|syscall.S_IFREG, pageSize
	out.Size = uint64(n.live.size) //nolint:gosec // never negative
	out.Blocks = uint64(len(n.live.pages)) * pageSize / sector
	if n.dir {
		out.Nlink, out.Mode = 2, n.mode|syscall.S_IFDIR
	}
	out.Owner = *fuse.CurrentOwner()
}

func (f *FS) entry(n *node, out *fuse.EntryOut) {
	out.NodeId, out.Generation, out.EntryValid, out.AttrValid = n.id, 1, valid, valid
	f.attr(n, &out.Attr)
}
