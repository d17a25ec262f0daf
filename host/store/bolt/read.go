package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/bolt/internal/segment"
)

// The bounds of one read transaction: while one is open no page that was freed
// since can be used again, and the file grows by everything that is written.
const (
	maxRead      = 256
	maxReadBytes = 1 << 20
)

// defaultLimit is the size of a page that names none.
const defaultLimit = 100

// endOfRecord is an index behind every event of a record.
const endOfRecord = 0xffff

type pos = record.Pos

// holding returns the index of the segment whose range holds seq; the first one
// for what is before them all.
func holding(all []*segment.File, seq uint64) int {
	for i := len(all) - 1; i > 0; i-- {
		if all[i].First <= seq {
			return i
		}
	}
	return 0
}

// viewAt reads from the segment that holds seq, the i-th of all. It does so again
// if that one has expired, or was mended, meanwhile.
func (s *Store) viewAt(seq uint64, fn func(tx *bbolt.Tx, all []*segment.File, i int) error) error {
	for {
		all := s.segments()
		i := holding(all, seq)
		err := all[i].Sound()
		if err == nil {
			err = all[i].View(func(tx *bbolt.Tx) error { return fn(tx, all, i) })
		}
		if errors.Is(err, berrors.ErrDatabaseNotOpen) && !slices.Contains(s.segments(), all[i]) {
			continue
		}
		if disk.IsDamage(err) && all[i].Damaged.CompareAndSwap(false, true) {
			s.tendSoon()
		}
		return err
	}
}

// record calls fn with the bytes of one record, which are gone when it returns.
func (s *Store) record(seq uint64, fn func(b []byte) error) error {
	if seq == 0 || seq > s.last.Load() || seq < s.segments()[0].First {
		return fmt.Errorf("record %d: %w", seq, host.ErrNotFound)
	}
	return s.viewAt(seq, func(tx *bbolt.Tx, _ []*segment.File, _ int) error {
		k, b := tx.Bucket(segment.BucketLog).Cursor().Seek(disk.Number(seq))
		err := absent(k, b, seq)
		if err == nil {
			err = fn(b)
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		return nil
	})
}

// absent says why what was found from seq on is not the record with this
// sequence: there never was one, or it is missing. Nil if it is.
func absent(k, b []byte, seq uint64) error {
	if k == nil {
		return host.ErrNotFound
	}
	at, err := disk.ParseNumber(k)
	if err != nil || at == seq {
		return err
	}
	previous, err := record.Previous(b, at)
	switch {
	case err != nil:
		return err
	case at < seq, previous >= seq:
		// The search was led astray, or the next one names it.
		return fmt.Errorf("%w: it is missing", disk.ErrDamaged)
	}
	return host.ErrNotFound
}

// Callback implements [host.Reader].
func (s *Store) Callback(_ context.Context, seq uint64) (rec *host.Record, err error) {
	err = s.record(seq, func(b []byte) error {
		rec, err = record.Decode(b, seq)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read callback: %w", err)
	}
	return rec, nil
}

// Event implements [host.Reader]. An id is the key of the dedup buckets, so
// that no other index is needed.
func (s *Store) Event(_ context.Context, id string) (host.StoredEvent, error) {
	key, err := host.ParseID(id)
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event: %w", err)
	}
	p, found, err := s.index.Find(key)
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, err)
	}
	if !found {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, host.ErrNotFound)
	}
	ev, err := s.event(pos{Seq: p.Seq, Index: p.Index})
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, err)
	}
	l := located{at: pos{Seq: p.Seq, Index: p.Index}, event: *ev}
	return l.stored(), nil
}

// event reads the event at a place, or ErrNotFound when there is none.
func (s *Store) event(at pos) (ev *host.Event, err error) {
	err = s.record(at.Seq, func(b []byte) error {
		return record.Events(b, at.Seq, func(i int, found *host.Event) bool {
			if i == at.Index {
				ev = found
			}
			return ev == nil
		})
	})
	if err == nil && ev == nil {
		err = fmt.Errorf("event %d of record %d: %w", at.Index, at.Seq, host.ErrNotFound)
	}
	return ev, err
}

