package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/keys"
	"github.com/postern/postern/host/store/bolt/internal/segment"
	"github.com/postern/postern/host/store/storetest"
)

// handClock is a clock that moves by hand.
type handClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *handClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// pass has time pass, also for what tends the store meanwhile.
func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// bulky is a record of some ten thousand bytes that do not compress.
func bulky(n int) *host.Record {
	rec := storetest.SampleRecord(n)
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for len(rec.Callback.Body) < 10_000 {
		rec.Callback.Body = binary.BigEndian.AppendUint64(rec.Callback.Body, r.Uint64())
	}
	return rec
}

// rotating opens a store with small segments and a clock.
func rotating(t *testing.T, dir string, c *handClock) *Store {
	t.Helper()
	return open(t, dir, Options{Now: c.now, SegmentSize: 256 << 10, Reserve: -1})
}

// fill appends bulky records and wants them stored, or duplicates.
func fill(t *testing.T, s *Store, first, n int, want host.Disposition) {
	t.Helper()
	for i := first; i < first+n; i++ {
		got, err := s.Append(t.Context(), bulky(i))
		if err != nil {
			t.Fatal(err)
		}
		if got.Events[0] != want {
			t.Fatalf("record %d: %v, want %v", i, got.Events[0], want)
		}
	}
}

func tend(t *testing.T, s *Store, now time.Time) {
	t.Helper()
	s.stopTending()
	if err := s.tend(now); err != nil {
		t.Fatal(err)
	}
	s.closing, s.tended = make(chan struct{}), make(chan struct{})
	go s.keepHouse()
}

