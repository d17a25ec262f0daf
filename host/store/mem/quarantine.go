package mem

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postern/postern/host"
)

// Put implements [host.Quarantine].
func (s *Store) Put(_ context.Context, r *host.Rejected) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []int
	for i := range s.refused {
		o := &s.refused[i]
		if o.Tenant != r.Tenant || o.Endpoint != r.Endpoint || o.Reason != r.Reason {
			continue
		}
		if bytes.Equal(o.Callback.Body, r.Callback.Body) {
			o.Count, o.Last = o.Count+1, r.Callback.Received.Round(0).UTC()
			return nil
		}
		held = append(held, i)
	}
	if len(held) >= s.maxRing {
		s.refused = slices.Delete(s.refused, held[0], held[0]+1)
	}
	s.put++
	in := copyRejected(r)
	in.ID, in.Kept, in.Count, in.Last = fmt.Sprintf("refused-%d", s.put), false, 1, in.Callback.Received
	s.refused = append(s.refused, in)
	return nil
}

// wants reports whether every condition holds.
func wants(w host.Wanted, r *host.Rejected) bool {
	return (w.Tenant == "" || w.Tenant == r.Tenant) && (w.Endpoint == "" || w.Endpoint == r.Endpoint) &&
		(w.Reason == "" || w.Reason == r.Reason)
}

// List implements [host.Quarantine].
func (s *Store) List(
	_ context.Context, want host.Wanted, after host.Cursor, n int,
) ([]host.Rejected, host.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n <= 0 {
		n = defaultLimit
	}
	var out []host.Rejected
	last := after
	for _, r := range s.rejected() {
		c := rejectedCursor(&r)
		if c <= after || !wants(want, &r) {
			continue
		}
		if len(out) == n {
			return out, last, nil
		}
		out, last = append(out, r), c
	}
	return out, "", nil
}

// rejectedCursor is the place of one: when it came, and its id.
func rejectedCursor(r *host.Rejected) host.Cursor {
	return host.Cursor(fmt.Sprintf("%016x%s", r.Callback.Received.UnixNano(), r.ID))
}

// rejected lists what is kept or held and what was refused, the oldest first.
func (s *Store) rejected() []host.Rejected {
	var all []host.Rejected
	for _, seq := range slices.Sorted(maps.Keys(s.kept)) {
		rec := copyRecord(&s.records[seq-1].Record)
		all = append(all, *rec.Waiting(seq))
	}
	for i := range s.refused {
		all = append(all, copyRejected(&s.refused[i]))
	}
	slices.SortFunc(all, func(a, b host.Rejected) int {
		return strings.Compare(string(rejectedCursor(&a)), string(rejectedCursor(&b)))
	})
	return all
}

// Get implements [host.Quarantine].
func (s *Store) Get(_ context.Context, id string) (*host.Rejected, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.rejected()
	if i := slices.IndexFunc(all, func(r host.Rejected) bool { return r.ID == id }); i >= 0 {
		return &all[i], nil
	}
	return nil, fmt.Errorf("rejected callback %q: %w", id, host.ErrNotFound)
}

// Drop implements [host.Quarantine].
func (s *Store) Drop(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq := range s.kept {
		if s.records[seq-1].Waiting(seq).ID == id {
			delete(s.kept, seq)
			return nil
		}
	}
	left := slices.DeleteFunc(slices.Clone(s.refused), func(r host.Rejected) bool { return r.ID == id })
	if len(left) == len(s.refused) {
		return fmt.Errorf("rejected callback %q: %w", id, host.ErrNotFound)
	}
	s.refused = left
	return nil
}

func copyRejected(r *host.Rejected) host.Rejected {
	out := *r
	out.Evidence = copyOf(r.Evidence)
	out.Callback = copyCallback(&r.Callback)
	out.Last = r.Last.Round(0).UTC()
	return out
}
