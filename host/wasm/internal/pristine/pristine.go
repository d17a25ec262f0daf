// Package pristine owns the linear memories of guests and brings each back to
// the state it had before a call.
//
// A [Memory] is a mapping of our own. After the guest has started its content
// is frozen once, as a [Snapshot], and laid under every further instance of
// the module; after each call the pages that the guest wrote are found, by the
// cheapest [Way] that proved itself, and copied back.
package pristine

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/tetratelabs/wazero/experimental"
)

// ErrGrown says that a guest's memory has grown since it was frozen. It cannot
// shrink, so the instance must be closed.
var ErrGrown = errors.New("the memory has grown")

const (
	wasmPage = 64 << 10
	// block is what is compared and copied as one: the usual page of a machine.
	block = 4 << 10
)

// Memory is the linear memory of one instance. It is made for that instance
// alone by [Finder.Reserve], given to wazero by experimental.WithMemoryAllocator,
// and then frozen or laid over a snapshot.
//
// One goroutine at a time may use it, the one that owns the instance. wazero
// frees it when it closes the instance.
type Memory struct {
	finder   *Finder
	taken    bool
	reserved []byte // as much as the guest may ever have
	size     int    // of which it has this much
	snapshot *Snapshot
	scratch

	// known are the pages that were written, if complete, and listed how many blocks
	// they are; watched and before are of [Memory.Watch].
	known             []pages
	listed            int
	complete, watched bool
	before            int64

	idle      int // blocks looked at in vain since the private pages were dropped
	unaudited int // calls since the audit
}

var (
	_ experimental.MemoryAllocator = (*Memory)(nil)
	_ experimental.LinearMemory    = (*Memory)(nil)
)

// Allocate gives the memory to the instance that is being started. It is
// wazero's to call, and panics when called twice: two instances over one memory
// would be no isolation at all.
func (m *Memory) Allocate(_, _ uint64) experimental.LinearMemory {
	if m.taken {
		panic("pristine: a memory serves one instance")
	}
	m.taken = true
	return m
}

// Reallocate grows the memory to size bytes within the reservation, in place.
// It is wazero's to call. Nil says that it cannot: memory.grow returns -1.
func (m *Memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.reserved)) {
		return nil
	}
	to := int(size) //nolint:gosec // it is at most a length
	if to < m.size {
		return nil
	}
	if to > m.size {
		if err := commit(m.reserved[m.size:to]); err != nil {
			return nil
		}
		m.size = to
	}
	return m.reserved[:to:to]
}

// Free gives the memory back. It may be called again, and should be where an
// instance did not come up, since wazero does not then. Nothing may read or
// write the guest's memory afterwards: that would end the process.
func (m *Memory) Free() {
	if m.finder == nil {
		return
	}
	unmap(m.reserved)
	m.reserved, m.size = nil, 0
	if m.snapshot != nil {
		m.snapshot.release()
		m.snapshot = nil
	}
	m.finder.release()
	m.finder = nil
}

