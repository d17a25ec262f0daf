package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/storetest"
)

// TestInvariant13_resyncSparesTheTreeOnTheDisk loses the meta page of the last
// commit, as a sync does that failed, and then the power, in the first commit
// after the next open: its pages are on the disk, its meta page is not. What the
// disk has for its newest transaction must be whole.
func TestInvariant13_resyncSparesTheTreeOnTheDisk(t *testing.T) {
	t.Run("segment", func(t *testing.T) {
		sparesTheTree(t, filepath.Join("seg", "00000000000000000001.db"), func(s *Store, n int) error {
			// Keys on many pages, so that putting them again takes all that are
			// free.
			var events []host.Event
			for i := range 20 {
				events = append(events, storetest.SampleEvent(1000*i+n, 0))
			}
			_, err := s.Append(t.Context(), storetest.SampleRecord(n, events...))
			return err
		})
	})
	t.Run("state.db", func(t *testing.T) {
		sparesTheTree(t, "state.db", func(s *Store, n int) error {
			return s.Subscribe(t.Context(), fmt.Sprintf("sink-%d", n), host.Subscription{From: host.FromOldest})
		})
	})
	t.Run("quarantine.db", func(t *testing.T) {
		sparesTheTree(t, "quarantine.db", func(s *Store, n int) error {
			// More pages than are free.
			for i := range 20 {
				r := storetest.SampleRejected(1000*i+n, "till", "malformed")
				r.Callback.Body = bulky(1000*i + n).Callback.Body
				if err := s.Put(t.Context(), r); err != nil {
					return err
				}
			}
			// To list has them written.
			_, _, err := s.List(t.Context(), host.Wanted{}, "", 1)
			return err
		})
	})
}

// sparesTheTree does it for a file that commit commits to, as Open or Close does
// too.
func sparesTheTree(t *testing.T, name string, commit func(*Store, int) error) {
	const acknowledged = 50
	dir := t.TempDir()
	s := open(t, dir, Options{})
	path := filepath.Join(dir, name)
	for n := range acknowledged {
		if err := commit(s, n); err != nil {
			t.Fatal(err)
		}
	}
	onDisk := metaPages(t, path)
	if err := commit(s, acknowledged); err != nil {
		t.Fatal(err)
	}
	kill(t, s)
	inCache := metaPages(t, path)
	long := time.Unix(1e9, 0)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{openFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
		// No transaction has begun yet: only the meta page can be new.
		if info, err := os.Stat(name); name == path && err == nil && !info.ModTime().Equal(long) {
			onDisk = inCache
		}
		return os.OpenFile(name, flag, mode)
	}})
	if name == "quarantine.db" {
		if err := commit(s, acknowledged+1); err != nil {
			t.Fatal(err)
		}
	}
	// Open commits to a segment, Close to state.db.
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if bytes.Equal(file[:len(inCache)], inCache) {
		if file, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(file[:len(inCache)], inCache) {
		t.Fatal("no commit came after the open: nothing was shown")
	}
	copy(file, onDisk)
	cut := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(cut, file, disk.FileMode); err != nil {
		t.Fatal(err)
	}
	err = disk.Guard(func() error {
		db, err := bbolt.Open(cut, disk.FileMode, nil)
		if err != nil {
			return err
		}
		wantSound(t, db)
		return db.Close()
	})
	if err != nil {
		t.Errorf("after the power cut: %v", err)
	}
}

// TestOpen_fullDiskAfterAnUncleanEnd leaves no room for the resync: the store
// opens with all that was acknowledged, and takes more once there is room.
func TestOpen_fullDiskAfterAnUncleanEnd(t *testing.T) {
	const records = 3
	dir := t.TempDir()
	s := open(t, dir, Options{})
	for n := range records {
		if _, err := s.Append(t.Context(), storetest.SampleRecord(n)); err != nil {
			t.Fatal(err)
		}
	}
	kill(t, s)
	full := true
	var log bytes.Buffer
	s = open(t, dir, Options{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
			return db.Update(func(tx *bbolt.Tx) error {
				if err := fn(tx); err != nil || !full {
					return err
				}
				return writeError(syscall.ENOSPC)
			})
		},
	})
	if got := log.String(); !strings.Contains(got, "last records not put again") || strings.Contains(got, "resynced") {
		t.Errorf("the log says %q, want that the records were not put again", got)
	}
	for n := range records {
		if _, err := s.Event(t.Context(), storetest.SampleEvent(n, 0).Key.ID()); err != nil {
			t.Errorf("event %d: %v", n, err)
		}
	}
	if _, err := s.Append(t.Context(), storetest.SampleRecord(records)); host.CodeOf(err) != host.StoreFull {
		t.Errorf("append: %v, want store.full", err)
	}
	full = false
	if got, err := s.Append(t.Context(), storetest.SampleRecord(records)); err != nil || got.Seq == 0 {
		t.Errorf("append with room again: %+v, %v", got, err)
	}
	closeStore(t, s)
	wantWhole(t, dir, records+1)
}

