package bolt

import (
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/segment"
)

// tendEvery is how often it is looked what has expired, by the machine's clock;
// by the store's clock expiry then is judged.
const tendEvery = time.Minute

// rotate begins a new segment where the active one is full or old. The committer
// calls it. A disk too full for another file leaves the active one in use.
func (s *Store) rotate(now time.Time) error {
	g := s.active()
	if s.last.Load() < g.First ||
		g.Size.Load() < s.options.SegmentSize && now.Sub(g.Created) < s.options.SegmentAge {
		return nil
	}
	if err := s.judge("end a segment", g.Seal()); err != nil {
		return err
	}
	next, err := s.nextSegment(now)
	if disk.IsShort(err) {
		s.options.Log.Warn("no room for a new segment; the active one goes on growing", "dir", s.dir, "err", err)
		return nil
	}
	if err := s.judge("begin a segment", err); err != nil {
		return err
	}
	g.Last.Store(s.last.Load())
	s.addSegment(next)
	// Its keys are written before anything of it may expire.
	s.tendSoon()
	return nil
}

// nextSegment makes and opens the segment after the active one.
func (s *Store) nextSegment(now time.Time) (*segment.File, error) {
	if err := segment.Create(s.dir, segment.Head{First: s.next, Previous: s.last.Load(), Created: now}); err != nil {
		return nil, err
	}
	return s.openSegment(s.next, true)
}

// tendSoon has tend run.
func (s *Store) tendSoon() {
	select {
	case s.tending <- struct{}{}:
	default:
	}
}

// keepHouse tends the store until it is closed.
func (s *Store) keepHouse() {
	defer close(s.tended)
	t := time.NewTicker(tendEvery)
	defer t.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-s.tending:
		case <-t.C:
		}
		if s.broken() != nil {
			return
		}
		err := s.tend(s.options.Now())
		switch {
		case err == nil:
		case disk.IsShort(err):
			s.options.Log.Warn("no room to tend the store", "dir", s.dir, "err", err)
		default:
			s.fail(err)
		}
	}
}

// stopTending ends keepHouse and waits for it.
func (s *Store) stopTending() {
	close(s.closing)
	<-s.tended
}

// tend writes dedup keys to files, merges and mends those, and removes what has
// expired. It does not hold up appends or deliveries. Not for concurrent use.
func (s *Store) tend(now time.Time) error {
	closed := s.active().First > s.index.Covered()+1
	if closed || s.index.Due() {
		if err := s.index.Flush(); err != nil {
			return err
		}
	}
	if err := s.index.Mend(); err != nil {
		return err
	}
	for _, g := range s.segments() {
		if g.Damaged.Load() && g != s.active() {
			if err := s.mendSegment(g); err != nil {
				return err
			}
		}
	}
	return errors.Join(s.index.Merge(), s.expireSegments(now), s.index.Expire(now, s.options.Window))
}

// betweenRemovals is a pause for the appends: a file system gives back the room of
// a large file in the journal that their syncs wait for.
const betweenRemovals = 100 * time.Millisecond

// rest waits, unless the store is being closed.
func (s *Store) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closing:
	}
}

// expireSegments removes the segments that are older than the retention and that
// nobody needs any more.
//
// Invariant 4: what is not delivered is never expired. Invariant 1: nor is a
// callback that was kept and not looked at.
func (s *Store) expireSegments(now time.Time) error {
	needed := s.oldestNeeded()
	for n := 0; ; n++ {
		all := s.segments()
		if len(all) == 1 {
			return nil
		}
		g, next := all[0], all[1]
		last := g.Last.Load()
		// A segment ended when the next one began.
		if g.Damaged.Load() || now.Sub(next.Created) <= s.options.Retention || last >= needed ||
			last > s.index.Covered() || s.keptFrom(g.First, last) {
			return nil
		}
		if n > 0 {
			s.rest(betweenRemovals)
		}
		s.changeSegments(func(all []*segment.File) []*segment.File { return all[1:] })
		if err := g.Remove(); err != nil {
			return fmt.Errorf("expire segment %s: %w", g.Path, err)
		}
		s.forgetKept(next.First)
	}
}
