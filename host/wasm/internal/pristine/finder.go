package pristine

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// Way is a way to find the pages that a guest wrote.
type Way string

// The ways, the cheapest first.
const (
	// Scan asks the kernel for the written pages alone: the ioctl PAGEMAP_SCAN,
	// since Linux 6.7.
	Scan Way = "scan"
	// Pagemap reads what /proc/self/pagemap says of each page.
	Pagemap Way = "pagemap"
	// Compare compares the whole memory with its snapshot. It works everywhere.
	Compare Way = "compare"
)

// Finder finds the pages that guests wrote. One serves all memories of a
// process. It is safe for concurrent use.
type Finder struct {
	pagemap pagemap
	using   atomic.Pointer[using]
	// counts says that a thread's page faults are counted.
	counts bool

	mu       sync.Mutex
	memories int
}

// using is the way that a finder uses, and why it is not a better one.
type using struct {
	way Way
	why error
}

// NewFinder tries the ways, or all of them if none is named, in the order
// given, and takes the first that finds what was really written. It fails if
// none does. Close it after its memories.
func NewFinder(ways ...Way) (*Finder, error) {
	if len(ways) == 0 {
		ways = []Way{Scan, Pagemap, Compare}
	}
	f := &Finder{}
	f.pagemap.open()
	var why error
	for _, way := range ways {
		f.using.Store(&using{way, why})
		err := f.prove(way)
		if err == nil && f.using.Load().way == way {
			return f, nil
		}
		why = errors.Join(why, fmt.Errorf("find written pages by %s: %w", way, errors.Join(err, f.using.Load().why)))
	}
	return nil, errors.Join(why, f.Close())
}

// Way is the way in use, and why it is not a better one: nil if it is the first
// that was asked for.
func (f *Finder) Way() (Way, error) {
	u := f.using.Load()
	return u.way, u.why
}

// Reserve makes the memory of an instance, of at most so many pages of 64 KiB.
// It reserves addresses only; the guest gets memory as it grows. Its owner frees
// it if wazero does not.
func (f *Finder) Reserve(pages uint32) (*Memory, error) {
	size, err := bytesOf(pages)
	if err != nil {
		return nil, fmt.Errorf("reserve a memory: %w", err)
	}
	return f.reserve(size)
}

func (f *Finder) reserve(size int) (*Memory, error) {
	m := &Memory{finder: f, reserved: []byte{}}
	if size > 0 {
		var err error
		if m.reserved, err = reserve(size); err != nil {
			return nil, fmt.Errorf("reserve a memory of %d bytes: %w", size, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.memories++
	return m, nil
}

// Close closes what the finder asks. It refuses while there are memories.
func (f *Finder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.memories > 0 {
		return fmt.Errorf("close the finder of written pages: %d memories are in use", f.memories)
	}
	return f.pagemap.close()
}

func (f *Finder) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.memories--
}

// doubt gives up a way, for good and for all memories: what erred once may
// have erred before.
func (f *Finder) doubt(way Way, err error) {
	f.using.Store(&using{Compare, fmt.Errorf("find written pages by %s: %w", way, err)})
}

// prove uses a way for what it is to be used: it writes some pages, reads
// others, and wants exactly the written ones found, and put back.
func (f *Finder) prove(way Way) error {
	page := os.Getpagesize()
	m, err := f.reserve(64 * page)
	if err != nil {
		return err
	}
	defer m.Free()
	guest := m.Reallocate(uint64(len(m.reserved)))
	if guest == nil {
		return errors.New("no memory")
	}
	for i := range guest {
		guest[i] = sample(i)
	}
	s, err := m.Freeze()
	if err != nil {
		return err
	}
	written := uint64(1<<63 | 0b1011<<20 | 1<<7 | 1)
	var read byte
	for p := range 64 {
		if written>>p&1 != 0 {
			guest[p*page+p]++
		} else if p%3 != 0 {
			read += guest[p*page]
		}
	}
	_ = read
	err = errors.Join(m.proveFound(way, written), m.proveRestored(guest), s.Close())
	// Of what was neither written, page 4 was read and page 6 was not.
	f.counts = err == nil && m.proveCounted(guest, page, 4, 6) == nil
	return err
}

// sample is what a memory holds that ways are tried on: no two pages the same.
func sample(i int) byte { return byte(i % 251) } //nolint:gosec // it fits

func (m *Memory) proveFound(way Way, want uint64) error {
	if way == Compare {
		return nil
	}
	page := os.Getpagesize()
	var got uint64
	for at := 0; at < m.size; {
		ranges, next, err := m.find(way, at)
		if err != nil {
			return err
		}
		if next <= at {
			return errors.New("the search does not end")
		}
		for _, r := range ranges {
			for from, to := r.within(m.reserved); from < to; from += page {
				got |= 1 << (from / page)
			}
		}
		at = next
	}
	if got != want {
		return fmt.Errorf("of 64 pages %#x were written, %#x were found", want, got)
	}
	return nil
}

func (m *Memory) proveRestored(guest []byte) error {
	if err := m.Restore(); err != nil {
		return err
	}
	for i, b := range guest {
		if b != sample(i) {
			return fmt.Errorf("byte %#x was not restored", i)
		}
	}
	return nil
}
