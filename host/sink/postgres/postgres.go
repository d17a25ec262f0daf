// Package postgres inserts events into a table of a PostgreSQL database.
//
// # When a delivery is done
//
// When the transaction of its batch is committed, by a server that syncs before
// it says so. Each delivery asks: with fsync or synchronous_commit off, or an
// UNLOGGED table, it fails and says which. An event that comes again changes
// nothing, as the id is the table's key.
//
// # The table
//
// A row is an event: its attributes, its data as jsonb, to be queried and indexed,
// and in the column event the whole of it as it is, as json. What jsonb
// cannot hold (the character U+0000, half a surrogate pair, a number of more
// digits than numeric has) leaves data NULL and is found in event; a subject
// with U+0000 in it is NULL likewise. A table of your own needs the columns that
// are inserted, and a unique id; columns beyond need defaults.
//
// # The other side
//
// A batch is one transaction. When the server refuses it for what an event
// holds, it is halved until that event is alone: no event fails with another's
// fault. Such an event is dead at once (SQLSTATE 22, 23, 44 and 54); where a
// function raised an exception (P0) it is retried alone. Everything else may be
// mended over there and is retried: connections, locks, serialization, a table
// or a right that is missing.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern/postern/host"
)

// DefaultTable is the table of an empty [Config.Table].
const DefaultTable = "postern_events"

// Config is a PostgreSQL sink's settings.
type Config struct {
	// DSN says where and as whom, as libpq takes it: a URL (postgres://…) or
	// key=value. It is a secret. What it leaves out comes from the variables and
	// files that libpq looks at; a connection takes 5 s at most, unless
	// connect_timeout is set.
	DSN string
	// Table is a name, or a schema and a name with a dot between them, taken as
	// written: case counts. Empty means DefaultTable.
	Table string
	// Create makes the table if it is not there.
	Create bool
	// Concurrency is how many connections there may be: as many as there are
	// calls of Deliver at once. Zero means 1.
	Concurrency int
	// Timeout bounds one delivery, within the deadline that Deliver is given;
	// zero means 30 s. The server gets what is left of it as statement_timeout.
	Timeout time.Duration
}

// Sink is a [host.Sink]. Make one with [New].
type Sink struct {
	table   string // quoted
	create  bool
	timeout time.Duration
	pool    *pgxpool.Pool

	// underWay counts the calls of Deliver, for Close.
	underWay sync.WaitGroup

	// making holds a token while the table is looked after; made says that it
	// was there.
	making chan struct{}
	made   bool
}

var _ host.Sink = (*Sink)(nil)

// New checks the configuration and makes the sink; it does not connect. All
// problems are reported at once, each with its field and what to do.
func New(c Config) (*Sink, error) {
	table, tableErr := quote(c.Table)
	pc, dsnErr := parseDSN(c.DSN)
	if err := errors.Join(dsnErr, tableErr); err != nil {
		return nil, err
	}
	pc.MaxConns = int32(max(1, min(c.Concurrency, 1<<15)))
	pc.MinConns, pc.MinIdleConns = 0, 0
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "postern"
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, errors.New("dsn: no pool of connections can be made of it")
	}
	s := &Sink{table: table, create: c.Create, timeout: c.Timeout, pool: pool, making: make(chan struct{}, 1)}
	if s.timeout <= 0 {
		s.timeout = 30 * time.Second
	}
	return s, nil
}

// parseDSN never shows the DSN, nor the parser's words about it.
//
// Invariant 8: a password stays out of error texts.
func parseDSN(dsn string) (*pgxpool.Config, error) {
	const form = "write it as postgres://user:password@host:5432/database?sslmode=verify-full"
	if dsn == "" {
		return nil, errors.New("dsn: is empty; " + form)
	}
	pc, err := pgxpool.ParseConfig(dsn)
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return nil, fmt.Errorf("dsn: a file that it names cannot be read: %w", file)
	case err != nil:
		return nil, errors.New("dsn: cannot be parsed; " + form)
	}
	return pc, nil
}

