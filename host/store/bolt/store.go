package bolt

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/commit"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/keys"
	"github.com/postern/postern/host/store/bolt/internal/quarantine"
	"github.com/postern/postern/host/store/bolt/internal/queue"
	"github.com/postern/postern/host/store/bolt/internal/segment"
)

// ErrLocked is returned by [Open] for a directory that another process holds.
var ErrLocked = disk.ErrLocked

// Options of a store. The zero value is usable.
type Options struct {
	// Now is the clock of leases and retries; nil means time.Now.
	Now func() time.Time
	// Log is told of an unclean end and of the failure of the store; nil
	// discards.
	Log *slog.Logger
	// MaxKept is how many kept and held callbacks are taken before KeptFull; zero means
	// 10,000.
	MaxKept int
	// MaxRetries is how many deliveries of one sink may wait for a retry, or for
	// an earlier one of their subject, before no new ones are leased to it; zero
	// means 100,000. Of one subject no more than 10,000 wait.
	MaxRetries int
	// QueueRequests and QueueBytes bound what waits for a commit; beyond it is
	// StoreFull. Zero means 4,096 and 64 MiB.
	QueueRequests int
	QueueBytes    int64
	// RingEntries and RingBytes bound each ring of the quarantine: what was
	// refused at one endpoint for one reason. Zero means 1,000 and 16 MiB.
	RingEntries int
	RingBytes   int64
	// Reserve is how many bytes of the file system stay free: with less,
	// appends are StoreFull. Zero means 256 MiB or 2 %, whichever is more; a
	// negative number means none.
	Reserve int64
	// SegmentSize and SegmentAge bound a file of the log: the first commit beyond
	// either goes to a new one. Zero means 1 GiB and 24 hours.
	SegmentSize int64
	SegmentAge  time.Duration
	// Retention is how long a file of the log is kept after its last record. What
	// is not delivered, and what was kept and not looked at, is kept longer. Zero
	// means 7 days.
	Retention time.Duration
	// Cursors, if not empty, lets a store open whose state.db is damaged or lost,
	// without the retries and dead letters that were in it: a sink then begins
	// anew, whatever its subscription says. It changes nothing for a store whose
	// state.db is whole.
	Cursors host.From
	// Window is how long a duplicate is found, from the first one's commit on; it
	// is never shorter than the log is kept. Zero means 45 days.
	Window time.Duration

	// What this package's tests put in place of the real thing.
	maxParked int
	maxWindow int
	openFile  func(string, int, os.FileMode) (*os.File, error)
	update    func(*bbolt.DB, func(*bbolt.Tx) error) error
}

const (
	defaultMaxKept       = 10_000
	defaultMaxRetries    = 100_000
	defaultMaxParked     = 10_000
	defaultMaxWindow     = 4096
	defaultQueueRequests = 4096
	defaultQueueBytes    = 64 << 20
	defaultSegmentSize   = 1 << 30
	defaultSegmentAge    = 24 * time.Hour
	defaultRetention     = 7 * 24 * time.Hour
	defaultWindow        = 45 * 24 * time.Hour
)

func (o *Options) fill() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	orDefault(&o.MaxKept, defaultMaxKept)
	orDefault(&o.MaxRetries, defaultMaxRetries)
	orDefault(&o.QueueRequests, defaultQueueRequests)
	orDefault(&o.QueueBytes, defaultQueueBytes)
	orDefault(&o.RingEntries, defaultRing)
	orDefault(&o.RingBytes, defaultRingBytes)
	orDefault(&o.SegmentSize, defaultSegmentSize)
	orDefault(&o.SegmentAge, defaultSegmentAge)
	orDefault(&o.Retention, defaultRetention)
	orDefault(&o.Window, defaultWindow)
	orDefault(&o.maxParked, defaultMaxParked)
	orDefault(&o.maxWindow, defaultMaxWindow)
	if o.update == nil {
		o.update = (*bbolt.DB).Update
	}
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// mapped is the address space kept for the active segment, so that growing does
// not wait for readers: none where an int has 32 bits.
func (o *Options) mapped() int {
	if ^uint(0)>>63 == 0 {
		return 0
	}
	return int(2*o.SegmentSize) + largeAlloc
}

// alloc is by how much the active segment grows at a time.
func (o *Options) alloc() int { return int(min(max(o.SegmentSize/8, 64<<10), largeAlloc)) }

