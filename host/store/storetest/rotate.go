package storetest

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/postern/postern/host"
)

// bulk is how many records of bulkBytes the rotation test appends: with segments
// of 1 MiB they fill several.
const (
	bulk      = 80
	bulkBytes = 48 << 10
)

// bulky returns record n, which does not compress: the body is random, and
// stands in base64 in the event as well.
func bulky(n int) *host.Record {
	rec := SampleRecord(n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	rec.Callback.Body = make([]byte, bulkBytes)
	_, _ = r.Read(rec.Callback.Body)
	data, err := json.Marshal(map[string][]byte{"body": rec.Callback.Body[:bulkBytes/16]})
	if err != nil {
		panic(err)
	}
	rec.Events[0].Data = data
	return rec
}

// testRotation fills several segments: what spans them is one log.
//
// Invariant 3: a duplicate is one over the bounds of segments too.
func testRotation(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.subscribe("b", host.Filter{}, host.FromOldest)
	var want []int
	var seqs []uint64
	for n := 1; n <= bulk; n++ {
		seqs, want = append(seqs, f.append(bulky(n)).Seq), append(want, n)
	}
	if !slices.IsSorted(seqs) {
		t.Errorf("sequences %v do not rise", seqs)
	}
	if f.engine.NoStatus == "" {
		if st, err := f.Status(t.Context()); err != nil || st.Segments < 3 {
			t.Errorf("status %+v, %v, want three segments or more", st, err)
		}
	}
	wantBulk := func() {
		t.Helper()
		for n := 1; n <= bulk; n += 7 {
			conflict := f.append(SampleRecord(n, SampleEvent(n, 0), SampleEvent(n, 1)))
			f.same("events", host.Duplicate, conflict.Events[0])
			if _, err := f.Event(t.Context(), sampleID(n)); err != nil {
				t.Errorf("event %d: %v", n, err)
			}
			got, err := f.Callback(t.Context(), seqs[n-1])
			if err != nil {
				t.Fatalf("read back: %v", err)
			}
			f.same("record", bulky(n), got)
		}
		for _, newest := range []bool{false, true} {
			pages := slices.Concat(f.pages(host.Page{Limit: 9, Newest: newest})...)
			if newest {
				slices.Reverse(pages)
			}
			f.same("all events", subjects(want...), pages)
		}
	}
	wantBulk()
	f.wantNumbers("deliveries", f.leaseAll("a"), want...)
	half := f.lease("b", bulk/2)
	f.done(half...)
	if !f.engine.Reopens {
		return
	}
	f.reopen(false)
	wantBulk()
	f.wantNumbers("deliveries after a reopen", f.leaseAll("a"), want...)
	f.wantNumbers("the rest after a reopen", f.leaseAll("b"), want[len(half):]...)
	next := f.append(bulky(bulk + 1)).Seq
	if last := seqs[len(seqs)-1]; next <= last {
		t.Errorf("sequence %d after %d", next, last)
	}
}
