package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/queue"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/bolt/internal/segment"
	"github.com/postern/postern/host/store/storetest"
)

func subscribeOrdered(t *testing.T, s *Store, sink string) {
	t.Helper()
	if err := s.Subscribe(t.Context(), sink, host.Subscription{From: host.FromOldest, Order: host.OrderSubject}); err != nil {
		t.Fatal(err)
	}
}

// appendOf appends a record of n events of a subject, numbered from first on.
func appendOf(t *testing.T, s *Store, subject string, first, n int) {
	t.Helper()
	var evs []host.Event
	for i := range n {
		ev := storetest.SampleEvent(first+i, 0)
		ev.Subject = subject
		evs = append(evs, ev)
	}
	if _, err := s.Append(t.Context(), storetest.SampleRecord(first, evs...)); err != nil {
		t.Fatal(err)
	}
}

// leaseOf leases until nothing is due and returns how many of each subject.
func leaseOf(t *testing.T, s *Store, sink string) (all []host.Delivery, of map[string]int) {
	t.Helper()
	of = make(map[string]int)
	for {
		l, err := s.Lease(t.Context(), sink, 1000, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Deliveries) == 0 {
			return all, of
		}
		for _, d := range l.Deliveries {
			of[d.Event.Subject]++
		}
		all = append(all, l.Deliveries...)
	}
}

func settle(t *testing.T, s *Store, o host.Outcome, at time.Time, ds ...host.Delivery) {
	t.Helper()
	for _, d := range ds {
		if err := s.Settle(t.Context(), d.Sink, host.Settlement{Token: d.Token, Outcome: o, At: at}); err != nil {
			t.Fatal(err)
		}
	}
}

func lagOf(t *testing.T, s *Store, sink string) host.Lag {
	t.Helper()
	lag, err := s.Lag(t.Context(), sink)
	if err != nil {
		t.Fatal(err)
	}
	return lag
}

// TestInvariant6_failingSubjectDoesNotPinTheWindow has more of a failing subject
// than the window holds, and then another subject.
func TestInvariant6_failingSubjectDoesNotPinTheWindow(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	subscribeOrdered(t, s, "a")
	const each, records = 500, defaultMaxWindow/500 + 2
	for r := range records {
		appendOf(t, s, "hot", r*each, each)
	}
	appendOf(t, s, "cold", each*records, 1)
	// The first of it is leased all the while.
	ds, of := leaseOf(t, s, "a")
	if of["hot"] != 1 || of["cold"] != 1 {
		t.Fatalf("leased %v, want one of each subject", of)
	}
	if got, want := lagOf(t, s, "a"), (host.Lag{Leased: 2, Parked: each*records - 1}); got != want {
		t.Errorf("lag %+v, want %+v", got, want)
	}
	settle(t, s, host.Again, time.Now().Add(time.Hour), ds[0])
	settle(t, s, host.Done, time.Time{}, ds[1])
	if got, want := lagOf(t, s, "a"), (host.Lag{Retrying: 1, Parked: each*records - 1}); got != want {
		t.Errorf("lag %+v, want %+v", got, want)
	}
	// All of it has rows: the position is at the end.
	if err := s.change(&change{}); err != nil {
		t.Fatal(err)
	}
	var got record.Position
	err := s.viewState(func(tx *bbolt.Tx) (err error) {
		got, err = record.ParsePosition(sinkBucket(tx, "a").Get(keyPosition))
		return err
	})
	if want := (pos{Seq: s.last.Load() + 1}); err != nil || got.Low != want || len(got.Above) != 0 {
		t.Errorf("the position is %v, %v, want %v", got, err, want)
	}
	if got := s.oldestNeeded(); got != 1 {
		t.Errorf("oldest needed is %d, want the first record, whose events are parked", got)
	}
}

