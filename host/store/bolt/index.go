package bolt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/dedup"
	"github.com/postern/postern/host/store/bolt/internal/disk"
)

const (
	// runKeys is how many keys are in memory before they are written to a file,
	// and runBytes how long the part of the log is that has them: what an open
	// after a crash reads again.
	runKeys  = 32 << 10
	runBytes = 64 << 20
	// maxKeyFiles is how many files a key that is new is looked for in.
	maxKeyFiles = 8
)

// index finds dedup keys: those of the last commits in memory, all others in
// files. The log has every key, so that the memory is nothing but a cache of the
// end of the log that is in no file yet.
type index struct {
	mu sync.RWMutex
	// young holds what was committed since frozen was taken from it, and frozen
	// what is being written to a file.
	young, frozen run
	// files are by sequence; the slice is replaced, never changed.
	files []*keyFile
}

// place is where the event or the item set aside with some key is: the record,
// and the index in it (those of items behind those of events).
type place struct {
	seq     uint64
	index   int
	content host.Content
}

// run is the keys of the records from one sequence on to another.
type run struct {
	keys        map[host.Hash]place
	first, last uint64 // last is below first if there is no record
	bytes       int64  // of the records
	newest      time.Time
}

// whole reports whether it is time to write it to a file.
func (r *run) whole() bool { return len(r.keys) >= runKeys || r.bytes >= runBytes }

func newRun(first uint64) run {
	return run{keys: make(map[host.Hash]place), first: first, last: first - 1}
}

// add says that a commit of so many bytes ended at the record last and brought
// these keys. It reports whether it is time to write them to a file.
func (x *index) add(keys map[host.Hash]place, last uint64, bytes int64, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.Copy(x.young.keys, keys)
	x.young.last, x.young.newest = last, now
	x.young.bytes += bytes
	return x.young.whole()
}

// due reports whether it is time to write the keys in memory to a file.
func (x *index) due() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.young.whole()
}

// covered is the last sequence whose keys are in files.
func (x *index) covered() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.frozen.keys != nil {
		return x.frozen.first - 1
	}
	return x.young.first - 1
}

// list returns the files.
func (x *index) list() []*keyFile {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.files
}

// find looks a key up, first where the youngest are.
func (x *index) find(h host.Hash) (place, bool, error) {
	for {
		p, found, err := x.look(h)
		// A file that was merged meanwhile is closed: its keys are in another.
		if errors.Is(err, berrors.ErrDatabaseNotOpen) {
			continue
		}
		return p, found, err
	}
}

func (x *index) look(h host.Hash) (place, bool, error) {
	x.mu.RLock()
	p, found := x.young.keys[h]
	if !found {
		p, found = x.frozen.keys[h]
	}
	files := x.files
	x.mu.RUnlock()
	if found || len(files) == 0 {
		return p, found, nil
	}
	probes := dedup.Probe(h)
	for _, f := range slices.Backward(files) {
		if !f.filter.Has(probes) {
			continue
		}
		p, found, err := f.find(h)
		if err != nil {
			f.bad.Store(!errors.Is(err, berrors.ErrDatabaseNotOpen))
		}
		if found || err != nil {
			return p, found, err
		}
	}
	return place{}, false, nil
}

// freeze takes the young keys to be written to a file, and reports whether there
// is anything to write. What could not be written the last time goes first.
func (x *index) freeze() (run, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.frozen.keys != nil {
		maps.Copy(x.frozen.keys, x.young.keys)
		x.frozen.last, x.frozen.newest = x.young.last, x.young.newest
	} else {
		x.frozen = x.young
	}
	x.young = newRun(x.frozen.last + 1)
	if x.frozen.last < x.frozen.first {
		x.young.first = x.frozen.first
		x.frozen = run{}
		return run{}, false
	}
	return x.frozen, true
}

// replace puts a file in the place of those that it holds the keys of; nil takes
// them out. It returns what is to be closed.
func (x *index) replace(old []*keyFile, f *keyFile) {
	x.mu.Lock()
	defer x.mu.Unlock()
	files := slices.Clone(x.files)
	at := len(files)
	if len(old) > 0 {
		at = slices.Index(files, old[0])
		files = slices.Delete(files, at, at+len(old))
	}
	if f != nil {
		files = slices.Insert(files, at, f)
	}
	x.files = files
}

// thaw says that the frozen keys are in the last of the files.
func (x *index) thaw() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.frozen = run{}
}

// flushKeys writes the keys in memory to a file. One goroutine calls it at a
// time.
func (s *Store) flushKeys() error {
	r, ok := s.index.freeze()
	if !ok {
		return nil
	}
	f, err := s.writeRun(r)
	if err != nil {
		return fmt.Errorf("write dedup keys: %w", err)
	}
	s.index.replace(nil, f)
	s.index.thaw()
	return nil
}

// writeRun makes and opens the file of a run.
func (s *Store) writeRun(r run) (*keyFile, error) {
	entries := make([]dedup.Entry, 0, len(r.keys))
	for h, p := range r.keys {
		entries = append(entries, dedup.Entry{Hash: h, Seq: p.seq, Index: p.index, Content: p.content})
	}
	slices.SortFunc(entries, dedup.Compare)
	of := keySpan{first: r.first, last: r.last, newest: r.newest, count: len(entries)}
	if err := writeKeys(s.dir, of, slices.Values(entries)); err != nil {
		return nil, err
	}
	return s.openKeys(keyPath(s.dir, of.first, of.last))
}

// mergeKeys merges neighbours, the smallest first, until there are few enough.
func (s *Store) mergeKeys() error {
	for {
		files := s.index.list()
		if len(files) <= maxKeyFiles {
			return nil
		}
		at := 0
		for i := range len(files) - 1 {
			if files[i].count+files[i+1].count < files[at].count+files[at+1].count {
				at = i
			}
		}
		if err := s.mergeTwo(files[at], files[at+1]); err != nil {
			return fmt.Errorf("merge dedup files: %w", err)
		}
	}
}

func (s *Store) mergeTwo(a, b *keyFile) error {
	of := keySpan{first: a.first, last: b.last, newest: b.newest, count: a.count + b.count}
	if b.newest.Before(a.newest) {
		of.newest = a.newest
	}
	var damage error
	lost := func(err error) { damage = err }
	if err := writeKeys(s.dir, of, merged(a.all(lost), b.all(lost))); err != nil {
		return err
	}
	path := keyPath(s.dir, of.first, of.last)
	if damage != nil {
		// Neither loses anything more: each is mended by itself first.
		return errors.Join(disk.Remove(path), s.mendKeys(a), s.mendKeys(b))
	}
	f, err := s.openKeys(path)
	if err != nil {
		return err
	}
	s.index.replace([]*keyFile{a, b}, f)
	return s.dropKeys(a, b)
}

// dropKeys closes and removes files that are in the index no more.
func (s *Store) dropKeys(files ...*keyFile) error {
	for _, f := range files {
		if err := errors.Join(f.db.Close(), disk.Remove(f.path)); err != nil {
			return err
		}
	}
	return nil
}

// expireKeys removes the files whose every key is older than the window.
func (s *Store) expireKeys(now time.Time) error {
	for _, f := range s.index.list() {
		// Invariant 3: a key stays for the window after the commit of the newest
		// of its file.
		if now.Sub(f.newest) <= s.options.Window {
			continue
		}
		s.index.replace([]*keyFile{f}, nil)
		if err := s.dropKeys(f); err != nil {
			return fmt.Errorf("expire dedup keys: %w", err)
		}
	}
	return nil
}
