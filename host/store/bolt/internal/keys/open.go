package keys

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
)

// Open opens the index of the files with these paths, see [List], and brings it up
// to the end of the log, all of which it may have to read. A file that is damaged
// is moved aside: the log has its keys, as long as the segments are there.
func Open(paths []string, o Options) (*Index, error) {
	x := &Index{o: o}
	if err := x.load(paths); err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// Close closes the files. It writes nothing.
func (x *Index) Close() error {
	var errs []error
	for _, f := range x.list() {
		errs = append(errs, f.db.Close())
	}
	return errors.Join(errs...)
}

func (x *Index) load(paths []string) error {
	for _, path := range paths {
		f, err := x.open(path)
		if err == nil {
			x.files = append(x.files, f)
			continue
		}
		if !disk.IsDamage(err) {
			return err
		}
		x.o.Log.Note("%v; it is in damaged/ now", err)
		if err := disk.PutAside(x.o.Dir, path, os.Rename); err != nil {
			return err
		}
	}
	return x.catchUp()
}

// catchUp brings the index up to the end of the log: the records behind the
// last file of keys, and whatever range has none, because its file was damaged
// or never written.
func (x *Index) catchUp() error {
	next := x.o.Log.First()
	for _, f := range x.list() {
		if next < f.first {
			if err := x.fillGap(next, f.first-1); err != nil {
				return err
			}
		}
		next = max(next, f.last+1)
	}
	x.young = newRun(next)
	return x.readTail(next)
}

// readTail fills the young keys, in files as far as they are too many.
func (x *Index) readTail(first uint64) error {
	now := x.o.Now()
	var failed error
	err := x.o.Log.EachKey(first, x.o.Log.Last(), func(seq uint64, size int, keys map[host.Hash]Place) error {
		if x.Add(keys, seq, int64(size), now) {
			failed = x.Flush()
		}
		return failed
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		x.o.Log.Note("dedup keys could not be read from the log: %v", err)
	}
	x.Add(nil, x.o.Log.Last(), 0, now)
	return nil
}

// fillGap writes the file of a range that has none.
func (x *Index) fillGap(first, last uint64) error {
	r := newRun(first)
	r.last, r.newest = last, x.o.Now()
	if !x.mendFrom(span{first: first, last: last}, r.keys) {
		x.o.Log.Note("no dedup keys are left of the records %d to %d, as far as they cannot be read", first, last)
	}
	f, err := x.writeRun(r)
	if err != nil {
		return fmt.Errorf("write dedup keys: %w", err)
	}
	files := append(x.list(), f)
	slices.SortFunc(files, func(a, b *file) int { return int(a.first) - int(b.first) }) //nolint:gosec // sequences
	x.files = files
	return nil
}
