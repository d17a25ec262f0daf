package quarantine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/storetest"
)

// around is the store around the quarantine.
type around struct {
	reserved uint64
	// update, if set, stands in place of bbolt's.
	update       func(*bbolt.DB, func(*bbolt.Tx) error) error
	broken, room error
	aside        []error // why files were moved aside
}

func (a *around) MoveAside(path string, cause error) error {
	a.aside = append(a.aside, cause)
	return os.Rename(path, fmt.Sprintf("%s.%d", path, len(a.aside)))
}

func (a *around) Broken() error { return a.broken }
func (a *around) Room() error   { return a.room }

func (a *around) Reserved() (uint64, error) { return a.reserved, nil }

func (a *around) Reserve(upTo uint64) error {
	a.reserved = upTo
	return nil
}

// open opens the file in dir; what o does not say is as by default.
func open(t *testing.T, dir string, a *around, o Options) *File {
	t.Helper()
	o.Path, o.Store = filepath.Join(dir, "quarantine.db"), a
	o.Update = func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
		if a.update != nil {
			return a.update(db, fn)
		}
		return db.Update(fn)
	}
	if o.Entries == 0 {
		o.Entries = 1000
	}
	if o.Bytes == 0 {
		o.Bytes = 16 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return Open(o, true)
}

func closeFile(t *testing.T, f *File) {
	t.Helper()
	f.Close()
	if err := f.Release(); err != nil {
		t.Error(err)
	}
}

// refused is a refused callback of an endpoint, the n-th of its ring.
func refused(endpoint, reason string, n int) *host.Rejected {
	rec := storetest.SampleRecord(n)
	return &host.Rejected{
		Reason: reason, Detail: fmt.Sprintf("detail %d", n), Tenant: "acme", Endpoint: endpoint,
		Provider: rec.Provider, Plugin: rec.Plugin, Evidence: rec.Evidence, Callback: rec.Callback,
	}
}

func put(t *testing.T, f *File, all ...*host.Rejected) {
	t.Helper()
	for _, r := range all {
		if err := f.Put(r); err != nil {
			t.Fatal(err)
		}
	}
}

// listed lists all that is wanted, in pages of n.
func listed(t *testing.T, f *File, want host.Wanted, n int) []host.Rejected {
	t.Helper()
	var all []host.Rejected
	for after := uint64(0); ; {
		page, more, err := f.List(want, after, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > n || more && len(page) == 0 {
			t.Fatalf("a page of %d, want at most %d", len(page), n)
		}
		if all = append(all, page...); !more {
			return all
		}
		after = number64(t, page[len(page)-1].ID)
	}
}

func number64(t *testing.T, id string) (n uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(id, Prefix+"%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// names are endpoint, detail and count of each.
func names(all []host.Rejected) (out []string) {
	for _, r := range all {
		out = append(out, fmt.Sprintf("%s %s x%d", r.Endpoint, r.Detail, r.Count))
	}
	return out
}

func wantNames(t *testing.T, got []host.Rejected, want ...string) {
	t.Helper()
	if !slices.Equal(names(got), want) {
		t.Errorf("listed\n%s\nwant\n%s", strings.Join(names(got), "\n"), strings.Join(want, "\n"))
	}
}

// TestPut_isWrittenWithinASecond looks into the file, because List and Get have
// what waits written first.
func TestPut_isWrittenWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commits atomic.Int64
		f := open(t, t.TempDir(), &around{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
			commits.Add(1)
			return db.Update(fn)
		}}, Options{})
		defer closeFile(t, f)
		const n = 200
		for i := range n {
			put(t, f, refused("till", "malformed", i))
		}
		synctest.Wait()
		if got := f.Len(); got != 0 {
			t.Errorf("%d are written at once: somebody waited for them", got)
		}
		<-time.After(putEvery)
		synctest.Wait()
		if got := f.Len(); got != n || commits.Load() != 1 {
			t.Errorf("%d written in %d transactions, want %d in one", got, commits.Load(), n)
		}
	})
}

