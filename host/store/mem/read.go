package mem

import (
	"context"
	"fmt"
	"slices"

	"github.com/postern/postern/host"
)

// defaultLimit is the size of a page that names none.
const defaultLimit = 100

// endOfRecord is an index behind every event of a record.
const endOfRecord = 0xffff

// Callback implements [host.Reader].
func (s *Store) Callback(_ context.Context, seq uint64) (*host.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq == 0 || seq > uint64(len(s.records)) {
		return nil, fmt.Errorf("read callback %d: %w", seq, host.ErrNotFound)
	}
	r := &s.records[seq-1]
	out := copyRecord(&r.Record)
	out.Events, out.Aside = nil, nil
	for i := range r.Events {
		if r.events[i] != host.Duplicate {
			out.Events = append(out.Events, copyEvent(&r.Events[i]))
		}
	}
	for i := range r.Aside {
		if r.aside[i] != host.Duplicate {
			out.Aside = append(out.Aside, copyAside(r.Aside[i]))
		}
	}
	return &out, nil
}

// Event implements [host.Reader].
func (s *Store) Event(_ context.Context, id string) (host.StoredEvent, error) {
	key, err := host.ParseID(id)
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.seen[key]
	if !ok || p.index < 0 {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, host.ErrNotFound)
	}
	return s.at(p.seq, p.index), nil
}

// Range implements [host.Reader].
func (s *Store) Range(_ context.Context, p host.Page) ([]host.StoredEvent, host.Cursor, error) {
	seq, index, err := p.After.At()
	if err != nil {
		return nil, "", fmt.Errorf("read events: %w", err)
	}
	limit := p.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.delivered()
	if p.Newest {
		slices.Reverse(all)
	}
	var page []host.StoredEvent
	for _, at := range all {
		c := host.CursorAt(at.seq, at.index)
		if p.After != "" && !p.Newest && c <= host.CursorAt(seq, index) {
			continue
		}
		if p.After != "" && p.Newest && c >= p.After {
			continue
		}
		ev := s.at(at.seq, at.index)
		if !p.Filter.Match(&ev.Event) {
			continue
		}
		if page = append(page, ev); len(page) == limit {
			return page, c, nil
		}
	}
	return page, s.end(p), nil
}

// end is the cursor of a page that went to the end.
func (s *Store) end(p host.Page) host.Cursor {
	switch {
	case len(s.records) == 0:
		return p.After
	case p.Newest:
		return host.CursorAt(1, 0)
	}
	return max(p.After, host.CursorAt(uint64(len(s.records)), endOfRecord))
}

// delivered lists every event that counts, in order.
func (s *Store) delivered() []place {
	var all []place
	for i := range s.records {
		for j, d := range s.records[i].events {
			if d.Counts() {
				all = append(all, place{seq: uint64(i) + 1, index: j})
			}
		}
	}
	return all
}

func (s *Store) at(seq uint64, index int) host.StoredEvent {
	return host.StoredEvent{
		Seq:    seq,
		Cursor: host.CursorAt(seq, index),
		Event:  copyEvent(&s.records[seq-1].Events[index]),
	}
}

// copyRecord copies deeply and brings times to UTC, as an engine with files
// does by nature.
func copyRecord(r *host.Record) host.Record {
	out := *r
	out.Callback = copyCallback(&r.Callback)
	out.Evidence = copyOf(r.Evidence)
	out.Events = make([]host.Event, len(r.Events))
	for i := range r.Events {
		out.Events[i] = copyEvent(&r.Events[i])
	}
	out.Aside = make([]host.Aside, len(r.Aside))
	for i := range r.Aside {
		out.Aside[i] = copyAside(r.Aside[i])
	}
	return out
}

func copyCallback(cb *host.Callback) host.Callback {
	out := *cb
	out.Headers = copyOf(cb.Headers)
	out.Body = copyOf(cb.Body)
	out.Tokens = copyOf(cb.Tokens)
	out.Received = cb.Received.Round(0).UTC()
	return out
}

func copyEvent(ev *host.Event) host.Event {
	out := *ev
	out.Data, out.Annotations = copyOf(ev.Data), copyOf(ev.Annotations)
	out.Time = ev.Time.Round(0).UTC()
	out.Received = ev.Received.Round(0).UTC()
	return out
}

func copyAside(a host.Aside) host.Aside {
	a.Item = copyOf(a.Item)
	return a
}

// copyOf is slices.Clone without the spare capacity and with nil for empty.
func copyOf[S ~[]E, E any](s S) S { return append(S(nil), s...) }
