package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/bolt/internal/segment"
	"github.com/postern/postern/host/store/storetest"
)

// keep appends kept callbacks, the n-th to the last-th.
func keep(t *testing.T, s *Store, n, last int) {
	t.Helper()
	for ; n <= last; n++ {
		if _, err := s.Append(t.Context(), storetest.SampleKept(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// listed lists all that is wanted, in pages of n.
func listed(t *testing.T, s *Store, want host.Wanted, n int) []host.Rejected {
	t.Helper()
	var all []host.Rejected
	var after host.Cursor
	for {
		page, next, err := s.List(t.Context(), want, after, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > n {
			t.Fatalf("a page of %d, want at most %d", len(page), n)
		}
		all = append(all, page...)
		if after = next; next == "" {
			return all
		}
	}
}

func ids(all []host.Rejected) string {
	var out []string
	for _, r := range all {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}

func wantKept(t *testing.T, s *Store, want string) {
	t.Helper()
	if got := ids(listed(t, s, host.Wanted{Reason: "kept"}, 2)); got != want {
		t.Errorf("kept: %s, want %s", got, want)
	}
	if got := int(s.kept.Load()); got != len(strings.Fields(want)) {
		t.Errorf("%d count as kept, want %s", got, want)
	}
}

func TestInvariant1_keptIsListedWithItsEvidence(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	if _, err := s.Append(t.Context(), storetest.SampleRecord(0)); err != nil {
		t.Fatal(err)
	}
	rec := storetest.SampleKept(1)
	keep(t, s, 1, 1)
	got, err := s.Get(t.Context(), "kept-2")
	if err != nil {
		t.Fatal(err)
	}
	want := &host.Rejected{
		ID: "kept-2", Kept: true, Reason: "kept", Detail: rec.Detail, Tenant: rec.Tenant, Endpoint: rec.Endpoint,
		Provider: rec.Provider, Plugin: rec.Plugin, Evidence: rec.Evidence, Callback: rec.Callback,
		Count: 1, Last: rec.Callback.Received,
	}
	if d := storetest.Diff(want, got); d != "" {
		t.Errorf("got (-want +got):\n%s", d)
	}
	if d := storetest.Diff([]host.Rejected{*want}, listed(t, s, host.Wanted{}, 10)); d != "" {
		t.Errorf("listed (-want +got):\n%s", d)
	}
	for _, id := range []string{"kept-0", "kept-1", "kept-3", "kept-02", "kept-18446744073709551615"} {
		if _, err := s.Get(t.Context(), id); !errors.Is(err, host.ErrNotFound) {
			t.Errorf("get of %s: %v, want ErrNotFound", id, err)
		}
		if err := s.Drop(t.Context(), id); !errors.Is(err, host.ErrNotFound) {
			t.Errorf("drop of %s: %v, want ErrNotFound", id, err)
		}
	}
}

// TestInvariant1_keptIsDroppedByNameOnly: a dropped one makes room for another,
// over a kill, and its record stays.
func TestInvariant1_keptIsDroppedByNameOnly(t *testing.T) {
	dir := t.TempDir()
	o := Options{MaxKept: 3}
	s := open(t, dir, o)
	keep(t, s, 1, 3)
	if _, err := s.Append(t.Context(), storetest.SampleKept(4)); host.CodeOf(err) != host.KeptFull {
		t.Fatalf("append beyond the bound: %v, want store.kept-full", err)
	}
	if err := s.Drop(t.Context(), "kept-2"); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, "kept-1 kept-3")
	kill(t, s)
	s = open(t, dir, o)
	defer closeStore(t, s)
	wantKept(t, s, "kept-1 kept-3")
	if rec, err := s.Callback(t.Context(), 2); err != nil || rec.Kind != host.Kept {
		t.Errorf("the record of what was dropped: %v", err)
	}
	got, err := s.Append(t.Context(), storetest.SampleKept(4))
	if err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, fmt.Sprintf("kept-1 kept-3 kept-%d", got.Seq))
	if _, err := s.Append(t.Context(), storetest.SampleKept(5)); host.CodeOf(err) != host.KeptFull {
		t.Errorf("append beyond the bound: %v, want store.kept-full", err)
	}
	if err := s.Drop(t.Context(), "kept-2"); !errors.Is(err, host.ErrNotFound) {
		t.Errorf("second drop: %v, want ErrNotFound", err)
	}
}

// TestDrop_ofOneKeptAtOnce has many drop the same, while others are appended:
// one succeeds, and the count is right.
func TestDrop_ofOneKeptAtOnce(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	keep(t, s, 1, 20)
	var won atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for seq := uint64(1); seq <= 20; seq++ {
				err := s.Drop(t.Context(), fmt.Sprintf("kept-%d", seq))
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, host.ErrNotFound) {
					t.Errorf("drop: %v", err)
				}
			}
		})
	}
	all.Go(func() { keep(t, s, 21, 30) })
	all.Wait()
	if won.Load() != 20 {
		t.Errorf("%d drops of 20 succeeded", won.Load())
	}
	wantKept(t, s, "kept-21 kept-22 kept-23 kept-24 kept-25 kept-26 kept-27 kept-28 kept-29 kept-30")
}

