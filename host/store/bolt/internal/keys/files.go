package keys

import (
	"errors"
	"fmt"
	"maps"
	"math"
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

// Merge merges neighbours until there are no more than [MaxFiles].
func (x *Index) Merge() error {
	for {
		files := x.list()
		if len(files) <= MaxFiles {
			return nil
		}
		first, end := cheapest(files)
		if err := x.merge(files[first:end]); err != nil {
			return fmt.Errorf("merge dedup files: %w", err)
		}
	}
}

// cheapest picks the neighbours to merge, of more than [MaxFiles] files: those
// where the fewest entries are written for each one that thereby leaves a smaller
// file, so that small files are merged often and large ones seldom. None comes to
// have more than a quarter of all entries, because a file expires as a whole; of
// nine files there are always two neighbours that have no more.
func cheapest(files []*file) (first, end int) {
	total := 0
	for _, f := range files {
		total += f.count
	}
	best := math.Inf(1)
	for from := range files {
		sum, largest := 0, 0
		for i, f := range files[from:] {
			sum, largest = sum+f.count, max(largest, f.count)
			if sum > total/4 {
				break
			}
			if cost := float64(sum) / float64(max(1, sum-largest)); i > 0 && cost < best {
				best, first, end = cost, from, from+i+1
			}
		}
	}
	return first, end
}

// merge puts one file in the place of neighbours.
func (x *Index) merge(files []*file) error {
	of := span{first: files[0].first, last: files[len(files)-1].last}
	var damage error
	cursors := make([]*cursor, len(files))
	for i, f := range files {
		of.count += f.count
		if f.newest.After(of.newest) {
			of.newest = f.newest
		}
		cursors[i] = &cursor{f: f, lost: func(err error) { damage = err }}
	}
	if err := writeFile(x.o.Dir, of, merged(cursors...)); err != nil {
		return err
	}
	path := filePath(x.o.Dir, of.first, of.last)
	if damage != nil {
		// None loses anything more: each is mended by itself first.
		errs := []error{disk.Remove(path)}
		for _, f := range files {
			errs = append(errs, x.mend(f))
		}
		return errors.Join(errs...)
	}
	f, err := x.open(path)
	if err != nil {
		return err
	}
	x.replace(files, f)
	return x.drop(files...)
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
	for range merged(&cursor{f: f, lost: func(err error) { lost = errors.Join(lost, err) }}) {
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
	readable := &cursor{f: f, lost: func(error) {}}
	logged := &cursor{entries: sorted(fromLog), ended: true}
	if err := writeFile(x.o.Dir, of, merged(readable, logged)); err != nil {
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
