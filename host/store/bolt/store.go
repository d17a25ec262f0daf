package bolt

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
)

// Options of a store. The zero value is usable.
type Options struct {
	// Now is the clock of leases and retries; nil means time.Now.
	Now func() time.Time
	// Log is told of an unclean end and of the failure of the store; nil
	// discards.
	Log *slog.Logger
	// MaxKept is how many kept callbacks are taken before KeptFull; zero means
	// 10,000.
	MaxKept int
	// MaxRetries is how many deliveries of one sink may wait for a retry before
	// no new ones are leased to it; zero means 100,000.
	MaxRetries int
	// QueueRequests and QueueBytes bound what waits for a commit; beyond it is
	// StoreFull. Zero means 4,096 and 64 MiB.
	QueueRequests int
	QueueBytes    int64
	// Reserve is how many bytes of the file system stay free: with less,
	// appends are StoreFull. Zero means 256 MiB or 2 %, whichever is more; a
	// negative number means none.
	Reserve int64

	// What this package's tests put in place of the real thing.
	openFile func(string, int, os.FileMode) (*os.File, error)
	update   func(*bbolt.DB, func(*bbolt.Tx) error) error
}

const (
	defaultMaxKept       = 10_000
	defaultMaxRetries    = 100_000
	defaultQueueRequests = 4096
	defaultQueueBytes    = 64 << 20
)

func (o *Options) fill() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxKept == 0 {
		o.MaxKept = defaultMaxKept
	}
	if o.MaxRetries == 0 {
		o.MaxRetries = defaultMaxRetries
	}
	if o.QueueRequests == 0 {
		o.QueueRequests = defaultQueueRequests
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = defaultQueueBytes
	}
	if o.update == nil {
		o.update = (*bbolt.DB).Update
	}
}

// Store implements [host.Store] in a directory. It is safe for concurrent use.
// Put, List, Get, Drop, Replay, Timeline and Search answer
// [host.ErrUnsupported].
type Store struct {
	host.Unsupported

	dir     string
	options Options
	lock    *dirLock

	// segments are the files of the log, the last one being active.
	segments []*segment
	appends  *loop[*request]
	// Owned by the goroutine of appends.
	next     uint64 // sequence of the next record
	reserved uint64 // sequences up to this one may be used
	kept     int

	// last is the last sequence that is durable. Readers stop there: bbolt
	// shows a transaction before its last sync.
	last    atomic.Uint64
	commits atomic.Uint64

	state   *bbolt.DB
	changes *loop[*change]
	subs    sync.Mutex // held while a sink comes or goes
	sinksMu sync.RWMutex
	sinks   map[string]*sink
	token   atomic.Uint64
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
		sinks: make(map[string]*sink), failed: make(chan struct{}),
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, clean, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s.lock = lock
	if err := s.open(clean); err != nil {
		return nil, fmt.Errorf("open store: %w", errors.Join(err, s.release(false)))
	}
	// Tokens of an earlier life must not fit this one.
	s.token.Store(rand.Uint64()) //nolint:gosec // it tells leases apart and guards nothing
	s.appends = newLoop(o.QueueRequests, o.QueueBytes, func(r *request) int { return cap(r.coded) }, s.commitAppends)
	s.changes = newLoop(maxBatch, maxBatchBytes, func(*change) int { return 0 }, s.commitChanges)
	return s, nil
}

func (s *Store) open(clean bool) error {
	if err := makeDir(filepath.Join(s.dir, "seg")); err != nil {
		return err
	}
	firsts, err := listSegments(s.dir)
	if err != nil {
		return err
	}
	if err := s.prepareState(len(firsts) > 0, clean); err != nil {
		return err
	}
	if err := s.loadState(); err != nil {
		return err
	}
	created := len(firsts) == 0
	if created {
		firsts = []uint64{s.next}
		if err := createSegment(s.dir, s.next); err != nil {
			return err
		}
	}
	if clean || created {
		return s.openSegments(firsts)
	}
	// The names first: a kill may have come between a rename and its sync.
	for _, dir := range []string{filepath.Join(s.dir, "seg"), s.dir, filepath.Dir(s.dir)} {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	// Before the transaction of resync, which overwrites the tree of the last but
	// one.
	if err := durable(segmentPath(s.dir, firsts[len(firsts)-1])); err != nil {
		return err
	}
	if err := s.openSegments(firsts); err != nil {
		return err
	}
	return s.resync()
}

func (s *Store) openSegments(firsts []uint64) error {
	for i, first := range firsts {
		g, err := s.openSegment(first, i == len(firsts)-1)
		if err != nil {
			return err
		}
		s.segments = append(s.segments, g)
		last, kept, err := g.survey()
		if err != nil {
			return err
		}
		s.kept += kept
		s.last.Store(max(s.last.Load(), last))
	}
	s.next = max(s.next, s.last.Load()+1)
	return nil
}

func (s *Store) active() *segment { return s.segments[len(s.segments)-1] }

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
		if p := (*panicError)(nil); errors.As(err, &p) {
			log = log.With("stack", string(p.stack))
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
	err := guard(func() error { return s.options.update(db, fn) })
	var p *panicError
	if errors.As(err, &p) {
		s.wedged.Store(true)
	}
	return err
}

// judge says what the end of a transaction means: a full disk heals by itself,
// because the transaction is rolled back; everything else is the end.
func (s *Store) judge(what string, err error) error {
	switch {
	case err == nil, errors.Is(err, errNothing):
		return nil
	case isFull(err):
		return host.Errorf(host.StoreFull, "%s: %w", what, err)
	}
	s.fail(err)
	return host.Errorf(host.StoreUnavailable, "%s: %w", what, err)
}

// Close implements [host.Store]: it commits what is queued, writes the sinks'
// positions and marks the end as clean, unless the store has failed.
func (s *Store) Close() error {
	s.appends.close()
	err := s.broken()
	if err == nil {
		err = s.change(&change{apply: func(tx *bbolt.Tx) error { return putReserved(tx, s.next-1) }})
	}
	s.changes.close()
	if err == nil {
		// What came in meanwhile may have failed.
		err = s.broken()
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
	for _, g := range s.segments {
		errs = append(errs, s.free(g.db))
	}
	if s.state != nil {
		errs = append(errs, s.free(s.state))
	}
	err := errors.Join(errs...)
	return errors.Join(err, s.lock.release(clean && err == nil))
}

// free closes a file, unless a panic has left one of them locked: closing it
// would wait for ever, and the process is about to end.
func (s *Store) free(db *bbolt.DB) error {
	if s.wedged.Load() {
		return nil
	}
	return db.Close()
}