func TestDrop_ofKeptThatFails(t *testing.T) {
	s, fault := failing(t, Options{}, false)
	defer closeStore(t, s)
	keep(t, s, 1, 1)
	fault.set(writeError(syscall.ENOSPC))
	if err := s.Drop(t.Context(), "kept-1"); host.CodeOf(err) != host.StoreFull {
		t.Errorf("drop: %v, want store.full", err)
	}
	fault.set(nil)
	wantKept(t, s, "kept-1")
}

// severalSegments is a store with kept callbacks 1 to 9, each in a segment of its
// own.
func severalSegments(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	o.SegmentSize = 1
	s := open(t, dir, o)
	keep(t, s, 1, 9)
	if n := len(s.segments()); n != 9 {
		t.Fatalf("%d segments, want 9", n)
	}
	return s
}

func TestInvariant1_logWithKeptCallbacksIsKnown(t *testing.T) {
	dir := t.TempDir()
	s := severalSegments(t, dir, Options{})
	wantKept(t, s, "kept-1 kept-2 kept-3 kept-4 kept-5 kept-6 kept-7 kept-8 kept-9")
	for _, id := range []string{"kept-1", "kept-4", "kept-5", "kept-6", "kept-9"} {
		if err := s.Drop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		wantKept(t, s, "kept-2 kept-3 kept-7 kept-8")
		for r, want := range map[[2]uint64]bool{
			{1, 3}: true, {4, 6}: false, {7, 9}: true, {0, 1}: false, {2, 2}: true, {3, 6}: true,
			{9, 9}: false, {9, math.MaxUint64}: false, {4, 7}: true, {0, math.MaxUint64}: true, {10, 20}: false,
		} {
			if got := s.keptFrom(r[0], r[1]); got != want {
				t.Errorf("kept from %d to %d: %v, want %v", r[0], r[1], got, want)
			}
		}
	}
	check()
	closeStore(t, s)
	s = open(t, dir, Options{SegmentSize: 1})
	check()
	closeStore(t, s)
}

// TestInvariant1_unreadableLogCountsAsKept: what cannot be read may hold one.
func TestInvariant1_unreadableLogCountsAsKept(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
		t.Fatal(err)
	}
	if s.keptFrom(1, 1) {
		t.Error("nothing is kept")
	}
	db := s.active().DB
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if !s.keptFrom(1, 1) {
		t.Error("what cannot be read does not count as kept")
	}
	kill(t, s)
}

// TestInvariant1_markOutOfItsPlaceIsDamage: a mark that reads as that of another
// segment may have been one of this.
func TestInvariant1_markOutOfItsPlaceIsDamage(t *testing.T) {
	s := severalSegments(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	if err := s.Drop(t.Context(), "kept-1"); err != nil {
		t.Fatal(err)
	}
	if s.keptFrom(1, 1) {
		t.Error("what was dropped counts as kept")
	}
	err := s.segments()[0].DB.Update(func(tx *bbolt.Tx) error { return tx.Bucket(segment.BucketKept).Put(disk.Number(5), nil) })
	if err != nil {
		t.Fatal(err)
	}
	if !s.keptFrom(1, 1) {
		t.Error("a segment with a damaged mark counts as without one")
	}
}

// TestInvariant1_whatWasDroppedExpires with its segment, and then its mark; what
// was not dropped stays, and all that is behind it.
func TestInvariant1_whatWasDroppedExpires(t *testing.T) {
	dir, clock := t.TempDir(), &handClock{at: time.Unix(2e9, 0)}
	o := Options{Now: clock.now, SegmentSize: 1}
	s := severalSegments(t, dir, o)
	for _, id := range []string{"kept-1", "kept-2", "kept-3", "kept-4", "kept-6"} {
		if err := s.Drop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	clock.pass(50 * 24 * time.Hour)
	tend(t, s, clock.now())
	check := func() {
		t.Helper()
		wantKept(t, s, "kept-5 kept-7 kept-8 kept-9")
		if first := s.segments()[0].First; first != 5 {
			t.Errorf("the log begins at %d, want 5", first)
		}
		if n := droppedMarks(t, s); n != 1 {
			t.Errorf("%d marks of dropped callbacks, want 1", n)
		}
	}
	check()
	closeStore(t, s)
	s = open(t, dir, o)
	check()
	closeStore(t, s)
}

func droppedMarks(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.viewState(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucketDropped).Stats().KeyN
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// TestInvariant9_damagedKeptHidesOnlyItself damages the record of one in its
// file: it is never shown, its neighbours are, and it can be dropped.
func TestInvariant9_damagedKeptHidesOnlyItself(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	keep(t, s, 1, 3)
	var stored []byte
	err := s.record(2, func(b []byte) error {
		stored = bytes.Clone(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(segment.Path(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(segment.Path(dir, 1), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Pages that were freed have it too.
	for at, n := 0, bytes.Index(file, stored); n >= 0; n = bytes.Index(file[at:], stored) {
		at += n + 1
		if _, err := f.WriteAt([]byte{stored[40] ^ 1}, int64(at+39)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(t.Context(), "kept-2"); !errors.Is(err, record.ErrDamaged) {
		t.Errorf("get: %v, want ErrDamaged", err)
	}
	if got := ids(listed(t, s, host.Wanted{Reason: "kept"}, 1)); got != "kept-1 kept-3" {
		t.Errorf("listed %s", got)
	}
	if err := s.Drop(t.Context(), "kept-2"); err != nil {
		t.Error(err)
	}
	wantKept(t, s, "kept-1 kept-3")
	closeStore(t, s)
}