func TestPut_equalBodiesTakeOnePlace(t *testing.T) {
	f := open(t, t.TempDir(), &around{}, Options{})
	defer closeFile(t, f)
	again := func(n, later int, reason string) *host.Rejected {
		r := refused("till", reason, n)
		r.Detail = fmt.Sprintf("%s, again", r.Detail)
		r.Callback.Received = r.Callback.Received.Add(time.Duration(later) * time.Minute)
		return r
	}
	put(t, f, refused("till", "malformed", 1), again(1, 1, "malformed"), refused("till", "malformed", 2))
	listed(t, f, host.Wanted{}, 10) // what comes is another commit
	put(t, f, again(1, 3, "malformed"), again(1, 2, "malformed"), again(1, 1, "not-verified"))
	all := listed(t, f, host.Wanted{}, 10)
	wantNames(t, all, "till detail 1 x4", "till detail 2 x1", "till detail 1, again x1")
	first := refused("till", "malformed", 1).Callback.Received
	if got := all[0]; !got.Callback.Received.Equal(first) || !got.Last.Equal(first.Add(3*time.Minute)) {
		t.Errorf("received %v, last %v, want the first's and the latest", got.Callback.Received, got.Last)
	}
}

// TestPut_withoutABodyTheQueryCounts: a callback that says all in its query is
// not the same as another.
func TestPut_withoutABodyTheQueryCounts(t *testing.T) {
	f := open(t, t.TempDir(), &around{}, Options{})
	defer closeFile(t, f)
	for _, target := range []string{"/in/acme/till?id=1", "/in/acme/till?id=2", "/in/acme/till?id=1"} {
		r := refused("till", "malformed", 1)
		r.Callback.Body, r.Callback.Target, r.Detail = nil, target, target
		put(t, f, r)
	}
	wantNames(t, listed(t, f, host.Wanted{}, 10), "till /in/acme/till?id=1 x2", "till /in/acme/till?id=2 x1")
}

func TestInvariant9_aFloodPushesOutItsOwn(t *testing.T) {
	large := func(n int) *host.Rejected {
		r := refused("large", "malformed", n)
		// Bytes that do not compress.
		for i := range 5000 {
			r.Callback.Body = append(r.Callback.Body, byte(i*i*i>>7), byte(n*i>>3))
		}
		return r
	}
	one, err := record.EncodeRefused(1, large(1))
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, t.TempDir(), &around{}, Options{Entries: 4, Bytes: int64(3*len(one) - 1)})
	put(t, f, refused("till", "malformed", 0), refused("other", "not-verified", 0))
	for n := range 30 {
		put(t, f, refused("till", "not-verified", n))
		if n%3 == 0 {
			put(t, f, large(n))
		}
		if n%7 == 0 {
			listed(t, f, host.Wanted{}, 10) // another commit
		}
	}
	wantNames(t, listed(t, f, host.Wanted{Reason: "not-verified", Endpoint: "till"}, 10),
		"till detail 26 x1", "till detail 27 x1", "till detail 28 x1", "till detail 29 x1")
	wantNames(t, listed(t, f, host.Wanted{Endpoint: "large"}, 10), "large detail 24 x1", "large detail 27 x1")
	wantNames(t, listed(t, f, host.Wanted{}, 10)[:2], "till detail 0 x1", "other detail 0 x1")
	// One that is larger than its ring is kept alone.
	put(t, f, func() *host.Rejected {
		r := large(31)
		r.Callback.Body = slices.Concat(r.Callback.Body, large(32).Callback.Body, large(33).Callback.Body, large(34).Callback.Body)
		return r
	}())
	wantNames(t, listed(t, f, host.Wanted{Endpoint: "large"}, 10), "large detail 31 x1")
	// What was pushed out is no more known as an equal body.
	put(t, f, refused("till", "not-verified", 1))
	wantNames(t, listed(t, f, host.Wanted{Reason: "not-verified", Endpoint: "till"}, 10),
		"till detail 27 x1", "till detail 28 x1", "till detail 29 x1", "till detail 1 x1")
	wantConsistent(t, f)
	closeFile(t, f)
}

