package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postern/postern/host"
)

// simState is where a copy of an event is.
type simState uint8

const (
	waiting simState = iota // never leased, to be retried, redriven or leased
	maybe                   // comes back or does not: done before a kill, or of a replay that was stopped
	done                    // may come back after a kill
	dead
	gone // discarded, or done before a close
)

// simCopy is one event on its way to one sink: as new, or by a replay.
type simCopy struct {
	id      string
	at      int // in the log
	subject string
	replay  int // zero: as new
	state   simState
	token   uint64 // zero: not leased
	due     time.Time
	first   time.Time
	// settled attempts survive a crash. The others may be forgotten by it, so
	// that then only bounds of how many there were are known.
	settled, least, attempts int
	// taken: it was leased, or redriven.
	taken, redriven bool
}

// simSink is what a sink was promised.
type simSink struct {
	name    string
	want    host.Subscription
	paused  bool
	replays int
	// copies are by event; open are those that are waiting or may come back.
	copies map[string][]*simCopy
	open   []*simCopy
	dead   []*simCopy
	done   []*simCopy
	leases map[uint64]*simCopy
	// confused are events of which one copy may have been taken for another.
	confused map[string]bool
}

func (k *simSink) add(ev *host.Event, at, replay int) {
	c := &simCopy{id: ev.ID(), at: at, replay: replay}
	if ev.Subject != "" {
		c.subject = fmt.Sprintf("%q/%q/%q", ev.Tenant, ev.Endpoint, ev.Subject)
	}
	if !slices.ContainsFunc(k.copies[c.id], func(o *simCopy) bool { return o.state != done }) {
		delete(k.confused, c.id)
	}
	k.copies[c.id] = append(k.copies[c.id], c)
	k.open = append(k.open, c)
}

// leased takes up a delivery, and says what is wrong with it.
func (k *simSink) leased(d *host.Delivery, now time.Time) string {
	if k.leases[d.Token] != nil {
		return "its token was given before"
	}
	like := slices.Clone(k.copies[d.Event.ID()])
	// Of two that it may be of it is of the one that is sure to come, and that
	// more is known of.
	slices.SortStableFunc(like, func(a, b *simCopy) int {
		return cmp.Or(cmp.Compare(a.state, b.state), cmp.Compare(b.least, a.least))
	})
	var is *simCopy
	wrong := "no such event is on its way"
	for _, c := range like {
		if c.state > maybe {
			continue
		}
		switch why := k.mayLease(c, d, now); {
		case why != "":
			wrong = why
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
	is.taken, is.due = true, now.Add(ttl)
	k.leases[d.Token] = is
	return ""
}

// mayLease says why a delivery is not that of a copy.
func (k *simSink) mayLease(c *simCopy, d *host.Delivery, now time.Time) string {
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
	if k.want.Order != host.OrderSubject || c.subject == "" {
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
func (k *simSink) holdsUp(o, c *simCopy) bool {
	return !k.confused[o.id] && (o.replay == c.replay || o.taken)
}

// missed says what a Lease should have answered and did not.
func (k *simSink) missed(got *host.Leased, now time.Time) string {
	if k.paused {
		return ""
	}
	first := k.firsts()
	for _, c := range slices.Clone(k.open) {
		if k.want.Order == host.OrderSubject && c.subject != "" && first[c.subject] != c {
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
func (k *simSink) firsts() map[string]*simCopy {
	first := make(map[string]*simCopy)
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

// tokens are those of the leases, late ones too.
func (k *simSink) tokens() []uint64 {
	return slices.Sorted(maps.Keys(k.leases))
}

// settled takes a settlement up.
func (k *simSink) settled(st host.Settlement, now time.Time) {
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

func (k *simSink) close(c *simCopy, to simState) {
	c.state = to
	k.open = slices.DeleteFunc(k.open, func(o *simCopy) bool { return o == c })
	if to == gone {
		k.copies[c.id] = slices.DeleteFunc(k.copies[c.id], func(o *simCopy) bool { return o == c })
	}
}

// moved redrives or discards all dead letters with these ids, and returns how
// many there are.
func (k *simSink) moved(ids []string, redrive bool, now time.Time) int {
	n := 0
	for _, c := range slices.Clone(k.dead) {
		if !slices.Contains(ids, c.id) {
			continue
		}
		n++
		k.dead = slices.DeleteFunc(k.dead, func(o *simCopy) bool { return o == c })
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

// deadIDs are the ids of the dead letters, sorted, each once.
func (k *simSink) deadIDs() []string {
	var ids []string
	for _, c := range k.dead {
		ids = append(ids, c.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// had is a place in the log that everything before was leased of, at least once,
// as new.
func (k *simSink) had(end int) int {
	for _, c := range k.open {
		if c.replay == 0 && !c.taken {
			end = min(end, c.at)
		}
	}
	return end
}

// stopped says that nothing more is taken for a replay: what was never leased may
// come or not, and so may what may have been taken for it.
func (k *simSink) stopped() {
	for _, c := range k.open {
		if k.confused[c.id] || (c.replay == k.replays && !c.taken) {
			c.state = maybe
		}
	}
}

// reopened ends all leases, and says what became of what is done.
func (k *simSink) reopened(now time.Time, killed bool) {
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

func (k *simSink) lag(now time.Time) host.Lag {
	lag := host.Lag{Dead: len(k.dead), Paused: k.paused}
	for _, c := range k.open {
		if c.token != 0 && c.due.After(now) {
			lag.Leased++
		}
	}
	return lag
}
