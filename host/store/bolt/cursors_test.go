package bolt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest"
)

// TestOpen_cursors takes state.db away, or damages it: the store opens only when
// it is told where the sinks are to begin.
func TestOpen_cursors(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"lost":    os.Remove,
		"cut off": func(path string) error { return os.Truncate(path, 5000) },
		"a page cleared": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 6*4096), 2*4096)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			subscribe(t, s, "a")
			for n := range 5 {
				if _, err := s.Append(t.Context(), storetest.SampleRecord(n)); err != nil {
					t.Fatal(err)
				}
			}
			if got := drain(t, s, "a"); got != 5 {
				t.Fatalf("%d delivered, want 5", got)
			}
			closeStore(t, s)
			path := filepath.Join(dir, "state.db")
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), path) ||
				!strings.Contains(err.Error(), "--cursors") {
				t.Fatalf("open: %v, want an error naming %s and --cursors", err, path)
			}
			s = open(t, dir, Options{Cursors: host.FromOldest})
			if notes := s.notes(); len(notes) != 1 || !strings.Contains(notes[0], path) {
				t.Errorf("notes %q, want one naming %s", notes, path)
			}
			if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromNow}); err != nil {
				t.Fatal(err)
			}
			if got := drain(t, s, "a"); got != 5 {
				t.Errorf("%d delivered again, want 5", got)
			}
			if got, err := s.Append(t.Context(), storetest.SampleRecord(9)); err != nil || got.Seq != 6 {
				t.Errorf("append: sequence %d, %v, want 6", got.Seq, err)
			}
			closeStore(t, s)
			// It is for once: a state.db that is whole is not touched.
			s = open(t, dir, Options{Cursors: host.FromOldest})
			subscribe(t, s, "a")
			l, err := s.Lease(t.Context(), "a", 10, time.Minute)
			if err != nil || len(l.Deliveries) != 1 {
				t.Errorf("%d deliveries, %v, want the one that is new", len(l.Deliveries), err)
			}
			closeStore(t, s)
		})
	}
}

// TestOpen_rowsAreMissing takes a dead letter out of a state.db that was closed,
// as a flipped bit in the number of a page's elements does.
func TestOpen_rowsAreMissing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	subscribe(t, s, "a")
	for n := range 2 {
		if _, err := s.Append(t.Context(), storetest.SampleRecord(n)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := s.Lease(t.Context(), "a", 2, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range l.Deliveries {
		if err := s.Settle(t.Context(), "a", host.Settlement{Token: d.Token, Outcome: host.Dead}); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	closeStore(t, open(t, dir, Options{}))
	path := filepath.Join(dir, "state.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		dead := sinkBucket(tx, "a").Bucket(bucketDead)
		k, _ := dead.Cursor().First()
		return dead.Delete(k)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("open: %v, want an error that names %s and what is missing", err, path)
	}
}
