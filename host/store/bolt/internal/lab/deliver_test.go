//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern/postern/host"
)

// sink judges what one sink still gets.
//
// Invariant 4: what is not done or dead comes.
func (j *judgement) sink(name string) {
	want := sinks[name]
	if _, err := j.store.Lag(context.Background(), name); errors.Is(err, host.ErrNotFound) {
		if j.ledger.subs[name] {
			j.missing(lost, "sink %s was subscribed and is not there", name)
		}
		err := j.store.Subscribe(context.Background(), name, host.Subscription{Filter: want, From: host.FromOldest})
		if err != nil {
			j.problem(unread, stuck, err)
			return
		}
	}
	dead := j.deadLetters(name)
	got := make(map[fact]host.Delivery)
	for _, d := range j.drain(name) {
		f, err := factOf(&d.Event)
		if err != nil {
			j.add(wrong, "%v", err)
			continue
		}
		if _, again := got[f]; again {
			j.add(undone, "sink %s gets %v twice at once", name, f)
		}
		if !want.Match(&d.Event) {
			j.add(undone, "sink %s gets %v, which it does not want", name, f)
		}
		j.same(f, &d.Event)
		got[f] = d
	}
	for f, stored := range j.events {
		if want.Match(&stored.Event) {
			j.fate(name, f, got, dead[f])
		}
	}
}

func (j *judgement) fate(name string, f fact, got map[fact]host.Delivery, dead bool) {
	h := j.ledger.sinks[name][f]
	if h == nil {
		h = &history{}
	}
	d, comes := got[f]
	switch {
	case comes && dead:
		j.add(undone, "sink %s gets %v, which is dead", name, f)
	case h.dead && !dead:
		j.missing(undone, "event %v died in sink %s and is no dead letter (comes again: %v)", f, name, comes)
	case dead && !h.dying:
		j.add(undone, "event %v is dead in sink %s, where nobody gave it up", f, name)
	case !comes && !dead && !h.done:
		j.missing(undone, "event %v does not come to sink %s: %+v", f, name, *h)
	case comes && d.Attempt <= h.attempts:
		j.missing(undone, "event %v comes to sink %s as attempt %d, after %d", f, name, d.Attempt, h.attempts)
	}
}

// drain takes all that is due, and settles it.
func (j *judgement) drain(name string) []host.Delivery {
	var all []host.Delivery
	var settled []host.Settlement
	for {
		leased, err := j.store.Lease(context.Background(), name, 1000, time.Hour)
		if err != nil {
			j.problem(unread, stuck, fmt.Errorf("lease: %w", err))
			break
		}
		if len(leased.Deliveries) == 0 {
			break
		}
		for _, d := range leased.Deliveries {
			settled = append(settled, host.Settlement{Token: d.Token, Outcome: host.Done})
		}
		all = append(all, leased.Deliveries...)
	}
	if err := j.store.Settle(context.Background(), name, settled...); err != nil {
		j.problem(unread, stuck, fmt.Errorf("settle: %w", err))
	}
	return all
}

func (j *judgement) deadLetters(name string) map[fact]bool {
	dead := make(map[fact]bool)
	var after host.Cursor
	for {
		page, next, err := j.store.DeadLetters(context.Background(), name, after, 500)
		if err != nil {
			j.problem(unread, stuck, fmt.Errorf("dead letters: %w", err))
			return dead
		}
		for i := range page {
			f, err := factOf(&page[i].Event)
			if err != nil {
				j.add(wrong, "%v", err)
				continue
			}
			j.same(f, &page[i].Event)
			if dead[f] {
				j.add(twice, "event %v is two dead letters of sink %s", f, name)
			}
			dead[f] = true
		}
		if after = next; next == "" {
			return dead
		}
	}
}
