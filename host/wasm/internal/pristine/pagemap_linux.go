package pristine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pagemap is what the kernel tells of this process's pages.
type pagemap struct {
	file *os.File
	err  error // why there is none
	fd   uintptr
}

func (p *pagemap) open() {
	if p.file, p.err = os.Open("/proc/self/pagemap"); p.err == nil {
		p.fd = p.file.Fd()
	}
}

func (p *pagemap) close() error {
	if p.err != nil {
		return nil
	}
	return p.file.Close()
}

// scratch is what a search needs, so that it allocates nothing.
type scratch struct {
	arg     scanArg
	found   [256]pages
	entries [512 * entrySize]byte
	usage   unix.Rusage
}

// pages is a range of addresses, struct page_region of linux/fs.h.
type pages struct{ start, end, _ uint64 }

// within says where in a mapping the range is, in bytes.
func (p pages) within(mapping []byte) (from, to int) {
	base := number(mapping)
	return int(p.start - base), int(p.end - base) //nolint:gosec // what is out of range is refused by the caller
}

// number is a mapping's address as the kernel's tables have it.
func number(mapping []byte) uint64 { return uint64(uintptr(address(mapping))) }

// unsigned takes sizes and offsets, which are not negative.
func unsigned(n int) uint64 { return uint64(n) } //nolint:gosec // see above

// find lists pages that were written, from an offset on, and says up to where
// it looked. The list holds until the next call.
//
// A page of a private mapping of a file is the file's until it is written, and
// anonymous from then on, in memory or swapped out. A page that is neither in
// memory nor swapped was never touched, or is the file's.
func (m *Memory) find(way Way, at int) (found []pages, next int, err error) {
	if err := m.finder.pagemap.err; err != nil {
		return nil, 0, err
	}
	switch way {
	case Scan:
		return m.scan(at)
	case Pagemap:
		return m.read(at)
	default:
		return nil, 0, errors.ErrUnsupported
	}
}

// scanArg is struct pm_scan_arg of linux/fs.h.
type scanArg struct {
	size, flags, start, end, walkEnd, found, foundLen, maxPages uint64
	inverted, mask, anyOf, reported                             uint64
}

const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	isFile    = 1 << 2
	isPresent = 1 << 3
	isSwapped = 1 << 4
)

func (m *Memory) scan(at int) (found []pages, next int, err error) {
	base := number(m.reserved)
	m.arg = scanArg{
		size:     uint64(unsafe.Sizeof(m.arg)),
		start:    base + unsigned(at),
		end:      base + unsigned(m.size),
		found:    uint64(uintptr(unsafe.Pointer(&m.found))), //nolint:gosec // it is on the heap, which does not move
		foundLen: uint64(len(m.found)),
		inverted: isFile, mask: isFile, anyOf: isPresent | isSwapped,
		reported: isPresent | isSwapped,
	}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, m.finder.pagemap.fd, pagemapScan,
		uintptr(unsafe.Pointer(&m.arg))) //nolint:gosec // the one way to hand over a structure
	runtime.KeepAlive(m)
	if errno != 0 {
		return nil, 0, fmt.Errorf("ioctl PAGEMAP_SCAN: %w", errno)
	}
	if n > uintptr(len(m.found)) {
		return nil, 0, fmt.Errorf("ioctl PAGEMAP_SCAN found %d ranges in room for %d", n, len(m.found))
	}
	return m.found[:n], int(m.arg.walkEnd - base), nil //nolint:gosec // the caller looks at it
}

// The entries of /proc/self/pagemap, one for each page.
const (
	entrySize    = 8
	entryFile    = 1 << 61
	entrySwapped = 1 << 62
	entryPresent = 1 << 63
)

func (m *Memory) read(at int) (found []pages, next int, err error) {
	page := os.Getpagesize()
	base := number(m.reserved) + unsigned(at)
	entries := m.entries[:min(len(m.entries), (m.size-at)/page*entrySize)]
	offset := base / unsigned(page) * entrySize
	n, err := unix.Pread(int(m.finder.pagemap.fd), entries, int64(offset)) //nolint:gosec // addresses of ours are below 1<<63
	if err != nil {
		return nil, 0, fmt.Errorf("read the page map: %w", err)
	}
	if n != len(entries) {
		return nil, 0, fmt.Errorf("read the page map: %d bytes of %d", n, len(entries))
	}
	found = m.found[:0]
	for i := 0; i < len(entries); i += entrySize {
		e := binary.NativeEndian.Uint64(entries[i:])
		if e&entryFile != 0 || e&(entryPresent|entrySwapped) == 0 {
			continue
		}
		start := base + unsigned(i/entrySize*page)
		end := start + unsigned(page)
		if last := len(found) - 1; last >= 0 && found[last].end == start {
			found[last].end = end
		} else {
			found = append(found, pages{start: start, end: end})
		}
	}
	return found, at + len(entries)/entrySize*page, nil
}
