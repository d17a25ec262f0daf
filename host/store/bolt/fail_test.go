package bolt

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/segment"
	"github.com/postern/postern/host/store/storetest"
)

// dirOf is the last part of the directory that a file is in.
func dirOf(db *bbolt.DB) string { return filepath.Base(filepath.Dir(db.Path())) }

// writeError is what bbolt returns for a write that failed with errno.
func writeError(errno syscall.Errno) error {
	return &fs.PathError{Op: "write", Path: "x.db", Err: errno}
}

// failing is a store whose commits fail with what is put into the error.
func failing(t *testing.T, o Options, log bool) (*Store, *fault) {
	t.Helper()
	f := &fault{}
	o.update = func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
		if err := f.get(); err != nil && isState(db) != log {
			return err
		}
		return db.Update(fn)
	}
	return open(t, t.TempDir(), o), f
}

// fault is an error that comes and goes, also beside what tends the store.
type fault struct {
	mu  sync.Mutex
	err error
}

func (f *fault) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fault) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func wantFailed(t *testing.T, s *Store) {
	t.Helper()
	select {
	case <-s.Failed():
	default:
		t.Error("the store has not failed")
	}
	if _, err := s.Append(t.Context(), storetest.SampleRecord(99)); host.CodeOf(err) != host.StoreUnavailable {
		t.Errorf("append to a store that failed: %v, want store.unavailable", err)
	}
	if _, err := s.Lease(t.Context(), "a", 1, time.Minute); host.CodeOf(err) != host.StoreUnavailable {
		t.Errorf("lease from a store that failed: %v, want store.unavailable", err)
	}
	if err := s.Settle(t.Context(), "a"); host.CodeOf(err) != host.StoreUnavailable {
		t.Errorf("settle in a store that failed: %v, want store.unavailable", err)
	}
}

func TestInvariant13_nothingIsTakenAfterAFailedCommit(t *testing.T) {
	for name, cause := range map[string]error{
		"write": writeError(syscall.EIO),
		"sync":  syscall.EIO,
		// A sync that finds the disk full has lost pages like any other.
		"sync, full":      syscall.ENOSPC,
		"sync, full, too": &fs.PathError{Op: "sync", Path: "x.db", Err: syscall.ENOSPC},
		"too large":       writeError(syscall.EFBIG),
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s, fault := failing(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, true)
			if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
				t.Fatal(err)
			}
			fault.set(cause)
			_, err := s.Append(t.Context(), storetest.SampleRecord(2))
			if host.CodeOf(err) != host.StoreUnavailable || !errors.Is(err, cause) {
				t.Errorf("append: %v, want store.unavailable for %v", err, cause)
			}
			// The disk works again, the store does not.
			fault.set(nil)
			wantFailed(t, s)
			if !strings.Contains(log.String(), "store failed") {
				t.Errorf("log says %q", log.String())
			}
			if err := s.Close(); err == nil {
				t.Error("close of a store that failed: no error")
			}
			if mark, err := os.ReadFile(filepath.Join(s.dir, "LOCK")); string(mark) != disk.MarkInUse {
				t.Errorf("mark after a failure: %q, %v", mark, err)
			}
		})
	}
}

// TestInvariant13_realWriteFails takes bbolt's file away under it, so that the
// error is one of the real calls.
func TestInvariant13_realWriteFails(t *testing.T) {
	var files []*os.File
	s := open(t, t.TempDir(), Options{openFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(path, flag, mode)
		if strings.Contains(path, "seg") {
			files = append(files, f)
		}
		return f, err
	}})
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		f.Close()
	}
	if _, err := s.Append(t.Context(), storetest.SampleRecord(2)); host.CodeOf(err) != host.StoreUnavailable {
		t.Errorf("append: %v, want store.unavailable", err)
	}
	wantFailed(t, s)
	s.Close()
	if _, err := s.Event(t.Context(), storetest.SampleEvent(2, 0).Key.ID()); err == nil {
		t.Error("what was not acknowledged is read")
	}
}