// wantConsistent compares the rows of the rings with what is in the file, and has
// bbolt check its pages.
func wantConsistent(t *testing.T, f *File) {
	t.Helper()
	err := f.db.Load().View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = f.view(func(r *rings) error {
		entries := 0
		err := r.each(func(g *record.Ring) error {
			ids := r.after(g, 0, math.MaxInt)
			bytes := int64(0)
			for _, id := range ids {
				bytes += int64(len(r.refused.Get(number(id))))
				if _, err := r.read(g, id); err != nil {
					t.Errorf("entry %d: %v", id, err)
				}
			}
			if len(ids) != g.Entries || bytes != g.Bytes || g.Entries == 0 {
				t.Errorf("%v has %d entries of %d bytes, its row says %d of %d", nameOf(g), len(ids), bytes, g.Entries, g.Bytes)
			}
			entries += g.Entries
			return nil
		})
		for _, b := range []*bbolt.Bucket{r.refused, r.order, r.bodies} {
			if rows := b.Stats().KeyN; rows != entries {
				t.Errorf("%d rows for %d entries", rows, entries)
			}
		}
		if entries != f.Len() {
			t.Errorf("%d quarantined, counted %d", entries, f.Len())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestInvariant9_aFloodInMemoryLosesItsOwn holds up the commits.
func TestInvariant9_aFloodInMemoryLosesItsOwn(t *testing.T) {
	hold := make(chan struct{})
	f := open(t, t.TempDir(), &around{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
		<-hold
		return db.Update(fn)
	}}, Options{Entries: math.MaxInt})
	put(t, f, refused("first", "malformed", 0))
	waiting := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.waiting.entries
	}
	f.kick()
	for waiting() != 0 { // taken by the commit that is held up
		runtime.Gosched()
	}
	put(t, f, refused("till", "not-understood", 0))
	full := false
	for n := 0; !full; n++ {
		r := refused("flood", "not-verified", n)
		r.Callback.Body = append(r.Callback.Body, make([]byte, n%9000)...)
		err := f.Put(r)
		if full = err != nil; full && host.CodeOf(err) != host.StoreFull {
			t.Errorf("put beyond the bound: %v, want store.full", err)
		}
		if q := f.waiting; q.entries > maxBacklog || q.bytes > maxBacklogBytes {
			t.Fatalf("%d entries and %d bytes wait", q.entries, q.bytes)
		}
	}
	put(t, f, refused("till", "not-understood", 1), refused("till", "not-understood", 2))
	if err := f.Put(refused("flood", "not-verified", -1)); host.CodeOf(err) != host.StoreFull {
		t.Errorf("put of the flood: %v, want store.full", err)
	}
	close(hold)
	wantNames(t, listed(t, f, host.Wanted{Endpoint: "till"}, 10), "till detail 0 x1", "till detail 1 x1", "till detail 2 x1")
	wantNames(t, listed(t, f, host.Wanted{Endpoint: "first"}, 10), "first detail 0 x1")
	closeFile(t, f)
}

func TestPut_tooLarge(t *testing.T) {
	f := open(t, t.TempDir(), &around{}, Options{})
	defer closeFile(t, f)
	r := refused("till", "malformed", 1)
	r.Callback.Body = make([]byte, maxBacklogBytes)
	if err := f.Put(r); host.CodeOf(err) != host.StoreFull {
		t.Errorf("put: %v, want store.full", err)
	}
}

// TestQuarantine_idsAreNeverGivenTwice loses the newest entry, then the file, in
// every way.
func TestQuarantine_idsAreNeverGivenTwice(t *testing.T) {
	dir, a := t.TempDir(), &around{}
	seen := make(map[string]bool)
	for name, lose := range map[string]func(f *File, id string){
		"dropped": func(f *File, id string) {
			if err := f.Drop(number64(t, id)); err != nil {
				t.Fatal(err)
			}
			closeFile(t, f)
		},
		"removed": func(f *File, _ string) {
			closeFile(t, f)
			if err := os.Remove(f.o.Path); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(f *File, _ string) {
			closeFile(t, f)
			if err := os.Truncate(f.o.Path, 5000); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for range 2 {
			f := open(t, dir, a, Options{})
			put(t, f, refused("till", "malformed", 0))
			all := listed(t, f, host.Wanted{}, 100)
			id := all[len(all)-1].ID
			if seen[id] {
				t.Errorf("%s: %s was given before", name, id)
			}
			seen[id] = true
			lose(f, id)
		}
	}
}

func TestQuarantine_ringsAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	var log bytes.Buffer
	f := open(t, t.TempDir(), &around{}, Options{
		Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	defer closeFile(t, f)
	put(t, f, refused("used", "malformed", 0), refused("unused", "malformed", 0), refused("unused", "malformed", 1))
	f.flush()
	now = now.Add(time.Minute)
	for n := range maxRings - 2 {
		put(t, f, refused(fmt.Sprintf("e%d", n), "malformed", n))
	}
	put(t, f, refused("used", "malformed", 0))
	f.flush()
	if n := f.Len(); n != maxRings+1 || log.Len() > 0 {
		t.Fatalf("%d entries, log %q, want all of %d", n, log.String(), maxRings+1)
	}
	now = now.Add(time.Minute)
	put(t, f, refused("new", "malformed", 0))
	wantNames(t, listed(t, f, host.Wanted{Endpoint: "new"}, 10), "new detail 0 x1")
	wantNames(t, listed(t, f, host.Wanted{Endpoint: "unused"}, 10))
	wantNames(t, listed(t, f, host.Wanted{Endpoint: "used"}, 10), "used detail 0 x2")
	if got := log.String(); !strings.Contains(got, "endpoint=unused") || f.Len() != maxRings {
		t.Errorf("%d entries, log %q", f.Len(), got)
	}
	wantConsistent(t, f)
}

// TestDrop_isDurable ends without Close.
func TestDrop_isDurable(t *testing.T) {
	dir, a := t.TempDir(), &around{}
	f := open(t, dir, a, Options{})
	put(t, f, refused("till", "malformed", 1), refused("till", "malformed", 2))
	if err := f.Drop(1); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint64{1, 0, 7} {
		if err := f.Drop(id); !errors.Is(err, host.ErrNotFound) {
			t.Errorf("drop of %d: %v, want ErrNotFound", id, err)
		}
	}
	put(t, f, refused("till", "malformed", 3))
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	f = open(t, dir, a, Options{})
	defer closeFile(t, f)
	wantNames(t, listed(t, f, host.Wanted{}, 10), "till detail 2 x1")
	if _, err := f.Get(1); !errors.Is(err, host.ErrNotFound) {
		t.Errorf("get of what was dropped: %v", err)
	}
	if err := f.Drop(2); err != nil {
		t.Error(err)
	}
	wantConsistent(t, f)
	// The ring went with it, and comes again.
	put(t, f, refused("till", "malformed", 2))
	wantNames(t, listed(t, f, host.Wanted{}, 10), "till detail 2 x1")
}

// TestPut_thatCannotBeWrittenIsTriedAgain: it is logged once, and nothing of it
// is lost.
func TestPut_thatCannotBeWrittenIsTriedAgain(t *testing.T) {
	for name, cause := range map[string]error{
		"disk full": &fs.PathError{Op: "write", Path: "x.db", Err: syscall.ENOSPC}, "sync": syscall.EIO,
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			var failing atomic.Bool
			f := open(t, t.TempDir(), &around{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
				if failing.Load() {
					return cause
				}
				return db.Update(fn)
			}}, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
			put(t, f, refused("till", "malformed", 1))
			listed(t, f, host.Wanted{}, 10)
			failing.Store(true)
			for n := range 3 {
				put(t, f, refused("till", "malformed", 1), refused("till", "malformed", n))
				f.flush()
			}
			if err := f.Drop(1); !errors.Is(err, cause) {
				t.Errorf("%s: drop: %v", name, err)
			}
			if got := strings.Count(log.String(), "level=ERROR"); got != 1 {
				t.Errorf("%s: logged %d times, want once:\n%s", name, got, log.String())
			}
			failing.Store(false)
			// Nobody asks: the next try comes by itself.
			<-time.After(putEvery)
			synctest.Wait()
			if f.Len() != 3 || !strings.Contains(log.String(), "written again") {
				t.Errorf("%s: %d written, log %q", name, f.Len(), log.String())
			}
			wantNames(t, listed(t, f, host.Wanted{}, 10), "till detail 1 x5", "till detail 0 x1", "till detail 2 x1")
			closeFile(t, f)
		})
	}
}

// TestQuarantine_damageFoundInACommit has the file moved aside, and what waits
// written to the next one; not for ever.
func TestQuarantine_damageFoundInACommit(t *testing.T) {
	for name, fault := range map[string]func() error{
		"panic": func() error { panic("page 7 is not a leaf") },
		"row":   func() error { return fmt.Errorf("ring: %w", record.ErrDamaged) },
	} {
		synctest.Test(t, func(t *testing.T) {
			faults := 0
			a := &around{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
				return db.Update(func(tx *bbolt.Tx) error {
					if err := fn(tx); err != nil || faults == 0 {
						return err
					}
					faults--
					return fault()
				})
			}}
			f := open(t, t.TempDir(), a, Options{})
			put(t, f, refused("till", "malformed", 1))
			listed(t, f, host.Wanted{}, 10)
			faults = 1
			put(t, f, refused("till", "malformed", 2))
			f.flush()
			all := listed(t, f, host.Wanted{}, 10)
			wantNames(t, all, "till detail 2 x1")
			if number64(t, all[0].ID) < 2 {
				t.Errorf("%s: %s was given before", name, all[0].ID)
			}
			faults = math.MaxInt
			for n := range 2 * maxDamaged {
				put(t, f, refused("till", "malformed", n))
				f.flush()
			}
			if len(a.aside) != maxDamaged {
				t.Errorf("%s: %d moved aside, want %d", name, len(a.aside), maxDamaged)
			}
			faults = 0
			closeFile(t, f)
		})
	}
}

// TestQuarantine_sparesTheReserve: what is refused takes no room that what is
// acknowledged needs; dropping goes on.
func TestQuarantine_sparesTheReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &around{}
		f := open(t, t.TempDir(), a, Options{})
		defer closeFile(t, f)
		put(t, f, refused("till", "malformed", 1), refused("till", "malformed", 2))
		listed(t, f, host.Wanted{}, 10)
		a.room = host.Errorf(host.StoreFull, "less than the reserve is free")
		put(t, f, refused("till", "malformed", 3))
		if err := f.Drop(1); err != nil {
			t.Error(err)
		}
		wantNames(t, listed(t, f, host.Wanted{}, 10), "till detail 2 x1")
		a.room = nil
		wantNames(t, listed(t, f, host.Wanted{}, 10), "till detail 2 x1", "till detail 3 x1")
	})
}

