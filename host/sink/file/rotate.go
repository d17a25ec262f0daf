package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stampForm is the time in a rotated file's name; names sort as their times.
const stampForm = "20060102T150405.000Z"

// due reports whether more bytes are to go into a new file, size and changed
// being those of the present one. An empty file is never moved away.
func (s *Sink) due(size int64, changed, now time.Time, more int) bool {
	switch {
	case size == 0:
		return false
	case s.maxSize > 0 && size+int64(more) > s.maxSize:
		return true
	}
	// The file itself says when it was last written, after a restart too.
	return s.maxAge > 0 && !changed.Truncate(s.maxAge).Equal(now.Truncate(s.maxAge))
}

// rotate moves the file away, if it is time, and opens a new one. What is in the
// old one is synced. Both names are on the disk when it returns, for opening a
// file syncs its directory.
func (s *Sink) rotate(more int) error {
	size, changed, err := s.out.state()
	if err != nil {
		return err
	}
	now := time.Now()
	if !s.due(size, changed, now, more) {
		return nil
	}
	to, err := s.freeName(now)
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	if err := os.Rename(s.path, to); err != nil {
		return fmt.Errorf("rotate: %w", plain(err))
	}
	if err := s.ready(); err != nil {
		return err
	}
	if err := s.prune(); err != nil {
		s.log.Error("rotated files beyond those to keep are still there", "path", s.path, "err", err)
	}
	return nil
}

// around is the path before and behind the time in a rotated file's name.
func (s *Sink) around() (before, behind string) {
	behind = filepath.Ext(s.path)
	return strings.TrimSuffix(s.path, behind) + "-", behind
}

// freeName is a name for the file that no other has.
func (s *Sink) freeName(now time.Time) (string, error) {
	before, behind := s.around()
	for at := now.UTC(); ; at = at.Add(time.Millisecond) {
		name := before + at.Format(stampForm) + behind
		_, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", plain(err)
		}
	}
}

// prune removes the oldest rotated files, if not all are to be kept.
func (s *Sink) prune() error {
	if s.keep == 0 {
		return nil
	}
	dir := filepath.Dir(s.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	before, behind := s.around()
	before = filepath.Base(before)
	var rotated []string
	for _, e := range entries {
		at, ours := strings.CutPrefix(e.Name(), before)
		at, named := strings.CutSuffix(at, behind)
		if _, err := time.Parse(stampForm, at); ours && named && err == nil && e.Type().IsRegular() {
			rotated = append(rotated, e.Name())
		}
	}
	slices.Sort(rotated)
	var errs []error
	for _, name := range rotated[:max(0, len(rotated)-s.keep)] {
		errs = append(errs, os.Remove(filepath.Join(dir, name)))
	}
	return errors.Join(errs...)
}
