package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/host/store/bolt/internal/dedup"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// ErrDamaged is what the error of a damaged file is.
var ErrDamaged = errors.New("damaged")

// Damage says that err, if any, is of what is in a file, unless the file could
// not be read at all.
func Damage(path string, err error) error {
	var p *fs.PathError
	if err == nil || errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("%s is %w: %w", path, ErrDamaged, err)
}

// ErrNamed is what the error of a file is that has its name, which may not be
// durable: it cannot be taken for a file that was not made.
var ErrNamed = errors.New("make a name durable")

// Guard runs fn and turns a panic, and a fault while reading a mapped file,
// into an error.
func Guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{value: r, Stack: debug.Stack()}
		}
	}()
	return fn()
}

// PanicError is a panic of bbolt, or a fault in its mapped file.
type PanicError struct {
	value any
	// Stack is where it came from.
	Stack []byte
}

// Error implements error.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// IsDamage reports whether err is of what is in a file.
func IsDamage(err error) bool {
	var p *PanicError
	return errors.Is(err, ErrDamaged) || errors.Is(err, dedup.ErrDamaged) || errors.Is(err, record.ErrDamaged) ||
		errors.As(err, &p)
}

// IsFull reports whether err says that the disk is full, and nothing worse: it
// comes from a write. A failed sync is never that, whatever its number,
// because the kernel has then given up the pages.
func IsFull(err error) bool {
	var w *fs.PathError
	if errors.As(err, &w) {
		return w.Op == "write" && hasNoRoom(w.Err)
	}
	// bbolt lengthens a file before it writes to it, and makes text of the error.
	return err != nil && strings.HasPrefix(err.Error(), "file resize error:") &&
		(strings.HasSuffix(err.Error(), syscall.ENOSPC.Error()) || strings.HasSuffix(err.Error(), syscall.EDQUOT.Error()))
}

// IsShort reports whether a file could not be made for want of room. Unlike a
// failed commit it leaves nothing behind that anybody counts on, whichever call
// failed, as long as the file did not get its name.
func IsShort(err error) bool {
	return !errors.Is(err, ErrNamed) && hasNoRoom(err)
}

func hasNoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// The default reserve is the larger of a size and a share of the file system.
const (
	reserveBytes = 256 << 20
	reserveShare = 50 // 2 %
)

// Short reports whether less than the reserve, in bytes, is free where dir lies.
// Zero stands for 256 MiB or 2 %, whichever is more; a negative number for none.
func Short(dir string, reserve int64) (bool, error) {
	if reserve < 0 {
		return false, nil
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(dir, &fsys); err != nil {
		return false, err
	}
	block := uint64(fsys.Bsize) //nolint:gosec // never negative
	want := uint64(reserve)
	free := uint64(fsys.Bavail) * block  //nolint:unconvert // signed on some systems
	total := uint64(fsys.Blocks) * block //nolint:unconvert // signed on some systems
	if want == 0 {
		want = max(reserveBytes, total/reserveShare)
	}
	return free < want, nil
}
