package mem

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/host"
)

// sink is what one sink wants and how far it is.
type sink struct {
	want   host.Filter
	order  host.Order
	paused bool
	// log is the way through what is new, replay that of the replay under way,
	// nil for none; replays counts them.
	log     walk
	replay  *walk
	replays int
	turns   int // taken so far, for new and replayed ones to take turns
	open    []*delivery
	dead    []letter
	// first are the first turns of open in each line; nil to be made anew.
	first firsts
}

// walk is a way through the log.
type walk struct {
	// number tells apart deliveries of the same event: zero for what is new,
	// then a replay's.
	number int
	// seq and index are the next event to look at.
	seq   uint64
	index int
	// from and to are the bounds of a replay; an empty to is none.
	from, to host.Cursor
	taken    uint64
}

func (w *walk) at() host.Cursor { return host.CursorAt(w.seq, w.index) }

func (w *walk) ended() bool { return w.to != "" && w.at() >= w.to }

// delivery is an event that was taken and is neither done nor dead. It is due,
// again, at at: when a retry is, or when its lease ends.
type delivery struct {
	host.Delivery

	// turn sorts by the place in the log, then by the walk; walk is its number.
	turn string
	walk int
	// fresh: it was neither leased nor redriven.
	fresh  bool
	leased bool
	at     time.Time
}

// letter is a dead letter with the place of its event.
type letter struct {
	host.DeadLetter

	turn string
	walk int
}

// cursor is the place of a dead letter: when it died, and the event's.
func (l *letter) cursor() host.Cursor {
	return host.Cursor(fmt.Sprintf("%016x%s", l.Died.UnixNano(), l.turn))
}

// Subscribe implements [host.Queue].
func (s *Store) Subscribe(_ context.Context, name string, sub host.Subscription) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch sub.Order {
	case "", host.OrderNone, host.OrderSubject:
	default:
		return fmt.Errorf("subscribe %s: no such order %q", name, sub.Order)
	}
	k := s.sinks[name]
	if k == nil {
		k = &sink{log: walk{seq: 1}}
		switch sub.From {
		case host.FromNow:
			k.log.seq = uint64(len(s.records)) + 1
		case host.FromOldest:
		default:
			return fmt.Errorf("subscribe %s: no such start %q", name, sub.From)
		}
		s.sinks[name] = k
	}
	k.want, k.order, k.first = sub.Filter.Clone(), sub.Order, nil
	return nil
}

// Unsubscribe implements [host.Queue].
func (s *Store) Unsubscribe(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sinks, name)
	return nil
}

// Sinks implements [host.Queue].
func (s *Store) Sinks(context.Context) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.sinks)), nil
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
	if !k.want.Ready() {
		return host.Leased{}, fmt.Errorf("lease for %s: the expression %q is not compiled", name, k.want.Where)
	}
	if k.paused {
		return host.Leased{}, nil
	}
	now := s.now()
	var out host.Leased
	first := k.firsts()
	slices.SortStableFunc(k.open, func(a, b *delivery) int { return a.at.Compare(b.at) })
	for _, d := range k.open {
		if len(out.Deliveries) < n && !d.at.After(now) && !first.before(d) {
			out.Deliveries = append(out.Deliveries, s.lease(d, now, ttl))
		}
	}
	for len(out.Deliveries) < n {
		d := s.take(k)
		if d == nil {
			break
		}
		d.Sink, d.at = name, now
		k.open = append(k.open, d)
		if first.add(d); !first.before(d) {
			out.Deliveries = append(out.Deliveries, s.lease(d, now, ttl))
		}
	}
	out.Next = s.next(k, first, now)
	return out, nil
}

// line is what deliveries wait in for each other.
type line struct{ tenant, endpoint, subject string }

// firsts are the first turns of deliveries in each line; nil if none waits.
type firsts map[line]string

func (k *sink) firsts() firsts {
	if k.order != host.OrderSubject {
		return nil
	}
	if k.first == nil {
		k.first = firsts{}
		for _, d := range k.open {
			k.first.add(d)
		}
	}
	return k.first
}

// remove takes the i-th of the open deliveries out.
func (k *sink) remove(i int) {
	gone := k.open[i]
	k.open = slices.Delete(k.open, i, i+1)
	in := gone.line()
	if k.first[in] != gone.turn {
		return
	}
	delete(k.first, in)
	for _, d := range k.open {
		if d.Event.Subject == in.subject && d.line() == in {
			k.first.add(d)
		}
	}
}

func (f firsts) add(d *delivery) {
	in := d.line()
	if turn, ok := f[in]; f != nil && (!ok || d.turn < turn) {
		f[in] = d.turn
	}
}

// before reports whether an earlier delivery of the same subject is open.
func (f firsts) before(d *delivery) bool {
	return f != nil && d.Event.Subject != "" && f[d.line()] < d.turn
}

func (d *delivery) line() line { return line{d.Event.Tenant, d.Event.Endpoint, d.Event.Subject} }

func (s *Store) lease(d *delivery, now time.Time, ttl time.Duration) host.Delivery {
	s.token++
	d.Token, d.leased, d.fresh, d.at = s.token, true, false, now.Add(ttl)
	d.Attempt++
	if d.Attempt == 1 {
		d.First = now
	}
	out := d.Delivery
	out.Event = copyEvent(&d.Event)
	return out
}

