package pristine

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve takes addresses, no memory.
func reserve(size int) ([]byte, error) {
	return mmap(-1, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

func mmap(fd, size, prot, flags int) ([]byte, error) {
	at, err := unix.MmapPtr(fd, 0, nil, uintptr(size), prot, flags)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(at), size), nil //nolint:gosec // the kernel made it that long
}

func address(mapping []byte) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(mapping)) //nolint:gosec // to name a mapping to the kernel
}

// commit lets a part of a reservation be used.
func commit(part []byte) error { return unix.Mprotect(part, unix.PROT_READ|unix.PROT_WRITE) }

// forget makes a memory shared with its snapshot again, which it must be equal
// to. Where the kernel will not, as with locked memory, the pages stay private
// and right.
func forget(memory []byte) { _ = unix.Madvise(memory, unix.MADV_DONTNEED) }

// unmap gives a whole mapping back, which cannot fail.
func unmap(mapping []byte) {
	if len(mapping) > 0 {
		_ = unix.MunmapPtr(address(mapping), uintptr(len(mapping)))
	}
}

// sealed is the file of a snapshot, in memory, that nobody can change.
type sealed struct {
	file *os.File
}

func (s *Snapshot) fill(content []byte) error {
	if len(content) == 0 {
		return nil
	}
	fd, err := memfd()
	if err != nil {
		return fmt.Errorf("make a file in memory: %w", err)
	}
	s.file = os.NewFile(uintptr(fd), "snapshot")
	if _, err := s.file.Write(content); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(s.file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal a file in memory: %w", err)
	}
	// Private, since a kernel before 6.7 maps no sealed file as shared.
	s.content, err = mmap(fd, len(content), unix.PROT_READ, unix.MAP_PRIVATE)
	return err
}

// memfd makes a file that programs we start do not inherit and cannot run.
func memfd() (int, error) {
	const name, flags = "postern-snapshot", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		return unix.MemfdCreate(name, flags)
	}
	return fd, err
}

// lay maps the snapshot over a memory: what the guest does not write is
// everybody's, what it writes its own.
func (s *Snapshot) lay(memory []byte) error {
	_, err := unix.MmapPtr(int(s.file.Fd()), 0, address(memory), uintptr(len(memory)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	return err
}

func (s *Snapshot) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func (s *Snapshot) drop() {
	unmap(s.content)
	s.content = nil
}
