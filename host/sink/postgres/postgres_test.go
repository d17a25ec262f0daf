package postgres

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

// shared is the DSN of the database to test against.
func shared(t *testing.T) string {
	t.Helper()
	dsn := os.Getenv("POSTERN_TEST_POSTGRES")
	if dsn == "" {
		t.Skip("set POSTERN_TEST_POSTGRES to a database, like postgres://postgres@127.0.0.1:5432/test, to have this test run")
	}
	return dsn
}

// with is the DSN with another host and more parameters.
func with(t *testing.T, dsn, address string, parameters ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if address != "" {
		u.Host = address
	}
	q := u.Query()
	for i := 0; i+1 < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // as libpq reads it
	return u.String()
}

// ground is a schema of the test's own, and a connection past the sink.
type ground struct {
	conn   *pgx.Conn
	schema string
}

var grounds atomic.Int64

func newGround(t *testing.T) *ground {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), shared(t))
	if err != nil {
		t.Fatal(err)
	}
	g := &ground{conn: conn, schema: fmt.Sprintf("sink_%d_%d", os.Getpid(), grounds.Add(1))}
	g.exec(t, "CREATE SCHEMA "+g.schema)
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended
		_, _ = conn.Exec(ctx, "DROP SCHEMA "+g.schema+" CASCADE")
		_ = conn.Close(ctx)
	})
	return g
}

func (g *ground) table() string { return g.schema + ".events" }

// exec runs a statement in which % stands for the table.
func (g *ground) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := g.conn.Exec(t.Context(), strings.ReplaceAll(sql, "%", g.table())); err != nil {
		t.Fatal(err)
	}
}

// column reads one text of every row, in the order in which they came.
func (g *ground) column(t *testing.T, expression string) []string {
	t.Helper()
	rows, err := g.conn.Query(t.Context(), "SELECT coalesce("+expression+", 'NULL') FROM "+g.table()+" ORDER BY ctid")
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (g *ground) open(t *testing.T, dsn string) *Sink {
	t.Helper()
	s, err := New(Config{DSN: dsn, Table: g.table(), Create: true, Concurrency: 8})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deliver expects one outcome for each delivery: "" for done, else a part of the
// error, with "for good: " before it where it is permanent.
func deliver(t *testing.T, s *Sink, batch []host.Delivery, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	errs := s.Deliver(ctx, batch)
	if errs == nil {
		errs = make([]error, len(batch))
	}
	for i, err := range errs {
		got := ""
		if err != nil {
			got = err.Error()
		}
		if host.IsPermanent(err) {
			got = "for good: " + got
		}
		if want[i] == "" && got != "" || !strings.Contains(got, want[i]) || strings.HasPrefix(got, "for good: ") != strings.HasPrefix(want[i], "for good: ") {
			t.Errorf("delivery %d: %q, want %q", i, got, want[i])
		}
	}
}

func TestSink(t *testing.T) {
	t.Parallel()
	const canary = "canary-password-31fe"
	sinktest.Run(t, sinktest.Kit{
		Secrets:    []string{canary, "postgres@", "user="},
		NoThrottle: "PostgreSQL has no way to ask for a wait",
		New: func(t *testing.T) (host.Sink, sinktest.Probe) {
			g := newGround(t)
			u, err := url.Parse(shared(t))
			if err != nil {
				t.Fatal(err)
			}
			relay := sinktest.NewRelay(t, u.Host)
			u.User = url.UserPassword(u.User.Username(), canary)
			s := g.open(t, with(t, u.String(), relay.Address, "sslmode", "disable"))
			// The other side is there before the first delivery.
			g.exec(t, "CREATE TABLE %"+definition)
			return s, sinktest.Probe{
				Received: func(t *testing.T) (out [][]byte) {
					for _, text := range g.column(t, "event::text") {
						out = append(out, []byte(text))
					}
					return out
				},
				Refuse:        func(*testing.T) { relay.Cut() },
				Mend:          func(*testing.T) { relay.Restore() },
				RefuseForGood: func(t *testing.T) { g.exec(t, "ALTER TABLE % ADD CONSTRAINT never CHECK (false)") },
				Hang:          func(*testing.T) (<-chan struct{}, func()) { return relay.Hold() },
			}
		},
	})
}

func TestSink_columns(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	s := g.open(t, shared(t))
	defer s.Close()
	batch := sinktest.Batch(0, 2)
	batch[1].Event.Subject = ""
	deliver(t, s, batch, "", "")
	ev := &batch[0].Event
	want := []string{
		fmt.Sprint([]any{ev.ID(), ev.Type, ev.Source, ev.Subject, "2026-03-04 05:06:07", "2026-03-04 05:06:08", "shop", "ottu", "ottu", "hmac-sha256", "0"}),
		fmt.Sprint([]any{batch[1].Event.ID(), ev.Type, ev.Source, "NULL", "2026-03-04 05:06:07", "2026-03-04 05:06:08", "shop", "ottu", "ottu", "hmac-sha256", "1"}),
	}
	got := g.column(t, `format('[%s %s %s %s %s %s %s %s %s %s %s]', id, type, source, coalesce(subject, 'NULL'),
		time AT TIME ZONE 'UTC', received AT TIME ZONE 'UTC', tenant, endpoint, provider, verified_by, data->>'n')`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// Nothing is refused for what it holds, and nothing is changed: what a column
// cannot have is NULL there, and whole in the column event.
func TestSink_keepsWhatJSONBCannotHold(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	s := g.open(t, shared(t))
	defer s.Close()
	batch := sinktest.Batch(0, 6)
	for i, data := range []string{`{"a":"x\u0000y"}`, `{"a":"\\u0000"}`, `{"a":"\ud800"}`, `{"a":1e400000}`} {
		batch[i].Event.Data = []byte(data)
	}
	batch[4].Event.Subject = "x\x00y"
	deliver(t, s, batch, "", "", "", "", "", "")
	var want []string
	for i := range batch {
		text, err := batch[i].Event.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(text))
	}
	if diff := cmp.Diff(want, g.column(t, "event::text")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"NULL", `\u0000`, "NULL", "NULL", "NULL", "NULL"}, g.column(t, "data->>'a'")); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"tx-0", "tx-1", "tx-2", "tx-3", "NULL", "tx-5"}, g.column(t, "subject")); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
}