// TestOpen_resyncFails wants any other failure to keep the store from opening,
// with the mark of an unclean end.
func TestOpen_resyncFails(t *testing.T) {
	for name, cause := range map[string]error{
		"write": writeError(syscall.EIO),
		"sync":  syscall.ENOSPC,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			kill(t, open(t, dir, Options{}))
			_, err := Open(dir, Options{update: func(*bbolt.DB, func(*bbolt.Tx) error) error { return cause }})
			if !errors.Is(err, cause) || !strings.Contains(err.Error(), "resync") {
				t.Errorf("open: %v, want a resync that failed with %v", err, cause)
			}
			if mark, err := os.ReadFile(filepath.Join(dir, "LOCK")); string(mark) != disk.MarkInUse {
				t.Errorf("mark: %q, %v", mark, err)
			}
			closeStore(t, open(t, dir, Options{}))
		})
	}
}

func metaPages(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(file[:2*os.Getpagesize()])
}

// TestOpen_afterEveryCut opens what a kill or a power cut can leave at each
// point of an Open and a Close, and wants the store to work, with all that was
// acknowledged and nothing that is half done.
func TestOpen_afterEveryCut(t *testing.T) {
	const first = "seg/00000000000000000001.db"
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), disk.FileMode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		// Of a store with a record, or of one that was never used.
		used bool
		cut  []func(*testing.T, string)
	}{
		{"first open, LOCK made", false, []func(*testing.T, string){remove("state.db", first, "seg"), write("LOCK", "")}},
		{"first open, LOCK marked", false, []func(*testing.T, string){remove("state.db", first, "seg")}},
		{"first open, seg made", false, []func(*testing.T, string){remove("state.db", first)}},
		{"first open, state.db begun", false, []func(*testing.T, string){remove("state.db", first), write("state.db.tmp", "begun")}},
		{"first open, state.db made", false, []func(*testing.T, string){remove(first)}},
		{"first open, segment begun", false, []func(*testing.T, string){remove(first), write(first+".tmp", "begun")}},
		{"first open, segment made", false, []func(*testing.T, string){remove("quarantine.db")}},
		{"first open, quarantine begun", false, []func(*testing.T, string){remove("quarantine.db"), write("quarantine.db.tmp", "begun")}},
		{"first open, quarantine made", false, nil},
		{"open, mark torn", true, []func(*testing.T, string){write("LOCK", "inu")}},
		{"open, LOCK lost", true, []func(*testing.T, string){remove("LOCK")}},
		{"resync, cut before its meta page", true, []func(*testing.T, string){func(t *testing.T, dir string) {
			metas := metaPages(t, filepath.Join(dir, first))
			kill(t, open(t, dir, Options{}))
			file, err := os.ReadFile(filepath.Join(dir, first))
			if err != nil {
				t.Fatal(err)
			}
			copy(file, metas)
			write(first, string(file))(t, dir)
		}}},
		{"close, sequences given back", true, []func(*testing.T, string){func(t *testing.T, dir string) {
			closeStore(t, open(t, dir, Options{}))
			write("LOCK", disk.MarkInUse)(t, dir)
		}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			used := 0
			for ; c.used && used < 30; used++ {
				if _, err := s.Append(t.Context(), storetest.SampleRecord(used)); err != nil {
					t.Fatal(err)
				}
			}
			kill(t, s)
			for _, cut := range c.cut {
				cut(t, dir)
			}
			for range 2 {
				wantWhole(t, dir, used)
			}
		})
	}
}

// wantWhole opens the store and looks for the first records.
func wantWhole(t *testing.T, dir string, records int) {
	t.Helper()
	s := open(t, dir, Options{})
	defer closeStore(t, s)
	for n := range records {
		if got, err := s.Append(t.Context(), storetest.SampleRecord(n)); err != nil || got.Seq != 0 {
			t.Fatalf("append of record %d again: %+v, %v, want a duplicate", n, got, err)
		}
	}
	if got, err := s.Append(t.Context(), storetest.SampleIgnored(0)); err != nil || got.Seq <= uint64(records) {
		t.Errorf("append: %+v, %v, want a sequence above %d", got, err, records)
	}
	for _, db := range []*bbolt.DB{s.active().DB, s.state} {
		wantSound(t, db)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if more, _ := filepath.Glob(filepath.Join(dir, "seg", "*.tmp")); err != nil || len(names)+len(more) > 0 {
		t.Errorf("%s are left", strings.Join(append(names, more...), ", "))
	}
}
