package bolt

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/segment"
	"github.com/postern/postern/host/store/storetest"
)

func put(t *testing.T, s *Store, all ...*host.Rejected) {
	t.Helper()
	for _, r := range all {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInvariant9_whatWasRefusedIsReadBackWhole(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	r := storetest.SampleRejected(1, "till", "not-understood")
	put(t, s, r)
	want := *r
	want.ID, want.Count, want.Last = "q-1", 1, r.Callback.Received
	check := func() {
		t.Helper()
		got, err := s.Get(t.Context(), "q-1")
		if err != nil {
			t.Fatal(err)
		}
		if d := storetest.Diff(&want, got); d != "" {
			t.Errorf("got (-want +got):\n%s", d)
		}
		if d := storetest.Diff([]host.Rejected{want}, listed(t, s, host.Wanted{}, 10)); d != "" {
			t.Errorf("listed (-want +got):\n%s", d)
		}
		if n := s.quarantined(); n != 1 {
			t.Errorf("%d quarantined, want 1", n)
		}
	}
	check()
	kill(t, s)
	s = open(t, dir, Options{})
	check()
	closeStore(t, s)
	s = open(t, dir, Options{})
	check()
	closeStore(t, s)
}

// TestList_mergesKeptAndRefused: by the time of their receipt, in pages of every
// size, filtered in every way.
func TestList_mergesKeptAndRefused(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	for n := range 12 {
		endpoint := []string{"till", "shop"}[n%2]
		if n%3 > 0 {
			put(t, s, storetest.SampleRejected(n, endpoint, []string{"malformed", "not-verified"}[n%3-1]))
			continue
		}
		rec := storetest.SampleKept(n)
		rec.Endpoint = endpoint
		if _, err := s.Append(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		want host.Wanted
		ids  string
	}{
		"all":           {host.Wanted{}, "kept-1 q-1 q-2 kept-2 q-3 q-4 kept-3 q-5 q-6 kept-4 q-7 q-8"},
		"tenant":        {host.Wanted{Tenant: "acme"}, "kept-1 q-1 q-2 kept-2 q-3 q-4 kept-3 q-5 q-6 kept-4 q-7 q-8"},
		"other tenant":  {host.Wanted{Tenant: "acm"}, ""},
		"endpoint":      {host.Wanted{Endpoint: "shop"}, "q-1 kept-2 q-4 q-5 kept-4 q-8"},
		"kept":          {host.Wanted{Reason: "kept"}, "kept-1 kept-2 kept-3 kept-4"},
		"reason":        {host.Wanted{Reason: "malformed"}, "q-1 q-3 q-5 q-7"},
		"one ring":      {host.Wanted{Tenant: "acme", Endpoint: "shop", Reason: "not-verified"}, "q-4 q-8"},
		"other reason":  {host.Wanted{Reason: "plugin-failed"}, ""},
		"kept of other": {host.Wanted{Tenant: "x", Reason: "kept"}, ""},
	} {
		for n := 1; n <= 13; n++ {
			all := listed(t, s, tt.want, n)
			if got := ids(all); got != tt.ids {
				t.Errorf("%s in pages of %d: %s, want %s", name, n, got, tt.ids)
			}
			for _, r := range all {
				if r.Kept != strings.HasPrefix(r.ID, "kept-") || r.Kept != (r.Reason == "kept") {
					t.Errorf("%s: kept %v, reason %q", r.ID, r.Kept, r.Reason)
				}
			}
		}
	}
	// A page that holds all ends the list.
	for n, end := range map[int]bool{11: false, 12: true, 0: true} {
		if _, next, err := s.List(t.Context(), host.Wanted{}, "", n); err != nil || (next == "") != end {
			t.Errorf("page of %d: cursor %q, %v", n, next, err)
		}
	}
	for _, after := range []host.Cursor{"x", ".", "1", "1.", ".1", "01.1", "-1.1", "1.1 ", "1.1.1", "18446744073709551616.1"} {
		if _, _, err := s.List(t.Context(), host.Wanted{}, after, 1); err == nil {
			t.Errorf("cursor %q is taken", after)
		}
	}
}

// TestList_isBoundInBytes: a page is cut short rather than too large, and in
// order all the same.
func TestList_isBoundInBytes(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	large := make([]byte, maxReadBytes/2+1)
	for n := range 6 {
		rec := storetest.SampleKept(2 * n)
		rec.Callback.Body = append(slices.Clone(large), byte(n))
		if _, err := s.Append(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		r := storetest.SampleRejected(2*n+1, "till", "malformed")
		if n > 2 {
			r.Callback.Body = rec.Callback.Body
		}
		put(t, s, r)
	}
	const want = "kept-1 q-1 kept-2 q-2 kept-3 q-3 kept-4 q-4 kept-5 q-5 kept-6 q-6"
	if got := ids(listed(t, s, host.Wanted{}, 100)); got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	if page, next, err := s.List(t.Context(), host.Wanted{}, "", 100); err != nil || len(page) > 6 || next == "" {
		t.Errorf("%d in a page, cursor %q, %v", len(page), next, err)
	}
}

func TestDrop_ofWhatIsNotThere(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	for _, id := range []string{"", "x", "q-", "q-0", "q-7", "q-01", "kept-7", "kept--1", "1", "q-18446744073709551616"} {
		if err := s.Drop(t.Context(), id); !errors.Is(err, host.ErrNotFound) {
			t.Errorf("drop of %q: %v, want ErrNotFound", id, err)
		}
		if _, err := s.Get(t.Context(), id); !errors.Is(err, host.ErrNotFound) {
			t.Errorf("get of %q: %v, want ErrNotFound", id, err)
		}
	}
}

// TestQuarantine_damagedFileIsMovedAside: the store opens, takes and delivers,
// and the quarantine begins anew.
func TestQuarantine_damagedFileIsMovedAside(t *testing.T) {
	change := func(fn func(tx *bbolt.Tx) error) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			db, err := bbolt.Open(path, disk.FileMode, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(fn), db.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, damage := range map[string]func(*testing.T, string){
		"cut off": func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, disk.FileMode); err != nil {
				t.Fatal(err)
			}
		},
		"pages of something else": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for at := int64(2 * os.Getpagesize()); at < 16*int64(os.Getpagesize()); at++ {
				if _, err := f.WriteAt([]byte{0xAA}, at); err != nil {
					t.Fatal(err)
				}
			}
		},
		"no bucket": change(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("o")) }),
		"no form":   change(func(tx *bbolt.Tx) error { return tx.Bucket(segment.BucketMeta).Delete(disk.KeyForm) }),
		"ring": change(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("g")).Put([]byte("acme\x00till\x00malformed"), []byte("ring"))
		}),
		"ring of another": change(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("g"))
			return b.Put([]byte("x"), b.Get([]byte("acme\x00till\x00malformed")))
		}),
	} {
		for _, mark := range []string{disk.MarkClean, disk.MarkInUse} {
			t.Run(name+", "+strings.TrimSpace(mark), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir, Options{})
				put(t, s, storetest.SampleRejected(1, "till", "malformed"))
				if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
					t.Fatal(err)
				}
				closeStore(t, s)
				damage(t, filepath.Join(dir, "quarantine.db"))
				if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte(mark), disk.FileMode); err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				s = open(t, dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
				defer closeStore(t, s)
				if aside, err := filepath.Glob(filepath.Join(dir, "damaged", "*quarantine.db")); err != nil || len(aside) != 1 {
					t.Errorf("moved aside: %q, %v", aside, err)
				}
				st, err := s.Status(t.Context())
				if err != nil || len(st.Damaged) != 1 || !strings.Contains(st.Damaged[0], "quarantine") || !strings.Contains(log.String(), "quarantine.db") {
					t.Errorf("status %+v, %v, log %q", st, err, log.String())
				}
				put(t, s, storetest.SampleRejected(2, "till", "malformed"))
				if got := ids(listed(t, s, host.Wanted{}, 10)); got == "q-1" || !strings.HasPrefix(got, "q-") {
					t.Errorf("listed %s, want one with a new number", got)
				}
				if _, err := s.Append(t.Context(), storetest.SampleRecord(2)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestInvariant10_laterQuarantineIsLeftAlone: it is no damage, and whoever goes
// back to the later version finds it.
func TestInvariant10_laterQuarantineIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	put(t, s, storetest.SampleRejected(1, "till", "malformed"))
	closeStore(t, s)
	path := filepath.Join(dir, "quarantine.db")
	setForm := func(n uint64) {
		db, err := bbolt.Open(path, disk.FileMode, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(segment.BucketMeta).Put(disk.KeyForm, disk.Number(n)) })
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	setForm(2)
	var log bytes.Buffer
	s = open(t, dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "later version") {
		t.Errorf("log %q", log.String())
	}
	if _, err := s.Append(t.Context(), storetest.SampleKept(1)); err != nil {
		t.Error(err)
	}
	if all := listed(t, s, host.Wanted{Reason: "kept"}, 10); len(all) != 1 {
		t.Errorf("%d kept, want 1", len(all))
	}
	if _, _, err := s.List(t.Context(), host.Wanted{}, "", 10); host.CodeOf(err) != host.StoreUnavailable {
		t.Errorf("list: %v, want store.unavailable", err)
	}
	closeStore(t, s)
	setForm(1)
	s = open(t, dir, Options{})
	defer closeStore(t, s)
	if got := ids(listed(t, s, host.Wanted{Reason: "malformed"}, 10)); got != "q-1" {
		t.Errorf("listed %s, want q-1", got)
	}
}

// TestQuarantine_failureIsNotTheStores: nothing was acknowledged for it.
func TestQuarantine_failureIsNotTheStores(t *testing.T) {
	for name, fault := range map[string]func() error{
		"disk full": func() error { return writeError(syscall.ENOSPC) },
		"write":     func() error { return writeError(syscall.EIO) },
		"sync":      func() error { return syscall.EIO },
		"panic":     func() error { panic("page 7 is not a leaf") },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
				if filepath.Base(db.Path()) == "quarantine.db" {
					return fault()
				}
				return db.Update(fn)
			}})
			put(t, s, storetest.SampleRejected(1, "till", "malformed"))
			if all := listed(t, s, host.Wanted{Reason: "malformed"}, 10); len(all) != 0 {
				t.Errorf("%d listed", len(all))
			}
			if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
				t.Errorf("append: %v", err)
			}
			select {
			case <-s.Failed():
				t.Error("the store has failed")
			default:
			}
			closeStore(t, s)
			if mark, err := os.ReadFile(filepath.Join(s.dir, "LOCK")); string(mark) != disk.MarkClean {
				t.Errorf("mark: %q, %v", mark, err)
			}
		})
	}
}
