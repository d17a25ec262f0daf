package bolt

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/keys"
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

// keyLog is the log as the index of keys sees it; it implements [keys.Log].
type keyLog struct{ s *Store }

// First is the sequence that the log begins at.
func (l keyLog) First() uint64 { return l.s.segments()[0].First }

// Last is the sequence of the last record.
func (l keyLog) Last() uint64 { return l.s.last.Load() }

// Note tells of damage once.
func (l keyLog) Note(format string, args ...any) { l.s.note(format, args...) }

// EachKey hands the keys of records to fn.
func (l keyLog) EachKey(first, last uint64, fn func(seq uint64, size int, keys map[host.Hash]keys.Place) error) error {
	var lost error
	for _, g := range l.s.segments() {
		err := g.Walk(first, last, func(seq uint64, b []byte) error {
			e, err := record.Look(b, seq)
			if err != nil {
				lost = errors.Join(lost, fmt.Errorf("segment %s: record %d: %w", g.Path, seq, err))
				return nil
			}
			found := make(map[host.Hash]keys.Place, len(e.Keys))
			for _, k := range e.Keys {
				found[k.Hash] = keys.Place{Seq: seq, Index: k.Index, Content: k.Content}
			}
			return fn(seq, len(b), found)
		})
		if err != nil {
			lost = errors.Join(lost, err)
		}
	}
	return lost
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
	s.changeSegments(func(all []*segment.File) []*segment.File {
		all = slices.Clone(all)
		all[slices.Index(all, g)] = fresh
		return all
	})
	s.countHeld()
	return g.DB.Close()
}
