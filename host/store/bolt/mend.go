package bolt

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/bolt/internal/segment"
)

// damageNotes are what was found damaged, for operators.
type damageNotes struct {
	mu    sync.Mutex
	lines []string
}

// maxNotes bounds them: a damaged disk has more to tell than anybody reads.
const maxNotes = 100

// note tells of damage once.
func (s *Store) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	if slices.Contains(s.damage.lines, line) || len(s.damage.lines) == maxNotes {
		return
	}
	s.damage.lines = append(s.damage.lines, line)
	s.options.Log.Error("store damaged", "dir", s.dir, "what", line)
}

func (s *Store) notes() []string {
	s.damage.mu.Lock()
	defer s.damage.mu.Unlock()
	return slices.Clone(s.damage.lines)
}

// mendKeys writes a damaged file of keys anew, from what of it can be read and
// from the log, and keeps the damaged one in damaged/.
func (s *Store) mendKeys(f *keyFile) error {
	keys := make(map[host.Hash]place)
	var lost error
	for e := range f.all(func(err error) { lost = errors.Join(lost, err) }) {
		keys[e.Hash] = place{seq: e.Seq, index: e.Index, content: e.Content}
	}
	if lost == nil {
		return nil
	}
	mended := s.mendFrom(keySpan{first: f.first, last: f.last, newest: f.newest}, keys)
	if err := disk.PutAside(s.dir, f.path, os.Link); err != nil {
		return err
	}
	g, err := s.writeRun(run{keys: keys, first: f.first, last: f.last, newest: f.newest})
	if err != nil {
		return err
	}
	s.index.replace([]*keyFile{f}, g)
	if mended {
		s.note("%s was damaged and was written anew from the log: %v", f.path, lost)
	} else {
		s.note("%s was damaged and its records have expired: some duplicates of them would be taken for new: %v", f.path, lost)
	}
	return f.db.Close()
}

// mendFrom adds the keys that the log has of a range, and reports whether it has
// all of the range.
func (s *Store) mendFrom(of keySpan, keys map[host.Hash]place) bool {
	whole := s.segments()[0].First <= of.first
	err := s.eachKey(of.first, of.last, func(_ uint64, _ int, more map[host.Hash]place) error {
		maps.Copy(keys, more)
		return nil
	})
	return whole && err == nil
}

// eachKey hands the keys of the records from one sequence on to another to fn, a
// record at a time. The error joins all records that cannot be read; they do not
// end it.
func (s *Store) eachKey(first, last uint64, fn func(seq uint64, size int, keys map[host.Hash]place) error) error {
	var lost error
	for _, g := range s.segments() {
		err := g.Walk(first, last, func(seq uint64, b []byte) error {
			e, err := record.Look(b, seq)
			if err != nil {
				lost = errors.Join(lost, fmt.Errorf("segment %s: record %d: %w", g.Path, seq, err))
				return nil
			}
			keys := make(map[host.Hash]place, len(e.Keys))
			for _, k := range e.Keys {
				keys[k.Hash] = place{seq: seq, index: k.Index, content: k.Content}
			}
			return fn(seq, len(b), keys)
		})
		if err != nil {
			lost = errors.Join(lost, err)
		}
	}
	return lost
}

// indexLog brings the index up to the end of the log: the records behind the
// last file of keys, and whatever range has none, because its file was damaged
// or never written.
func (s *Store) indexLog() error {
	next := s.segments()[0].First
	for _, f := range s.index.list() {
		if next < f.first {
			if err := s.indexGap(next, f.first-1); err != nil {
				return err
			}
		}
		next = max(next, f.last+1)
	}
	s.index.young = newRun(next)
	return s.indexTail(next)
}

// indexTail fills the young keys, in files as far as they are too many.
func (s *Store) indexTail(first uint64) error {
	now := s.options.Now()
	var failed error
	err := s.eachKey(first, s.last.Load(), func(seq uint64, size int, keys map[host.Hash]place) error {
		if s.index.add(keys, seq, int64(size), now) {
			failed = s.flushKeys()
		}
		return failed
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		s.note("dedup keys could not be read from the log: %v", err)
	}
	s.index.add(nil, s.last.Load(), 0, now)
	return nil
}

// indexGap writes the file of a range that has none.
func (s *Store) indexGap(first, last uint64) error {
	r := newRun(first)
	r.last, r.newest = last, s.options.Now()
	if !s.mendFrom(keySpan{first: first, last: last}, r.keys) {
		s.note("no dedup keys are left of the records %d to %d, as far as they cannot be read", first, last)
	}
	f, err := s.writeRun(r)
	if err != nil {
		return fmt.Errorf("write dedup keys: %w", err)
	}
	files := append(s.index.list(), f)
	slices.SortFunc(files, func(a, b *keyFile) int { return int(a.first) - int(b.first) }) //nolint:gosec // sequences
	s.index.files = files
	return nil
}

// openIndex opens the files of keys. One that is damaged is moved aside: the log
// has its keys, as long as the segments are there.
func (s *Store) openIndex(paths []string) error {
	s.index = &index{}
	for _, path := range paths {
		f, err := s.openKeys(path)
		if err == nil {
			s.index.files = append(s.index.files, f)
			continue
		}
		if !disk.IsDamage(err) {
			return err
		}
		s.note("%v; it is in damaged/ now", err)
		if err := disk.PutAside(s.dir, path, os.Rename); err != nil {
			return err
		}
	}
	return s.indexLog()
}

// salvage moves a damaged segment aside and puts a new one in its place, with
// every record of it that can be read.
func (s *Store) salvage(h segment.Head, active bool, cause error) (*segment.File, error) {
	path := segment.Path(s.dir, h.First)
	if err := disk.PutAside(s.dir, path, os.Link); err != nil {
		return nil, err
	}
	c, err := segment.Salvage(s.dir, h)
	if err != nil {
		return nil, fmt.Errorf("salvage %s: %w", path, err)
	}
	s.note("%v; it is in damaged/ now, and %d of its records, up to %d, are served from a copy (%d pages or records could not be read)",
		cause, c.Copied, c.Last, c.Lost)
	return s.takeSegment(h.First, active)
}

// mendSegment does that to a segment that was found damaged in use, and is not
// written to.
func (s *Store) mendSegment(g *segment.File) error {
	s.kept.Add(-g.Kept.Load())
	h := segment.Head{First: g.First, Previous: g.Previous, Created: g.Created}
	fresh, err := s.salvage(h, false, fmt.Errorf("segment %s cannot be read whole", g.Path))
	if err != nil {
		return err
	}
	fresh.Last.Store(max(fresh.Last.Load(), g.Last.Load()))
	all := slices.Clone(s.segments())
	all[slices.Index(all, g)] = fresh
	s.setSegments(all)
	return g.DB.Close()
}
