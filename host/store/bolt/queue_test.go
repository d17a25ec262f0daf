package bolt

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest"
)

func subscribe(t *testing.T, s *Store, sink string) {
	t.Helper()
	if err := s.Subscribe(t.Context(), sink, host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
}

// TestUnsubscribe_lateSettleIsNotTheNextSinks has a settle wait for its turn
// while its sink goes and another of the same name comes.
func TestUnsubscribe_lateSettleIsNotTheNextSinks(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	subscribe(t, s, "a")
	if _, err := s.Append(t.Context(), storetest.SampleRecord(1)); err != nil {
		t.Fatal(err)
	}
	l, err := s.Lease(t.Context(), "a", 1, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// What Settle does before its change gets its turn, and after.
	asked, went := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.options.Now = func() time.Time {
		once.Do(func() { close(asked); <-went })
		return time.Now()
	}
	settled := make(chan error)
	go func() {
		settled <- s.Settle(t.Context(), "a", host.Settlement{Token: l.Deliveries[0].Token, Outcome: host.Dead})
	}()
	<-asked
	if err := s.Unsubscribe(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	subscribe(t, s, "a")
	close(went)
	if err := <-settled; err != nil {
		t.Errorf("late settle: %v", err)
	}
	if dead, _, err := s.DeadLetters(t.Context(), "a", "", 10); err != nil || len(dead) != 0 {
		t.Errorf("%d dead letters of the sink before, %v", len(dead), err)
	}
}

func TestSubscribe_nameThatIsNone(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	for _, name := range []string{"", strings.Repeat("a", bbolt.MaxKeySize+1)} {
		if err := s.Subscribe(t.Context(), name, host.Subscription{From: host.FromNow}); err == nil {
			t.Errorf("subscribe with a name of %d bytes: no error", len(name))
		}
	}
	// The store has not failed.
	subscribe(t, s, "a")
}

// TestRead_passesOverADamagedRecord damages the third of four records: the
// others are delivered and listed, and the third is named.
func TestRead_passesOverADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	defer closeStore(t, s)
	subscribe(t, s, "a")
	for n := 1; n <= 4; n++ {
		if _, err := s.Append(t.Context(), storetest.SampleRecord(n)); err != nil {
			t.Fatal(err)
		}
	}
	spoil(t, s, 3)
	l, err := s.Lease(t.Context(), "a", 10, time.Hour)
	if err != nil || len(l.Deliveries) != 3 {
		t.Errorf("%d deliveries, %v, want the three that are whole", len(l.Deliveries), err)
	}
	for _, newest := range []bool{false, true} {
		page, _, err := s.Range(t.Context(), host.Page{Newest: newest})
		if err != nil || len(page) != 3 {
			t.Errorf("range: %d events, %v, want the three that are whole", len(page), err)
		}
	}
	if _, err := s.Callback(t.Context(), 3); err == nil || errors.Is(err, host.ErrNotFound) {
		t.Errorf("callback 3: %v, want that it is damaged", err)
	}
	if notes := s.notes(); len(notes) == 0 || !strings.Contains(notes[0], "record 3") {
		t.Errorf("notes %q, want one naming record 3", notes)
	}
}

// spoil flips a byte of a record wherever it is in the file.
func spoil(t *testing.T, s *Store, seq uint64) {
	t.Helper()
	var stored []byte
	err := s.record(seq, func(b []byte) error {
		stored = bytes.Clone(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	path := s.active().Path
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := 0; ; {
		i := bytes.Index(file[at:], stored)
		if i < 0 {
			return
		}
		at += i + len(stored)
		if _, err := f.WriteAt([]byte{stored[len(stored)-1] ^ 1}, int64(at-1)); err != nil {
			t.Fatal(err)
		}
		// The events frame too: it is what a lease reads.
		const inEvents = 70
		if _, err := f.WriteAt([]byte{stored[inEvents] ^ 1}, int64(at-len(stored)+inEvents)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeadLetters_pagesAreBoundedInBytes moves and lists letters that do not
// fit one page.
func TestDeadLetters_pagesAreBoundedInBytes(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	defer closeStore(t, s)
	subscribe(t, s, "a")
	const letters = 3
	for n := range letters {
		ev := storetest.SampleEvent(n, 0)
		ev.Data = json.RawMessage(`"` + strings.Repeat("x", maxReadBytes*2/3) + `"`)
		if _, err := s.Append(t.Context(), storetest.SampleRecord(n, ev)); err != nil {
			t.Fatal(err)
		}
		l, err := s.Lease(t.Context(), "a", 1, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(t.Context(), "a", host.Settlement{Token: l.Deliveries[0].Token, Outcome: host.Dead}); err != nil {
			t.Fatal(err)
		}
	}
	page, next, err := s.DeadLetters(t.Context(), "a", "", 10)
	if err != nil || len(page) != 2 || next == "" {
		t.Errorf("first page: %d letters, cursor %q, %v, want 2 and more", len(page), next, err)
	}
	page, next, err = s.DeadLetters(t.Context(), "a", next, 10)
	if err != nil || len(page) != 1 || next != "" {
		t.Errorf("second page: %d letters, cursor %q, %v, want 1 and no more", len(page), next, err)
	}
	if n, err := s.Redrive(t.Context(), "a"); n != letters || err != nil {
		t.Errorf("redrive: %d, %v, want %d", n, err, letters)
	}
}
