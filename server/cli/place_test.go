package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt"
)

// shelved makes a data directory with one event, as a stopped server leaves it.
func shelved(t *testing.T) (dir, id string) {
	t.Helper()
	dir = t.TempDir()
	store, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ev := event(1, "payment.succeeded", "succeeded", "15.250").Event
	rec := &host.Record{Kind: host.Accepted, Tenant: "main", Endpoint: "ottu", Provider: "ottu", Events: []host.Event{ev}}
	if _, err := store.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, ev.ID()
}

func TestOffline(t *testing.T) {
	dir, id := shelved(t)
	got := postern(t, nil, "events", "list", "--data", dir)
	if got.code != exitDone || !strings.Contains(got.stdout, id) {
		t.Errorf("events list of a stopped server's directory = %+v, want event %s", got, id)
	}
	got = postern(t, nil, "events", "tail", "--data", dir)
	want := result{exitFailed, "", "postern: no server is running on this data directory: nothing will come in\n"}
	if got != want {
		t.Errorf("events tail = %+v, want %+v", got, want)
	}
	// Each command has closed the directory again.
	store, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		t.Fatalf("Open after the commands = %v, want the lock free", err)
	}
	got = postern(t, nil, "events", "list", "--data", dir)
	if got.code != exitFailed || strings.Count(got.stderr, "\n") != 1 ||
		!strings.Contains(got.stderr, "another postern process holds it, and does not answer on its admin socket") {
		t.Errorf("events list of a locked directory = %+v, want one line that says so, and code 1", got)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// Looking leaves nothing behind where nothing was.
func TestOffline_nothingThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	got := postern(t, nil, "events", "list", "--data", dir)
	want := result{exitFailed, "", "postern: there is no data in " + dir + "; --data or store.path names the directory\n"}
	if got != want {
		t.Errorf("events list = %+v, want %+v", got, want)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("events list made %s (%v)", dir, err)
	}
}
