// Package model knows what the calls of a store promise, and nothing else: for
// the simulation to hold an engine against.
package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/host"
)

// state is where a copy of an event is.
type state uint8

const (
	waiting state = iota // never leased, to be retried, redriven or leased
	maybe                // comes back or does not: done before a kill, or of a replay that was stopped
	done                 // may come back after a kill
	dead
	gone // discarded, or done before a close
)

// copyOf is one event on its way to one sink: as new, or by a replay.
type copyOf struct {
	id      string
	at      int // in the log
	subject string
	replay  int // zero: as new
	state   state
	token   uint64 // zero: not leased
	due     time.Time
	first   time.Time
	// settled attempts survive a crash. The others may be forgotten by it, so
	// that then only bounds of how many there were are known.
	settled, least, attempts int
	// taken: it was leased, or redriven.
	taken, redriven bool
}

// Sink is what a sink was promised.
type Sink struct {
	Name   string
	Want   host.Subscription
	Paused bool
	// Replays is how many there were.
	Replays int

	ttl time.Duration
	// copies are by event; open are those that are waiting or may come back.
	copies map[string][]*copyOf
	open   []*copyOf
	dead   []*copyOf
	done   []*copyOf
	leases map[uint64]*copyOf
	// confused are events of which one copy may have been taken for another.
	confused map[string]bool
}

// NewSink makes a sink that is leased to for a time.
func NewSink(name string, want host.Subscription, ttl time.Duration) *Sink {
	return &Sink{
		Name: name, Want: want, ttl: ttl, copies: make(map[string][]*copyOf),
		leases: make(map[uint64]*copyOf), confused: make(map[string]bool),
	}
}

// Left says what is neither done nor dead, a line each.
func (k *Sink) Left() []string {
	var left []string
	for _, c := range k.open {
		if c.state == waiting {
			left = append(left, fmt.Sprintf("event %d (%s) of walk %d", c.at, c.subject, c.replay))
		}
	}
	return left
}

// Add puts an event on its way, as new or by a replay.
func (k *Sink) Add(ev *host.Event, at, replay int) {
	c := &copyOf{id: ev.ID(), at: at, replay: replay}
	if ev.Subject != "" {
		c.subject = fmt.Sprintf("%q/%q/%q", ev.Tenant, ev.Endpoint, ev.Subject)
	}
	if !slices.ContainsFunc(k.copies[c.id], func(o *copyOf) bool { return o.state != done }) {
		delete(k.confused, c.id)
	}
	k.copies[c.id] = append(k.copies[c.id], c)
	k.open = append(k.open, c)
}

// Leased takes up a delivery, and says what is wrong with it.
func (k *Sink) Leased(d *host.Delivery, now time.Time) string {
	if k.leases[d.Token] != nil {
		return "its token was given before"
	}
	like := slices.Clone(k.copies[d.Event.ID()])
	// Of two that it may be of it is of the one that is sure to come, and that
	// more is known of.
	slices.SortStableFunc(like, func(a, b *copyOf) int {
		return cmp.Or(cmp.Compare(a.state, b.state), cmp.Compare(b.least, a.least))
	})
	var is *copyOf
	wrong := "no such event is on its way"
	var whys []string
	for _, c := range like {
		if c.state > maybe {
			continue
		}
		switch why := k.mayLease(c, d, now); {
		case why != "":
			whys = append(whys, why)
			wrong = strings.Join(whys, "; or ")
		case is == nil:
			is = c
		default:
			k.confused[c.id] = true
		}
	}
	if is == nil {
		return wrong
	}
	is.state, is.token, is.first = waiting, d.Token, d.First
	is.least, is.attempts = d.Attempt, d.Attempt
	is.taken, is.due = true, now.Add(k.ttl)
	k.leases[d.Token] = is
	return ""
}

// mayLease says why a delivery is not that of a copy.
func (k *Sink) mayLease(c *copyOf, d *host.Delivery, now time.Time) string {
	switch {
	case c.due.After(now):
		return fmt.Sprintf("it is due at %v, now is %v", c.due, now)
	case d.Attempt <= c.least || d.Attempt > c.attempts+1:
		return fmt.Sprintf("%d to %d attempts were made", c.least, c.attempts)
	case d.Attempt == 1 && !d.First.Equal(now):
		return fmt.Sprintf("its first attempt was at %v", d.First)
	case d.Attempt > 1 && !d.First.Equal(c.first):
		return fmt.Sprintf("its first attempt was at %v, not at %v", c.first, d.First)
	}
	if k.Want.Order != host.OrderSubject || c.subject == "" {
		return ""
	}
	for _, o := range k.open {
		if o.subject == c.subject && o.at < c.at && o.state == waiting && k.holdsUp(o, c) {
			return fmt.Sprintf("event %d of its subject comes before it (of walk %d, it of %d)", o.at, o.replay, c.replay)
		}
	}
	return ""
}

