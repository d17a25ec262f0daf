package bolt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrLocked is returned by [Open] for a directory that another process holds.
var ErrLocked = errors.New("another postern process holds it")

// lockTimeout is how long a single file's lock is waited for. The directory's
// lock is asked for once.
const lockTimeout = time.Second

// The contents of LOCK. They have one length, so that changing it changes no
// size.
const (
	markClean = "clean\n"
	markInUse = "inuse\n"
)

// dirLock is the lock of the whole directory, and the mark whether its last
// user ended properly. It is the first file opened and the last one closed.
type dirLock struct{ f *os.File }

// lockDir takes the lock and reports whether the last user closed the store.
// The mark of a clean end is gone, durably, before it returns: nothing may be
// written while it stands.
func lockDir(dir string) (_ *dirLock, clean bool, err error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode) //nolint:gosec // the store's own file
	if err != nil {
		return nil, false, err
	}
	l := &dirLock{f}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, false, fmt.Errorf("data directory %s: %w", dir, ErrLocked)
		}
		return nil, false, fmt.Errorf("lock %s: %w", path, err)
	}
	mark := make([]byte, len(markClean))
	n, err := f.ReadAt(mark, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, errors.Join(err, f.Close())
	}
	if err := errors.Join(l.mark(markInUse), syncPath(dir)); err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return l, string(mark[:n]) == markClean, nil
}

func (l *dirLock) mark(text string) error {
	if _, err := l.f.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return l.f.Sync()
}

// release frees the lock; clean leaves the mark of a proper end.
func (l *dirLock) release(clean bool) error {
	var err error
	if clean {
		err = l.mark(markClean)
	}
	return errors.Join(err, l.f.Close())
}