const largeAlloc = 16 << 20

// Store implements [host.Store] in a directory. It is safe for concurrent use.
// Timeline and Search answer [host.ErrUnsupported].
type Store struct {
	host.Unsupported

	dir     string
	options Options
	lock    *disk.Lock

	// log are the files of the log, by sequence, the last one being active. The
	// slice is replaced, never changed.
	log     atomic.Pointer[[]*segment.File]
	index   *keys.Index
	appends *commit.Loop[*request]
	// Owned by the goroutine of appends.
	next     uint64 // sequence of the next record
	reserved uint64 // sequences up to this one may be used

	kept atomic.Int64 // callbacks that wait for an operator, kept and held ones
	held atomic.Int64 // those of them that are held

	quarantine *quarantine.File

	// last is the last sequence that is durable. Readers stop there: bbolt
	// shows a transaction before its last sync.
	last    atomic.Uint64
	commits atomic.Uint64

	tending chan struct{} // holds one token when there is something to tend
	closing chan struct{}
	tended  chan struct{} // closed when nothing tends the store any more
	damage  damageNotes

	state   *bbolt.DB
	changes *commit.Loop[*change]
	subs    sync.Mutex // held while a sink comes or goes
	sinksMu sync.RWMutex
	sinks   map[string]*queue.Sink
	token   atomic.Uint64
	cursors host.From   // where sinks begin whose position was lost; empty if none was
	armed   atomic.Bool // a flush of the cursors is on its way

	failing sync.Once
	cause   error // valid once failed is closed
	failed  chan struct{}
	wedged  atomic.Bool
}

var _ host.Store = (*Store)(nil)

// Open opens the store in dir, which it creates. It blocks while files are
// brought to the disk after an unclean end. The error is [ErrLocked] when
// another process has the directory, and names the file when one is damaged.
func Open(dir string, o Options) (*Store, error) {
	o.fill()
	s := &Store{
		dir: dir, options: o,
		sinks: make(map[string]*queue.Sink), failed: make(chan struct{}),
		tending: make(chan struct{}, 1), closing: make(chan struct{}), tended: make(chan struct{}),
	}
	s.log.Store(new([]*segment.File))
	if err := disk.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, clean, err := disk.LockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.lock = lock
	if err := s.open(clean); err != nil {
		return nil, fmt.Errorf("open store: %w", errors.Join(err, s.release(false)))
	}
	// Tokens of an earlier life must not fit this one.
	s.token.Store(rand.Uint64()) //nolint:gosec // it tells leases apart and guards nothing
	s.appends = commit.New(o.QueueRequests, o.QueueBytes, func(r *request) int { return cap(r.coded) }, s.commitAppends)
	s.changes = commit.New(commit.MaxBatch, commit.MaxBytes, func(*change) int { return 0 }, s.commitChanges)
	s.openQuarantine(clean)
	go s.keepHouse()
	s.tendSoon()
	return s, nil
}

func (s *Store) segments() []*segment.File { return *s.log.Load() }

// changeSegments puts what fn makes of the segments in their place. The committer
// adds one while what tends the store takes others away: fn runs again if they
// have changed meanwhile, and must not change the slice it is given.
func (s *Store) changeSegments(fn func([]*segment.File) []*segment.File) {
	for {
		before := s.log.Load()
		all := fn(*before)
		if s.log.CompareAndSwap(before, &all) {
			return
		}
	}
}

// addSegment makes a segment the active one.
func (s *Store) addSegment(g *segment.File) {
	s.changeSegments(func(all []*segment.File) []*segment.File { return append(slices.Clone(all), g) })
}

