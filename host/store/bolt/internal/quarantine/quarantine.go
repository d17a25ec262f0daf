// Package quarantine keeps refused callbacks in a bbolt file of the bolt store:
// in a ring for each endpoint and reason, so that a flood pushes out its own.
package quarantine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/commit"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

const (
	// putEvery is how long a Put may be known in memory only.
	putEvery = time.Second
	// maxPage and maxPageBytes bound a page of List.
	maxPage      = 1000
	maxPageBytes = 1 << 20
	// maxAsks is how many may wait for one commit.
	maxAsks = 512
	// maxDamaged is how many files are moved aside before it is left at that.
	maxDamaged = 3
	// mapped is how much address space is kept for the file.
	mapped = 64 << 20
)

// Prefix is what an entry's id begins with; its number follows.
const Prefix = "q-"

// ID is the id of the entry with a number.
func ID(n uint64) string { return Prefix + strconv.FormatUint(n, 10) }

var errLaterForm = errors.New("it is of a later version of postern")

// Store is what the quarantine asks of the store around it.
type Store interface {
	// MoveAside takes a damaged file out of the way, and says so.
	MoveAside(path string, cause error) error
	// Broken is the error of a store that has failed, Room that of a disk with
	// no room but for what is acknowledged.
	Broken() error
	Room() error
	// Reserved is the number up to which entries may be numbered; Reserve raises
	// it, durably. It outlives the file.
	Reserved() (uint64, error)
	Reserve(upTo uint64) error
}

// Options of a file. All are required but OpenFile and Update.
type Options struct {
	Path  string
	Store Store
	// OpenFile and Update are what opens the file and what runs a transaction in
	// it; nil means os.OpenFile and bbolt's.
	OpenFile func(string, int, os.FileMode) (*os.File, error)
	Update   func(*bbolt.DB, func(*bbolt.Tx) error) error
	// Entries and Bytes bound each ring.
	Entries int
	Bytes   int64
	Now     func() time.Time
	Log     *slog.Logger
}

// File is the file and what waits to be written to it. It is safe for concurrent
// use.
//
// A failure of it is not one of the store: nothing was acknowledged for what it
// holds, so that nothing that it loses was promised to anybody. What it cannot
// write it holds, up to a bound, and tries again; a damaged file is moved aside.
type File struct {
	o Options
	// db is nil until the file could be opened.
	db      atomic.Pointer[bbolt.DB]
	entries atomic.Int64

	asks *commit.Loop[*ask]

	mu sync.Mutex
	// waiting is what no commit has taken; writing says that one is under way.
	waiting *backlog
	writing bool
	armed   bool // a commit is on its way

	// Owned by the goroutine that commits.
	last     uint64 // the number of the newest entry
	reserved uint64
	failing  bool // and logged
	damaged  int  // how many files were moved aside
}

// ask has the next commit come at once: to drop an entry, or, without one, so
// that what was put before is written.
type ask struct {
	drop uint64
	err  error
	done chan struct{}
}

// Open opens the file, or logs why it cannot and tries again with each commit.
// Clean says that the end before was.
func Open(o Options, clean bool) *File {
	f := &File{o: o, waiting: newBacklog()}
	if err := f.open(clean); err != nil {
		f.complain(err)
	}
	f.asks = commit.New(maxAsks, 0, func(*ask) int { return 0 }, f.commit)
	return f
}

func (f *File) open(clean bool) error {
	reserved, err := f.o.Store.Reserved()
	if err != nil {
		return err
	}
	f.reserved = max(f.reserved, reserved)
	err = f.load(clean)
	if disk.IsDamage(err) {
		if err := f.moveAside(err); err != nil {
			return err
		}
		err = f.load(clean)
	}
	return err
}