// TestQuarantine_ofABrokenStoreWritesNothing, but holds no caller up.
func TestQuarantine_ofABrokenStoreWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, a := t.TempDir(), &around{}
		f := open(t, dir, a, Options{})
		put(t, f, refused("till", "malformed", 1))
		a.broken = host.Errorf(host.StoreUnavailable, "the store has failed")
		if err := f.Drop(1); !errors.Is(err, a.broken) {
			t.Errorf("drop: %v, want %v", err, a.broken)
		}
		closeFile(t, f)
		a.broken = nil
		f = open(t, dir, a, Options{})
		wantNames(t, listed(t, f, host.Wanted{}, 10))
		closeFile(t, f)
	})
}

// TestQuarantine_openedLater could not open the file at first.
func TestQuarantine_openedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		gone := filepath.Join(dir, "gone")
		f := open(t, gone, &around{}, Options{})
		put(t, f, refused("till", "malformed", 1))
		if _, _, err := f.List(host.Wanted{}, 0, 10); host.CodeOf(err) != host.StoreUnavailable {
			t.Errorf("list: %v, want store.unavailable", err)
		}
		if err := os.Mkdir(gone, 0o700); err != nil {
			t.Fatal(err)
		}
		wantNames(t, listed(t, f, host.Wanted{}, 10), "till detail 1 x1")
		closeFile(t, f)
	})
}