func (s *Store) open(clean bool) error {
	for _, name := range []string{"seg", "dedup"} {
		if err := disk.MakeDir(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	firsts, err := segment.List(s.dir)
	if err != nil {
		return err
	}
	paths, covered, err := keys.List(s.dir)
	if err != nil {
		return err
	}
	if err := s.openState(len(firsts) > 0, clean); err != nil {
		return err
	}
	if !clean {
		if err := s.bringToDisk(firsts); err != nil {
			return err
		}
	}
	// In case that segments are lost, and state.db is older than they were.
	s.next = max(s.next, covered+1)
	if err := s.openSegments(firsts); err != nil {
		return err
	}
	if !clean && len(firsts) > 0 && s.active().First == firsts[len(firsts)-1] {
		if err := s.resync(); err != nil {
			return err
		}
	}
	dropped := s.subtractDropped()
	s.countHeld()
	s.index, err = keys.Open(paths, keys.Options{
		Dir: s.dir, OpenFile: s.options.openFile, Log: keyLog{s}, Now: s.options.Now,
	})
	return errors.Join(dropped, err)
}

// bringToDisk makes durable what an unclean end may have left in the page cache
// alone: the names first, for a kill may have come between a rename and its
// sync; then the last commit, before the transaction of resync, which overwrites
// the tree of the last but one. The segment before the active one was closed by
// a commit of its own and is synced for good measure.
func (s *Store) bringToDisk(firsts []uint64) error {
	for _, name := range []string{"seg", "dedup", "."} {
		if err := disk.Sync(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	if err := disk.SyncParents(s.dir); err != nil {
		return err
	}
	for _, first := range firsts[max(0, len(firsts)-2):] {
		if err := disk.Durable(segment.Path(s.dir, first)); err != nil && !disk.IsDamage(err) {
			return err
		}
	}
	return nil
}

// openSegments opens the log. A segment that is damaged is moved aside, and what
// of it can be read takes its place.
func (s *Store) openSegments(firsts []uint64) error {
	for i, first := range firsts {
		active := i == len(firsts)-1 && s.writable(first)
		g, err := s.takeSegment(first, active)
		if disk.IsDamage(err) {
			h := segment.Head{First: first, Previous: s.last.Load(), Created: s.options.Now()}
			g, err = s.salvage(h, active, err)
		}
		if err != nil {
			return err
		}
		if before := s.last.Load(); i > 0 && g.Previous != before && !g.Created.IsZero() {
			s.note("records are missing before segment %s: it follows %d, and the last one there is %d", g.Path, g.Previous, before)
		}
		s.addSegment(g)
		s.last.Store(max(s.last.Load(), g.Last.Load()))
	}
	s.next = max(s.next, s.last.Load()+1)
	if n := len(firsts); n > 0 && s.writable(firsts[n-1]) {
		return s.active().Upgrade(s.options.Now())
	}
	h := segment.Head{First: s.next, Previous: s.last.Load(), Created: s.options.Now()}
	if err := segment.Create(s.dir, h); err != nil {
		return err
	}
	g, err := s.openSegment(h.First, true)
	if err == nil {
		s.addSegment(g)
	}
	return err
}

// resync puts the records of the last transaction again, in a transaction with
// syncs of its own.
//
// Invariant 13 asks for it. It comes after disk.Durable, which alone is enough, and
// is there for what the kernel or the disk may do against their word; that is
// why a disk too full for it does not keep the store from opening.
func (s *Store) resync() error {
	n := 0
	err := s.update(s.active().DB, func(tx *bbolt.Tx) (err error) {
		n, err = segment.PutAgain(tx)
		return err
	})
	switch {
	case disk.IsFull(err):
		s.options.Log.Warn("store synced after an unclean end, last records not put again", "dir", s.dir, "err", err)
		return nil
	case err != nil:
		return fmt.Errorf("resync %s: %w", s.active().Path, err)
	}
	s.options.Log.Warn("store resynced after an unclean end", "dir", s.dir, "records", n)
	return nil
}

// maxReopened is up to which size a segment is written to again after a restart:
// all of it is read for that, because bbolt trusts the list of free pages. Beyond
// it a new segment is begun.
const maxReopened = 64 << 20

func (s *Store) writable(first uint64) bool {
	info, err := os.Stat(segment.Path(s.dir, first))
	return err == nil && info.Size() <= maxReopened
}

func (s *Store) openSegment(first uint64, active bool) (*segment.File, error) {
	o := &s.options
	return segment.Open(s.dir, first, active, segment.Options{Mapped: o.mapped(), Alloc: o.alloc(), OpenFile: o.openFile})
}

// takeSegment opens a segment and counts what is in it.
func (s *Store) takeSegment(first uint64, active bool) (*segment.File, error) {
	g, err := s.openSegment(first, active)
	if err != nil {
		return nil, err
	}
	last, kept, err := g.Survey()
	if err != nil {
		return nil, errors.Join(err, g.DB.Close())
	}
	g.Last.Store(last)
	g.Kept.Store(int64(kept))
	s.kept.Add(int64(kept))
	return g, nil
}

func (s *Store) active() *segment.File {
	all := s.segments()
	return all[len(all)-1]
}

// Failed implements [host.Store].
func (s *Store) Failed() <-chan struct{} { return s.failed }

// fail latches the store.
//
// Invariant 13: from here on nothing is acknowledged. Whether the commit that
// failed is on the disk is not known, and after a failed sync the kernel may
// hold pages for clean that were never written; only a restart can tell.
func (s *Store) fail(err error) {
	s.failing.Do(func() {
		s.cause = err
		close(s.failed)
		log := s.options.Log.With("dir", s.dir, "err", err)
		if p := (*disk.PanicError)(nil); errors.As(err, &p) {
			log = log.With("stack", string(p.Stack))
		}
		log.Error("store failed, nothing more is accepted")
	})
}

// broken returns the error of everything asked of a store that has failed.
func (s *Store) broken() error {
	select {
	case <-s.failed:
		return host.Errorf(host.StoreUnavailable, "the store has failed: %w", s.cause)
	default:
		return nil
	}
}

// update runs a read-write transaction on one of the files.
func (s *Store) update(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
	var id int
	err := disk.Guard(func() error {
		return s.options.update(db, func(tx *bbolt.Tx) error {
			id = tx.ID()
			return fn(tx)
		})
	})
	if disk.IsFull(err) && seen(db) == id {
		// A write that failed may have changed the page cache, and bbolt reads its
		// meta page from there: what is said to have failed would be there, for
		// as long as the machine runs.
		return fmt.Errorf("%s: the disk is full, and the commit shows all the same: %v", db.Path(), err) //nolint:errorlint // nothing heals this
	}
	var p *disk.PanicError
	if errors.As(err, &p) {
		s.wedged.Store(true)
		return fmt.Errorf("%s: %w", db.Path(), err)
	}
	return err
}

// seen is the last transaction that a file shows; zero if it cannot be read.
func seen(db *bbolt.DB) (id int) {
	_ = disk.Guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			id = tx.ID()
			return nil
		})
	})
	return id
}

