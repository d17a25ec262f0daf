package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/postern/postern/host/store/bolt/internal/dedup"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// Modes of what the store creates: what it holds is nobody else's business.
const (
	dirMode  = 0o700
	fileMode = 0o600
)

// errNothing ends a transaction that has nothing to write, without a commit.
var errNothing = errors.New("nothing to write")

// syncPath makes what is at path durable: a file's bytes, or a directory's
// names.
func syncPath(path string) error {
	f, err := os.Open(path) //nolint:gosec // the store's own file
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeDir creates the directory and its parents, durably.
func makeDir(dir string) error {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil { //nolint:gosec // the operator names the directory
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil { //nolint:gosec // the operator names the directory
		return err
	}
	for _, d := range missing {
		if err := syncPath(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// syncParents makes the names durable that lead to a directory: whoever made
// them may have been killed before he had.
func syncParents(dir string) error {
	dir, err := filepath.Abs(dir)
	for parent := filepath.Dir(dir); err == nil && parent != dir; parent = filepath.Dir(dir) {
		// What may not be opened was there before us.
		if err = syncPath(parent); errors.Is(err, fs.ErrPermission) {
			err = nil
		}
		dir = parent
	}
	return err
}

// createDB makes a bbolt file, filled by fill in one transaction, that is there
// whole or not at all.
func createDB(path string, fill func(*bbolt.Tx) error) error {
	return createFile(path, func(db *bbolt.DB) error { return db.Update(fill) })
}

// createFile makes a bbolt file, filled by fill, that is there whole or not at
// all: bbolt may leave a damaged file when the power fails while it writes the
// first pages, and it syncs no directory. What is there already is replaced.
func createFile(path string, fill func(*bbolt.DB) error) error {
	temp := path + tempSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Synced once, at the end: until it has its name nobody needs it.
	db, err := bbolt.Open(temp, fileMode, &bbolt.Options{
		FreelistType: bbolt.FreelistMapType, NoSync: true, NoGrowSync: true,
	})
	if err != nil {
		return err
	}
	db.AllocSize = smallAlloc
	if err := errors.Join(fill(db), db.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := syncPath(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if err := syncPath(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%w: %w", errNamed, err)
	}
	return nil
}

// errNamed is what the error of a file is that has its name, which may not be
// durable: it cannot be taken for a file that was not made.
var errNamed = errors.New("make a name durable")

// smallAlloc is by how much a file grows that will not grow for long.
const smallAlloc = 1 << 20

// tempSuffix marks a file that is not complete. Nothing but createFile writes
// such a file, and nothing reads it.
const tempSuffix = ".tmp"

// errDamaged is what the error of a damaged file is.
var errDamaged = errors.New("damaged")

// damage says that err, if any, is of what is in a file, unless the file could
// not be read at all.
func damage(path string, err error) error {
	var p *fs.PathError
	if err == nil || errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("%s is %w: %w", path, errDamaged, err)
}

// openDB opens a bbolt file that exists. mapped is how much address space to
// keep for it, so that growing does not wait for readers.
func openDB(path string, readOnly bool, mapped int, open func(string, int, os.FileMode) (*os.File, error)) (*bbolt.DB, error) {
	if err := damage(path, pages.Check(path)); err != nil {
		return nil, err
	}
	o := &bbolt.Options{
		Timeout:         lockTimeout,
		FreelistType:    bbolt.FreelistMapType,
		ReadOnly:        readOnly,
		InitialMmapSize: mapped,
		OpenFile:        open,
	}
	var db *bbolt.DB
	err := guard(func() (err error) {
		db, err = bbolt.Open(path, fileMode, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// guard runs fn and turns a panic, and a fault while reading a mapped file,
// into an error.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = &panicError{value: r, stack: debug.Stack()}
		}
	}()
	return fn()
}

// panicError is a panic of bbolt, or a fault in its mapped file.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// isDamage reports whether err is of what is in a file.
func isDamage(err error) bool {
	var p *panicError
	return errors.Is(err, errDamaged) || errors.Is(err, dedup.ErrDamaged) || errors.Is(err, record.ErrDamaged) ||
		errors.As(err, &p)
}

// isFull reports whether err says that the disk is full, and nothing worse: it
// comes from a write. A failed sync is never that, whatever its number,
// because the kernel has then given up the pages.
func isFull(err error) bool {
	var w *fs.PathError
	if errors.As(err, &w) {
		return w.Op == "write" && isErrShort(w.Err)
	}
	// bbolt lengthens a file before it writes to it, and makes text of the error.
	return err != nil && strings.HasPrefix(err.Error(), "file resize error:") &&
		(strings.HasSuffix(err.Error(), syscall.ENOSPC.Error()) || strings.HasSuffix(err.Error(), syscall.EDQUOT.Error()))
}

// isShort reports whether a file could not be made for want of room. Unlike a
// failed commit it leaves nothing behind that anybody counts on, whichever call
// failed, as long as the file did not get its name.
func isShort(err error) bool {
	return !errors.Is(err, errNamed) && isErrShort(err)
}

func isErrShort(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// The default reserve is the larger of a size and a share of the file system.
const (
	reserveBytes = 256 << 20
	reserveShare = 50 // 2 %
)

// short reports whether less than the reserve is free where the store lies.
func (s *Store) short() (bool, error) {
	if s.options.Reserve < 0 {
		return false, nil
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(s.dir, &fsys); err != nil {
		return false, err
	}
	block := uint64(fsys.Bsize) //nolint:gosec // never negative
	want := uint64(s.options.Reserve)
	free := uint64(fsys.Bavail) * block  //nolint:unconvert // signed on some systems
	total := uint64(fsys.Blocks) * block //nolint:unconvert // signed on some systems
	if want == 0 {
		want = max(reserveBytes, total/reserveShare)
	}
	return free < want, nil
}