func TestInvariant13_panicInACommit(t *testing.T) {
	s := open(t, t.TempDir(), Options{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
		return db.Update(func(tx *bbolt.Tx) error {
			if err := fn(tx); err != nil || isState(db) {
				return err
			}
			panic("page 7 is not a leaf")
		})
	}})
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); host.CodeOf(err) != host.StoreUnavailable {
		t.Errorf("append: %v, want store.unavailable", err)
	}
	wantFailed(t, s)
	s.Close()
}

func TestInvariant13_failedStateFailsTheStore(t *testing.T) {
	s, fault := failing(t, Options{}, false)
	defer s.Close()
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
		t.Fatal(err)
	}
	l, err := s.Lease(t.Context(), "a", 1, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	fault.set(syscall.EIO)
	err = s.Settle(t.Context(), "a", host.Settlement{Token: l.Deliveries[0].Token, Outcome: host.Dead})
	if host.CodeOf(err) != host.StoreUnavailable {
		t.Errorf("settle: %v, want store.unavailable", err)
	}
	wantFailed(t, s)
}

func TestAppend_fullDiskHeals(t *testing.T) {
	s, fault := failing(t, Options{}, true)
	defer closeStore(t, s)
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		fault.set(writeError(errno))
		if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); host.CodeOf(err) != host.StoreFull {
			t.Errorf("append: %v, want store.full", err)
		}
	}
	fault.set(nil)
	got, err := s.Append(t.Context(), storetest.SampleRecord(1))
	if err != nil || got.Events[0] != host.Stored {
		t.Errorf("append with room again: %+v, %v", got, err)
	}
}

// TestFullDisk_whatShowsAllTheSame has a commit succeed and say that the disk was
// full: so it looks where the write of the meta page fails and has changed the
// page cache, which bbolt reads. Going on would serve what is said not to be there.
func TestFullDisk_whatShowsAllTheSame(t *testing.T) {
	for name, act := range map[string]func(*testing.T, *Store) error{
		"append": func(t *testing.T, s *Store) error {
			_, err := s.Append(t.Context(), storetest.SampleRecord(2))
			return err
		},
		"settle": func(t *testing.T, s *Store) error {
			l, err := s.Lease(t.Context(), "a", 1, time.Hour)
			if err != nil || len(l.Deliveries) != 1 {
				t.Fatalf("lease: %d deliveries, %v", len(l.Deliveries), err)
			}
			return s.Settle(t.Context(), "a", host.Settlement{Token: l.Deliveries[0].Token, Outcome: host.Dead})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var lies atomic.Bool
			dir := t.TempDir()
			s := open(t, dir, Options{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
				err := db.Update(fn)
				if err == nil && lies.Load() {
					err = writeError(syscall.ENOSPC)
				}
				return err
			}})
			subscribe(t, s, "a")
			if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
				t.Fatal(err)
			}
			lies.Store(true)
			if err := act(t, s); host.CodeOf(err) != host.StoreUnavailable {
				t.Errorf("%s: %v, want store.unavailable", name, err)
			}
			wantFailed(t, s)
			_ = s.Close()

			s = open(t, dir, Options{})
			defer closeStore(t, s)
			dead, _, err := s.DeadLetters(t.Context(), "a", "", 10)
			if err != nil {
				t.Fatal(err)
			}
			l, err := s.Lease(t.Context(), "a", 10, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if len(dead)+len(l.Deliveries) != int(s.last.Load()) {
				t.Errorf("%d dead, %d delivered again, of %d records: want each once", len(dead), len(l.Deliveries), s.last.Load())
			}
		})
	}
}