// TestOrder_cap fills one subject up to its bound: the walk stops in front of the
// next one, and goes on once there is room.
func TestOrder_cap(t *testing.T) {
	const bound = 5
	dir := t.TempDir()
	s := open(t, dir, Options{maxParked: bound})
	subscribeOrdered(t, s, "a")
	appendOf(t, s, "hot", 0, bound+3)
	appendOf(t, s, "cold", 100, 1)
	_, of := leaseOf(t, s, "a")
	if of["hot"] != 1 || of["cold"] != 0 {
		t.Fatalf("leased %v, want one of the full subject and nothing behind it", of)
	}
	if got := lagOf(t, s, "a"); got.Parked != bound-1 || got.Records != 2 {
		t.Errorf("lag %+v, want %d parked, and both records before it", got, bound-1)
	}
	if l, err := s.Lease(t.Context(), "a", 10, time.Hour); err != nil || !l.Next.After(time.Now()) {
		t.Errorf("next %v, %v, want the end of the lease: nothing else can be done until then", l.Next, err)
	}
	kill(t, s)
	s = open(t, dir, Options{maxParked: bound})
	defer closeStore(t, s)
	var got []int
	for n := 0; n < bound+4; {
		ds, _ := leaseOf(t, s, "a")
		if len(ds) == 0 {
			t.Fatalf("nothing is due after %v", got)
		}
		for _, d := range ds {
			got = append(got, int(d.Event.Received.Sub(storetest.SampleEvent(0, 0).Received)/time.Second))
		}
		n += len(ds)
		settle(t, s, host.Done, time.Time{}, ds...)
	}
	last := -1
	for _, n := range got {
		if n < 100 && n <= last {
			t.Errorf("delivered in the order %v", got)
		}
		if n < 100 {
			last = n
		}
	}
	if got := lagOf(t, s, "a"); got != (host.Lag{}) {
		t.Errorf("lag %+v in the end, want nothing", got)
	}
}