// judge says what the end of a transaction means: a full disk heals by itself,
// because the transaction is rolled back; everything else is the end.
func (s *Store) judge(what string, err error) error {
	switch {
	case err == nil, errors.Is(err, errNothing):
		return nil
	case disk.IsFull(err):
		return host.Errorf(host.StoreFull, "%s: %w", what, err)
	}
	s.fail(err)
	return host.Errorf(host.StoreUnavailable, "%s: %w", what, err)
}

// Close implements [host.Store]: it commits what is queued, writes the sinks'
// positions and marks the end as clean, unless the store has failed.
func (s *Store) Close() error {
	s.appends.Close()
	s.quarantine.Close()
	s.stopTending()
	err := s.broken()
	if err == nil {
		err = s.judge("seal the log", s.active().Seal())
	}
	if err == nil {
		// The log has them too; the next open need not read it.
		if err = s.index.Flush(); disk.IsShort(err) {
			err = nil
		}
	}
	if err == nil {
		err = s.change(&change{}) // the positions of sinks
	}
	s.changes.Close()
	if err == nil {
		// What came in meanwhile may have failed.
		err = s.broken()
	}
	if err == nil {
		err = s.judge("write state", s.update(s.state, func(tx *bbolt.Tx) error {
			return errors.Join(putReserved(tx, s.next-1), putTally(tx))
		}))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("close store: %w", err), s.release(false))
	}
	return s.release(true)
}

// release frees the files. It writes nothing but, if clean, the mark of it,
// which comes last.
func (s *Store) release(clean bool) error {
	var errs []error
	for _, g := range s.segments() {
		errs = append(errs, s.free(g.DB))
	}
	if s.index != nil && !s.wedged.Load() {
		errs = append(errs, s.index.Close())
	}
	if s.quarantine != nil {
		errs = append(errs, s.quarantine.Release())
	}
	if s.state != nil {
		errs = append(errs, s.free(s.state))
	}
	err := errors.Join(errs...)
	return errors.Join(err, s.lock.Release(clean && err == nil))
}

// free closes a file, unless a panic has left one of them locked: closing it
// would wait for ever, and the process is about to end.
func (s *Store) free(db *bbolt.DB) error {
	if s.wedged.Load() {
		return nil
	}
	return db.Close()
}
