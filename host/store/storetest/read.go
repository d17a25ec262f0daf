package storetest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

var readTests = []test{
	{name: "ReadBack", run: testReadBack},
	{name: "OwnsItsMemory", run: testOwnership},
	{name: "Event", run: testEvent},
	{name: "RangeForward", run: testRangeForward},
	{name: "RangeBackward", run: testRangeBackward},
	{name: "RangeFilter", run: testRangeFilter},
	{name: "RangeResumes", run: testRangeResumes},
	{name: "RangeForeignCursor", run: testRangeForeignCursor},
}

func testReadBack(t *testing.T, f *fixture) {
	bare := &host.Record{Kind: host.Accepted, Events: []host.Event{{Key: host.Hash{1}}}}
	v6 := SampleRecord(2)
	v6.Callback.Remote = netip.MustParseAddr("fe80::1%eth0")
	v6.Callback.Received = time.Time{}
	v6.Events[0].Time = time.Time{}
	v6.Events[0].Confirm, v6.Events[0].Sandbox = true, true
	v6.Events[0].Covers, v6.Events[0].VerifiedBy = host.CoversFields, "some-new-algorithm"
	v6.Detail = "remark\x00 with bytes \xff"
	big := SampleRecord(3)
	big.Callback.Body = make([]byte, 40_000)
	for i := range big.Callback.Body {
		big.Callback.Body[i] = byte(i * i >> 3)
	}
	zone := SampleRecord(4)
	zone.Callback.Received = zone.Callback.Received.In(time.FixedZone("there", 3*3600))
	for _, rec := range []*host.Record{SampleRecord(1), bare, v6, big, zone} {
		seq := f.append(rec).Seq
		got, err := f.Callback(t.Context(), seq)
		if err != nil {
			t.Fatalf("read back: %v", err)
		}
		f.same("record", rec, got)
	}
	for _, seq := range []uint64{0, 1 << 40} {
		_, err := f.Callback(t.Context(), seq)
		f.wantErr("read what is not there", err, host.ErrNotFound)
	}
}

func testOwnership(t *testing.T, f *fixture) {
	rec := SampleRecord(1)
	seq := f.append(rec).Seq
	rec.Callback.Body[0], rec.Events[0].Data[0], rec.Callback.Headers[0].Name = '!', '!', "!"
	for range 2 {
		got, err := f.Callback(t.Context(), seq)
		if err != nil {
			t.Fatalf("read back: %v", err)
		}
		f.same("record", SampleRecord(1), got)
		got.Callback.Body[0], got.Events[0].Data[0], got.Callback.Headers[0].Name = '!', '!', "!"
	}
}

func testEvent(t *testing.T, f *fixture) {
	got := f.append(SampleRecord(1, SampleEvent(1, 0), SampleEvent(2, 0)))
	for i, n := range []int{1, 2} {
		want := SampleEvent(n, 0)
		ev, err := f.Event(t.Context(), want.ID())
		if err != nil {
			t.Fatalf("read event %d: %v", n, err)
		}
		f.same("event", want, ev.Event)
		if ev.Seq != got.Seq {
			t.Errorf("event %d has sequence %d, want %d", i, ev.Seq, got.Seq)
		}
	}
	_, err := f.Event(t.Context(), SampleEvent(3, 0).Key.ID())
	f.wantErr("event that is not there", err, host.ErrNotFound)
	if _, err := f.Event(t.Context(), "not an id"); err == nil {
		t.Error("an id of another form: no error")
	}
}

// pages reads with p to the end and returns the events' subjects, a list for
// each page.
func (f *fixture) pages(p host.Page) [][]string {
	f.t.Helper()
	var all [][]string
	for {
		evs, next, err := f.Range(f.t.Context(), p)
		if err != nil {
			f.t.Fatalf("range: %v", err)
		}
		if len(evs) == 0 {
			return all
		}
		var page []string
		for i := range evs {
			if want, err := f.Event(f.t.Context(), evs[i].Event.ID()); err != nil {
				f.t.Errorf("event of a page: %v", err)
			} else {
				f.same("event of a page", want, evs[i])
			}
			page = append(page, evs[i].Event.Subject)
		}
		all = append(all, page)
		p.After = next
	}
}

