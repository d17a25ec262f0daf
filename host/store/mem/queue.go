package mem

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/host"
)

// maxReason is how much of a settlement's reason is kept.
const maxReason = 1024

// sink is what one sink wants and how far it is.
type sink struct {
	want host.Filter
	// looked is the last sequence of which every event was taken or passed
	// over; index is how many events of the next one were.
	looked uint64
	index  int
	open   []*delivery
	dead   []host.DeadLetter
}

// delivery is an event that was leased at least once and is neither done nor
// dead. It is due, again, at at: when a retry is, or when its lease ends.
type delivery struct {
	host.Delivery

	leased bool
	at     time.Time
}

// Subscribe implements [host.Queue].
func (s *Store) Subscribe(_ context.Context, name string, sub host.Subscription) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := sub.Filter.Clone()
	if k := s.sinks[name]; k != nil {
		k.want = want
		return nil
	}
	k := &sink{want: want}
	switch sub.From {
	case host.FromNow:
		k.looked = uint64(len(s.records))
	case host.FromOldest:
	default:
		return fmt.Errorf("subscribe %s: no such start %q", name, sub.From)
	}
	s.sinks[name] = k
	return nil
}

// Unsubscribe implements [host.Queue].
func (s *Store) Unsubscribe(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sinks, name)
	return nil
}

func (s *Store) sink(name string) (*sink, error) {
	if k := s.sinks[name]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("sink %s: %w", name, host.ErrNotFound)
}

// Lease implements [host.Queue].
func (s *Store) Lease(_ context.Context, name string, n int, ttl time.Duration) (host.Leased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err != nil {
		return host.Leased{}, err
	}
	now := s.now()
	var out host.Leased
	slices.SortStableFunc(k.open, func(a, b *delivery) int { return a.at.Compare(b.at) })
	for _, d := range k.open {
		if len(out.Deliveries) < n && !d.at.After(now) {
			out.Deliveries = append(out.Deliveries, s.lease(d, now, ttl))
		}
	}
	for len(out.Deliveries) < n {
		ev, ok := s.take(k)
		if !ok {
			break
		}
		d := &delivery{Delivery: host.Delivery{Sink: name, Event: ev, First: now}}
		k.open = append(k.open, d)
		out.Deliveries = append(out.Deliveries, s.lease(d, now, ttl))
	}
	out.Next = s.next(k, now)
	return out, nil
}

func (s *Store) lease(d *delivery, now time.Time, ttl time.Duration) host.Delivery {
	s.token++
	d.Token, d.leased, d.at = s.token, true, now.Add(ttl)
	d.Attempt++
	if d.Attempt == 1 {
		d.First = now
	}
	out := d.Delivery
	out.Event = copyEvent(&d.Event)
	return out
}

// take returns the next event of the log that the sink wants.
func (s *Store) take(k *sink) (host.Event, bool) {
	for k.looked < uint64(len(s.records)) {
		r := &s.records[k.looked]
		for k.index < len(r.Events) {
			i := k.index
			k.index++
			if r.events[i] != host.Duplicate && k.want.Match(&r.Events[i]) {
				return r.Events[i], true
			}
		}
		k.looked, k.index = k.looked+1, 0
	}
	return host.Event{}, false
}

// next is when to lease again: now if the log goes on.
func (s *Store) next(k *sink, now time.Time) time.Time {
	if k.looked < uint64(len(s.records)) {
		return now
	}
	if len(k.open) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(k.open, func(a, b *delivery) int { return a.at.Compare(b.at) }).at
}

// Settle implements [host.Queue].
func (s *Store) Settle(_ context.Context, name string, all ...host.Settlement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.sinks[name]
	if k == nil {
		return nil
	}
	now := s.now()
	for _, st := range all {
		i := slices.IndexFunc(k.open, func(d *delivery) bool { return d.leased && d.Token == st.Token })
		// Invariant 5: a late settle is ignored.
		if i < 0 || !now.Before(k.open[i].at) {
			continue
		}
		d := k.open[i]
		switch st.Outcome {
		case host.Again:
			d.leased, d.at = false, st.At
			continue
		case host.Dead:
			k.dead = append(k.dead, host.DeadLetter{
				Sink: name, Event: copyEvent(&d.Event), Attempts: d.Attempt,
				First: d.First, Died: now, Reason: st.Reason[:min(len(st.Reason), maxReason)],
			})
		case host.Done:
		}
		k.open = slices.Delete(k.open, i, i+1)
	}
	return nil
}

// DeadLetters implements [host.Queue].
func (s *Store) DeadLetters(
	_ context.Context, name string, after host.Cursor, n int,
) ([]host.DeadLetter, host.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err != nil {
		return nil, "", err
	}
	if n <= 0 {
		n = defaultLimit
	}
	slices.SortFunc(k.dead, func(a, b host.DeadLetter) int {
		return strings.Compare(string(letterCursor(&a)), string(letterCursor(&b)))
	})
	var out []host.DeadLetter
	for _, dl := range k.dead {
		if c := letterCursor(&dl); c <= after {
			continue
		}
		if len(out) == n {
			return out, letterCursor(&out[n-1]), nil
		}
		dl.Event = copyEvent(&dl.Event)
		out = append(out, dl)
	}
	return out, "", nil
}

// letterCursor is the place of a dead letter: when it died, and its id.
func letterCursor(dl *host.DeadLetter) host.Cursor {
	return host.Cursor(fmt.Sprintf("%016x%s", dl.Died.UnixNano(), dl.Event.ID()))
}

// Redrive implements [host.Queue].
func (s *Store) Redrive(_ context.Context, name string, ids ...string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err != nil {
		return 0, err
	}
	gone := k.removeDead(ids)
	for i := range gone {
		k.open = append(k.open, &delivery{
			Delivery: host.Delivery{Sink: name, Event: gone[i].Event},
			at:       s.now(),
		})
	}
	return len(gone), nil
}

// Discard implements [host.Queue].
func (s *Store) Discard(_ context.Context, name string, ids ...string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err != nil {
		return 0, err
	}
	return len(k.removeDead(ids)), nil
}

// removeDead takes out the dead letters with these ids, or all without any.
func (k *sink) removeDead(ids []string) []host.DeadLetter {
	var gone, left []host.DeadLetter
	for _, dl := range k.dead {
		if len(ids) == 0 || slices.Contains(ids, dl.Event.ID()) {
			gone = append(gone, dl)
		} else {
			left = append(left, dl)
		}
	}
	k.dead = left
	return gone
}

// Lag implements [host.Queue].
func (s *Store) Lag(_ context.Context, name string) (host.Lag, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err != nil {
		return host.Lag{}, err
	}
	now := s.now()
	lag := host.Lag{Records: uint64(len(s.records)) - k.looked, Dead: len(k.dead)}
	for _, d := range k.open {
		if d.leased && d.at.After(now) {
			lag.Leased++
		} else {
			lag.Retrying++
		}
	}
	return lag, nil
}