// holdsUp reports whether an open copy is known to be ahead of a later one: both
// are of one walk, or it was taken from the log.
func (k *Sink) holdsUp(o, c *copyOf) bool {
	return !k.confused[o.id] && (o.taken || o.replay == c.replay && !k.confused[c.id])
}

// Missed says what a Lease should have answered and did not.
func (k *Sink) Missed(got *host.Leased, now time.Time) string {
	if k.Paused {
		return ""
	}
	first := k.firsts()
	for _, c := range slices.Clone(k.open) {
		if k.Want.Order == host.OrderSubject && c.subject != "" && first[c.subject] != c {
			continue // it may be waiting for another
		}
		due := !c.due.After(now)
		switch {
		case c.state == maybe && due && len(got.Deliveries) == 0:
			// It did not come back, and never will.
			k.close(c, gone)
		case c.state == maybe:
		case due && len(got.Deliveries) == 0:
			return fmt.Sprintf("event %d (%s) of walk %d is due since %v", c.at, c.subject, c.replay, c.due)
		case got.Next.IsZero() || (got.Next.After(c.due) && got.Next.After(now)):
			return fmt.Sprintf("event %d (%s) of walk %d falls due at %v", c.at, c.subject, c.replay, c.due)
		}
	}
	return ""
}

// firsts are the first open copies of the subjects, nil for a subject that has
// two of one event there.
func (k *Sink) firsts() map[string]*copyOf {
	first := make(map[string]*copyOf)
	lowest := make(map[string]int)
	for _, c := range k.open {
		switch at, ok := lowest[c.subject]; {
		case !ok || c.at < at:
			first[c.subject], lowest[c.subject] = c, c.at
		case c.at == at:
			first[c.subject] = nil
		}
	}
	return first
}

// Tokens are those of the leases, late ones too.
func (k *Sink) Tokens() []uint64 {
	return slices.Sorted(maps.Keys(k.leases))
}

// Settled takes a settlement up.
func (k *Sink) Settled(st host.Settlement, now time.Time) {
	c := k.leases[st.Token]
	delete(k.leases, st.Token)
	if c == nil || c.token != st.Token || !now.Before(c.due) {
		return
	}
	c.token = 0
	switch st.Outcome {
	case host.Again:
		c.settled, c.due = c.attempts, st.At
	case host.Dead:
		k.close(c, dead)
		k.dead = append(k.dead, c)
	case host.Done:
		k.close(c, done)
		k.done = append(k.done, c)
	}
}

func (k *Sink) close(c *copyOf, to state) {
	c.state = to
	k.open = slices.DeleteFunc(k.open, func(o *copyOf) bool { return o == c })
	if to == gone {
		k.copies[c.id] = slices.DeleteFunc(k.copies[c.id], func(o *copyOf) bool { return o == c })
	}
}

// Moved redrives or discards all dead letters with these ids, and returns how
// many there are.
func (k *Sink) Moved(ids []string, redrive bool, now time.Time) int {
	n := 0
	for _, c := range slices.Clone(k.dead) {
		if !slices.Contains(ids, c.id) {
			continue
		}
		n++
		k.dead = slices.DeleteFunc(k.dead, func(o *copyOf) bool { return o == c })
		if !redrive {
			k.close(c, gone)
			continue
		}
		c.state, c.due, c.settled, c.least, c.attempts = waiting, now, 0, 0, 0
		c.taken, c.redriven = true, true
		k.open = append(k.open, c)
	}
	return n
}

// DeadIDs are the ids of the dead letters, sorted, each once.
func (k *Sink) DeadIDs() []string {
	var ids []string
	for _, c := range k.dead {
		ids = append(ids, c.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Had is a place in the log that everything before was leased of, at least once,
// as new.
func (k *Sink) Had(end int) int {
	for _, c := range k.open {
		if c.replay == 0 && !c.taken {
			end = min(end, c.at)
		}
	}
	return end
}

// Stopped says that nothing more is taken for a replay: what was never leased may
// come or not, and so may what may have been taken for it.
func (k *Sink) Stopped() {
	for _, c := range k.open {
		if k.confused[c.id] || (c.replay == k.Replays && !c.taken) {
			c.state = maybe
		}
	}
}

// Reopened ends all leases, and says what became of what is done.
func (k *Sink) Reopened(now time.Time, killed bool) {
	clear(k.leases)
	for _, c := range k.open {
		if c.token != 0 {
			c.token, c.due = 0, now
		}
		// What was never settled is taken from the log anew.
		c.taken, c.least = c.settled > 0 || c.redriven, c.settled
	}
	for _, c := range k.done {
		if !killed {
			k.close(c, gone)
			continue
		}
		c.state, c.least, c.due = maybe, c.settled, now
		k.open = append(k.open, c)
	}
	k.done = nil
}

// Lag is what of the lag is known: what is leased, what is dead, and whether the
// sink is paused.
func (k *Sink) Lag(now time.Time) host.Lag {
	lag := host.Lag{Dead: len(k.dead), Paused: k.Paused}
	for _, c := range k.open {
		if c.token != 0 && c.due.After(now) {
			lag.Leased++
		}
	}
	return lag
}
