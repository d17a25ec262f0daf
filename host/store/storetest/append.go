package storetest

import (
	"sync"
	"testing"

	"github.com/postern/postern/host"
)

var appendTests = []test{
	{name: "Append", run: testAppend},
	{name: "Invariant2_appendIsAllOrNone", run: testAppendMixed},
	{name: "Invariant3_duplicateNeverYieldsASecondEvent", run: testDuplicates},
	{name: "Invariant3_conflictOncePerContent", run: testConflicts},
	{name: "SetAside", run: testSetAside},
	{name: "IgnoredAndKept", run: testIgnoredAndKept},
	{name: "KeptBound", run: testKeptBound},
	{name: "Invariant3_oneStoredAmongConcurrent", run: testConcurrent},
	{name: "AppendCanceled", run: testAppendCanceled},
	{name: "Failed", run: testFailed},
}

func testAppend(t *testing.T, f *fixture) {
	first := f.append(SampleRecord(1))
	f.same("events", []host.Disposition{host.Stored}, first.Events)
	f.same("aside", []host.Disposition{}, first.Aside)
	second := f.append(SampleRecord(2))
	if first.Seq == 0 || second.Seq <= first.Seq {
		t.Errorf("sequences %d, %d, want rising from above zero", first.Seq, second.Seq)
	}
}

func testAppendMixed(t *testing.T, f *fixture) {
	f.append(SampleRecord(1))
	mixed := SampleRecord(2,
		SampleEvent(1, 0), SampleEvent(2, 0), SampleEvent(2, 0), SampleEvent(1, 7), SampleEvent(2, 8))
	mixed.Aside = []host.Aside{SampleAside(1), SampleAside(1)}
	got := f.append(mixed)
	f.same("events", []host.Disposition{
		host.Duplicate, host.Stored, host.Duplicate, host.Conflicted, host.Conflicted,
	}, got.Events)
	f.same("aside", []host.Disposition{host.SetAside, host.Duplicate}, got.Aside)

	rec, err := f.Callback(t.Context(), got.Seq)
	if err != nil {
		t.Fatalf("read back: %v", err)
	}
	want := *mixed
	want.Events = []host.Event{mixed.Events[1], mixed.Events[3], mixed.Events[4]}
	want.Events[1].Conflict, want.Events[2].Conflict = true, true
	want.Aside = mixed.Aside[:1]
	f.same("record", &want, rec)
}

func testDuplicates(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	f.append(SampleRecord(1))
	for range 3 {
		got := f.append(SampleRecord(1))
		if got.Seq != 0 {
			t.Errorf("a duplicate was stored as %d", got.Seq)
		}
		f.same("events", []host.Disposition{host.Duplicate}, got.Events)
	}
	// Not part of the content, so no conflict.
	other := SampleEvent(1, 0)
	other.Data = []byte(`{"attempt":2}`)
	other.Received = other.Received.Add(ttl)
	f.same("events", []host.Disposition{host.Duplicate}, f.append(SampleRecord(1, other)).Events)
	f.append(SampleRecord(2, SampleEvent(1, 0), SampleEvent(2, 0)))
	f.wantEvents(f.leaseAll("a"), 1, 2)
}

func testConflicts(t *testing.T, f *fixture) {
	f.append(SampleRecord(1))
	for _, c := range []struct {
		content int
		want    host.Disposition
	}{
		{1, host.Conflicted},
		{1, host.Duplicate},
		{2, host.Conflicted},
		{0, host.Duplicate},
		{2, host.Duplicate},
		{1, host.Duplicate},
	} {
		got := f.append(SampleRecord(1, SampleEvent(1, c.content)))
		f.same("events", []host.Disposition{c.want}, got.Events)
		if stored := got.Seq != 0; stored != (c.want == host.Conflicted) {
			t.Errorf("content %d: %s has sequence %d", c.content, c.want, got.Seq)
		}
	}
	for _, content := range []int{1, 2} {
		want := SampleEvent(1, content)
		want.Conflict = true
		got, err := f.Event(t.Context(), want.ID())
		if err != nil {
			t.Fatalf("read conflict %d: %v", content, err)
		}
		f.same("conflict", want, got.Event)
	}
}

func testSetAside(t *testing.T, f *fixture) {
	rec := SampleRecord(1)
	rec.Events, rec.Aside = nil, []host.Aside{SampleAside(1), SampleAside(2)}
	got := f.append(rec)
	f.same("aside", []host.Disposition{host.SetAside, host.SetAside}, got.Aside)
	again := f.append(rec)
	f.same("aside", []host.Disposition{host.Duplicate, host.Duplicate}, again.Aside)
	if got.Seq == 0 || again.Seq != 0 {
		t.Errorf("sequences %d and, for the duplicate, %d; want the second zero", got.Seq, again.Seq)
	}
	rec.Aside = append(rec.Aside, SampleAside(3))
	third := f.append(rec)
	f.same("aside", []host.Disposition{host.Duplicate, host.Duplicate, host.SetAside}, third.Aside)
	_, err := f.Event(t.Context(), SampleAside(3).Key.ID())
	f.wantErr("an item set aside is no event", err, host.ErrNotFound)
}

func testIgnoredAndKept(t *testing.T, f *fixture) {
	f.subscribe("a", host.Filter{}, host.FromOldest)
	for _, rec := range []*host.Record{SampleIgnored(1), SampleKept(2)} {
		for range 2 {
			got := f.append(rec)
			read, err := f.Callback(t.Context(), got.Seq)
			if err != nil {
				t.Fatalf("read %s: %v", rec.Kind, err)
			}
			f.same("record", rec, read)
		}
	}
	f.wantEvents(f.leaseAll("a"))
}

func testKeptBound(_ *testing.T, f *fixture) {
	for i := range KeptBound {
		f.append(SampleKept(i))
	}
	f.keptFull(SampleKept(9))
	f.append(SampleRecord(1))
	f.append(SampleIgnored(2))
}

func testConcurrent(t *testing.T, f *fixture) {
	const writers, keys = 16, 20
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		stored = make(map[int]int)
	)
	for range writers {
		wg.Go(func() {
			for n := range keys {
				got, err := f.Append(t.Context(), SampleRecord(n))
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				// What was answered can be read at once.
				if _, err := f.Event(t.Context(), SampleEvent(n, 0).Key.ID()); err != nil {
					t.Errorf("read after append: %v", err)
				}
				if got.Events[0] == host.Stored {
					mu.Lock()
					stored[n]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for n := range keys {
		if stored[n] != 1 {
			t.Errorf("event %d was stored %d times", n, stored[n])
		}
	}
}

func testAppendCanceled(t *testing.T, f *fixture) {
	if _, err := f.Append(canceled(), SampleRecord(1)); err == nil {
		t.Error("append with a context that has ended: no error")
	}
	f.same("events", []host.Disposition{host.Stored}, f.append(SampleRecord(1)).Events)
}
