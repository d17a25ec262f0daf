package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt"
	"github.com/postern/postern/server/admin"
)

// shelved makes a data directory with n events and opens it.
func shelved(t *testing.T, n int) (dir string, ids []string) {
	t.Helper()
	// Not t.TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	store := open(t, dir)
	rec := &host.Record{Kind: host.Accepted, Tenant: "main", Endpoint: "ottu", Provider: "ottu"}
	for i := range n {
		rec.Events = append(rec.Events, host.Event{
			Key: host.Hash{byte(i), byte(i >> 8), 1}, Source: "/main/ottu", Type: "payment.succeeded", Tenant: "main", Endpoint: "ottu",
			Provider: "ottu", Time: time.Unix(1e9, 0).UTC(), Received: time.Unix(1e9, 0).UTC(), VerifiedBy: host.HMACSHA256, Data: []byte(`{}`),
		})
		ids = append(ids, rec.Events[i].ID())
	}
	if _, err := store.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, ids
}

func open(t *testing.T, dir string) *bolt.Store {
	t.Helper()
	store, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func opened(t *testing.T, at Place) *Client {
	t.Helper()
	c, err := Open(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The same questions must have the same answers with and without a server.
func TestOpen(t *testing.T) {
	dir, ids := shelved(t, 2*perPage+10)
	at := Place{Dir: dir, Engine: config.EngineBolt, Version: "1.2.3", Sinks: []admin.Sink{{Name: "orders"}}}
	c := opened(t, at)
	asked(t, c, ids)
	if c.Live() {
		t.Error("Live without a server = true, want false")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	// Opens only if Close has let go of the directory.
	store := open(t, dir)
	ln, err := admin.ListenSocket(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	srv := admin.NewServer(admin.New(admin.Options{
		Version: "1.2.3", Reader: store, Queue: store, Status: store.Status, Sinks: []admin.Sink{{Name: "orders"}},
	}).Handler(), slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	c = opened(t, at)
	asked(t, c, ids)
	if !c.Live() {
		t.Error("Live with a server = false, want true")
	}
	if err := errors.Join(c.Close(), srv.Close(), store.Close()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve = %v, want %v", err, http.ErrServerClosed)
	}
	if _, err := c.Newest(t.Context()); !Absent(err) {
		t.Errorf("Newest when the server is gone = %v, want it absent", err)
	}
}

// asked asks c everything, of a store with the events ids.
func asked(t *testing.T, c *Client, ids []string) {
	t.Helper()
	ctx := t.Context()
	all, err := c.Events(ctx, Filter{Type: "payment.*"}, len(ids)-5, false, "")
	if err != nil || len(all) != len(ids)-5 || all[0].Fact.ID != ids[0] || all[len(all)-1].Fact.ID != ids[len(ids)-6] {
		t.Errorf("Events = %d, %v; want the first %d in order", len(all), err, len(ids)-5)
	}
	rest, err := c.Since(ctx, Filter{}, all[len(all)-1].Cursor)
	if err != nil || len(rest.Events) != 5 || rest.Events[0].Fact.ID != ids[len(ids)-5] {
		t.Errorf("Since = %d events, %v; want the last 5", len(rest.Events), err)
	}
	newest, err := c.Newest(ctx)
	if err != nil || newest != rest.Events[4].Cursor || rest.Next < newest {
		t.Errorf("Newest = %q, %v; want the cursor of the last, and Since's no less", newest, err)
	}
	if none, err := c.Events(ctx, Filter{Tenant: "nobody"}, 5, true, ""); err != nil || len(none) != 0 {
		t.Errorf("Events of another tenant = %v, %v; want none", none, err)
	}
	one, err := c.Event(ctx, ids[3])
	if err != nil || one.Fact.ID != ids[3] || one.Callback == nil || !json.Valid(one.Answer) {
		t.Errorf("Event = %+v, %v; want the event with its callback", one, err)
	}
	if _, err := c.Event(ctx, host.Hash{9, 9, 9}.ID()); !NotFound(err) {
		t.Errorf("Event that is not there = %v, want not found", err)
	}
	if sinks, err := c.Sinks(ctx); err != nil || len(sinks) != 1 || sinks[0].Name != "orders" {
		t.Errorf("Sinks = %v, %v; want orders", sinks, err)
	}
	if _, err := c.DeadLetters(ctx, "nowhere", 1); !NotFound(err) {
		t.Errorf("DeadLetters of an unknown sink = %v, want not found", err)
	}
	if _, err := c.Redrive(ctx, "nowhere"); !NotFound(err) {
		t.Errorf("Redrive of an unknown sink = %v, want not found", err)
	}
}

func TestOpen_refuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for engine, want := range map[string]string{
		config.EngineBolt:     "there is no data in " + dir,
		config.EngineMem:      "no server is running on " + dir,
		config.EnginePostgres: "only one reaches what engine \"postgres\" holds",
	} {
		if _, err := Open(t.Context(), Place{Dir: dir, Engine: engine}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open with engine %s = %v, want %q", engine, err, want)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open made %s (%v)", dir, err)
	}
	held, _ := shelved(t, 1)
	store := open(t, held)
	defer func() { _ = store.Close() }()
	if _, err := Open(t.Context(), Place{Dir: held, Engine: config.EngineBolt}); !errors.Is(err, bolt.ErrLocked) {
		t.Errorf("Open of a directory that another has = %v, want %v", err, bolt.ErrLocked)
	}
}

// Looking into a directory removes nothing of it, however old that is by the
// store's own defaults.
func TestOpen_expiresNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var ids []string
	for _, days := range []int{100, 90} {
		ago := time.Duration(days) * 24 * time.Hour
		store, err := bolt.Open(dir, bolt.Options{
			Now: func() time.Time { return time.Now().Add(-ago) }, SegmentAge: time.Hour, Retention: forEver, Window: forEver,
		})
		if err != nil {
			t.Fatal(err)
		}
		rec := &host.Record{Kind: host.Accepted, Tenant: "main", Endpoint: "ottu", Provider: "ottu", Events: []host.Event{{
			Key: host.Hash{byte(days)}, Source: "/main/ottu", Type: "payment.failed", Tenant: "main", Endpoint: "ottu", Data: []byte(`{}`),
		}}}
		ids = append(ids, rec.Events[0].ID())
		if _, err := store.Append(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c := opened(t, Place{Dir: dir, Engine: config.EngineBolt})
	for range 100 {
		if e, err := c.Event(t.Context(), ids[0]); err != nil || e.Fact.ID != ids[0] {
			t.Fatalf("Event = %v, %v; want the oldest", e, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := filepath.Glob(filepath.Join(dir, "seg", "*.db")); err != nil || len(all) != 2 {
		t.Errorf("segments after a look: %q, %v; want both", all, err)
	}
}

// answering is a client of a server that gives answers in turn, and notes what
// it was asked.
func answering(answers ...string) (*Client, *[]string) {
	var asked []string
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		_, _ = io.WriteString(w, answers[0])
		answers = answers[1:]
	})
	return &Client{http: &http.Client{Transport: inProcess{h}}, close: func() error { return nil }}, &asked
}

func TestDeadLetters_pages(t *testing.T) {
	letter := func(n int) string { return fmt.Sprintf(`{"sink":"o","event":{"id":"%d"}}`, n) }
	c, asked := answering(
		`{"deadletters":[`+letter(1)+`,`+letter(2)+`],"next":"c2"}`,
		`{"deadletters":[`+letter(3)+`],"next":""}`,
		`{"redriven":2}`, `{"redriven":3}`)
	got, err := c.DeadLetters(t.Context(), "o/r", 5)
	if err != nil || len(got) != 3 || got[2].Fact.ID != "3" {
		t.Errorf("DeadLetters = %+v, %v; want three", got, err)
	}
	if n, err := c.Redrive(t.Context(), "o", "1", "2"); err != nil || n != 2 {
		t.Errorf("Redrive = %d, %v; want 2", n, err)
	}
	if n, err := c.Redrive(t.Context(), "o"); err != nil || n != 3 {
		t.Errorf("Redrive of all = %d, %v; want 3", n, err)
	}
	want := []string{
		"GET /admin/v1/sinks/o%2Fr/deadletters?limit=5",
		"GET /admin/v1/sinks/o%2Fr/deadletters?after=c2&limit=3",
		`POST /admin/v1/sinks/o/deadletters/redrive {"ids":["1","2"]}`,
		`POST /admin/v1/sinks/o/deadletters/redrive {"ids":[]}`,
	}
	if diff := cmp.Diff(want, *asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestQuarantine_pages(t *testing.T) {
	c, asked := answering(
		`{"quarantine":[{"id":"q-1"},{"id":"q-2"}],"next":"c2"}`, `{"quarantine":[{"id":"q-3"}],"next":""}`,
		`{"results":[{"id":"q-1","result":"discarded"}],"next":"c9"}`, `{"results":[{"id":"q-2","result":"failed"}],"next":""}`,
		`{"results":[],"next":""}`, `{"results":[],"next":""}`)
	got, err := c.Quarantine(t.Context(), Wanted{Endpoint: "pay"}, 5)
	if err != nil || len(got) != 3 || got[2].ID != "q-3" {
		t.Errorf("Quarantine = %+v, %v; want three", got, err)
	}
	var came []Result
	each := func(r Result) error {
		came = append(came, r)
		return nil
	}
	if err := c.Quarantined(t.Context(), "discard", Chosen{Filter: Wanted{Reason: "malformed"}}, each); err != nil || len(came) != 2 {
		t.Errorf("Quarantined by filter = %+v, %v; want two", came, err)
	}
	if err := c.Quarantined(t.Context(), "retry", Chosen{All: true}, each); err != nil {
		t.Errorf("Quarantined of all = %v", err)
	}
	if err := c.Quarantined(t.Context(), "retry", Chosen{IDs: []string{"q-1"}}, each); err != nil {
		t.Errorf("Quarantined by id = %v", err)
	}
	want := []string{
		"GET /admin/v1/quarantine?endpoint=pay&limit=5",
		"GET /admin/v1/quarantine?after=c2&endpoint=pay&limit=3",
		`POST /admin/v1/quarantine/discard {"filter":{"reason":"malformed"}}`,
		`POST /admin/v1/quarantine/discard {"after":"c9","filter":{"reason":"malformed"}}`,
		`POST /admin/v1/quarantine/retry {"all":true}`,
		`POST /admin/v1/quarantine/retry {"ids":["q-1"]}`,
	}
	if diff := cmp.Diff(want, *asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// Hundreds of ids are asked about a hundred at a time, and all of it ends at
// the first answer that is an error.
func TestQuarantined_ids(t *testing.T) {
	c, asked := answering(`{"results":[{"id":"a"}]}`, `{"results":[{"id":"b"},{"id":"c"}]}`)
	n, stop := 0, errors.New("stop")
	err := c.Quarantined(t.Context(), "retry", Chosen{IDs: make([]string, 2*maxBatch+1)}, func(Result) error {
		if n++; n == 2 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 2 || len(*asked) != 2 {
		t.Errorf("Quarantined = %v after %d results of %d answers, want it stopped after 2 of 2", err, n, len(*asked))
	}
}

func TestSinks_asked(t *testing.T) {
	c, asked := answering(`{}`, `{}`, `{"lag":{"dead":2}}`, `{"sink":"o","from":"a","to":"b"}`, `{"replay":{"taken":4}}`, `{"discarded":2}`, `{"discarded":3}`)
	ctx := t.Context()
	if err := errors.Join(c.Pause(ctx, "o"), c.Resume(ctx, "o")); err != nil {
		t.Error(err)
	}
	if lag, err := c.Forget(ctx, "o/r"); err != nil || lag.Dead != 2 {
		t.Errorf("Forget = %+v, %v; want 2 dead", lag, err)
	}
	if from, to, err := c.Replay(ctx, "o", Range{Since: "2h"}); err != nil || from != "a" || to != "b" {
		t.Errorf("Replay = %s, %s, %v; want a, b", from, to, err)
	}
	if r, err := c.StopReplay(ctx, "o"); err != nil || r.Taken != 4 {
		t.Errorf("StopReplay = %+v, %v; want 4 taken", r, err)
	}
	if n, err := c.Discard(ctx, "o", "x"); err != nil || n != 2 {
		t.Errorf("Discard = %d, %v; want 2", n, err)
	}
	if n, err := c.Discard(ctx, "o"); err != nil || n != 3 {
		t.Errorf("Discard of all = %d, %v; want 3", n, err)
	}
	want := []string{
		"POST /admin/v1/sinks/o/pause", "POST /admin/v1/sinks/o/resume", "DELETE /admin/v1/sinks/o%2Fr",
		`POST /admin/v1/sinks/o/replay {"since":"2h"}`, "DELETE /admin/v1/sinks/o/replay",
		`POST /admin/v1/sinks/o/deadletters/discard {"ids":["x"]}`, `POST /admin/v1/sinks/o/deadletters/discard {"all":true}`,
	}
	if diff := cmp.Diff(want, *asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":{"message":"sink is unknown"}}`: "sink is unknown",
		`nonsense`: "not found",
	} {
		if got := refused(http.StatusNotFound, []byte(body)); got.Error() != want || !NotFound(got) {
			t.Errorf("refused(%s) = %v, want %q, not found", body, got, want)
		}
	}
	if NotFound(refused(http.StatusConflict, nil)) {
		t.Error("a conflict is taken for not found")
	}
}
