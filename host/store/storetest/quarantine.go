package storetest

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

var quarantineTests = []test{
	{name: "Invariant9_quarantine", run: testQuarantine, not: noQuarantine},
	{name: "Quarantine_ringsAreApart", run: testRings, not: noQuarantine},
	{name: "Quarantine_equalBodiesTakeOnePlace", run: testEqualBodies, not: noQuarantine},
	{name: "Quarantine_listAndPages", run: testRejectedPages, not: noQuarantine},
	{name: "Quarantine_drop", run: testDropRefused, not: noQuarantine},
	{name: "Quarantine_kept", run: testKeptListed, not: noQuarantine},
	{name: "Status", run: testStatus, not: func(e *Engine) string { return e.NoStatus + e.NoQuarantine }},
}

// patience is how long the suite waits for what the quarantine writes in its own
// time.
const patience = 10 * time.Second

// put refuses callbacks and waits until they are listed.
func (f *fixture) put(rs ...*host.Rejected) {
	f.t.Helper()
	for _, r := range rs {
		if err := f.Put(f.t.Context(), r); err != nil {
			f.t.Fatalf("put: %v", err)
		}
	}
	last := rs[len(rs)-1]
	f.until(func() bool {
		return slices.ContainsFunc(f.rejected(host.Wanted{Endpoint: last.Endpoint, Reason: last.Reason}),
			func(got host.Rejected) bool {
				return string(got.Callback.Body) == string(last.Callback.Body) &&
					got.Last.Equal(last.Callback.Received)
			})
	})
}

// until waits for what comes within a second or so.
func (f *fixture) until(there func() bool) {
	f.t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !there() {
		select {
		case <-late:
			f.t.Fatalf("what was put is not listed after %v", patience)
		case <-tick.C:
		}
	}
}

// rejected lists by pages of two.
func (f *fixture) rejected(want host.Wanted) []host.Rejected {
	f.t.Helper()
	var all []host.Rejected
	for after := host.Cursor(""); ; {
		part, next, err := f.List(f.t.Context(), want, after, 2)
		if err != nil {
			f.t.Fatalf("list: %v", err)
		}
		all = append(all, part...)
		if next == "" {
			return all
		}
		after = next
	}
}

// wantRejected compares with what is listed, but for the ids.
func (f *fixture) wantRejected(what string, want host.Wanted, exp ...host.Rejected) {
	f.t.Helper()
	got := f.rejected(want)
	for i := range got {
		got[i].ID = ""
	}
	f.same(what, exp, got)
}

// listed is how a callback that came count times, the last time as n+late, is
// listed.
func listed(n int, endpoint, reason string, count uint64, late time.Duration) host.Rejected {
	r := *SampleRejected(n, endpoint, reason)
	r.Count, r.Last = count, r.Callback.Received.Add(late)
	return r
}

func once(n int, endpoint, reason string) host.Rejected { return listed(n, endpoint, reason, 1, 0) }

const (
	refused = "not-verified"
	unclear = "not-understood"
)

var idForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func testQuarantine(t *testing.T, f *fixture) {
	f.wantRejected("an empty quarantine", host.Wanted{})
	r := SampleRejected(1, "till", refused)
	f.put(r)
	got := f.rejected(host.Wanted{})
	if len(got) != 1 || !idForm.MatchString(got[0].ID) {
		t.Fatalf("listed %+v, want one with an id of a-z, 0-9 and -", got)
	}
	want := once(1, "till", refused)
	want.ID = got[0].ID
	f.same("listed", want, got[0])
	one, err := f.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	f.same("got", &want, one)
	for _, id := range []string{"", "no-such", "1", "99999999"} {
		_, err := f.Get(t.Context(), id)
		f.wantErr("get "+id, err, host.ErrNotFound)
		f.wantErr("drop "+id, f.Drop(t.Context(), id), host.ErrNotFound)
	}
}

