package pristine

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// faults counts the page faults of the thread that asks.
func (m *Memory) faults() (n int64, counted bool) {
	_, _, errno := unix.RawSyscall(unix.SYS_GETRUSAGE, unix.RUSAGE_THREAD,
		uintptr(unsafe.Pointer(&m.usage)), 0) //nolint:gosec // it is on the heap, which does not move
	runtime.KeepAlive(m)
	return m.usage.Minflt + m.usage.Majflt, errno == 0
}

// proveCounted writes pages that were never written, one of them read before, and
// wants a fault counted for each.
func (m *Memory) proveCounted(guest []byte, page int, never ...int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, p := range never {
		before, counted := m.faults()
		guest[p*page]++
		after, countedToo := m.faults()
		if !counted || !countedToo || after == before {
			return errors.New("a first write to a page is not counted as a fault")
		}
	}
	return nil
}
