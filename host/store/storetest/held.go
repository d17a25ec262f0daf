package storetest

import (
	"testing"

	"github.com/postern/postern/host"
)

var heldTests = []test{
	{name: "Held", run: testHeld, not: noQuarantine},
	{name: "Held_whatIsStoredAlready", run: testHeldStored},
	{name: "Held_batch", run: testHeldBatch, not: noQuarantine},
	{name: "Held_bound", run: testHeldBound, not: noQuarantine},
}

// SampleHeld returns a callback that a guard holds, with an annotated SampleEvent(n, 0).
func SampleHeld(n int) *host.Record {
	ev := SampleEvent(n, 0)
	ev.Annotations = []host.Annotation{{Name: "limitover", Value: "über 10"}, {Name: "limitrule", Value: "b"}}
	rec := SampleRecord(n, ev)
	rec.Kind, rec.Detail = host.Held, "1.50 EUR is above the limit"
	rec.Aside = []host.Aside{{Reason: "limit", Key: hash("hold of %d", n)}}
	return rec
}

// released is what [host.Host.Release] appends.
func released(r *host.Rejected) *host.Record {
	return &host.Record{
		Kind: host.Accepted, Tenant: r.Tenant, Endpoint: r.Endpoint, Provider: r.Provider, Plugin: r.Plugin,
		Detail: "released", Callback: r.Callback, Evidence: r.Evidence, Events: r.Held.Events, Aside: r.Held.Aside,
	}
}

func (f *fixture) wantHeldDuplicate(rec *host.Record) {
	f.t.Helper()
	got := f.append(rec)
	if got.Seq != 0 {
		f.t.Errorf("held again as record %d", got.Seq)
	}
	for _, d := range append(got.Events, got.Aside...) {
		if d != host.Duplicate {
			f.t.Errorf("disposition %s, want duplicate", d)
		}
	}
}

// testHeld: what is held is durable and listed, and nobody is sent it until a
// record has its events; what is held or was released is not held again.
func testHeld(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	rec := SampleHeld(1)
	receipt := f.append(rec)
	f.same("dispositions", []host.Disposition{host.Withheld}, receipt.Events)
	f.append(SampleRecord(2))
	f.wantEvents(f.leaseAll("a"), 2)
	_, err := f.Event(t.Context(), sampleID(1))
	f.wantErr("an event that is held", err, host.ErrNotFound)
	page, _, err := f.Range(t.Context(), host.Page{})
	if err != nil || len(page) != 1 {
		t.Errorf("range: %d events, %v; want one", len(page), err)
	}
	read, err := f.Callback(t.Context(), receipt.Seq)
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	f.same("record", rec, read)
	f.wantHeldDuplicate(rec)

	f.same("of another reason", []int(nil), f.keptNumbers())
	all := f.rejected(host.Wanted{Reason: host.ReasonHeld, Tenant: rec.Tenant, Endpoint: rec.Endpoint})
	if len(all) != 1 {
		t.Fatalf("%d are held, want one", len(all))
	}
	want := *rec.Waiting(receipt.Seq)
	f.same("listed", want, all[0])
	one, err := f.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	f.same("got", &want, one)

	got := f.append(released(one))
	f.same("released", []host.Disposition{host.Stored}, got.Events)
	out := f.leaseAll("a")
	f.wantEvents(out, 1)
	if len(out) == 1 {
		f.same("delivered", rec.Events[0], out[0].Event)
	}
	if got := f.append(released(one)); got.Seq != 0 {
		t.Errorf("released twice: record %d", got.Seq)
	}
	f.wantHeldDuplicate(rec)
	f.must("drop", f.Drop(t.Context(), want.ID))
	f.wantErr("a second drop", f.Drop(t.Context(), want.ID), host.ErrNotFound)
	_, err = f.Get(t.Context(), want.ID)
	f.wantErr("get what was dropped", err, host.ErrNotFound)
	f.wantHeldDuplicate(rec)
	if got := f.rejected(host.Wanted{}); len(got) != 0 {
		t.Errorf("%d listed, want none", len(got))
	}
}

// testHeldStored: a guard that came later, or another limit, does not hold what
// its sinks have had already.
func testHeldStored(_ *testing.T, f *fixture) {
	f.append(SampleRecord(1))
	f.wantHeldDuplicate(SampleHeld(1))
	other := SampleHeld(1)
	other.Events[0] = SampleEvent(1, 1)
	if got := f.append(other); got.Seq == 0 {
		f.t.Error("an event with other content is not held")
	}
}

func testHeldBatch(t *testing.T, f *fixture) {
	f.append(SampleRecord(1))
	rec := SampleHeld(1)
	rec.Events = append(rec.Events, SampleEvent(2, 0))
	rec.Aside = append(rec.Aside, SampleAside(3))
	got := f.append(rec)
	f.same("events", []host.Disposition{host.Withheld, host.Withheld}, got.Events)
	f.same("aside", []host.Disposition{host.SetAside, host.Withheld}, got.Aside)
	all := f.rejected(host.Wanted{})
	if len(all) != 1 || all[0].Held == nil {
		t.Fatalf("listed %+v, want one that is held", all)
	}
	got = f.append(released(&all[0]))
	f.same("events", []host.Disposition{host.Duplicate, host.Stored}, got.Events)
	f.same("aside", []host.Disposition{host.SetAside}, got.Aside)
}

// testHeldBound: what is held counts with what is kept, and is answered at the
// bound all the same when it comes again.
func testHeldBound(t *testing.T, f *fixture) {
	f.append(SampleHeld(0))
	for i := range KeptBound - 1 {
		f.append(SampleKept(10 + i))
	}
	f.keptFull(SampleKept(9))
	f.keptFull(SampleHeld(1))
	f.wantHeldDuplicate(SampleHeld(0))
	if f.engine.NoStatus == "" {
		st, err := f.Status(t.Context())
		if err != nil || st.Held != 1 || st.Kept != KeptBound-1 {
			t.Errorf("status %+v, %v; want one held and %d kept", st, err, KeptBound-1)
		}
	}
	f.must("drop", f.Drop(t.Context(), f.rejected(host.Wanted{Reason: host.ReasonHeld})[0].ID))
	// What was refused at the bound was not taken for held.
	if got := f.append(SampleHeld(1)); got.Seq == 0 {
		t.Error("what was refused at the bound is a duplicate")
	}
	f.keptFull(SampleHeld(2))
}

// reopenHeld: what is held is there after the end, still is not held twice, and
// still counts; what was released and not dropped is a duplicate.
func reopenHeld(t *testing.T, f *fixture, killed bool) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.append(SampleHeld(1))
	f.append(SampleHeld(2))
	f.append(SampleKept(3))
	before := f.rejected(host.Wanted{})
	f.append(released(&before[1]))
	f.reopen(killed)
	f.same("listed", before, f.rejected(host.Wanted{}))
	f.wantHeldDuplicate(SampleHeld(1))
	f.keptFull(SampleHeld(4))
	if got := f.append(released(&before[1])); got.Seq != 0 {
		t.Errorf("released twice: record %d", got.Seq)
	}
	f.must("drop", f.Drop(t.Context(), before[1].ID))
	f.wantEvents(f.leaseAll("a"), 2)
	f.reopen(killed)
	f.same("listed", []host.Rejected{before[0], before[2]}, f.rejected(host.Wanted{}))
	if f.engine.NoStatus == "" {
		st, err := f.Status(t.Context())
		if err != nil || st.Held != 1 || st.Kept != 1 {
			t.Errorf("status %+v, %v; want one held and one kept", st, err)
		}
	}
}