// One event that is refused fails alone, whatever refuses it and whenever.
func TestSink_poisonFailsAlone(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ sql, want string }{
		"a check":            {"ALTER TABLE % ADD CONSTRAINT small CHECK (subject NOT IN ('tx-7', 'tx-20'))", "for good: insert: the server refuses the event (23514, constraint small)"},
		"a column too short": {"ALTER TABLE % ADD CONSTRAINT short CHECK (subject NOT IN ('tx-7', 'tx-20') OR subject::int > 0)", "for good: insert: the server refuses the event (22P02)"},
		"an exception": {`CREATE FUNCTION %_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.subject IN ('tx-7', 'tx-20') THEN RAISE EXCEPTION 'no such order'; END IF; RETURN NEW; END $$;
			CREATE TRIGGER f BEFORE INSERT ON % FOR EACH ROW EXECUTE FUNCTION %_f()`, "insert: answered P0001 (no such order)"},
		"an exception at the commit": {`CREATE FUNCTION %_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.subject IN ('tx-7', 'tx-20') THEN RAISE check_violation; END IF; RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER f AFTER INSERT ON % DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION %_f()`, "for good: insert: the server refuses the event (23514)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGround(t)
			g.exec(t, "CREATE TABLE %"+definition)
			g.exec(t, row.sql)
			s := g.open(t, shared(t))
			defer s.Close()
			want := make([]string, 30)
			want[7], want[20] = row.want, row.want
			deliver(t, s, sinktest.Batch(0, 30), want...)
			if got := len(g.column(t, "id")); got != 28 {
				t.Errorf("%d rows, want 28", got)
			}
		})
	}
}

// Postern's word that an event is done is worth what the server's commit is.
func TestSink_refusesWhatIsNotDurable(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	for name, row := range map[string]struct{ dsn, sql, want string }{
		"synchronous_commit": {with(t, shared(t), "", "options", "-c synchronous_commit=off"), "", "synchronous_commit is off"},
		"unlogged":           {shared(t), "CREATE UNLOGGED TABLE %" + definition, "the table is UNLOGGED"},
		"local is enough":    {with(t, shared(t), "", "options", "-c synchronous_commit=local"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g.exec(t, "DROP TABLE IF EXISTS %")
			if row.sql != "" {
				g.exec(t, row.sql)
			}
			s := g.open(t, row.dsn)
			defer s.Close()
			deliver(t, s, sinktest.Batch(0, 2), row.want, row.want)
		})
	}
	if err := durable("off", "on", "p"); err == nil {
		t.Error("fsync off is durable")
	}
}