func TestList_filtersAndPages(t *testing.T) {
	f := open(t, t.TempDir(), &around{}, Options{})
	defer closeFile(t, f)
	for n := range 3 {
		put(t, f, refused("till", "malformed", n), refused("shop", "malformed", n), refused("shop", "not-verified", n))
	}
	for name, tt := range map[string]struct {
		want host.Wanted
		ids  string
	}{
		"all":          {host.Wanted{}, "q-1 q-2 q-3 q-4 q-5 q-6 q-7 q-8 q-9"},
		"tenant":       {host.Wanted{Tenant: "acme"}, "q-1 q-2 q-3 q-4 q-5 q-6 q-7 q-8 q-9"},
		"other tenant": {host.Wanted{Tenant: "acm"}, ""},
		"endpoint":     {host.Wanted{Endpoint: "shop"}, "q-2 q-3 q-5 q-6 q-8 q-9"},
		"reason":       {host.Wanted{Reason: "malformed"}, "q-1 q-2 q-4 q-5 q-7 q-8"},
		"one ring":     {host.Wanted{Tenant: "acme", Endpoint: "shop", Reason: "not-verified"}, "q-3 q-6 q-9"},
		"other reason": {host.Wanted{Reason: "plugin-failed"}, ""},
	} {
		for n := 1; n <= 10; n++ {
			var ids []string
			for _, r := range listed(t, f, tt.want, n) {
				ids = append(ids, r.ID)
			}
			if got := strings.Join(ids, " "); got != tt.ids {
				t.Errorf("%s in pages of %d: %s, want %s", name, n, got, tt.ids)
			}
		}
	}
	for n, wantMore := range map[int]bool{8: true, 9: false} {
		if _, more, err := f.List(host.Wanted{}, 0, n); err != nil || more != wantMore {
			t.Errorf("page of %d: more %v, %v", n, more, err)
		}
	}
}