func subjects(ns ...int) []string {
	var out []string
	for _, n := range ns {
		out = append(out, SampleEvent(n, 0).Subject)
	}
	return out
}

// fillMixed appends records with and without events, and a duplicate inside.
func (f *fixture) fillMixed() {
	f.append(SampleIgnored(90))
	f.append(SampleRecord(1, SampleEvent(1, 0), SampleEvent(2, 0), SampleEvent(3, 0)))
	f.append(SampleKept(91))
	f.append(SampleRecord(2, SampleEvent(2, 0), SampleEvent(4, 0)))
	f.append(SampleRecord(5))
	f.append(SampleIgnored(92))
}

func testRangeForward(_ *testing.T, f *fixture) {
	f.same("pages of an empty store", noPages, f.pages(host.Page{}))
	f.fillMixed()
	f.same("one page", [][]string{subjects(1, 2, 3, 4, 5)}, f.pages(host.Page{}))
	f.same("pages of two", [][]string{subjects(1, 2), subjects(3, 4), subjects(5)}, f.pages(host.Page{Limit: 2}))
}

func testRangeBackward(_ *testing.T, f *fixture) {
	f.same("pages of an empty store", noPages, f.pages(host.Page{Newest: true}))
	f.fillMixed()
	f.same("one page", [][]string{subjects(5, 4, 3, 2, 1)}, f.pages(host.Page{Newest: true}))
	f.same("pages of two", [][]string{subjects(5, 4), subjects(3, 2), subjects(1)},
		f.pages(host.Page{Newest: true, Limit: 2}))
}

func testRangeFilter(_ *testing.T, f *fixture) {
	globex := SampleEvent(2, 0)
	globex.Tenant = "globex"
	unproven := SampleEvent(3, 0)
	unproven.VerifiedBy = host.None
	f.append(SampleRecord(1))
	f.append(SampleRecord(2, globex, unproven))
	f.append(SampleRecord(1, SampleEvent(1, 5)))
	f.same("all that is proven", [][]string{subjects(1, 2)}, f.pages(host.Page{}))
	f.same("one tenant", [][]string{subjects(2)}, f.pages(host.Page{Filter: host.Filter{Tenants: []string{"globex"}}}))
	f.same("everything", [][]string{subjects(1, 2, 3, 1)},
		f.pages(host.Page{Filter: host.Filter{Unverified: true, Conflicts: true}}))
	f.same("nothing", noPages, f.pages(host.Page{Filter: host.Filter{Types: []string{"refund.*"}}}))
}

func testRangeResumes(t *testing.T, f *fixture) {
	_, cursor, err := f.Range(t.Context(), host.Page{})
	if err != nil {
		t.Fatalf("range: %v", err)
	}
	for n := range 3 {
		f.append(SampleRecord(n))
		f.append(SampleIgnored(n))
		evs, next, err := f.Range(t.Context(), host.Page{After: cursor})
		if err != nil {
			t.Fatalf("range: %v", err)
		}
		if len(evs) != 1 || evs[0].Event.Subject != SampleEvent(n, 0).Subject {
			t.Errorf("resumed page %d has %d events, want the one new", n, len(evs))
		}
		cursor = next
	}
	evs, again, err := f.Range(t.Context(), host.Page{After: cursor})
	if err != nil || len(evs) != 0 || again != cursor {
		t.Errorf("at the end: %d events, cursor %s, error %v; want none, %s, nil", len(evs), again, err, cursor)
	}
}

func testRangeForeignCursor(t *testing.T, f *fixture) {
	f.append(SampleRecord(1))
	if _, _, err := f.Range(t.Context(), host.Page{After: "elsewhere"}); err == nil {
		t.Error("a cursor that is not the store's: no error")
	}
}

// noPages is what a reader gets who matches nothing.
var noPages [][]string
