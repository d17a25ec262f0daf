package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/admin"
)

// shelf is a store for the routes to read: what it holds is set by the test.
type shelf struct {
	mu     sync.Mutex
	events []host.StoredEvent
	// late is put on the shelf when this many ranges were asked for.
	late      *host.StoredEvent
	lateAfter int
	record    host.Record
	dead      []host.DeadLetter
	redrove   [][]string
	// told is what the operators' commands asked of the store, a line each.
	told     []string
	replay   *host.Replay
	rejected []host.Rejected
	status   host.Status
	// reprocess answers a retry.
	reprocess func(id string) (host.Reprocessed, error)
}

var at = time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)

// event makes the i-th event of the shelf.
func event(i int, kind, status, amount string) host.StoredEvent {
	ev := host.Event{
		Key: host.Hash{byte(i)}, ConflictKey: host.Hash{0xff, byte(i)}, Source: "/main/ottu", Type: kind, Subject: fmt.Sprintf("demo000%dA", i),
		Time: at, Received: at.Add(time.Duration(i) * time.Second), Tenant: "main", Endpoint: "ottu", Provider: "ottu",
		VerifiedBy: host.HMACSHA256, Covers: host.CoversFields,
		Data: fmt.Appendf(nil, `{"status":%q,"provider_status":"paid","amount":{"value":%q,"currency":"KWD"},`+
			`"references":{"merchant":"ORDER-1001","provider":"demo0001A"},"method":"kpay","provider_data":{"state":"paid","n":[1,2]}}`,
			status, amount),
	}
	return host.StoredEvent{Seq: uint64(i), Cursor: host.CursorAt(uint64(i), 0), Event: ev}
}

func newShelf() *shelf {
	s := &shelf{
		events: []host.StoredEvent{
			event(1, "payment.pending", "pending", "15.250"),
			event(2, "payment.succeeded", "succeeded", "15.250"),
			event(3, "payment.succeeded", "succeeded", "95.250"),
			event(4, "payment.failed", "failed", "3.000"),
		},
		record: host.Record{
			Kind: host.Accepted, Plugin: "ottu@0.1.0+sha256:0123456789ab", Tenant: "main", Endpoint: "ottu", Provider: "ottu",
			Callback: host.Callback{
				Method: "POST", Target: "/in/main/ottu/[token:path]", Received: at, Remote: netip.MustParseAddr("203.0.113.7"),
				Headers: []host.Header{{Name: "Content-Type", Value: "application/json"}, {Name: "X-Odd", Value: "\x1b[2Jgone"}},
				Body:    []byte(`{"state":"paid","amount":"15.250"}`),
			},
			Evidence: []host.Evidence{
				{Secret: "path", Algorithm: host.StaticToken},
				{Secret: "hmac-key", Value: 1, Algorithm: host.HMACSHA256, Covers: host.CoversFields},
			},
			Aside: []host.Aside{{Reason: "no amount", Item: []byte(`{"payId":"7"}`)}},
		},
	}
	s.events[2].Event.Conflict = true
	for i := range 3 {
		s.dead = append(s.dead, host.DeadLetter{
			Sink: "orders", Event: s.events[i].Event, Attempts: 12 + i, First: at, Died: at.Add(time.Hour),
			Reason: "post to orders.example.com: answered 500 Internal Server Error, twelve times in seven days",
		})
	}
	s.dead[0].Answer = "{\"error\":\"out of memory\"}\x1b[2J"
	for i, reason := range []string{"not-verified", "not-verified", "malformed", "kept"} {
		s.rejected = append(s.rejected, host.Rejected{
			ID: fmt.Sprintf("refused-%d", i+1), Kept: reason == "kept", Reason: reason, Detail: "the signature is not that of the body\x1b[2J",
			Tenant: "main", Endpoint: []string{"ottu", "wowpe"}[i/2], Provider: "ottu", Plugin: s.record.Plugin,
			Evidence: s.record.Evidence[:i/3], Callback: s.record.Callback, Count: uint64(1 + 40*i), Last: at.Add(time.Hour),
		})
	}
	s.status = host.Status{
		Engine: "bolt", Full: "the disk has 12 MiB left, 256 MiB stay free", Bytes: 5 << 30, Free: 12 << 20, Segments: 6,
		Oldest: at.Add(-150 * time.Hour), Kept: 1, Quarantined: 3, Damaged: []string{"seg/00000000000003e8.db: 400 records are lost"},
	}
	return s
}

