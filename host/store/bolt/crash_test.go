package bolt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/segment"
	"github.com/postern/postern/host/store/storetest"
)

// crashDir, in the environment, makes the test binary the process that is
// killed, and names its directory; crashFrom is the number of its first event.
const (
	crashDir  = "POSTERN_TEST_CRASH_DIR"
	crashFrom = "POSTERN_TEST_CRASH_FROM"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, crashing(dir, os.Getenv(crashFrom)))
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// crashing appends, leases and settles until it is killed, and prints what was
// acknowledged.
func crashing(dir, from string) error {
	var first int
	if _, err := fmt.Sscan(from, &first); err != nil {
		return err
	}
	s, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	if err := s.Subscribe(context.Background(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		return err
	}
	const writers = 8
	errs := make(chan error, writers+2)
	for w := range writers {
		go func() {
			for n := first + 2*w; ; n += 2 * writers {
				rec := storetest.SampleRecord(n, storetest.SampleEvent(n, 0), storetest.SampleEvent(n+1, 0))
				if _, err := s.Append(context.Background(), rec); err != nil {
					errs <- err
					return
				}
				fmt.Fprintf(os.Stdout, "stored %d\n", n)
			}
		}()
	}
	go func() { errs <- crashingSink(s) }()
	go func() { errs <- crashingQuarantine(s, first) }()
	return <-errs
}

// crashingQuarantine puts, and drops every third.
func crashingQuarantine(s *Store, first int) error {
	for n := first; ; n++ {
		if err := s.Put(context.Background(), storetest.SampleRejected(n, "till", "malformed")); err != nil {
			return err
		}
		all, _, err := s.List(context.Background(), host.Wanted{}, "", 1)
		if err == nil && n%3 == 0 {
			err = s.Drop(context.Background(), all[0].ID)
		}
		if err != nil {
			return err
		}
	}
}

// crashingSink gives up every third delivery.
func crashingSink(s *Store) error {
	for i := 0; ; i++ {
		l, err := s.Lease(context.Background(), "a", 5, time.Hour)
		if err != nil {
			return err
		}
		for j, d := range l.Deliveries {
			st := host.Settlement{Token: d.Token, Outcome: host.Done}
			if (i+j)%3 == 0 {
				st.Outcome, st.Reason = host.Dead, "no"
			}
			if err := s.Settle(context.Background(), "a", st); err != nil {
				return err
			}
			if st.Outcome == host.Dead {
				fmt.Fprintf(os.Stdout, "dead %s\n", d.Event.ID())
			}
		}
	}
}

// TestInvariant2_killedProcessLosesNothing kills a process under load, again
// and again in one directory, and looks for all that it had acknowledged.
func TestInvariant2_killedProcessLosesNothing(t *testing.T) {
	const rounds = 5
	dir := t.TempDir()
	var stored []int
	var dead []string
	for round := range rounds {
		killUnderLoad(t, dir, round*1_000_000, 400, &stored, &dead)
		var log bytes.Buffer
		s := open(t, dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if !strings.Contains(log.String(), "store resynced after an unclean end") || strings.Contains(log.String(), "records=0") {
			t.Errorf("log of the open: %q, want a resync of some records", log.String())
		}
		wantStored(t, s, stored)
		wantDead(t, s, dead)
		for _, db := range []*bbolt.DB{s.active().DB, s.state} {
			wantSound(t, db)
		}
		all := listed(t, s, host.Wanted{Reason: "malformed"}, 100)
		if len(all) == 0 || len(all) != s.quarantined() || len(s.notes()) > 0 {
			t.Errorf("%d listed of %d quarantined, damage %q", len(all), s.quarantined(), s.notes())
		}
		closeStore(t, s)
		wantSoundQuarantine(t, dir)
		if len(stored) == 0 || len(dead) == 0 {
			t.Fatalf("nothing happened before the kill: %d stored, %d dead", len(stored), len(dead))
		}
	}
}

// killUnderLoad runs the other process until it has acknowledged acks things.
func killUnderLoad(t *testing.T, dir string, from, acks int, stored *[]int, dead *[]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%d", crashFrom, from))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		what, id, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "stored":
			var number int
			fmt.Sscan(id, &number)
			*stored = append(*stored, number)
		case "dead":
			*dead = append(*dead, id)
		}
		if n == acks {
			// The rest of the output is read: it was acknowledged too.
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != -1 {
		t.Fatalf("the process was not killed: %v\n%s", err, stderr.String())
	}
}

func wantStored(t *testing.T, s *Store, stored []int) {
	t.Helper()
	for _, n := range stored {
		var seqs []uint64
		for _, m := range []int{n, n + 1} {
			ev, err := s.Event(t.Context(), storetest.SampleEvent(m, 0).Key.ID())
			if err != nil {
				t.Fatalf("acknowledged event %d: %v", m, err)
			}
			if want := storetest.SampleEvent(m, 0); ev.Event.Subject != want.Subject || string(ev.Event.Data) != string(want.Data) {
				t.Fatalf("acknowledged event %d reads %+v", m, ev.Event)
			}
			seqs = append(seqs, ev.Seq)
		}
		if seqs[0] != seqs[1] {
			t.Errorf("events of callback %d are in records %d", n, seqs)
		}
	}
	n := stored[len(stored)-1]
	got, err := s.Append(t.Context(), storetest.SampleRecord(n))
	if err != nil || got.Events[0] != host.Duplicate {
		t.Errorf("append of what was acknowledged: %+v, %v, want a duplicate", got, err)
	}
}

func wantDead(t *testing.T, s *Store, dead []string) {
	t.Helper()
	var got []string
	var after host.Cursor
	for {
		some, next, err := s.DeadLetters(t.Context(), "a", after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range some {
			got = append(got, some[i].Event.ID())
		}
		if after = next; next == "" {
			break
		}
	}
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != len(got) {
		t.Errorf("%d dead letters are of %d events", len(got), n)
	}
	for _, id := range dead {
		if _, found := slices.BinarySearch(got, id); !found {
			t.Errorf("dead letter %s is lost", id)
		}
	}
}

func wantSound(t *testing.T, db *bbolt.DB) {
	t.Helper()
	err := db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("%s: %v", db.Path(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// wantSoundQuarantine looks at the file of a store that is closed.
func wantSoundQuarantine(t *testing.T, dir string) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "quarantine.db"), disk.FileMode, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	wantSound(t, db)
}

func TestOpen_resyncsOnlyAfterAnUncleanEnd(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	o := Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
	s := open(t, dir, o)
	for n := range 3 {
		if _, err := s.Append(t.Context(), storetest.SampleRecord(n)); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	s = open(t, dir, o)
	if log.Len() != 0 {
		t.Errorf("after a clean end the log says %q", log.String())
	}
	if got, err := s.Append(t.Context(), storetest.SampleRecord(3)); err != nil || got.Seq != 4 {
		t.Errorf("append after a clean end: sequence %d, %v, want 4", got.Seq, err)
	}
	kill(t, s)
	log.Reset()
	s = open(t, dir, o)
	if got := log.String(); !strings.Contains(got, "store resynced after an unclean end") || !strings.Contains(got, "records=1") {
		t.Errorf("after an unclean end the log says %q, want a resync of 1 record", got)
	}
	closeStore(t, s)
}

// TestInvariant13_resyncWritesTheLastCommitAgain looks at the file: what the
// last commit put lies on other pages after the open.
func TestInvariant13_resyncWritesTheLastCommitAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	// Enough for every bucket to have pages of its own. The last one is kept,
	// and has an event and an item set aside.
	const last = 100
	for n := range last {
		rec := storetest.SampleRecord(n)
		rec.Kind, rec.Aside = host.Kept, []host.Aside{storetest.SampleAside(n)}
		if _, err := s.Append(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
	}
	wrote := map[string][]byte{
		// Keys that lie beside each other without values are those of the kept.
		"kept marks": append(append(disk.Number(last-2), disk.Number(last-1)...), disk.Number(last)...),
	}
	err := s.active().View(func(tx *bbolt.Tx) error {
		wrote["record"] = bytes.Clone(tx.Bucket(segment.BucketLog).Get(disk.Number(last)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kill(t, s)
	count := func(b []byte) int {
		file, err := os.ReadFile(segment.Path(dir, 1))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(file, b)
	}
	before := make(map[string]int)
	for what, b := range wrote {
		if before[what] = count(b); before[what] == 0 {
			t.Fatalf("%s: not in the file", what)
		}
	}
	defer closeStore(t, open(t, dir, Options{}))
	for what, b := range wrote {
		if got := count(b); got != before[what]+1 {
			t.Errorf("%s: in the file %d times after the open and %d before, want once more", what, got, before[what])
		}
	}
}

func TestInvariant4_sequencesAreNeverGivenOutTwice(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	first, err := s.Append(t.Context(), storetest.SampleRecord(1))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lease(t.Context(), "a", 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), "a", host.Settlement{Token: l.Deliveries[0].Token, Outcome: host.Done}); err != nil {
		t.Fatal(err)
	}
	kill(t, s)
	segmentIsLost(t, dir)
	s = open(t, dir, Options{})
	second, err := s.Append(t.Context(), storetest.SampleRecord(2))
	if err != nil || second.Seq <= first.Seq {
		t.Errorf("sequence %d after the loss of %d, %v", second.Seq, first.Seq, err)
	}
	l, err = s.Lease(t.Context(), "a", 10, time.Hour)
	if err != nil || len(l.Deliveries) != 1 {
		t.Fatalf("%d deliveries, %v, want the new one", len(l.Deliveries), err)
	}
	if err := s.Settle(t.Context(), "a", host.Settlement{Token: l.Deliveries[0].Token, Outcome: host.Done}); err != nil {
		t.Fatal(err)
	}
	// A state.db that reserved less than the sinks have seen, as from a backup.
	if err := s.change(&change{apply: func(tx *bbolt.Tx) error { return putReserved(tx, 0) }}); err != nil {
		t.Fatal(err)
	}
	kill(t, s)
	segmentIsLost(t, dir)
	s = open(t, dir, Options{})
	defer closeStore(t, s)
	third, err := s.Append(t.Context(), storetest.SampleRecord(3))
	if err != nil || third.Seq <= second.Seq {
		t.Errorf("sequence %d after the loss of %d, %v", third.Seq, second.Seq, err)
	}
}

// segmentIsLost removes the segments, as if they had been moved aside.
func segmentIsLost(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "seg", "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("segments %v, %v, want one", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
}