// TestInvariant9_flippedBitsHideOnlyTheirEntry flips every byte of an entry and
// of its row: never is something wrong shown, and its neighbours are.
func TestInvariant9_flippedBitsHideOnlyTheirEntry(t *testing.T) {
	q := open(t, t.TempDir(), &around{}, Options{})
	for n := range 3 {
		put(t, q, refused("till", "malformed", n))
	}
	good := listed(t, q, host.Wanted{}, 10)
	var rows [][]byte
	err := q.view(func(r *rings) error {
		g, err := r.ringOf(2)
		rows = [][]byte{bytes.Clone(r.refused.Get(number(2))), bytes.Clone(r.order.Get(orderKey(g, 2)))}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(q.o.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, err := os.ReadFile(q.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		at := bytes.LastIndex(file, row)
		if at < 0 || bytes.Count(file, row) != 1 {
			t.Fatal("the row is not in the file once")
		}
		for i, b := range row {
			if _, err := f.WriteAt([]byte{b ^ 0x10}, int64(at+i)); err != nil {
				t.Fatal(err)
			}
			if _, err := q.Get(2); err == nil {
				t.Fatalf("byte %d flipped: no error", i)
			}
			if d := storetest.Diff([]host.Rejected{good[0], good[2]}, listed(t, q, host.Wanted{}, 10)); d != "" {
				t.Fatalf("byte %d flipped (-want +got):\n%s", i, d)
			}
			if i < len(row)-1 {
				if _, err := f.WriteAt([]byte{b}, int64(at+i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// Both rows are still damaged: it can be dropped all the same.
	if err := q.Drop(2); err != nil {
		t.Error(err)
	}
	put(t, q, refused("till", "malformed", 1))
	wantNames(t, listed(t, q, host.Wanted{}, 10), "till detail 0 x1", "till detail 2 x1", "till detail 1 x1")
	closeFile(t, q)
}
