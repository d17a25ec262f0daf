package bolt

import (
	"context"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
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
func (s *Store) holding(seq uint64) int {
	for i := len(s.segments) - 1; i > 0; i-- {
		if s.segments[i].first <= seq {
			return i
		}
	}
	return 0
}

// record calls fn with the bytes of one record, which are gone when it returns.
func (s *Store) record(seq uint64, fn func(b []byte) error) error {
	if seq == 0 || seq > s.last.Load() {
		return fmt.Errorf("record %d: %w", seq, host.ErrNotFound)
	}
	return s.segments[s.holding(seq)].view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog).Get(seqKey(seq))
		if b == nil {
			return fmt.Errorf("record %d: %w", seq, host.ErrNotFound)
		}
		if err := fn(b); err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		return nil
	})
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
	p, found, err := s.active().find(key)
	if err == nil && !found {
		p, found, err = s.findClosed(key)
	}
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, err)
	}
	if !found {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, host.ErrNotFound)
	}
	ev, err := s.event(pos{Seq: p.seq, Index: p.index})
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, err)
	}
	l := located{at: pos{Seq: p.seq, Index: p.index}, event: *ev}
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
}

// scan reads forward from at: up to n events that want lets through, and no
// more than one transaction should. It ends before a damaged record, which is an
// error only when it is the first: what is before it is not held up.
func (s *Store) scan(at pos, n int, want *host.Filter) (chunk, error) {
	last := s.last.Load()
	out := chunk{next: at}
	if at.Seq > last {
		out.end = true
		return out, nil
	}
	i := s.holding(at.Seq)
	err := s.segments[i].view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		records, bytes := 0, 0
		for k, v := c.Seek(seqKey(at.Seq)); k != nil; k, v = c.Next() {
			seq := binary.BigEndian.Uint64(k)
			if seq > last {
				break
			}
			if len(out.events) == n || records == maxRead || bytes >= maxReadBytes {
				return nil
			}
			records++
			bytes += len(v)
			whole, err := out.take(v, seq, n, want)
			if err != nil && records > 1 {
				return nil
			}
			if err != nil {
				return fmt.Errorf("record %d: %w", seq, err)
			}
			if !whole {
				return nil
			}
		}
		if out.end = i == len(s.segments)-1; out.end {
			out.next = pos{Seq: last + 1}
		} else {
			out.next = pos{Seq: s.segments[i+1].first}
		}
		return nil
	})
	return out, err
}

// take adds the events of one record from c.next on, and moves it on. It
// reports false when the record has more than there is room for.
func (c *chunk) take(b []byte, seq uint64, n int, want *host.Filter) (bool, error) {
	from := 0
	if c.next.Seq == seq {
		from = c.next.Index
	}
	next, whole := pos{Seq: seq + 1}, true
	err := record.Events(b, seq, func(i int, ev *host.Event) bool {
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
	if err == nil {
		c.next = next
	}
	return whole, err
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
		return host.CursorAt(s.segments[0].first, 0)
	}
	return max(p.After, host.CursorAt(next.Seq-1, endOfRecord))
}

// scanBack is scan in the other direction, of what is before a place.
func (s *Store) scanBack(before pos, n int, want *host.Filter) (chunk, error) {
	if last := s.last.Load(); before.Seq > last {
		before = pos{Seq: last, Index: endOfRecord + 1}
	}
	out := chunk{next: before}
	i := s.holding(before.Seq)
	err := s.segments[i].view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		k, v := c.Seek(seqKey(before.Seq))
		if k == nil {
			k, v = c.Last()
		} else if binary.BigEndian.Uint64(k) > before.Seq {
			k, v = c.Prev()
		}
		for records, bytes := 0, 0; k != nil; k, v = c.Prev() {
			if len(out.events) == n || records == maxRead || bytes >= maxReadBytes {
				return nil
			}
			records++
			bytes += len(v)
			seq := binary.BigEndian.Uint64(k)
			if err := out.takeBack(v, seq, n, want); err != nil {
				return fmt.Errorf("record %d: %w", seq, err)
			}
		}
		if out.end = i == 0; !out.end {
			out.next = pos{Seq: s.segments[i].first - 1, Index: endOfRecord + 1}
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
