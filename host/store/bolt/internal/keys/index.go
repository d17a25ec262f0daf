// Package keys finds the dedup keys of the bolt store: those of the last commits
// in memory, all others in sorted files that are merged, mended and expire.
package keys

import (
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	berrors "go.etcd.io/bbolt/errors"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/dedup"
)

const (
	// runKeys is how many keys are in memory before they are written to a file,
	// and runBytes how long the part of the log is that has them: what an open
	// after a crash reads again.
	runKeys  = 32 << 10
	runBytes = 64 << 20
	// MaxFiles is how many files a key that is new is looked for in.
	MaxFiles = 8
)

// Place is where the event or the item set aside with some key is: the record,
// and the index in it (those of items behind those of events).
type Place struct {
	Seq     uint64
	Index   int
	Content host.Content
}

// Log is what the index asks of the log whose keys it finds.
type Log interface {
	// First is the sequence it begins at, Last that of its last record.
	First() uint64
	Last() uint64
	// EachKey hands the keys of the records from one sequence on to another to
	// fn, a record at a time, until fn returns an error. The error joins all
	// records that cannot be read; they do not end it.
	EachKey(first, last uint64, fn func(seq uint64, size int, keys map[host.Hash]Place) error) error
	// Note tells operators of damage.
	Note(format string, args ...any)
}

// Options of an index. All but OpenFile are required.
type Options struct {
	// Dir is the store's directory; the files are in dedup/ of it.
	Dir      string
	OpenFile func(string, int, os.FileMode) (*os.File, error)
	Log      Log
	Now      func() time.Time
}

// Index finds dedup keys: those of the last commits in memory, all others in
// files. The log has every key, so that the memory is nothing but a cache of the
// end of the log that is in no file yet.
//
// Find, Add, Due and Covered are safe for concurrent use; of what changes files
// one goroutine calls one method at a time.
type Index struct {
	o  Options
	mu sync.RWMutex
	// young holds what was committed since frozen was taken from it, and frozen
	// what is being written to a file.
	young, frozen run
	// files are by sequence; the slice is replaced, never changed.
	files []*file
}

// run is the keys of the records from one sequence on to another.
type run struct {
	keys        map[host.Hash]Place
	first, last uint64 // last is below first if there is no record
	bytes       int64  // of the records
	newest      time.Time
}

// whole reports whether it is time to write it to a file.
func (r *run) whole() bool { return len(r.keys) >= runKeys || r.bytes >= runBytes }

func newRun(first uint64) run {
	return run{keys: make(map[host.Hash]Place), first: first, last: first - 1}
}

// Add says that a commit of so many bytes ended at the record last and brought
// these keys. It reports whether it is time to write them to a file.
func (x *Index) Add(keys map[host.Hash]Place, last uint64, bytes int64, now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.Copy(x.young.keys, keys)
	x.young.last, x.young.newest = last, now
	x.young.bytes += bytes
	return x.young.whole()
}

// Due reports whether it is time to write the keys in memory to a file.
func (x *Index) Due() bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.young.whole()
}

// Covered is the last sequence up to which all keys are in files.
func (x *Index) Covered() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.frozen.keys != nil {
		return x.frozen.first - 1
	}
	return x.young.first - 1
}

// list returns the files.
func (x *Index) list() []*file {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.files
}

// Find looks a key up, first where the youngest are. A file that is damaged is an
// error by [disk.IsDamage], and is left to [Index.Mend].
func (x *Index) Find(h host.Hash) (Place, bool, error) {
	for {
		p, found, err := x.look(h)
		// A file that was merged meanwhile is closed: its keys are in another.
		if errors.Is(err, berrors.ErrDatabaseNotOpen) {
			continue
		}
		return p, found, err
	}
}

func (x *Index) look(h host.Hash) (Place, bool, error) {
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
		if err != nil && !errors.Is(err, berrors.ErrDatabaseNotOpen) {
			f.bad.Store(true)
		}
		if found || err != nil {
			return p, found, err
		}
	}
	return Place{}, false, nil
}

// freeze takes the young keys to be written to a file, and reports whether there
// is anything to write. What could not be written the last time goes first.
func (x *Index) freeze() (run, bool) {
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
// them out. The caller closes what was replaced.
func (x *Index) replace(old []*file, f *file) {
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
func (x *Index) thaw() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.frozen = run{}
}
