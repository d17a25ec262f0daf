package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrLocked is returned by [LockDir] for a directory that another process holds.
var ErrLocked = errors.New("another postern process holds it")

// lockTimeout is how long a single file's lock is waited for. The directory's
// lock is asked for once.
const lockTimeout = time.Second

// The contents of LOCK, after a clean end and while the store is in use. They
// have one length, so that changing it changes no size.
const (
	MarkClean = "clean\n"
	MarkInUse = "inuse\n"
)

// Lock is the lock of the whole directory, and the mark whether its last user
// ended properly. It is the first file opened and the last one closed.
type Lock struct{ f *os.File }

// LockDir takes the lock and reports whether the last user closed the store.
// The mark of a clean end is gone, durably, before it returns: nothing may be
// written while it stands. It does not wait: the error is [ErrLocked] if another
// process has the lock.
func LockDir(dir string) (_ *Lock, clean bool, err error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, FileMode) //nolint:gosec // the store's own file
	if err != nil {
		return nil, false, err
	}
	l := &Lock{f}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, false, fmt.Errorf("data directory %s: %w", dir, ErrLocked)
		}
		return nil, false, fmt.Errorf("lock %s: %w", path, err)
	}
	mark := make([]byte, len(MarkClean))
	n, err := f.ReadAt(mark, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, errors.Join(err, f.Close())
	}
	if err := errors.Join(l.mark(MarkInUse), Sync(dir)); err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return l, string(mark[:n]) == MarkClean, nil
}

func (l *Lock) mark(text string) error {
	if _, err := l.f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return l.f.Sync()
}

// Release frees the lock; clean leaves the mark of a proper end.
func (l *Lock) Release(clean bool) error {
	var err error
	if clean {
		err = l.mark(MarkClean)
	}
	return errors.Join(err, l.f.Close())
}
