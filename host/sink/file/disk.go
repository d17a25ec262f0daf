package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// disk is an open file, as far as the sink uses one.
type disk interface {
	// Write appends.
	Write(p []byte) (int, error)
	Sync() error
	Truncate(size int64) error
	// state is how long it is, and when it was last written.
	state() (size int64, changed time.Time, err error)
	// at reports whether path still leads to this file.
	at(path string) bool
	Close() error
}

type osFile struct{ *os.File }

func (f osFile) state() (int64, time.Time, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, time.Time{}, plain(err)
	}
	return info.Size(), info.ModTime(), nil
}

func (f osFile) at(path string) bool {
	here, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(here, there)
}

// Write implements disk.
func (f osFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, plain(err)
}

// Sync implements disk.
func (f osFile) Sync() error { return plain(f.File.Sync()) }

// Truncate implements disk.
func (f osFile) Truncate(size int64) error { return plain(f.File.Truncate(size)) }

// Close implements disk.
func (f osFile) Close() error { return plain(f.File.Close()) }

// plain takes the path off an error: the sink names it once.
func plain(err error) error {
	var l *os.LinkError
	if errors.As(err, &l) {
		return fmt.Errorf("%s: %w", l.Op, l.Err)
	}
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}

// openDisk opens or creates the file, repairs its end, and returns when the
// file and its name are on the disk.
func openDisk(path string) (disk, error) {
	raw, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, plain(err)
	}
	f := osFile{raw}
	if err := prepare(f, filepath.Dir(path)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func prepare(f osFile, dir string) error {
	info, err := f.Stat()
	if err != nil {
		return plain(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file, which alone can be synced")
	}
	if err := repair(f, info); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a name just created outlast a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return plain(err)
	}
	defer func() { _ = d.Close() }()
	return plain(d.Sync())
}

// repair cuts off what stands behind the last line end. Nothing is lost by it:
// a delivery is done only when its whole line was synced, so what is cut comes
// back.
func repair(f osFile, info os.FileInfo) error {
	size := info.Size()
	end, err := lastLineEnd(f, size)
	if err != nil || end == size {
		return err
	}
	if err := checkOurs(f, end, size); err != nil {
		return err
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	// It still is of the time in which it was written.
	return plain(os.Chtimes(f.Name(), time.Time{}, info.ModTime()))
}

// lastLineEnd is the offset behind the last line end, 0 if there is none.
func lastLineEnd(f io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		begin := max(0, end-int64(len(buf)))
		part := buf[:end-begin]
		if _, err := f.ReadAt(part, begin); err != nil && !errors.Is(err, io.EOF) {
			return 0, plain(err)
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return begin + int64(i) + 1, nil
		}
		end = begin
	}
	return 0, nil
}

// checkOurs refuses to cut off what is no beginning of a line of ours: somebody
// named a wrong file. A block that never reached the disk reads as zeros.
func checkOurs(f io.ReaderAt, begin, end int64) error {
	const line = `{"specversion":`
	got := make([]byte, min(end-begin, int64(len(line))))
	if _, err := f.ReadAt(got, begin); err != nil && !errors.Is(err, io.EOF) {
		return plain(err)
	}
	if got[0] != 0 && line[:len(got)] != string(got) {
		return errors.New("ends in text that is not an event; name another file, or end its last line")
	}
	return nil
}