// testRings floods one ring of several: it loses its own oldest, and nobody else
// loses anything.
func testRings(_ *testing.T, f *fixture) {
	globex := SampleRejected(4, "till", refused)
	globex.Tenant = "globex"
	f.put(SampleRejected(1, "till", unclear), SampleRejected(2, "shop", refused), globex)
	const flood = 50
	for n := 10; n < 10+flood; n++ {
		f.put(SampleRejected(n, "till", refused))
	}
	var want []host.Rejected
	for n := 10 + flood - RingBound; n < 10+flood; n++ {
		want = append(want, once(n, "till", refused))
	}
	f.wantRejected("the ring of the flood", host.Wanted{Tenant: "acme", Endpoint: "till", Reason: refused}, want...)
	other := *globex
	other.Count, other.Last = 1, other.Callback.Received
	f.wantRejected("everything", host.Wanted{},
		append([]host.Rejected{once(1, "till", unclear), once(2, "shop", refused), other}, want...)...)
}

func testEqualBodies(_ *testing.T, f *fixture) {
	const times = 20
	again := func(late time.Duration) *host.Rejected {
		r := SampleRejected(1, "till", refused)
		r.Callback.Received, r.Detail = r.Callback.Received.Add(late), "again"
		return r
	}
	f.put(SampleRejected(1, "till", refused), SampleRejected(2, "till", refused))
	for i := range times {
		f.put(again(time.Duration(i+1) * time.Minute))
	}
	// The same body elsewhere is another one.
	f.put(SampleRejected(1, "till", unclear), SampleRejected(1, "shop", refused))
	f.wantRejected("counted", host.Wanted{Endpoint: "till", Reason: refused},
		listed(1, "till", refused, times+1, times*time.Minute), once(2, "till", refused))
	f.wantRejected("another reason", host.Wanted{Reason: unclear}, once(1, "till", unclear))
	f.wantRejected("another endpoint", host.Wanted{Endpoint: "shop"}, once(1, "shop", refused))
}

func testRejectedPages(t *testing.T, f *fixture) {
	f.put(SampleRejected(1, "till", refused))
	kept := f.append(SampleKept(2))
	f.put(SampleRejected(3, "shop", refused), SampleRejected(4, "till", unclear), SampleRejected(5, "till", refused))
	for _, c := range []struct {
		want host.Wanted
		exp  []int
	}{
		{host.Wanted{}, []int{1, 2, 3, 4, 5}},
		{host.Wanted{Tenant: "acme"}, []int{1, 2, 3, 4, 5}},
		{host.Wanted{Tenant: "globex"}, nil},
		{host.Wanted{Endpoint: "till"}, []int{1, 2, 4, 5}},
		{host.Wanted{Reason: refused}, []int{1, 3, 5}},
		{host.Wanted{Endpoint: "till", Reason: refused}, []int{1, 5}},
		{host.Wanted{Reason: "kept"}, []int{2}},
	} {
		var got []int
		for _, r := range f.rejected(c.want) {
			got = append(got, int(r.Callback.Received.Sub(sampleTime)/time.Second))
		}
		f.same(fmt.Sprintf("listed by %+v", c.want), c.exp, got)
	}
	part, next, err := f.List(t.Context(), host.Wanted{Reason: refused}, "", 3)
	if err != nil || len(part) != 3 || next != "" {
		t.Errorf("a page that holds all: %d of them, cursor %q, %v, want 3 and no more", len(part), next, err)
	}
	if part, _, err := f.List(t.Context(), host.Wanted{}, "", 0); err != nil || len(part) != 5 {
		t.Errorf("a page of no size: %d of them, %v, want all 5", len(part), err)
	}
	if kept.Seq == 0 {
		t.Error("a kept callback has no sequence")
	}
}

func testDropRefused(t *testing.T, f *fixture) {
	f.put(SampleRejected(1, "till", refused), SampleRejected(2, "till", refused), SampleRejected(3, "till", refused))
	id := f.rejected(host.Wanted{})[1].ID
	f.must("drop", f.Drop(t.Context(), id))
	f.wantErr("a second drop", f.Drop(t.Context(), id), host.ErrNotFound)
	_, err := f.Get(t.Context(), id)
	f.wantErr("get what was dropped", err, host.ErrNotFound)
	f.wantRejected("the others", host.Wanted{}, once(1, "till", refused), once(3, "till", refused))
	// There is room for one, and its body is new again.
	f.put(SampleRejected(2, "till", refused))
	if got := f.rejected(host.Wanted{}); len(got) != 3 {
		t.Errorf("%d listed, want 3", len(got))
	}
}

