// Package held is the part of the suite that is about what guards hold.
package held

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest/internal/sample"
)

// Suite is a store under test.
type Suite struct {
	*testing.T

	// Store is the store as it is open now; Reopen ends it, killed without Close,
	// and opens it again.
	Store  func() host.Store
	Reopen func(killed bool)
	// Same compares.
	Same func(what string, want, got any)
	// Bound is how many kept and held callbacks are taken.
	Bound int
	// Status says that the engine has one.
	Status bool
}

func (s *Suite) append(rec *host.Record) host.Receipt {
	s.Helper()
	got, err := s.Store().Append(s.Context(), rec)
	if err != nil {
		s.Fatalf("append: %v", err)
	}
	return got
}

func (s *Suite) must(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

func (s *Suite) gone(what string, err error) {
	s.Helper()
	if !errors.Is(err, host.ErrNotFound) {
		s.Errorf("%s: %v, want ErrNotFound", what, err)
	}
}

func (s *Suite) full(rec *host.Record) {
	s.Helper()
	if _, err := s.Store().Append(s.Context(), rec); err == nil || host.CodeOf(err) != host.KeptFull {
		s.Errorf("append beyond the bound: %v, want the code %s", err, host.KeptFull)
	}
}

func (s *Suite) list(want host.Wanted) []host.Rejected {
	s.Helper()
	all, next, err := s.Store().List(s.Context(), want, "", 100)
	if err != nil || next != "" {
		s.Fatalf("list: next %q, %v", next, err)
	}
	return all
}

func (s *Suite) subscribe() {
	s.Helper()
	s.must("subscribe", s.Store().Subscribe(s.Context(), "a", host.Subscription{From: host.FromOldest}))
}

// delivered leases what is due.
func (s *Suite) delivered() (all []host.Event) {
	s.Helper()
	got, err := s.Store().Lease(s.Context(), "a", 100, time.Hour)
	s.must("lease", err)
	for _, d := range got.Deliveries {
		all = append(all, d.Event)
	}
	return all
}

// duplicate wants a record not to be held again.
func (s *Suite) duplicate(rec *host.Record) {
	s.Helper()
	got := s.append(rec)
	if got.Seq != 0 {
		s.Errorf("held again as record %d", got.Seq)
	}
	for _, d := range slices.Concat(got.Events, got.Aside) {
		if d != host.Duplicate {
			s.Errorf("disposition %s, want duplicate", d)
		}
	}
}

// Whole tests that what is held is durable and listed, and nobody is sent it until a record
// has its events; what is held, was released or dropped is not held again.
func Whole(s *Suite) {
	s.subscribe()
	rec := sample.Held(1)
	receipt := s.append(rec)
	s.Same("dispositions", []host.Disposition{host.Withheld}, receipt.Events)
	s.append(sample.Record(2))
	s.Same("delivered", []host.Event{sample.Event(2, 0)}, s.delivered())
	_, err := s.Store().Event(s.Context(), sample.ID(1))
	s.gone("an event that is held", err)
	page, _, err := s.Store().Range(s.Context(), host.Page{})
	if err != nil || len(page) != 1 {
		s.Errorf("range: %d events, %v; want one", len(page), err)
	}
	read, err := s.Store().Callback(s.Context(), receipt.Seq)
	s.must("read back", err)
	s.Same("record", rec, read)
	s.duplicate(rec)

	s.Same("of another reason", []host.Rejected(nil), s.list(host.Wanted{Reason: host.ReasonKept}))
	want := rec.Waiting(receipt.Seq)
	s.Same("listed", []host.Rejected{*want}, s.list(host.Wanted{Reason: host.ReasonHeld, Tenant: rec.Tenant, Endpoint: rec.Endpoint}))
	one, err := s.Store().Get(s.Context(), want.ID)
	s.must("get", err)
	s.Same("got", want, one)

	s.Same("released", []host.Disposition{host.Stored}, s.append(sample.Released(one)).Events)
	s.Same("delivered", rec.Events, s.delivered())
	if got := s.append(sample.Released(one)); got.Seq != 0 {
		s.Errorf("released twice: record %d", got.Seq)
	}
	s.duplicate(rec)
	s.must("drop", s.Store().Drop(s.Context(), want.ID))
	s.gone("a second drop", s.Store().Drop(s.Context(), want.ID))
	_, err = s.Store().Get(s.Context(), want.ID)
	s.gone("get what was dropped", err)
	s.duplicate(rec)
	s.Same("listed", []host.Rejected(nil), s.list(host.Wanted{}))
}

// Stored tests that a guard that came later, or another limit, does not hold what sinks have
// had already.
func Stored(s *Suite) {
	s.append(sample.Record(1))
	s.duplicate(sample.Held(1))
	other := sample.Held(1)
	other.Events[0] = sample.Event(1, 1)
	other.Aside[0].Key[0]++
	if got := s.append(other); got.Seq == 0 {
		s.Error("an event with other content is not held")
	}
}

// Batch tests that of several events one that is new is enough, and all are held.
func Batch(s *Suite) {
	s.append(sample.Record(1))
	rec := sample.Held(1)
	rec.Events = append(rec.Events, sample.Event(2, 0))
	rec.Aside = append(rec.Aside, sample.Aside(3))
	got := s.append(rec)
	s.Same("events", []host.Disposition{host.Withheld, host.Withheld}, got.Events)
	s.Same("aside", []host.Disposition{host.SetAside, host.Withheld}, got.Aside)
	all := s.list(host.Wanted{})
	if len(all) != 1 || all[0].Held == nil {
		s.Fatalf("listed %+v, want one that is held", all)
	}
	got = s.append(sample.Released(&all[0]))
	s.Same("events", []host.Disposition{host.Duplicate, host.Stored}, got.Events)
	s.Same("aside", []host.Disposition{host.SetAside}, got.Aside)
}

// Bounded tests that what is held counts with what is kept, and is answered at the bound all
// the same when it comes again; what was refused there is not taken for held.
func Bounded(s *Suite) {
	s.append(sample.Held(0))
	for i := range s.Bound - 1 {
		s.append(sample.Kept(10 + i))
	}
	s.full(sample.Kept(9))
	s.full(sample.Held(1))
	s.duplicate(sample.Held(0))
	s.counts(1, s.Bound-1)
	s.must("drop", s.Store().Drop(s.Context(), s.list(host.Wanted{Reason: host.ReasonHeld})[0].ID))
	if got := s.append(sample.Held(1)); got.Seq == 0 {
		s.Error("what was refused at the bound is a duplicate")
	}
	s.full(sample.Held(2))
}

func (s *Suite) counts(held, kept int) {
	s.Helper()
	if !s.Status {
		return
	}
	if st, err := s.Store().Status(s.Context()); err != nil || st.Held != held || st.Kept != kept {
		s.Errorf("status %+v, %v; want %d held and %d kept", st, err, held, kept)
	}
}

// Reopened tests that what is held is there after the end, is not held twice and counts;
// what was released and not dropped is a duplicate.
func Reopened(s *Suite, killed bool) {
	s.subscribe()
	s.append(sample.Held(1))
	s.append(sample.Held(2))
	s.append(sample.Kept(3))
	before := s.list(host.Wanted{})
	s.append(sample.Released(&before[1]))
	s.Reopen(killed)
	s.subscribe()
	s.Same("listed", before, s.list(host.Wanted{}))
	s.duplicate(sample.Held(1))
	s.full(sample.Held(4))
	if got := s.append(sample.Released(&before[1])); got.Seq != 0 {
		s.Errorf("released twice: record %d", got.Seq)
	}
	s.must("drop", s.Store().Drop(s.Context(), before[1].ID))
	s.Same("delivered", before[1].Held.Events, s.delivered())
	s.Reopen(killed)
	s.Same("listed", []host.Rejected{before[0], before[2]}, s.list(host.Wanted{}))
	s.counts(1, 1)
}