// located is an event and its place.
type located struct {
	at    pos
	event host.Event
}

func (l *located) stored() host.StoredEvent {
	return host.StoredEvent{Seq: l.at.Seq, Cursor: host.CursorAt(l.at.Seq, l.at.Index), Event: l.event}
}

// chunk is what one read transaction found.
type chunk struct {
	events []located
	next   pos // where to go on; with Newest, what to go on before
	end    bool
	// damage says what cannot be read between the events and next.
	damage error
}

// scan reads forward from at: up to n events that want lets through, and no
// more than one transaction should. It ends behind a record that is damaged or
// missing.
func (s *Store) scan(at pos, n int, want *host.Filter) (chunk, error) {
	last := s.last.Load()
	out := chunk{next: at}
	if at.Seq > last {
		out.end = true
		return out, nil
	}
	err := s.viewAt(at.Seq, func(tx *bbolt.Tx, all []*segment.File, i int) error {
		out = chunk{next: at}
		if at.Seq < all[i].First {
			out.next = pos{Seq: all[i].First}
		}
		c := tx.Bucket(segment.BucketLog).Cursor()
		records, bytes := 0, 0
		for k, v := c.Seek(disk.Number(out.next.Seq)); k != nil; k, v = c.Next() {
			seq, err := disk.ParseNumber(k)
			if err != nil {
				return err
			}
			if seq < out.next.Seq {
				return fmt.Errorf("record %d: %w: it is out of its place", seq, disk.ErrDamaged)
			}
			if seq > last {
				break
			}
			if len(out.events) == n || records == maxRead || bytes >= maxReadBytes {
				return nil
			}
			records++
			bytes += len(v)
			if whole := out.take(v, seq, n, want); !whole {
				return nil
			}
		}
		if out.end = i == len(all)-1; out.end {
			out.next = pos{Seq: last + 1}
		} else {
			out.next = pos{Seq: all[i+1].First}
		}
		return nil
	})
	if out.damage != nil {
		all := s.segments()
		g := all[holding(all, at.Seq)]
		out.damage = fmt.Errorf("segment %s: %w", g.Path, out.damage)
		// A copy has nothing more to give.
		if !g.Mended && g != s.active() && g.Damaged.CompareAndSwap(false, true) {
			s.tendSoon()
		}
	}
	return out, err
}

// take adds the events of one record from c.next on, and moves it on. It
// reports false when the record has more than there is room for, and when it, or
// one before it, is damage.
func (c *chunk) take(b []byte, seq uint64, n int, want *host.Filter) bool {
	from := 0
	if c.next.Seq == seq {
		from = c.next.Index
	}
	previous, err := record.Previous(b, seq)
	if err == nil && c.next.Seq < seq && previous >= c.next.Seq {
		c.damage = fmt.Errorf("records %d to %d are missing", c.next.Seq, previous)
		c.next = pos{Seq: seq}
		return false
	}
	next, whole := pos{Seq: seq + 1}, true
	if err == nil {
		err = record.Events(b, seq, func(i int, ev *host.Event) bool {
			if i < from || !want.Match(ev) {
				return true
			}
			if len(c.events) == n {
				next, whole = pos{Seq: seq, Index: i}, false
				return false
			}
			c.events = append(c.events, located{at: pos{Seq: seq, Index: i}, event: *ev})
			return true
		})
	}
	if err != nil {
		c.damage = fmt.Errorf("record %d: %w", seq, err)
	}
	c.next = next
	return whole && err == nil
}

// pass says that the log goes on behind damage. What is lost is named, and what
// comes after it is not held up.
func (s *Store) pass(damage error) {
	if damage != nil {
		s.note("passed over, because it cannot be read: %v", damage)
	}
}