func files(t *testing.T, s *Store, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestRotate_bySizeAndAge(t *testing.T) {
	clock := &handClock{at: time.Unix(2e9, 0)}
	dir := t.TempDir()
	s := rotating(t, dir, clock)
	fill(t, s, 0, 100, host.Stored)
	n := len(s.segments())
	if n < 3 || n > 12 { // pages in use count, full or not
		t.Errorf("1 MB in %d segments of 256 KiB", n)
	}
	clock.pass(25 * time.Hour)
	fill(t, s, 100, 2, host.Stored)
	if got := len(s.segments()); got != n+1 {
		t.Errorf("%d segments after a day, want %d", got, n+1)
	}
	// An empty one does not end.
	clock.pass(25 * time.Hour)
	fill(t, s, 0, 1, host.Duplicate)
	for range 2 {
		fill(t, s, 0, 102, host.Duplicate)
		closeStore(t, s)
		s = rotating(t, dir, clock)
	}
	page, _, err := s.Range(t.Context(), host.Page{Limit: 1000})
	if err != nil || len(page) != 102 {
		t.Errorf("%d events, %v, want 102", len(page), err)
	}
	tend(t, s, clock.now())
	if got := s.index.Covered(); got+1 < s.active().First {
		t.Errorf("keys are in files up to %d, want all before segment %d", got, s.active().First)
	}
	fill(t, s, 0, 102, host.Duplicate)
	closeStore(t, s)
}

// TestRotate_besideWhatIsRemoved begins a segment while another is taken out of
// the list: neither is lost.
func TestRotate_besideWhatIsRemoved(t *testing.T) {
	var s Store
	closed, active, added := &segment.File{}, &segment.File{}, &segment.File{}
	s.log.Store(&[]*segment.File{closed, active})
	times := 0
	s.changeSegments(func(all []*segment.File) []*segment.File {
		if times++; times == 1 {
			s.addSegment(added)
		}
		return all[1:]
	})
	if got, want := s.segments(), []*segment.File{active, added}; !slices.Equal(got, want) {
		t.Errorf("%d segments after %d tries, want the active one and the one that was added", len(got), times)
	}
}

func TestInvariant4_nothingUndeliveredExpires(t *testing.T) {
	clock := &handClock{at: time.Unix(2e9, 0)}
	s := rotating(t, t.TempDir(), clock)
	defer func() { closeStore(t, s) }()
	subscribe(t, s, "a")
	fill(t, s, 0, 100, host.Stored)
	clock.pass(8 * 24 * time.Hour)
	fill(t, s, 100, 1, host.Stored)
	tend(t, s, clock.now())
	if got := s.segments()[0].First; got != 1 {
		t.Errorf("the log begins at %d although nothing was delivered", got)
	}
	drain(t, s, "a")
	tend(t, s, clock.now())
	if got := len(s.segments()); got != 2 && got != 1 {
		t.Errorf("%d segments are left once all is delivered", got)
	}
	// The keys stay for the window, the records do not.
	fill(t, s, 0, 101, host.Duplicate)
	if _, err := s.Callback(t.Context(), 1); !errors.Is(err, host.ErrNotFound) {
		t.Errorf("an expired callback: %v, want ErrNotFound", err)
	}
	if len(files(t, s, "dedup/*.db")) == 0 {
		t.Error("there are no files of keys")
	}
	clock.pass(46 * 24 * time.Hour)
	tend(t, s, clock.now())
	fill(t, s, 0, 50, host.Stored)
}

// drain settles everything as done.
func drain(t *testing.T, s *Store, sink string) (n int) {
	t.Helper()
	for {
		l, err := s.Lease(t.Context(), sink, 100, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Deliveries) == 0 {
			return n
		}
		for _, d := range l.Deliveries {
			n++
			if err := s.Settle(t.Context(), sink, host.Settlement{Token: d.Token, Outcome: host.Done}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestInvariant1_keptCallbacksNeverExpire(t *testing.T) {
	clock := &handClock{at: time.Unix(2e9, 0)}
	s := rotating(t, t.TempDir(), clock)
	defer func() { closeStore(t, s) }()
	rec := storetest.SampleRecord(1000)
	rec.Kind, rec.Events = host.Kept, nil
	if _, err := s.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 100, host.Stored)
	clock.pass(8 * 24 * time.Hour)
	tend(t, s, clock.now())
	if _, err := s.Callback(t.Context(), 1); err != nil {
		t.Errorf("a kept callback: %v", err)
	}
}

// TestMerge writes many files of keys and finds every key in the few that
// remain, over a reopen.
func TestMerge(t *testing.T) {
	clock := &handClock{at: time.Unix(2e9, 0)}
	dir := t.TempDir()
	s := open(t, dir, Options{Now: clock.now, Reserve: -1})
	const runs, each = 20, 150
	for run := range runs {
		for i := range each {
			if _, err := s.Append(t.Context(), storetest.SampleRecord(run*each+i)); err != nil {
				t.Fatal(err)
			}
		}
		s.stopTending()
		if err := errors.Join(s.index.Flush(), s.index.Merge()); err != nil {
			t.Fatal(err)
		}
		s.closing, s.tended = make(chan struct{}), make(chan struct{})
		go s.keepHouse()
	}
	if got := len(files(t, s, "dedup/*.db")); got > keys.MaxFiles {
		t.Errorf("%d files of keys, want at most %d", got, keys.MaxFiles)
	}
	for range 2 {
		for n := range runs * each {
			got, err := s.Append(t.Context(), storetest.SampleRecord(n))
			if err != nil || got.Events[0] != host.Duplicate {
				t.Fatalf("record %d: %+v, %v, want a duplicate", n, got, err)
			}
		}
		closeStore(t, s)
		s = open(t, dir, Options{Now: clock.now, Reserve: -1})
	}
	closeStore(t, s)
}

// TestOpen_dedupFilesAreLostOrDamaged takes the files of keys away, or damages
// them: the log has the keys.
func TestOpen_dedupFilesAreLostOrDamaged(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"lost": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"cut off": func(t *testing.T, path string) {
			if err := os.Truncate(path, 9000); err != nil {
				t.Fatal(err)
			}
		},
		"overwritten": func(t *testing.T, path string) { overwrite(t, path, 2*4096) },
	} {
		t.Run(name, func(t *testing.T) {
			clock := &handClock{at: time.Unix(2e9, 0)}
			dir := t.TempDir()
			s := rotating(t, dir, clock)
			fill(t, s, 0, 100, host.Stored)
			tend(t, s, clock.now())
			paths := files(t, s, "dedup/*.db")
			closeStore(t, s)
			if len(paths) == 0 {
				t.Fatal("there are no files of keys")
			}
			for _, path := range paths {
				harm(t, path)
			}
			s = rotating(t, dir, clock)
			for n := range 100 {
				got, err := s.Append(t.Context(), bulky(n))
				for host.CodeOf(err) == host.StoreUnavailable && s.broken() == nil {
					tend(t, s, clock.now())
					got, err = s.Append(t.Context(), bulky(n))
				}
				if err != nil || got.Events[0] != host.Duplicate {
					t.Fatalf("record %d: %+v, %v, want a duplicate", n, got, err)
				}
			}
			closeStore(t, s)
		})
	}
}

// overwrite fills a file with other bytes from a place on.
func overwrite(t *testing.T, path string, from int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < len(b); i++ {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(path, b, disk.FileMode); err != nil {
		t.Fatal(err)
	}
}

// TestOpen_damagedSegmentIsSalvaged damages pages of segments: what is left of
// the records is served, and what is not is named.
func TestOpen_damagedSegmentIsSalvaged(t *testing.T) {
	for name, which := range map[string]int{"closed": 1, "active": -1} {
		t.Run(name, func(t *testing.T) {
			clock := &handClock{at: time.Unix(2e9, 0)}
			dir := t.TempDir()
			s := rotating(t, dir, clock)
			fill(t, s, 0, 70, host.Stored)
			closeStore(t, s)
			paths := files(t, s, "seg/*.db")
			path := paths[(which+len(paths))%len(paths)]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			clearRecord(t, b, firstOf(t, path)+1)
			if err := os.WriteFile(path, b, disk.FileMode); err != nil {
				t.Fatal(err)
			}
			s = rotating(t, dir, clock)
			defer func() { closeStore(t, s) }()
			subscribe(t, s, "a")
			got := drainMending(t, s, clock)
			if got < 50 || got == 70 {
				t.Errorf("%d of 70 events are served", got)
			}
			notes := strings.Join(s.notes(), "\n")
			if !strings.Contains(notes, path) || len(files(t, s, "damaged/*")) == 0 {
				t.Errorf("notes %q, want them to name %s, and the file in damaged/", notes, path)
			}
			fill(t, s, 0, 70, host.Duplicate)
			fill(t, s, 1000, 3, host.Stored)
		})
	}
}

// firstOf is the sequence that a segment begins at.
func firstOf(t *testing.T, path string) uint64 {
	t.Helper()
	var first uint64
	if _, err := fmt.Sscanf(filepath.Base(path), "%d.db", &first); err != nil {
		t.Fatal(err)
	}
	return first
}

// clearRecord clears every page of a file that a record begins in.
func clearRecord(t *testing.T, b []byte, seq uint64) {
	t.Helper()
	head := append([]byte{2, 1, byte(host.Accepted), 0}, disk.Number(seq)...)
	found := false
	for at := bytes.Index(b, head); at >= 0; at = bytes.Index(b, head) {
		clear(b[at&^4095 : at&^4095+4096])
		found = true
	}
	if !found {
		t.Fatalf("record %d is not in the file", seq)
	}
}

// drainMending is drain of sink a, with what is damaged mended meanwhile.
func drainMending(t *testing.T, s *Store, clock *handClock) int {
	t.Helper()
	for range 10 {
		if _, err := s.Lease(t.Context(), "a", 1000, time.Nanosecond); err != nil {
			tend(t, s, clock.now())
		}
	}
	clock.pass(time.Hour)
	n := drain(t, s, "a")
	tend(t, s, clock.now())
	return n
}

func TestInvariant10_storeOfForm1IsRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/form1")); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		s := open(t, dir, Options{Reserve: -1})
		for n := range 5 {
			got, err := s.Append(t.Context(), storetest.SampleRecord(n))
			if err != nil || got.Events[0] != host.Duplicate {
				t.Errorf("round %d, record %d: %+v, %v, want a duplicate", round, n, got, err)
			}
		}
		if n := int(s.kept.Load()); n != 1 {
			t.Errorf("%d kept, want 1", n)
		}
		got, err := s.Append(t.Context(), storetest.SampleRecord(100+round))
		if err != nil || got.Events[0] != host.Stored {
			t.Errorf("round %d: %+v, %v", round, got, err)
		}
		closeStore(t, s)
	}
}