// load opens the file, which it makes if there is none.
func (f *File) load(clean bool) error {
	if _, err := os.Stat(f.o.Path); errors.Is(err, fs.ErrNotExist) {
		err = disk.CreateDB(f.o.Path, disk.PageSize, func(tx *bbolt.Tx) error { return fillRings(tx, f.reserved) })
		if err != nil {
			return err
		}
	}
	db, err := f.openDB(clean)
	if err != nil {
		return err
	}
	entries := 0
	err = view(db, func(tx *bbolt.Tx) error {
		t, err := ringsOf(tx)
		if err != nil {
			return err
		}
		if err := checkForm(tx); err != nil {
			return err
		}
		f.last = t.refused.Sequence()
		entries, err = t.entries()
		return err
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", f.o.Path, errors.Join(err, db.Close()))
	}
	f.entries.Store(int64(entries))
	f.db.Store(db)
	return nil
}

// maxVerified is up to which size all of the file is read before it is opened.
const maxVerified = 64 << 20

// openDB opens the file, after bringing its last commit to the disk if the end
// was not clean.
func (f *File) openDB(clean bool) (*bbolt.DB, error) {
	path := f.o.Path
	if !clean {
		if err := disk.Durable(path); err != nil {
			return nil, err
		}
	}
	// A large one is not read whole for the sake of its list of free pages: what
	// that would damage is found when it is read.
	info, err := os.Stat(path)
	if err == nil {
		err = disk.Damage(path, pages.Verify(path, info.Size() <= maxVerified))
	}
	if err != nil {
		return nil, err
	}
	return disk.OpenDB(path, false, mapped, f.o.OpenFile)
}

// update writes to the file. A panic in it is an error, and not the end of the
// store.
func (f *File) update(fn func(*bbolt.Tx) error) error {
	update := f.o.Update
	if update == nil {
		update = (*bbolt.DB).Update
	}
	return disk.Guard(func() error { return update(f.db.Load(), fn) })
}

// view reads from a file that is open.
func view(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
	return disk.Guard(func() error { return db.View(fn) })
}

// moveAside takes the file out of the way and forgets it. It is not closed: a
// reader may be in it, or a panic have left it locked.
func (f *File) moveAside(cause error) error {
	if err := f.o.Store.MoveAside(f.o.Path, cause); err != nil {
		return err
	}
	f.damaged++
	f.db.Store(nil)
	f.entries.Store(0)
	return nil
}

// Put takes a refused callback and returns at once; it is written within a
// second. The error is StoreFull when there is no room for it. r must not change
// any more.
func (f *File) Put(r *host.Rejected) error {
	e := newRefusal(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.waiting.halfFull()
	if !f.waiting.add(e, f.o.Entries) {
		return host.Errorf(host.StoreFull, "%d callbacks wait to be written", f.waiting.entries)
	}
	if !before && f.waiting.halfFull() {
		f.kick()
	}
	f.arm()
	return nil
}

// arm has a commit come within putEvery. The caller holds mu.
func (f *File) arm() {
	if !f.armed {
		f.armed = true
		time.AfterFunc(putEvery, f.kick)
	}
}

// kick has a commit come now. No room means that some are on their way.
func (f *File) kick() { f.asks.Offer(&ask{done: make(chan struct{})}) }

// ask hands in an ask and waits for its commit.
func (f *File) ask(a *ask) error {
	a.done = make(chan struct{})
	if !f.asks.Submit(a) {
		return host.Errorf(host.StoreUnavailable, "the store is closed")
	}
	<-a.done
	return a.err
}

// flush writes what was put before. That it cannot be written is logged and not
// the asker's to know.
func (f *File) flush() {
	f.mu.Lock()
	idle := f.waiting.entries == 0 && !f.writing && f.db.Load() != nil
	f.mu.Unlock()
	if !idle {
		_ = f.ask(&ask{})
	}
}

// commit writes what was put since the last one, and does what is asked.
func (f *File) commit(asks []*ask) {
	f.mu.Lock()
	batch := f.waiting
	f.waiting, f.writing, f.armed = newBacklog(), true, false
	f.mu.Unlock()
	left, err := f.write(batch.inOrder(), asks)
	f.mu.Lock()
	f.writing = false
	if left != nil && f.o.Store.Broken() == nil {
		// What came meanwhile is the newer.
		newer := f.waiting
		f.waiting = batch
		for _, e := range newer.inOrder() {
			f.waiting.add(e, f.o.Entries)
		}
		f.arm()
	}
	f.mu.Unlock()
	if left != nil {
		f.complain(left)
	} else if f.failing {
		f.failing = false
		f.o.Log.Info("quarantine is written again", "file", f.o.Path)
	}
	for _, a := range asks {
		if err != nil {
			a.err = err
		}
		close(a.done)
	}
}

// complain logs that the quarantine fails, once until it no longer does.
func (f *File) complain(err error) {
	if !f.failing && f.o.Store.Broken() == nil {
		f.failing = true
		f.o.Log.Error("quarantine is not written, trying again", "file", f.o.Path, "err", err)
	}
}

// write is one transaction. The first error says why the entries are not
// written, the second why nothing is.
func (f *File) write(entries []*refusal, asks []*ask) (left, err error) {
	if err := f.ready(); err != nil {
		return err, err
	}
	if left = f.room(uint64(len(entries))); left != nil {
		entries = nil
	}
	if len(entries) == 0 && !slices.ContainsFunc(asks, func(a *ask) bool { return a.drop != 0 }) {
		return left, nil
	}
	var dropped []ringName
	var last uint64
	total := 0
	err = f.update(func(tx *bbolt.Tx) error {
		t, err := ringsOf(tx)
		if err != nil {
			return err
		}
		if dropped, err = f.apply(t, entries, asks); err != nil {
			return err
		}
		last = t.refused.Sequence()
		total, err = t.entries()
		return err
	})
	if err != nil {
		return f.judge(err), err
	}
	f.last = last
	f.entries.Store(int64(total))
	for _, name := range dropped {
		f.o.Log.Warn("quarantine: a ring was dropped, there are too many",
			"tenant", name.tenant, "endpoint", name.endpoint, "reason", name.reason, "limit", maxRings)
	}
	return left, nil
}

// apply puts the entries and drops what is asked.
func (f *File) apply(t *rings, entries []*refusal, asks []*ask) ([]ringName, error) {
	var dropped []ringName
	for _, e := range entries {
		more, err := t.put(e, f.o.Entries, f.o.Bytes, f.o.Now())
		if err != nil {
			return nil, err
		}
		dropped = append(dropped, more...)
	}
	for _, a := range asks {
		if a.drop == 0 {
			continue
		}
		if a.err = t.drop(a.drop); a.err != nil && !errors.Is(a.err, host.ErrNotFound) {
			return nil, a.err
		}
	}
	return dropped, nil
}

// ready opens the file if it is not open.
func (f *File) ready() error {
	if err := f.o.Store.Broken(); err != nil {
		return err
	}
	if f.db.Load() != nil {
		return nil
	}
	return f.open(false)
}

// reserveBlock is how many numbers are reserved at once.
const reserveBlock = 1 << 16

// room makes sure that n entries may be written: the reserve of the disk is not
// the quarantine's, and their numbers must be new.
func (f *File) room(n uint64) error {
	if n == 0 {
		return nil
	}
	if err := f.o.Store.Room(); err != nil {
		return err
	}
	if f.last+n <= f.reserved {
		return nil
	}
	upTo := f.last + n + reserveBlock
	err := f.o.Store.Reserve(upTo)
	if err == nil {
		f.reserved = upTo
	}
	return err
}

// judge says what the end of a transaction means. Damage has the file moved
// aside and another begun, but not for ever.
func (f *File) judge(err error) error {
	if !disk.IsDamage(err) || f.damaged == maxDamaged {
		return err
	}
	if aside := f.moveAside(err); aside != nil {
		return errors.Join(err, aside)
	}
	return errors.Join(err, f.open(false))
}

// List lists entries with numbers behind one, up to n that are wanted, those
// that came first before the others. More says that another is wanted. The page
// ends early when it is large.
//
// What is damaged is logged and left out: it must not hide what is behind it.
func (f *File) List(want host.Wanted, after uint64, n int) (out []host.Rejected, more bool, err error) {
	type found struct {
		id uint64
		in *record.Ring
	}
	n = min(n, maxPage)
	err = f.view(func(t *rings) error {
		var all []found
		err := t.each(func(g *record.Ring) error {
			if wanted(want, g) {
				for _, id := range t.after(g, after, n+1) {
					all = append(all, found{id, g})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.id, b.id) })
		size := 0
		for _, e := range all {
			if more = len(out) >= n || size >= maxPageBytes; more {
				return nil
			}
			r, err := t.read(e.in, e.id)
			if err != nil {
				f.o.Log.Error("quarantined callback left out of the list", "id", ID(e.id), "err", err)
				continue
			}
			out = append(out, *r)
			size += len(r.Callback.Body)
		}
		return nil
	})
	return out, more, err
}

func wanted(want host.Wanted, g *record.Ring) bool {
	return (want.Tenant == "" || want.Tenant == g.Tenant) && (want.Endpoint == "" || want.Endpoint == g.Endpoint) &&
		(want.Reason == "" || want.Reason == g.Reason)
}

// Get returns the entry with a number, or ErrNotFound.
func (f *File) Get(id uint64) (r *host.Rejected, err error) {
	err = f.view(func(t *rings) error {
		g, err := t.ringOf(id)
		if err == nil {
			r, err = t.read(g, id)
		}
		return err
	})
	return r, err
}

// view reads from the file what was put before.
func (f *File) view(fn func(*rings) error) error {
	f.flush()
	db := f.db.Load()
	if db == nil {
		return host.Errorf(host.StoreUnavailable, "%s could not be opened, the log says why", f.o.Path)
	}
	err := view(db, func(tx *bbolt.Tx) error {
		t, err := ringsOf(tx)
		if err != nil {
			return err
		}
		return fn(t)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", f.o.Path, err)
	}
	return nil
}

// Drop drops the entry with a number, durably, damaged or not; ErrNotFound if it
// is not there.
func (f *File) Drop(id uint64) error {
	if id == 0 {
		return host.ErrNotFound
	}
	return f.ask(&ask{drop: id})
}

// Len is how many entries there are, without those that wait to be written.
func (f *File) Len() int { return int(f.entries.Load()) }

// Close writes what waits and ends the goroutine. The file stays open until
// Release.
func (f *File) Close() {
	f.asks.Close()
	f.commit(nil)
}

// Release ends the goroutine and closes the file. It writes nothing of what
// waits.
func (f *File) Release() error {
	f.mu.Lock()
	f.waiting = newBacklog()
	f.mu.Unlock()
	f.asks.Close()
	if db := f.db.Load(); db != nil {
		return db.Close()
	}
	return nil
}