// take returns the next event that the sink wants, by turns a new one and one of
// the replay.
func (s *Store) take(k *sink) *delivery {
	walks := []*walk{&k.log, k.replay}
	if k.turns++; k.turns%2 == 0 {
		slices.Reverse(walks)
	}
	for _, w := range walks {
		if w == nil {
			continue
		}
		d := s.step(k, w)
		if w.ended() {
			k.replay = nil
		}
		if d != nil {
			return d
		}
	}
	return nil
}

// step goes on to the next event of a walk that the sink wants.
func (s *Store) step(k *sink, w *walk) *delivery {
	for w.seq <= uint64(len(s.records)) && !w.ended() {
		r, i := &s.records[w.seq-1], w.index
		if i >= len(r.Events) {
			w.seq, w.index = w.seq+1, 0
			continue
		}
		turn := fmt.Sprintf("%s%08x", w.at(), w.number)
		w.index++
		if r.events[i].Counts() && k.want.Match(&r.Events[i]) {
			w.taken++
			return &delivery{Delivery: host.Delivery{Event: r.Events[i]}, turn: turn, walk: w.number, fresh: true}
		}
	}
	return nil
}

// next is when to lease again: now if there is more to look at.
func (s *Store) next(k *sink, first firsts, now time.Time) time.Time {
	if k.replay != nil || k.log.seq <= uint64(len(s.records)) {
		return now
	}
	var next time.Time
	for _, d := range k.open {
		if (next.IsZero() || d.at.Before(next)) && !first.before(d) {
			next = d.at
		}
	}
	return next
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
			k.dead = append(k.dead, letter{turn: d.turn, walk: d.walk, DeadLetter: host.DeadLetter{
				Sink: name, Event: copyEvent(&d.Event), Attempts: d.Attempt,
				First: d.First, Died: now, Reason: bounded(st.Reason), Answer: bounded(st.Answer),
			}})
		case host.Done:
		}
		k.remove(i)
	}
	return nil
}

func bounded(s string) string { return s[:min(len(s), host.MaxReason)] }

// Pause implements [host.Queue].
func (s *Store) Pause(_ context.Context, name string) error { return s.pause(name, true) }

// Resume implements [host.Queue].
func (s *Store) Resume(_ context.Context, name string) error { return s.pause(name, false) }

func (s *Store) pause(name string, paused bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err == nil {
		k.paused = paused
	}
	return err
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
	slices.SortFunc(k.dead, func(a, b letter) int { return strings.Compare(string(a.cursor()), string(b.cursor())) })
	var out []host.DeadLetter
	last := after
	for i := range k.dead {
		c := k.dead[i].cursor()
		if c <= after {
			continue
		}
		if len(out) == n {
			return out, last, nil
		}
		dl := k.dead[i].DeadLetter
		dl.Event = copyEvent(&dl.Event)
		out, last = append(out, dl), c
	}
	return out, "", nil
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
	k.first = nil
	for i := range gone {
		k.open = append(k.open, &delivery{
			Delivery: host.Delivery{Sink: name, Event: gone[i].Event},
			turn:     gone[i].turn, walk: gone[i].walk, at: s.now(),
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
func (k *sink) removeDead(ids []string) []letter {
	var gone, left []letter
	for _, l := range k.dead {
		if len(ids) == 0 || slices.Contains(ids, l.Event.ID()) {
			gone = append(gone, l)
		} else {
			left = append(left, l)
		}
	}
	k.dead = left
	return gone
}

// Replay implements [host.Queue].
func (s *Store) Replay(_ context.Context, name string, from, to host.Cursor) error {
	seq, index, err := from.At()
	if err != nil {
		return fmt.Errorf("replay to %s: from: %w", name, err)
	}
	if _, _, err := to.At(); err != nil {
		return fmt.Errorf("replay to %s: to: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err != nil {
		return err
	}
	if k.replay != nil {
		return fmt.Errorf("replay to %s: %w", name, host.ErrBusy)
	}
	if end := host.CursorAt(uint64(len(s.records))+1, 0); to == "" || to > end {
		to = end
	}
	k.replays++
	w := &walk{number: k.replays, seq: max(seq, 1), index: index, from: from, to: to}
	if !w.ended() {
		k.replay = w
	}
	return nil
}

// StopReplay implements [host.Queue].
func (s *Store) StopReplay(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.sink(name)
	if err != nil || k.replay == nil {
		return err
	}
	k.open = slices.DeleteFunc(k.open, func(d *delivery) bool { return d.fresh && d.walk == k.replay.number })
	k.replay, k.first = nil, nil
	return nil
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
	lag := host.Lag{Records: uint64(len(s.records)) + 1 - k.log.seq, Dead: len(k.dead), Paused: k.paused}
	for _, d := range k.open {
		switch {
		case d.fresh:
			lag.Parked++
		case d.leased && d.at.After(now):
			lag.Leased++
		default:
			lag.Retrying++
		}
	}
	if w := k.replay; w != nil {
		lag.Replay = &host.Replay{From: w.from, To: w.to, At: w.at(), Taken: w.taken}
	}
	return lag, nil
}
