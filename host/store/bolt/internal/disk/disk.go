// Package disk makes, opens and locks the files of the bolt store, and tells what
// an error of them means: damage, a full disk, or worse.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/bolt/internal/pages"
)

// FileMode is the mode of every file the store creates, and dirMode that of its
// directories: what it holds is nobody else's business.
const (
	FileMode = 0o600
	dirMode  = 0o700
)

// Sync makes what is at path durable: a file's bytes, or a directory's
// names.
func Sync(path string) error {
	f, err := os.Open(path) //nolint:gosec // the store's own file
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// MakeDir creates the directory and its parents, durably.
func MakeDir(dir string) error {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	for _, d := range missing {
		if err := Sync(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// SyncParents makes the names durable that lead to a directory: whoever made
// them may have been killed before he had.
func SyncParents(dir string) error {
	dir, err := filepath.Abs(dir)
	for parent := filepath.Dir(dir); err == nil && parent != dir; parent = filepath.Dir(dir) {
		// What may not be opened was there before us.
		if err = Sync(parent); errors.Is(err, fs.ErrPermission) {
			err = nil
		}
		dir = parent
	}
	return err
}

// CreateDB makes a bbolt file, filled by fill in one transaction, that is there
// whole or not at all.
func CreateDB(path string, page int, fill func(*bbolt.Tx) error) error {
	return CreateFile(path, page, func(db *bbolt.DB) error { return db.Update(fill) })
}

// CreateFile makes a bbolt file with pages of so many bytes, filled by fill, that
// is there whole or not at all: bbolt may leave a damaged file when the power fails
// while it writes the first pages, and it syncs no directory. What is there already
// is replaced.
func CreateFile(path string, page int, fill func(*bbolt.DB) error) error {
	temp := path + TempSuffix
	if err := Remove(temp); err != nil {
		return err
	}
	// Synced once, at the end: until it has its name nobody needs it.
	db, err := bbolt.Open(temp, FileMode, &bbolt.Options{
		FreelistType: bbolt.FreelistMapType, NoSync: true, NoGrowSync: true, PageSize: page,
	})
	if err != nil {
		return err
	}
	db.AllocSize = smallAlloc
	if err := errors.Join(fill(db), db.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := Sync(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if err := Sync(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%w: %w", ErrNamed, err)
	}
	return nil
}

// PageSize is that of a file for which no other is better. bbolt's own default is
// that of the machine it was made on.
const PageSize = 4 << 10

// smallAlloc is by how much a file grows that will not grow for long.
const smallAlloc = 1 << 20

// TempSuffix marks a file that is not complete. Nothing but [CreateFile] writes
// such a file, and nothing reads it.
const TempSuffix = ".tmp"

// OpenDB opens a bbolt file that exists. mapped is how much address space to
// keep for it, so that growing does not wait for readers.
func OpenDB(path string, readOnly bool, mapped int, open func(string, int, os.FileMode) (*os.File, error)) (*bbolt.DB, error) {
	if err := Damage(path, pages.Check(path)); err != nil {
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
	err := Guard(func() (err error) {
		db, err = bbolt.Open(path, FileMode, o)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// Durable brings the last transaction of a bbolt file to the disk, before the
// file is opened for writing.
//
// Invariant 13: after a sync has failed the kernel shows pages that are not on
// the disk. What was read back from them would be answered as a duplicate, and
// lost with the power.
func Durable(path string) error {
	if err := Damage(path, pages.Check(path)); err != nil {
		return err
	}
	if err := pages.Rewrite(path); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// Remove unlinks a file, which may be gone.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// PutAside moves a damaged file to damaged/ of the store's directory, durably,
// under a name that is not taken. How is os.Rename, or os.Link for one that is
// to be replaced.
func PutAside(store, path string, how func(from, to string) error) error {
	dir := filepath.Join(store, "damaged")
	if err := MakeDir(dir); err != nil {
		return err
	}
	to := filepath.Join(dir, filepath.Base(filepath.Dir(path))+"-"+filepath.Base(path))
	for i := 1; ; i++ {
		if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
			break
		}
		to = filepath.Join(dir, fmt.Sprintf("%s-%s.%d", filepath.Base(filepath.Dir(path)), filepath.Base(path), i))
	}
	if err := how(path, to); err != nil {
		return err
	}
	return errors.Join(Sync(dir), Sync(filepath.Dir(path)))
}