func testKeptListed(t *testing.T, f *fixture) {
	var seqs []uint64
	for n := range KeptBound {
		seqs = append(seqs, f.append(SampleKept(n)).Seq)
	}
	got := f.rejected(host.Wanted{})
	if len(got) != KeptBound {
		t.Fatalf("%d listed, want %d", len(got), KeptBound)
	}
	rec := SampleKept(1)
	want := host.Rejected{
		ID: got[1].ID, Kept: true, Reason: "kept", Detail: rec.Detail, Tenant: rec.Tenant, Endpoint: rec.Endpoint,
		Provider: rec.Provider, Plugin: rec.Plugin, Evidence: rec.Evidence, Callback: rec.Callback,
		Count: 1, Last: rec.Callback.Received,
	}
	f.same("kept", want, got[1])
	one, err := f.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	f.same("got", &want, one)
	f.must("drop", f.Drop(t.Context(), want.ID))
	f.wantErr("a second drop", f.Drop(t.Context(), want.ID), host.ErrNotFound)
	// Its record stays, and it counts as kept no more.
	read, err := f.Callback(t.Context(), seqs[1])
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	f.same("record", rec, read)
	f.append(SampleKept(7))
	_, err = f.Append(t.Context(), SampleKept(8))
	if got, want := host.CodeOf(err), host.KeptFull; err == nil || got != want {
		t.Errorf("one too many: error %v with code %s, want code %s", err, got, want)
	}
	f.same("kept are now", []int{0, 2, 7}, f.keptNumbers())
}

func (f *fixture) keptNumbers() []int {
	f.t.Helper()
	var got []int
	for _, r := range f.rejected(host.Wanted{Reason: "kept"}) {
		got = append(got, int(r.Callback.Received.Sub(sampleTime)/time.Second))
	}
	return got
}

func testStatus(t *testing.T, f *fixture) {
	status := func() host.Status {
		st, err := f.Status(t.Context())
		if err != nil {
			t.Fatalf("status: %v", err)
		}
		return st
	}
	st := status()
	if st.Engine == "" || st.Full != "" || st.Kept != 0 || st.Quarantined != 0 || !st.Oldest.IsZero() {
		t.Errorf("of an empty store: %+v", st)
	}
	f.append(SampleRecord(1))
	f.append(SampleKept(2))
	f.append(SampleKept(3))
	f.put(SampleRejected(4, "till", refused), SampleRejected(4, "till", refused))
	f.until(func() bool { return status().Quarantined == 1 })
	st = status()
	if st.Kept != 2 || st.Segments < 1 || !st.Oldest.Equal(SampleRecord(1).Callback.Received) {
		t.Errorf("status %+v, want two kept, a segment, and the first record's time", st)
	}
}

// reopenQuarantine: Close writes what was put a moment ago.
func reopenQuarantine(t *testing.T, f *fixture, killed bool) {
	f.append(SampleKept(1))
	f.append(SampleKept(2))
	f.put(SampleRejected(3, "till", refused), SampleRejected(4, "till", refused))
	f.put(SampleRejected(3, "till", refused))
	if !killed {
		if err := f.Put(t.Context(), SampleRejected(5, "till", refused)); err != nil {
			t.Fatalf("put: %v", err)
		}
	} else {
		f.put(SampleRejected(5, "till", refused))
	}
	before := f.rejected(host.Wanted{Reason: "kept"})
	f.reopen(killed)
	f.same("kept", before, f.rejected(host.Wanted{Reason: "kept"}))
	f.wantRejected("refused", host.Wanted{Reason: refused},
		listed(3, "till", refused, 2, 0), once(4, "till", refused), once(5, "till", refused))
	for _, r := range f.rejected(host.Wanted{}) {
		if number := int(r.Callback.Received.Sub(sampleTime) / time.Second); number == 1 || number == 4 {
			f.must("drop", f.Drop(t.Context(), r.ID))
		}
	}
	f.reopen(killed)
	f.same("kept", []int{2}, f.keptNumbers())
	f.put(SampleRejected(6, "till", refused), SampleRejected(7, "till", refused))
	f.wantRejected("refused", host.Wanted{Reason: refused},
		once(5, "till", refused), once(6, "till", refused), once(7, "till", refused))
	for n := range KeptBound - 1 {
		f.append(SampleKept(20 + n))
	}
	f.keptFull(SampleKept(30))
}
