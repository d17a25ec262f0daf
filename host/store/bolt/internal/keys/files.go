package keys

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/dedup"
	"github.com/postern/postern/host/store/bolt/internal/disk"
)

// Flush writes the keys in memory to a file.
func (x *Index) Flush() error {
	r, ok := x.freeze()
	if !ok {
		return nil
	}
	f, err := x.writeRun(r)
	if err != nil {
		return fmt.Errorf("write dedup keys: %w", err)
	}
	x.replace(nil, f)
	x.thaw()
	return nil
}

// writeRun makes and opens the file of a run.
func (x *Index) writeRun(r run) (*file, error) {
	entries := sorted(r.keys)
	of := span{first: r.first, last: r.last, newest: r.newest, count: len(entries)}
	if err := writeFile(x.o.Dir, of, slices.Values(entries)); err != nil {
		return nil, err
	}
	return x.open(filePath(x.o.Dir, of.first, of.last))
}

// sorted are keys as the entries of a file.
func sorted(keys map[host.Hash]Place) []dedup.Entry {
	entries := make([]dedup.Entry, 0, len(keys))
	for h, p := range keys {
		entries = append(entries, dedup.Entry{Hash: h, Seq: p.Seq, Index: p.Index, Content: p.Content})
	}
	slices.SortFunc(entries, dedup.Compare)
	return entries
}

// Merge merges neighbours, the smallest first, until there are no more than
// [MaxFiles].
func (x *Index) Merge() error {
	for {
		files := x.list()
		if len(files) <= MaxFiles {
			return nil
		}
		at := 0
		for i := range len(files) - 1 {
			if files[i].count+files[i+1].count < files[at].count+files[at+1].count {
				at = i
			}
		}
		if err := x.mergeTwo(files[at], files[at+1]); err != nil {
			return fmt.Errorf("merge dedup files: %w", err)
		}
	}
}

func (x *Index) mergeTwo(a, b *file) error {
	of := span{first: a.first, last: b.last, newest: b.newest, count: a.count + b.count}
	if b.newest.Before(a.newest) {
		of.newest = a.newest
	}
	var damage error
	lost := func(err error) { damage = err }
	if err := writeFile(x.o.Dir, of, merged(a.all(lost), b.all(lost))); err != nil {
		return err
	}
	path := filePath(x.o.Dir, of.first, of.last)
	if damage != nil {
		// Neither loses anything more: each is mended by itself first.
		return errors.Join(disk.Remove(path), x.mend(a), x.mend(b))
	}
	f, err := x.open(path)
	if err != nil {
		return err
	}
	x.replace([]*file{a, b}, f)
	return x.drop(a, b)
}

// drop closes and removes files that are in the index no more.
func (x *Index) drop(files ...*file) error {
	for _, f := range files {
		if err := errors.Join(f.db.Close(), disk.Remove(f.path)); err != nil {
			return err
		}
	}
	return nil
}

// Expire removes the files whose every key is older than the window.
func (x *Index) Expire(now time.Time, window time.Duration) error {
	for _, f := range x.list() {
		// Invariant 3: a key stays for the window after the commit of the newest
		// of its file.
		if now.Sub(f.newest) <= window {
			continue
		}
		x.replace([]*file{f}, nil)
		if err := x.drop(f); err != nil {
			return fmt.Errorf("expire dedup keys: %w", err)
		}
	}
	return nil
}

// Mend writes the files anew that were found damaged.
func (x *Index) Mend() error {
	for _, f := range x.list() {
		if f.bad.Load() {
			if err := x.mend(f); err != nil {
				return fmt.Errorf("mend dedup keys: %w", err)
			}
		}
	}
	return nil
}

// mend writes a damaged file of keys anew, from what of it can be read and
// from the log, and keeps the damaged one in damaged/.
func (x *Index) mend(f *file) error {
	var lost error
	for range f.all(func(err error) { lost = errors.Join(lost, err) }) {
	}
	if lost == nil {
		f.bad.Store(false)
		return nil
	}
	fromLog := make(map[host.Hash]Place)
	of := span{first: f.first, last: f.last, newest: f.newest}
	mended := x.mendFrom(of, fromLog)
	if err := disk.PutAside(x.o.Dir, f.path, os.Link); err != nil {
		return err
	}
	of.count = f.count + len(fromLog)
	// What is lost was told above.
	readable := f.all(func(error) {})
	if err := writeFile(x.o.Dir, of, merged(readable, slices.Values(sorted(fromLog)))); err != nil {
		return err
	}
	g, err := x.open(f.path)
	if err != nil {
		return err
	}
	x.replace([]*file{f}, g)
	if mended {
		x.o.Log.Note("%s was damaged and was written anew from the log: %v", f.path, lost)
	} else {
		x.o.Log.Note("%s was damaged and its records have expired: some duplicates of them would be taken for new: %v", f.path, lost)
	}
	return f.db.Close()
}

// mendFrom adds the keys that the log has of a range, and reports whether it has
// all of the range.
func (x *Index) mendFrom(of span, keys map[host.Hash]Place) bool {
	whole := x.o.Log.First() <= of.first
	err := x.o.Log.EachKey(of.first, of.last, func(_ uint64, _ int, more map[host.Hash]Place) error {
		maps.Copy(keys, more)
		return nil
	})
	return whole && err == nil
}