// Range implements [host.Reader].
func (s *shelf) Range(_ context.Context, p host.Page) ([]host.StoredEvent, host.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lateAfter--; s.lateAfter < 0 && s.late != nil {
		s.events, s.late = append(s.events, *s.late), nil
	}
	var found []host.StoredEvent
	all := slices.Clone(s.events)
	if p.Newest {
		slices.Reverse(all)
	}
	next := p.After
	for _, e := range all {
		behind := p.After == "" || e.Cursor > p.After
		if p.Newest {
			behind = p.After == "" || e.Cursor < p.After
		}
		if !behind || len(found) == p.Limit {
			continue
		}
		next = e.Cursor
		if p.Filter.Match(&e.Event) {
			found = append(found, e)
		}
	}
	return found, next, nil
}

// Event implements [host.Reader].
func (s *shelf) Event(_ context.Context, id string) (host.StoredEvent, error) {
	for _, e := range s.events {
		if e.Event.ID() == id {
			return e, nil
		}
	}
	return host.StoredEvent{}, host.ErrNotFound
}

// Callback implements [host.Reader].
func (s *shelf) Callback(context.Context, uint64) (*host.Record, error) { return &s.record, nil }

// Timeline implements [host.Reader].
func (s *shelf) Timeline(context.Context, string, string) ([]host.StoredEvent, error) {
	return nil, host.ErrUnsupported
}

// Search implements [host.Reader].
func (s *shelf) Search(context.Context, string, host.Page) ([]host.StoredEvent, host.Cursor, error) {
	return nil, "", host.ErrUnsupported
}

// DeadLetters implements [admin.Queue].
func (s *shelf) DeadLetters(_ context.Context, sink string, after host.Cursor, n int) ([]host.DeadLetter, host.Cursor, error) {
	switch sink {
	case "archive":
		return nil, "", nil
	case "orders":
	default:
		return nil, "", host.ErrNotFound
	}
	from := 0
	if after != "" {
		seq, _, err := after.At()
		if err != nil {
			return nil, "", err
		}
		from = int(seq)
	}
	to := min(from+n, len(s.dead))
	if to == len(s.dead) {
		return s.dead[from:], "", nil
	}
	return s.dead[from:to], host.CursorAt(uint64(to), 0), nil
}

// Redrive implements [admin.Queue].
func (s *shelf) Redrive(_ context.Context, sink string, ids ...string) (int, error) {
	if sink != "orders" {
		return 0, host.ErrNotFound
	}
	s.redrove = append(s.redrove, ids)
	if len(ids) == 0 {
		return len(s.dead), nil
	}
	return 1, nil
}

// serving serves the routes over the shelf on the socket of a data directory
// and returns the directory.
func serving(t *testing.T, s *shelf) string {
	t.Helper()
	// Not t.TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := admin.ListenSocket(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	srv := admin.NewServer(admin.New(admin.Options{
		Version: "1.2.3", Reader: s, Queue: s, Quarantine: s, Status: s.Status,
		Reprocess: func(_ context.Context, r *host.Rejected) (host.Reprocessed, error) { return s.reprocess(r.ID) },
		Sinks:     []admin.Sink{{Name: "archive", Type: "file"}, {Name: "never-seen", Type: "file"}, {Name: "orders", Type: "webhook"}},
	}).Handler(), slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v, want %v", err, http.ErrServerClosed)
		}
		_ = os.RemoveAll(dir)
	})
	return dir
}

// narrow is an environment with a screen of 80 columns.
var narrow = []string{"COLUMNS=80"}