// Freeze takes what the memory holds now as the snapshot of the module, and
// lays the memory over it. The caller closes the snapshot when it starts no
// more instances. After an error the instance must be closed.
func (m *Memory) Freeze() (*Snapshot, error) {
	s := &Snapshot{uses: 1}
	if err := s.fill(m.reserved[:m.size]); err != nil {
		s.drop()
		return nil, fmt.Errorf("freeze a memory: %w", err)
	}
	if err := m.Adopt(s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Adopt puts the snapshot in place of what the memory holds. The memory must
// have the snapshot's size: grow the guest's memory to it first. After an error
// the instance must be closed.
func (m *Memory) Adopt(s *Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.finder == nil:
		return errors.New("adopt a snapshot: the memory is free")
	case m.snapshot != nil:
		return errors.New("adopt a snapshot: the memory has one")
	case s.closed:
		return errors.New("adopt a snapshot: it is closed")
	case m.size != len(s.content):
		return fmt.Errorf("adopt a snapshot of %d bytes: the memory has %d", len(s.content), m.size)
	}
	if m.size > 0 {
		if err := s.lay(m.reserved[:m.size]); err != nil {
			m.abandon()
			return fmt.Errorf("adopt a snapshot: %w", err)
		}
	}
	m.snapshot = s
	s.uses++
	return nil
}

// abandon forgets the mapping without giving it back. Where laying a snapshot
// failed there may be a hole in it that is another's by now.
func (m *Memory) abandon() { m.reserved, m.size = nil, 0 }

// Watch begins a call, and keeps it on its thread (runtime.LockOSThread) until
// [Memory.Restore] or [Memory.Unwatch], which the same goroutine must call. It saves
// the search: a first write to a page is a page fault of the thread that writes, and
// where there was none the pages that were written are those of the call before.
// Without it Restore searches. Of no memory, nil, there is nothing to watch.
func (m *Memory) Watch() {
	if m == nil || !m.complete || !m.finder.counts || m.watched {
		return
	}
	runtime.LockOSThread()
	m.before, m.watched = m.faults()
	if !m.watched {
		runtime.UnlockOSThread()
	}
}

// Unwatch lets the call go to other threads; where it is not watched it does nothing.
func (m *Memory) Unwatch() {
	if m != nil && m.watched {
		m.watched = false
		runtime.UnlockOSThread()
	}
}

// quiet reports whether no page was written for the first time since Watch.
func (m *Memory) quiet() bool {
	if !m.watched {
		return false
	}
	after, counted := m.faults()
	m.Unwatch()
	return counted && after == m.before
}

// Restore makes the memory equal to its snapshot, whatever the call did to it,
// trapped or not. With nil it is. With an error, such as [ErrGrown], it is not
// or was not before this call, and the instance must be closed. Restore
// allocates nothing.
//
// A way that fails or lies is given up by all memories of the [Finder], and
// the whole memory compared instead.
func (m *Memory) Restore() error {
	switch {
	case m.snapshot == nil:
		return errors.New("restore a memory: it has no snapshot")
	case m.size != len(m.snapshot.content):
		return ErrGrown
	}
	way := m.finder.using.Load().way
	if way == Compare || m.size == 0 {
		m.putBack(0, m.size)
		return nil
	}
	if m.quiet() {
		m.restoreKnown()
	} else if err := m.restoreFound(way); err != nil {
		m.finder.doubt(way, err)
		m.putBack(0, m.size)
		return nil
	}
	if err := m.audit(); err != nil {
		m.finder.doubt(way, err)
		return fmt.Errorf("restore a memory: %w", err)
	}
	return nil
}

// restoreKnown copies back the pages that are known.
func (m *Memory) restoreKnown() {
	changed := 0
	for _, r := range m.known {
		from, to := r.within(m.reserved)
		if m.listed > few {
			changed += m.putBack(from, to)
		} else {
			// They are private and stay so: to look costs as much as to copy.
			copy(m.reserved[from:to], m.snapshot.content[from:to])
		}
	}
	m.tire(m.listed, changed)
}

// restoreFound copies back the pages that the kernel names.
func (m *Memory) restoreFound(way Way) error {
	listed, changed := 0, 0
	m.complete = false
	for at := 0; at < m.size; {
		ranges, next, err := m.find(way, at)
		if err != nil {
			return err
		}
		// What is found is overwritten by another search.
		m.known, m.complete = ranges, at == 0 && next == m.size
		if err := inside(at, next, 0, m.size); err != nil {
			return err
		}
		for _, r := range ranges {
			from, to := r.within(m.reserved)
			if err := inside(from, to, at, next); err != nil {
				return err
			}
			listed += (to - from) / block
			changed += m.putBack(from, to)
		}
		at = next
	}
	m.listed = listed
	m.tire(listed, changed)
	return nil
}

// inside refuses a range that is empty or not within another.
func inside(from, to, low, high int) error {
	if from < low || to <= from || to > high {
		return fmt.Errorf("the search of %#x to %#x gave %#x to %#x", low, high, from, to)
	}
	return nil
}

// audit compares the whole memory once in a great many calls: a kernel that
// forgets pages in a case that nobody tried does not go unnoticed. It is not a
// little with each call, because pages that were looked at make searches slower;
// for the same reason they are let go again.
func (m *Memory) audit() error {
	if m.unaudited++; m.unaudited < auditEvery*(m.size/block) {
		return nil
	}
	m.unaudited = 0
	missed := m.putBack(0, m.size)
	m.forget()
	if missed > 0 {
		return fmt.Errorf("%d pages written were not found", missed)
	}
	return nil
}

// putBack makes the bytes from..to those of the snapshot and says how many
// blocks were not. It looks before it copies: a page that was never written
// stays shared.
func (m *Memory) putBack(from, to int) (changed int) {
	for ; from < to; from += block {
		now, was := m.reserved[from:from+block], m.snapshot.content[from:from+block]
		if !bytes.Equal(now, was) {
			copy(now, was)
			changed++
		}
	}
	return changed
}

const (
	// Bounds of what a memory keeps private, see [Memory.tire]. Making a page
	// private costs a page fault, about as much as looking at eight in vain.
	few      = 16
	patience = 8
	// auditEvery is how many calls there are to a block audited.
	auditEvery = 8
)

// tire drops the private pages when looking at those that calls left alone
// has cost more than making the others private again will. A page once written
// is listed for ever, and without this a single large callback would make every
// later one dear.
func (m *Memory) tire(listed, changed int) {
	if listed <= few {
		return
	}
	m.idle += listed - changed
	if m.idle > patience*listed {
		m.idle = 0
		m.forget()
	}
}

// forget drops the private pages, as far as the kernel will.
func (m *Memory) forget() {
	forget(m.reserved[:m.size])
	m.complete = false
}

// Snapshot is what the memory of a module's instances holds before a call. It
// never changes. It is safe for concurrent use.
type Snapshot struct {
	content []byte
	sealed

	mu     sync.Mutex
	uses   int // the owner's, and one for each memory
	closed bool
}

// Size is the size of the memory, in bytes.
func (s *Snapshot) Size() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.content))
}

// Close ends its use for further memories. Those that have it keep it. It may
// be called again.
func (s *Snapshot) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.close()
	s.unuse()
	return err
}

func (s *Snapshot) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unuse()
}

func (s *Snapshot) unuse() {
	if s.uses--; s.uses == 0 {
		s.drop()
	}
}

// bytesOf is the size of so many pages of WebAssembly.
func bytesOf(pages uint32) (int, error) {
	if size := uint64(pages) * wasmPage; size <= math.MaxInt {
		return int(size), nil
	}
	return 0, fmt.Errorf("%d pages are more than this machine can address", pages)
}
