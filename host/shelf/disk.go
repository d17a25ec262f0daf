package shelf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// maxSignature bounds a signature and a list of versions, in bytes.
const maxSignature = 16 << 10

// worldWritable is the mode of what anyone on the machine can change. The group is
// let be: with many a umask it is the user's own.
const worldWritable = 0o002

// ErrTooLarge is the error, wrapped, for a file that is larger than it may be.
var ErrTooLarge = errors.New("build it smaller, without debugging information")

var errWorldWritable = errors.New("anyone on this machine can write to it: take that away with chmod o-w")

// open opens the directory, for this one call.
func (s *Shelf) open() (*os.Root, error) {
	root, err := os.OpenRoot(s.o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the plugins' directory: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil && info.Mode()&worldWritable != 0 {
		err = fmt.Errorf("the plugins' directory %s: %w", s.o.Dir, errWorldWritable)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

func exists(root *os.Root, file string) bool {
	_, err := root.Lstat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// readFile reads a regular file of the shelf that is no larger than limit. What it
// is is asked before it is opened, for a device may do something then, and after,
// for it may be another one by then.
func readFile(root *os.Root, file string, limit int64) ([]byte, error) {
	if dir := path.Dir(file); dir != "." {
		if err := checkDir(root, dir); err != nil {
			return nil, err
		}
	}
	before, err := root.Lstat(file)
	if err != nil {
		return nil, err
	}
	if err := checkMode(before); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	after, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, after) {
		return nil, errors.New("it was replaced while it was being opened: try again")
	}
	return readBounded(f, after.Size(), limit)
}

func checkMode(info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		return errors.New("it is a symbolic link: put the file itself here")
	case mode.IsDir():
		return errors.New("it is a directory: put the file itself here")
	case !mode.IsRegular():
		return fmt.Errorf("it is no regular file (%s): put the file itself here", mode.Type())
	case mode&worldWritable != 0:
		return errWorldWritable
	}
	return nil
}

// checkDir checks a directory of the shelf; one that is not there is none.
func checkDir(root *os.Root, dir string) error {
	info, err := root.Lstat(dir)
	switch {
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("its directory %s is a symbolic link: make it a directory", dir)
	case !info.IsDir():
		return fmt.Errorf("%s is no directory: make it one", dir)
	case info.Mode()&worldWritable != 0:
		return fmt.Errorf("its directory %s: %w", dir, errWorldWritable)
	}
	return nil
}

func readBounded(f io.Reader, size, limit int64) ([]byte, error) {
	if size <= limit {
		b, err := io.ReadAll(io.LimitReader(f, limit+1))
		if err != nil {
			return nil, err
		}
		if size = int64(len(b)); size <= limit {
			return b, nil
		}
	}
	return nil, fmt.Errorf("it has %d bytes, the limit is %d: %w", size, limit, ErrTooLarge)
}

// readAny reads a file that an operator names.
func readAny(file string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // see above
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file (%s)", file, info.Mode().Type())
	}
	b, err := readBounded(f, info.Size(), limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
}

// versions are the installed ones, in the order of their files.
func versions(root *os.Root) ([]place, error) {
	if !exists(root, versionsDir) {
		return nil, nil
	}
	if err := checkDir(root, versionsDir); err != nil {
		return nil, err
	}
	names, err := list(root, versionsDir)
	if err != nil {
		return nil, err
	}
	var all []place
	for _, name := range names {
		if at, ok := placeOf(name); ok {
			all = append(all, at)
		}
	}
	return all, nil
}

// everything is all that could be a plugin, those put there by hand first.
func everything(root *os.Root) []place {
	names, _ := list(root, ".")
	var all []place
	for _, name := range names {
		if stem, ok := strings.CutSuffix(name, extension); ok && isName(stem) {
			all = append(all, dropped(stem))
		}
	}
	below, _ := versions(root)
	return append(all, below...)
}

func list(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// lock opens the directory, for one who changes something: another one waits.
func (s *Shelf) lock() (*os.Root, func(), error) {
	root, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	f, err := root.Open(".")
	if err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("lock the plugins' directory %s: %w", s.o.Dir, err), f.Close(), root.Close())
	}
	return root, func() { _, _ = f.Close(), root.Close() }, nil
}

// newFile begins the names of files that are not whole yet.
const newFile = ".new-"

// put makes a file with these contents, whole or not at all.
func (s *Shelf) put(root *os.Root, file string, contents []byte) error {
	temp := path.Join(path.Dir(file), newFile+path.Base(file))
	s.step("create " + temp)
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	s.step("write " + temp)
	_, err = f.Write(contents)
	if err == nil {
		s.step("sync " + temp)
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		s.step("rename " + temp)
		err = root.Rename(temp, file)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return s.sync(root, path.Dir(file))
}

// remove takes a file away for good; one that is not there is no failure.
func (s *Shelf) remove(root *os.Root, file string) error {
	if !exists(root, file) {
		return nil
	}
	s.step("remove " + file)
	if err := root.Remove(file); err != nil {
		return err
	}
	return s.sync(root, path.Dir(file))
}

// sync makes the names in a directory durable.
func (s *Shelf) sync(root *os.Root, dir string) error {
	s.step("sync " + dir)
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