// Range implements [host.Reader].
func (s *Store) Range(ctx context.Context, p host.Page) ([]host.StoredEvent, host.Cursor, error) {
	seq, index, err := p.After.At()
	if err != nil {
		return nil, "", fmt.Errorf("read events: %w", err)
	}
	if p.Limit <= 0 {
		p.Limit = defaultLimit
	}
	at, step := pos{Seq: seq, Index: index + 1}, s.scan
	if p.After == "" {
		at = pos{}
	}
	if p.Newest {
		at.Index--
		step = s.scanBack
		if p.After == "" {
			at = pos{Seq: s.last.Load() + 1}
		}
	}
	var page []host.StoredEvent
	for {
		if err := ctx.Err(); err != nil {
			return nil, "", fmt.Errorf("read events: %w", err)
		}
		c, err := step(at, p.Limit-len(page), &p.Filter)
		if err != nil {
			return nil, "", fmt.Errorf("read events: %w", err)
		}
		s.pass(c.damage)
		for i := range c.events {
			page = append(page, c.events[i].stored())
		}
		if len(page) == p.Limit {
			return page, page[len(page)-1].Cursor, nil
		}
		if c.end {
			return page, s.endCursor(&p, c.next), nil
		}
		at = c.next
	}
}

// endCursor is the cursor of a page that went to the end.
func (s *Store) endCursor(p *host.Page, next pos) host.Cursor {
	switch {
	case s.last.Load() == 0:
		return p.After
	case p.Newest:
		return host.CursorAt(s.segments()[0].First, 0)
	}
	return max(p.After, host.CursorAt(next.Seq-1, endOfRecord))
}

// scanBack is scan in the other direction, of what is before a place.
func (s *Store) scanBack(before pos, n int, want *host.Filter) (chunk, error) {
	if last := s.last.Load(); before.Seq > last {
		before = pos{Seq: last, Index: endOfRecord + 1}
	}
	out := chunk{next: before}
	err := s.viewAt(before.Seq, func(tx *bbolt.Tx, all []*segment.File, i int) error {
		out = chunk{next: before}
		c := tx.Bucket(segment.BucketLog).Cursor()
		k, v := c.Seek(disk.Number(before.Seq))
		if k == nil {
			k, v = c.Last()
		} else if binary.BigEndian.Uint64(k) > before.Seq {
			k, v = c.Prev()
		}
		expected := uint64(0) // the record before the last one, if that is known
		for records, bytes := 0, 0; k != nil; k, v = c.Prev() {
			if len(out.events) == n || records == maxRead || bytes >= maxReadBytes {
				return nil
			}
			records++
			bytes += len(v)
			seq, err := disk.ParseNumber(k)
			if err != nil {
				return err
			}
			if seq < expected {
				out.damage = fmt.Errorf("segment %s: records %d to %d are missing", all[i].Path, seq+1, expected)
			}
			if expected, err = record.Previous(v, seq); err == nil {
				err = out.takeBack(v, seq, n, want)
			}
			if err != nil {
				out.damage = fmt.Errorf("segment %s: record %d: %w", all[i].Path, seq, err)
				out.next = pos{Seq: seq - 1, Index: endOfRecord + 1}
				return nil
			}
		}
		if out.end = i == 0; !out.end {
			out.next = pos{Seq: all[i].First - 1, Index: endOfRecord + 1}
		}
		return nil
	})
	return out, err
}

func (c *chunk) takeBack(b []byte, seq uint64, n int, want *host.Filter) error {
	below := endOfRecord + 1
	if c.next.Seq == seq {
		below = c.next.Index
	}
	var found []located
	err := record.Events(b, seq, func(i int, ev *host.Event) bool {
		if i < below && want.Match(ev) {
			found = append(found, located{at: pos{Seq: seq, Index: i}, event: *ev})
		}
		return i < below
	})
	if err != nil {
		return err
	}
	for len(found) > 0 && len(c.events) < n {
		c.events = append(c.events, found[len(found)-1])
		found = found[:len(found)-1]
	}
	c.next = pos{Seq: seq}
	return nil
}
