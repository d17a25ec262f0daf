//go:build linux

package crashfs

import (
	"maps"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// notesID is the node of [Notes], which is no node of the tree.
const notesID = 1 << 40

// Lookup implements [fuse.RawFileSystem].
func (f *FS) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.NodeId == f.root.id && name == Notes {
		f.entry(notes, out)
		return fuse.OK
	}
	n := f.nodes[in.NodeId].names[name]
	if n == nil {
		return fuse.ENOENT
	}
	f.entry(n, out)
	return fuse.OK
}

var notes = &node{id: notesID, mode: 0o600}

// node returns the node with an id.
func (f *FS) node(id uint64) *node {
	if id == notesID {
		return notes
	}
	return f.nodes[id]
}

// GetAttr implements [fuse.RawFileSystem].
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.AttrValid = valid
	f.attr(f.node(in.NodeId), &out.Attr)
	return fuse.OK
}

// SetAttr implements [fuse.RawFileSystem].
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(in.NodeId)
	status := fuse.OK
	if size, ok := in.GetSize(); ok && n != notes {
		fault, refused := f.begin(Truncate, n, "", true)
		if !refused.Ok() {
			return refused
		}
		f.alter(change{file: n, at: int64(size)}) //nolint:gosec // from the kernel
		status = fault.done()
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = mode
	}
	out.AttrValid = valid
	f.attr(n, &out.Attr)
	return status
}

// Fallocate implements [fuse.RawFileSystem]; only growing is known.
func (f *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(in.NodeId)
	if in.Mode != 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	fault, refused := f.begin(Truncate, n, "", true)
	if !refused.Ok() {
		return refused
	}
	if end := int64(in.Offset + in.Length); end > n.live.size { //nolint:gosec // from the kernel
		f.alter(change{file: n, at: end})
	}
	return fault.done()
}

// Create implements [fuse.RawFileSystem].
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.add(Create, in.NodeId, name, in.Mode)
	if n == nil {
		return status
	}
	f.entry(n, &out.EntryOut)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return status
}

// Mkdir implements [fuse.RawFileSystem].
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.add(Mkdir, in.NodeId, name, in.Mode)
	if n == nil {
		return status
	}
	f.entry(n, out)
	return status
}

// add makes a file or a directory, nil when it is refused. mu is held.
func (f *FS) add(kind Kind, in uint64, name string, mode uint32) (*node, fuse.Status) {
	dir := f.node(in)
	fault, refused := f.begin(kind, dir, name, true)
	if !refused.Ok() {
		return nil, refused
	}
	if dir.names[name] != nil {
		return nil, fuse.Status(syscall.EEXIST)
	}
	n := f.newNode(dir, name, kind == Mkdir, mode)
	f.rename(naming{dir, name, n})
	return n, fault.done()
}

// Unlink implements [fuse.RawFileSystem].
func (f *FS) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remove(in.NodeId, name)
}

// Rmdir implements [fuse.RawFileSystem].
func (f *FS) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.remove(in.NodeId, name)
}

func (f *FS) remove(in uint64, name string) fuse.Status {
	dir := f.node(in)
	n := dir.names[name]
	switch {
	case n == nil:
		return fuse.ENOENT
	case len(n.names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	fault, refused := f.begin(Unlink, dir, name, false)
	if !refused.Ok() {
		return refused
	}
	f.rename(naming{dir, name, nil})
	return fault.done()
}

// Rename implements [fuse.RawFileSystem].
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.Flags != 0 {
		return fuse.EINVAL
	}
	old, dir := f.node(in.NodeId), f.node(in.Newdir)
	n := old.names[from]
	if n == nil {
		return fuse.ENOENT
	}
	fault, refused := f.begin(Rename, dir, to, true)
	if !refused.Ok() {
		return refused
	}
	f.rename(naming{old, from, nil}, naming{dir, to, n})
	return fault.done()
}

// Open implements [fuse.RawFileSystem].
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if in.NodeId == notesID {
		out.OpenFlags = fuse.FOPEN_DIRECT_IO
	}
	return fuse.OK
}

// Read implements [fuse.RawFileSystem].
func (f *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(in.NodeId).live.read(int64(in.Offset), buf) //nolint:gosec // from the kernel
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write implements [fuse.RawFileSystem].
func (f *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := uint32(len(data)) //nolint:gosec // bounded by the protocol
	n := f.node(in.NodeId)
	if n == notes {
		if f.watch != nil {
			f.watch(Op{Kind: Note, Path: Notes, Note: data})
		}
		return size, fuse.OK
	}
	fault, refused := f.begin(Write, n, "", n.live.holes(int64(in.Offset), len(data))) //nolint:gosec // from the kernel
	if !refused.Ok() {
		return 0, refused
	}
	f.alter(change{file: n, at: int64(in.Offset), data: slices.Clone(data)}) //nolint:gosec // from the kernel
	return size, fault.done()
}

// Writev implements [fuse.RawFileSystem]: Write is called instead.
func (f *FS) Writev(<-chan struct{}, *fuse.WriteIn, [][]byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}

// Fsync implements [fuse.RawFileSystem].
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return f.synced(Sync, in.NodeId) }

// FsyncDir implements [fuse.RawFileSystem].
func (f *FS) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return f.synced(SyncDir, in.NodeId)
}

func (f *FS) synced(kind Kind, id uint64) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(id)
	if n == notes {
		return fuse.OK
	}
	fault, refused := f.begin(kind, n, "", false)
	switch {
	case fault.Lie:
	case refused.Ok() || !f.halted:
		f.sync(n, !refused.Ok())
	}
	if !refused.Ok() {
		return refused
	}
	return fault.done()
}

// OpenDir implements [fuse.RawFileSystem].
func (f *FS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

// ReadDir implements [fuse.RawFileSystem].
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := f.node(in.NodeId).names
	for i, name := range slices.Sorted(maps.Keys(names)) {
		if uint64(i) < in.Offset {
			continue
		}
		mode := uint32(syscall.S_IFREG)
		if names[name].dir {
			mode = syscall.S_IFDIR
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: name, Ino: names[name].id, Mode: mode}) {
			break
		}
	}
	return fuse.OK
}

// Flush implements [fuse.RawFileSystem]: closing syncs nothing.
func (f *FS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release implements [fuse.RawFileSystem].
func (f *FS) Release(<-chan struct{}, *fuse.ReleaseIn) {}