func TestSink_table(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	s := g.open(t, shared(t))
	defer s.Close()
	deliver(t, s, sinktest.Batch(0, 1), "")
	// One that goes is made again, at the delivery after the one that misses it.
	g.exec(t, "DROP TABLE %")
	deliver(t, s, sinktest.Batch(0, 1), "insert: answered 42P01")
	deliver(t, s, sinktest.Batch(0, 1), "")

	without, err := New(Config{DSN: shared(t), Table: g.schema + ".Other"})
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	deliver(t, without, sinktest.Batch(0, 1), "insert: answered 42P01")
	// Its own columns are the operator's; case counts.
	g.exec(t, "CREATE TABLE "+g.schema+`."Other" (LIKE % INCLUDING ALL, seq bigint GENERATED ALWAYS AS IDENTITY)`)
	deliver(t, without, sinktest.Batch(0, 2), "", "")
}

func TestSink_mayNotMakeTheTable(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	g.exec(t, "CREATE TABLE %"+definition)
	role := g.schema + "_role"
	g.exec(t, "CREATE ROLE "+role)
	t.Cleanup(func() {
		_, _ = g.conn.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role)
	})
	g.exec(t, "GRANT USAGE ON SCHEMA "+g.schema+" TO "+role+"; GRANT INSERT, SELECT (id) ON % TO "+role)
	s := g.open(t, with(t, shared(t), "", "options", "-c role="+role))
	defer s.Close()
	// The right to insert is enough, with create_table on, if the table is there.
	deliver(t, s, sinktest.Batch(0, 1), "")
	missing, err := New(Config{DSN: with(t, shared(t), "", "options", "-c role="+role), Table: g.schema + ".missing", Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer missing.Close()
	deliver(t, missing, sinktest.Batch(0, 1), "create the table: answered 42501")
}

// The server stops with the delivery, even one that nobody can call off: the
// connection is cut.
func TestSink_boundsTheServer(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	u, err := url.Parse(shared(t))
	if err != nil {
		t.Fatal(err)
	}
	relay := sinktest.NewRelay(t, u.Host)
	s := g.open(t, with(t, shared(t), relay.Address, "application_name", g.schema, "sslmode", "disable"))
	defer s.Close()
	deliver(t, s, sinktest.Batch(0, 1), "")
	lock, err := g.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.Background()) }()
	if _, err := lock.Exec(t.Context(), "LOCK TABLE "+g.table()); err != nil {
		t.Fatal(err)
	}
	// Not in the transaction that has the lock: it would see the same each time.
	watch := newGround(t).conn
	await := func(what string, want int) {
		t.Helper()
		for give := time.Now().Add(10 * time.Second); ; {
			var got int
			err := watch.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'", g.schema).Scan(&got)
			if err != nil {
				t.Fatal(err)
			}
			if got == want {
				return
			}
			if time.Now().After(give) {
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	ended := make(chan []error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go func() { ended <- s.Deliver(ctx, sinktest.Batch(1, 1)) }()
	await("the statement to wait for the lock", 1)
	relay.Cut()
	if errs := <-ended; len(errs) != 1 || errs[0] == nil || host.IsPermanent(errs[0]) {
		t.Errorf("Deliver = %v, want what may pass", errs)
	}
	await("the statement to end with its delivery's time", 0)
}

// No more connections than calls, however many there are.
func TestSink_boundsItsConnections(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	s, err := New(Config{DSN: shared(t), Table: g.table(), Create: true, Concurrency: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan []error, 20)
	for i := range 20 {
		go func() { done <- s.Deliver(t.Context(), sinktest.Batch(i, 1)) }()
	}
	for range 20 {
		if errs := <-done; errs != nil {
			t.Error(errs)
		}
	}
	if got := s.pool.Stat().NewConnsCount(); got > 2 {
		t.Errorf("%d connections, want at most 2", got)
	}
}