// TestInvariant10_orderOverRowsOfForm1 takes up retries whose rows do not have
// their subject's line.
func TestInvariant10_orderOverRowsOfForm1(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	subscribe(t, s, "a")
	appendOf(t, s, "hot", 0, 3)
	ds, _ := leaseOf(t, s, "a")
	past := time.Now().Add(-time.Hour)
	settle(t, s, host.Again, past, ds...)
	err := s.update(s.state, func(tx *bbolt.Tx) error {
		b := sinkBucket(tx, "a").Bucket(bucketRetries)
		for i := range 3 {
			at := pos{Seq: 1, Index: i}
			if err := b.Put(queue.Key(past, at, 0), rowOfForm1()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kill(t, s)
	s = open(t, dir, Options{})
	defer closeStore(t, s)
	subscribeOrdered(t, s, "a")
	for i := range 3 {
		ds, _ := leaseOf(t, s, "a")
		if len(ds) != 1 || ds[0].Event.ID() != storetest.SampleRecord(i).Events[0].Key.ID() || ds[0].Attempt != 2 {
			t.Fatalf("lease %d: %+v, want the next of the subject, attempt 2", i, ds)
		}
		settle(t, s, host.Done, time.Time{}, ds...)
	}
}

// rowOfForm1 is a row of one attempt as the first form has it.
func rowOfForm1() []byte {
	b := []byte{1, 0, 1}
	b = binary.BigEndian.AppendUint64(b, uint64(time.Now().Unix()))
	b = append(b, 0, 0, 0, 0)
	b = append(b, 3)
	b = append(b, "503"...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// TestInvariant4_oldestNeeded follows what holds the oldest record: a sink that has
// not looked, a lease, a retry, a replay; a dead letter has its own copy.
func TestInvariant4_oldestNeeded(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	want := func(what string, seq uint64) {
		t.Helper()
		if got := s.oldestNeeded(); got != seq {
			t.Errorf("%s: oldest needed is %d, want %d", what, got, seq)
		}
	}
	want("an empty store", 1)
	for n := 1; n <= 4; n++ {
		appendOf(t, s, fmt.Sprint(n), n, 1)
	}
	want("without a sink", 5)
	subscribeOrdered(t, s, "a")
	want("a sink that has not looked", 0)
	ds, _ := leaseOf(t, s, "a")
	want("everything leased", 1)
	settle(t, s, host.Done, time.Time{}, ds[0])
	want("the first done", 2)
	settle(t, s, host.Again, time.Now().Add(time.Hour), ds[1])
	settle(t, s, host.Done, time.Time{}, ds[2])
	want("the second to be retried", 2)
	settle(t, s, host.Dead, time.Time{}, ds[3])
	want("the fourth dead", 2)
	if err := s.Pause(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	want("paused", 2)
	if err := s.Resume(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Replay(t.Context(), "a", host.CursorAt(1, 0), host.CursorAt(2, 0)); err != nil {
		t.Fatal(err)
	}
	want("a replay of the first", 1)
	ds, _ = leaseOf(t, s, "a")
	if err := s.StopReplay(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	want("a replay that is stopped, and its first leased", 1)
	settle(t, s, host.Done, time.Time{}, ds...)
	want("and done", 2)
	if err := s.Unsubscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	want("no sink any more", 5)
	s.fail(fmt.Errorf("broken by the test"))
	if got := s.oldestNeeded(); got != 0 {
		t.Errorf("of a store that has failed: %d, want 0", got)
	}
	if err := s.Close(); err == nil {
		t.Error("close of a store that has failed: no error")
	}
}

// TestInvariant6_lostEventDoesNotHoldUpItsSubject takes away the record of one that
// is to be retried, as mending a damaged segment does: it is named, and the next of
// its subject has its turn.
func TestInvariant6_lostEventDoesNotHoldUpItsSubject(t *testing.T) {
	var clock atomic.Int64 // seconds; the store looks at it by itself too
	clock.Store(2e9)
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	s := open(t, t.TempDir(), Options{Now: now})
	defer closeStore(t, s)
	subscribeOrdered(t, s, "a")
	appendOf(t, s, "hot", 0, 1)
	appendOf(t, s, "hot", 1, 1)
	ds, _ := leaseOf(t, s, "a")
	settle(t, s, host.Again, now(), ds...)
	err := s.update(s.active().DB, func(tx *bbolt.Tx) error { return tx.Bucket(segment.BucketLog).Delete(disk.Number(1)) })
	if err != nil {
		t.Fatal(err)
	}
	// At first it may be that it is only to be mended.
	if _, err := s.Lease(t.Context(), "a", 10, time.Hour); err == nil {
		t.Error("lease of what cannot be read: no error")
	}
	clock.Add(3600)
	ds, _ = leaseOf(t, s, "a")
	if len(ds) != 1 || ds[0].Event.Key != storetest.SampleEvent(1, 0).Key {
		t.Fatalf("leased %+v, want the second of the subject", ds)
	}
	if got := lagOf(t, s, "a"); got != (host.Lag{Leased: 1}) {
		t.Errorf("lag %+v, want one leased", got)
	}
	if notes := strings.Join(s.notes(), "\n"); !strings.Contains(notes, "record 1:") {
		t.Errorf("notes %q, want them to name record 1", notes)
	}
}

// TestOrder_concurrently has several lease and settle for one sink while others
// append, pause it, and replay to it: none is ever leased while one that comes
// before it in its subject is under way.
func TestOrder_concurrently(t *testing.T) {
	const records, each, leasers = 30, 5, 3
	s := open(t, t.TempDir(), Options{maxWindow: 16})
	defer closeStore(t, s)
	subscribeOrdered(t, s, "a")
	var (
		mu       sync.Mutex
		underWay = make(map[uint64]*host.Event)
		done     = make(map[string]int)
		wg       sync.WaitGroup
	)
	deliver := func(n int, d host.Delivery) host.Settlement {
		mu.Lock()
		defer mu.Unlock()
		delete(underWay, d.Token)
		if n%3 == 0 {
			return host.Settlement{Token: d.Token, Outcome: host.Again, At: time.Now()}
		}
		done[d.Event.ID()]++
		return host.Settlement{Token: d.Token, Outcome: host.Done}
	}
	for range leasers {
		wg.Go(func() {
			for n := 0; ; n++ {
				l, err := s.Lease(t.Context(), "a", 3, time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, d := range l.Deliveries {
					for _, o := range underWay {
						if o.Subject == d.Event.Subject && o.Received.Before(d.Event.Received) {
							t.Errorf("%s was leased while %s of its subject was", d.Event.ID(), o.ID())
						}
					}
					underWay[d.Token] = &d.Event
				}
				all := len(done) == records*each
				mu.Unlock()
				for i, d := range l.Deliveries {
					if err := s.Settle(t.Context(), "a", deliver(n+i, d)); err != nil {
						t.Error(err)
						return
					}
				}
				if all && len(l.Deliveries) == 0 {
					return
				}
				runtime.Gosched()
			}
		})
	}
	for r := range records {
		appendOf(t, s, fmt.Sprint(r%3), r*each, each)
		switch r % 15 {
		case 3:
			if err := s.Replay(t.Context(), "a", "", ""); err != nil && !errors.Is(err, host.ErrBusy) {
				t.Error(err)
			}
		case 9:
			if err := s.StopReplay(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		case 12:
			if err := errors.Join(s.Pause(t.Context(), "a"), s.Resume(t.Context(), "a")); err != nil {
				t.Error(err)
			}
		}
	}
	wg.Wait()
	if got := lagOf(t, s, "a"); got != (host.Lag{}) {
		t.Errorf("lag %+v in the end, want nothing", got)
	}
}
