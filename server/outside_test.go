package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt"
)

// Every bound of the configuration reaches the store.
func TestBoltOptions(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	got := boltOptions(&config.Store{
		Engine: config.EngineBolt, Path: "data", MaxKept: 1, SegmentSize: 2, SegmentAge: 3 * time.Hour, Retention: 4 * time.Hour,
		DedupWindow: 5 * time.Hour, Reserve: 6, QueueRequests: 7, QueueBytes: 8, Quarantine: config.Quarantine{RingEntries: 9, RingBytes: 10},
	}, log)
	want := bolt.Options{
		Log: log, MaxKept: 1, SegmentSize: 2, SegmentAge: 3 * time.Hour, Retention: 4 * time.Hour, Window: 5 * time.Hour,
		Reserve: 6, QueueRequests: 7, QueueBytes: 8, RingEntries: 9, RingBytes: 10,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(bolt.Options{}), cmp.Comparer(func(a, b *slog.Logger) bool { return a == b })); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

// A store that has lost where its sinks are opens only where the operator says
// where they begin.
func TestOpenStore_cursors(t *testing.T) {
	t.Parallel()
	c, log := config.Default().Store, slog.New(slog.DiscardHandler)
	c.Path = t.TempDir()
	reopen := func(cursors host.From) error {
		store, err := openStore(t.Context(), &c, cursors, log)
		if err != nil {
			return err
		}
		return store.Close()
	}
	if err := reopen(""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Path, "state.db"), []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reopen(""); err == nil || !strings.Contains(err.Error(), "--cursors oldest") {
		t.Errorf("open with a damaged state.db = %v, want an error that names --cursors", err)
	}
	if err := reopen(host.FromOldest); err != nil {
		t.Errorf("open with --cursors oldest = %v", err)
	}
	if err := reopen(""); err != nil {
		t.Errorf("open after that = %v", err)
	}
}
