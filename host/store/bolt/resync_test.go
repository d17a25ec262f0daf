package bolt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/storetest"
)

// TestInvariant13_resyncSparesTheTreeOnTheDisk loses the meta page of the last
// commit, as a sync does that failed, and then the power, in the commit of the
// resync: its pages are on the disk, its meta page is not. What the disk has
// for its newest transaction must be whole.
func TestInvariant13_resyncSparesTheTreeOnTheDisk(t *testing.T) {
	const acknowledged = 50
	dir := t.TempDir()
	s := open(t, dir, Options{})
	path := segmentPath(dir, 1)
	for n := range acknowledged {
		if _, err := s.Append(t.Context(), storetest.SampleRecord(n)); err != nil {
			t.Fatal(err)
		}
	}
	onDisk := metaPages(t, path)
	if _, err := s.Append(t.Context(), storetest.SampleRecord(acknowledged)); err != nil {
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
	closeStore(t, s)

	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(file, onDisk)
	cut := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(cut, file, fileMode); err != nil {
		t.Fatal(err)
	}
	err = guard(func() error {
		db, err := bbolt.Open(cut, fileMode, nil)
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
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), fileMode); err != nil {
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
		{"first open, segment made", false, nil},
		{"open, mark torn", true, []func(*testing.T, string){write("LOCK", "inu")}},
		{"open, LOCK lost", true, []func(*testing.T, string){remove("LOCK")}},
		{"resync, state.db begun anew", true, []func(*testing.T, string){write("state.db.tmp", "begun")}},
		{"resync, state.db written anew", true, []func(*testing.T, string){func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(dir, "state.db"))
			if err != nil {
				t.Fatal(err)
			}
			write("state.db.tmp", string(b))(t, dir)
		}}},
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
			write("LOCK", markInUse)(t, dir)
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
	for _, db := range []*bbolt.DB{s.active().db, s.state} {
		wantSound(t, db)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if more, _ := filepath.Glob(filepath.Join(dir, "seg", "*.tmp")); err != nil || len(names)+len(more) > 0 {
		t.Errorf("%s are left", strings.Join(append(names, more...), ", "))
	}
}