// identifier is what a name may be made of, at most 63 bytes as the server
// keeps them.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

func quote(table string) (string, error) {
	if table == "" {
		table = DefaultTable
	}
	parts := strings.Split(table, ".")
	for _, p := range parts {
		if !identifier.MatchString(p) || len(parts) > 2 {
			return "", fmt.Errorf("table: %q is not a name or schema.name of A-Z, a-z, 0-9 and _", table)
		}
	}
	return pgx.Identifier(parts).Sanitize(), nil
}

// Deliver implements [host.Sink].
func (s *Sink) Deliver(ctx context.Context, batch []host.Delivery) []error {
	s.underWay.Add(1)
	defer s.underWay.Done()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	errs := make([]error, len(batch))
	rows := make([]row, 0, len(batch))
	for i := range batch {
		r, err := newRow(i, &batch[i].Event)
		if err != nil {
			errs[i] = host.Permanent(fmt.Errorf("encode event: %w", err))
			continue
		}
		rows = append(rows, r)
	}
	if len(rows) > 0 {
		s.put(ctx, rows, errs)
	}
	for _, err := range errs {
		if err != nil {
			return errs
		}
	}
	return nil
}

// put inserts rows in one transaction, and in halves when one of them is
// refused for what it holds. Each row's error goes to its place in errs.
func (s *Sink) put(ctx context.Context, rows []row, errs []error) {
	err := s.makeTable(ctx)
	if err == nil {
		err = s.insert(ctx, rows)
	}
	switch {
	case err == nil:
	case ofEvent(err) && len(rows) > 1:
		half := len(rows) / 2
		s.put(ctx, rows[:half], errs)
		s.put(ctx, rows[half:], errs)
	case class(err) == dataException && ofEvent(err) && rows[0].data != nil:
		// The whole event is in the column event, whatever it holds.
		rows[0].data = nil
		s.put(ctx, rows, errs)
	default:
		told := judge(err)
		for i := range rows {
			errs[rows[i].at] = told
		}
	}
}

// insert makes one transaction of rows; it has returned nil only if that is
// durable.
func (s *Sink) insert(ctx context.Context, rows []row) error {
	deadline, _ := ctx.Deadline() // Deliver has set one
	left := max(time.Until(deadline).Milliseconds(), 1)
	var b pgx.Batch
	b.Queue(assurance, fmt.Sprintf("%dms", left), s.table)
	b.Queue("INSERT INTO "+s.table+insertion, columns(rows)...)
	var fsync, commit, kind string
	// A batch without BEGIN is one transaction, committed at its end: an error
	// of the commit comes from Close.
	results := s.pool.SendBatch(ctx, &b)
	err := results.QueryRow().Scan(nil, &fsync, &commit, &kind)
	if err == nil {
		_, err = results.Exec()
	}
	if closed := results.Close(); err == nil {
		err = closed
	}
	if class(err) == undefined {
		s.forgetTable()
	}
	if err != nil {
		return err
	}
	return durable(fsync, commit, kind)
}

// makeTable makes the table, once, if that is wanted and it is not there.
func (s *Sink) makeTable(ctx context.Context) error {
	if !s.create {
		return nil
	}
	select {
	case s.making <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.making }()
	if s.made {
		return nil
	}
	// Asked first: IF NOT EXISTS wants the right to create all the same.
	var there bool
	err := s.pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", s.table).Scan(&there)
	if err == nil && !there {
		_, err = s.pool.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+s.table+definition)
	}
	if err != nil {
		return &createError{err}
	}
	s.made = true
	return nil
}

// forgetTable has the table looked after again at the next delivery.
func (s *Sink) forgetTable() {
	s.making <- struct{}{}
	s.made = false
	<-s.making
}

// Close waits for what is under way and closes the connections.
func (s *Sink) Close() error {
	s.underWay.Wait()
	s.pool.Close()
	return nil
}

// class is the first two characters of the server's SQLSTATE, empty if err is
// no answer of a server.
func class(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return ""
	}
	return pg.Code[:2]
}