func TestInvariant5_settleThatFailsComesBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	s, fault := failing(t, Options{Now: func() time.Time { return now }}, false)
	defer closeStore(t, s)
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
		t.Fatal(err)
	}
	for _, outcome := range []host.Outcome{host.Dead, host.Again} {
		l, err := s.Lease(t.Context(), "a", 1, time.Hour)
		if err != nil || len(l.Deliveries) != 1 {
			t.Fatalf("lease: %d deliveries, %v", len(l.Deliveries), err)
		}
		fault.set(writeError(syscall.ENOSPC))
		st := host.Settlement{Token: l.Deliveries[0].Token, Outcome: outcome}
		if err := s.Settle(t.Context(), "a", st); host.CodeOf(err) != host.StoreFull {
			t.Errorf("settle: %v, want store.full", err)
		}
		fault.set(nil)
		if got, err := s.Lag(t.Context(), "a"); err != nil || got != (host.Lag{Retrying: 1}) {
			t.Errorf("lag %+v, %v, want one retrying", got, err)
		}
		// Not at once: the sink would be called in a loop.
		l, err = s.Lease(t.Context(), "a", 1, time.Hour)
		if err != nil || len(l.Deliveries) != 0 || !l.Next.Equal(now.Add(time.Hour)) {
			t.Errorf("after the settle: %d deliveries, next %v, %v, want none until the lease's end", len(l.Deliveries), l.Next, err)
		}
		now = now.Add(time.Hour)
	}
}

func TestOpen_locked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second open: %v, want ErrLocked naming %s", err, dir)
	}
	closeStore(t, s)
	closeStore(t, open(t, dir, Options{}))
}

func TestOpen_damagedState(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, open(t, dir, Options{}))
	path := filepath.Join(dir, "state.db")
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{disk.MarkClean, disk.MarkInUse} {
		if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte(mark), disk.FileMode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
			t.Errorf("open: %v, want an error naming %s", err, path)
		}
	}
}

func TestOpen_stateMissing(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, open(t, dir, Options{}))
	path := filepath.Join(dir, "state.db")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("open: %v, want an error naming %s", err, path)
	}
}

func TestInvariant10_laterFormIsRefused(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, open(t, dir, Options{}))
	db, err := bbolt.Open(segment.Path(dir, 1), disk.FileMode, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(segment.BucketMeta).Put(disk.KeyForm, disk.Number(disk.Form+1))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "form") {
		t.Errorf("open of a later form: %v", err)
	}
}

// TestRead_everyFlippedByteIsFound flips every byte of a record in its file.
func TestRead_everyFlippedByteIsFound(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
		t.Fatal(err)
	}
	var stored []byte
	err := s.record(1, func(b []byte) error {
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
	at := bytes.LastIndex(file, stored)
	if at < 0 || bytes.Count(file, stored) != 1 {
		t.Fatal("the record is not in the file once")
	}
	f, err := os.OpenFile(segment.Path(dir, 1), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, b := range stored {
		if _, err := f.WriteAt([]byte{b ^ 0x10}, int64(at+i)); err != nil {
			t.Fatal(err)
		}
		_, err := s.Callback(t.Context(), 1)
		if err == nil || !strings.Contains(err.Error(), "record 1") || !strings.Contains(err.Error(), s.active().Path) {
			t.Fatalf("byte %d flipped: %v, want an error naming record and segment", i, err)
		}
		if _, err := f.WriteAt([]byte{b}, int64(at+i)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Callback(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := storetest.Diff(storetest.SampleRecord(1), got); d != "" {
		t.Errorf("mended record differs:\n%s", d)
	}
	closeStore(t, s)
}

// TestInvariant13_closeThatFailsLateIsNotClean fails the commit of a change
// that comes while Close writes its own.
func TestInvariant13_closeThatFailsLateIsNotClean(t *testing.T) {
	var s *Store
	// What tends the store commits beside Close.
	var closing, late atomic.Bool
	s = open(t, t.TempDir(), Options{update: func(db *bbolt.DB, fn func(*bbolt.Tx) error) error {
		if late.Load() {
			return syscall.EIO
		}
		if closing.Load() {
			late.Store(s.changes.Offer(&change{apply: func(*bbolt.Tx) error { return nil }, done: make(chan struct{})}))
		}
		return db.Update(fn)
	}})
	closing.Store(true)
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close of a store that failed meanwhile: %v, want EIO", err)
	}
	if mark, err := os.ReadFile(filepath.Join(s.dir, "LOCK")); string(mark) != disk.MarkInUse {
		t.Errorf("mark after a failure: %q, %v", mark, err)
	}
}
