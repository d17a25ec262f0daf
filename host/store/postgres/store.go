package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern/postern/host"
)

// Defaults and bounds.
const (
	defaultSchema  = "postern"
	defaultMaxKept = 10_000
	defaultMaxRing = 1000
	defaultPoll    = time.Second

	queueRequests = 4096
	queueBytes    = 64 << 20

	// connections are those that everything but appends shares.
	connections    = 8
	connectTimeout = 5 * time.Second
	// commitTimeout bounds one transaction of an append; it answers 503 then.
	commitTimeout = 10 * time.Second
)

// Options of a store. The zero value is usable.
type Options struct {
	// Schema is where the tables are; one is made if it is not there. It has 1 to
	// 63 of a-z, 0-9 and _, not beginning with a digit. Empty means "postern".
	Schema string
	// Node names this process among those that share the schema, the same over
	// restarts; no two that run may share a name. What it had leased comes back
	// when it opens the store again. Empty means a name for this life only: what
	// a process leased that died then comes back when its leases end.
	Node string
	// Now is the clock of leases and retries; nil means the server's.
	Now func() time.Time
	// Poll is the longest a Lease's Next is away, since other nodes append, and
	// leave what they leased, without a word. Zero means a second, below zero
	// that Next tells of this node only.
	Poll time.Duration
	// MaxKept is how many kept and held callbacks are taken before KeptFull, on all nodes
	// together; zero means 10,000.
	MaxKept int
	// MaxRing is how many rejected callbacks a ring holds; zero means 1000.
	MaxRing int
	// Log is told of what is damaged, and of what cannot be quarantined; nil
	// means nobody.
	Log *slog.Logger
}

// Store implements [host.Store] over a PostgreSQL schema. It is safe for
// concurrent use, and so are several on one schema.
//
// A lost connection and a server that starts again are answered StoreUnavailable
// until it is back; an append that was under way is tried again as long as
// nothing of it can be stored. Failed is closed only when another version of
// Postern has changed the schema since.
type Store struct {
	host.Unsupported

	o Options
	// intake is for appends alone, so that no sink can keep a callback waiting.
	intake *pgxpool.Pool
	pool   *pgxpool.Pool

	appends loop[*request]
	rejects loop[*host.Rejected]

	sinksMu sync.Mutex
	sinks   map[string]*sink

	full   atomic.Pointer[string]
	failed chan struct{}
	fail   sync.Once
}

var _ host.Store = (*Store)(nil)

var schemaForm = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Open connects to the server that dsn names (a URL or "key=value" text, as libpq
// takes them) and makes or checks the schema. It refuses a server that
// acknowledges what is not on its disk, and a schema of a later version. No error
// has dsn in it, or a part of it that is secret.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	if o.Schema == "" {
		o.Schema = defaultSchema
	}
	if !schemaForm.MatchString(o.Schema) {
		return nil, fmt.Errorf("open the store: schema %q is not 1 to 63 of a-z, 0-9 and _, not beginning with a digit", o.Schema)
	}
	s := &Store{o: o.complete(), sinks: make(map[string]*sink), failed: make(chan struct{})}
	var err error
	if s.intake, err = s.connect(ctx, dsn, 2); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if s.pool, err = s.connect(ctx, dsn, connections); err == nil {
		err = s.prepare(ctx)
	}
	if err != nil {
		s.disconnect()
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s.appends = loop[*request]{
		commit: s.commitAppends, maxBytes: queueBytes, gather: maxGather,
		size: func(r *request) int64 { return int64(len(r.events) + len(r.raw)) },
	}
	s.appends.start(queueRequests)
	s.rejects = loop[*host.Rejected]{
		commit: s.commitRejects, maxBytes: queueBytes, size: rejectedSize,
	}
	s.rejects.start(queueRequests)
	return s, nil
}

func (o Options) complete() Options {
	if o.MaxKept == 0 {
		o.MaxKept = defaultMaxKept
	}
	if o.MaxRing == 0 {
		o.MaxRing = defaultMaxRing
	}
	if o.Poll == 0 {
		o.Poll = defaultPoll
	}
	if o.Node == "" {
		o.Node = newNode()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (s *Store) connect(ctx context.Context, dsn string, most int32) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// Invariant 8: not wrapped, since it quotes the text.
		return nil, errors.New("the dsn is neither a URL (postgres://user@host:5432/database) nor key=value text")
	}
	c.MinConns, c.MaxConns = 0, most
	c.ConnConfig.RuntimeParams["search_path"] = s.o.Schema
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "postern"
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	c.AfterConnect = trust
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, cause(err)
	}
	return pool, nil
}

// trust refuses a connection whose commits may be answered before they are on
// the disk: the server behind an address changes when one takes over from
// another.
func trust(ctx context.Context, c *pgx.Conn) error {
	var set settings
	if err := set.scan(c.QueryRow(ctx, `select `+durability)); err != nil {
		return err
	}
	return set.refuse()
}

// settings are what durability hangs on.
type settings struct{ fsync, fullPageWrites, synchronousCommit string }

// durability selects the settings.
const durability = `current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')`

// scan reads what was selected before the settings, and them.
func (s *settings) scan(row pgx.Row, before ...any) error {
	return row.Scan(append(before, &s.fsync, &s.fullPageWrites, &s.synchronousCommit)...)
}

func (s settings) refuse() error {
	const restart = " in postgresql.conf and reload the server"
	switch off := "off"; off {
	case s.fsync:
		return safe("the server has fsync = off and loses what it has acknowledged: set fsync = on" + restart)
	case s.fullPageWrites:
		return safe("the server has full_page_writes = off and is damaged when its power fails: set full_page_writes = on" + restart)
	case s.synchronousCommit:
		return safe("synchronous_commit is off and commits are acknowledged before they are on the disk: " +
			"set it to on" + restart + ", or for the role with ALTER ROLE, or leave it out of the dsn")
	}
	return nil
}

// Failed implements [host.Store].
func (s *Store) Failed() <-chan struct{} { return s.failed }

// broken is an error once the store has failed.
func (s *Store) broken() error {
	select {
	case <-s.failed:
		return errOutdated
	default:
		return nil
	}
}

// Close implements [host.Store]. What this node had leased comes back at once.
func (s *Store) Close() error {
	s.appends.close()
	s.rejects.close()
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	err := s.release(ctx)
	s.disconnect()
	if err != nil {
		// They end by themselves.
		return fmt.Errorf("close the store: give back what is leased: %w", cause(err))
	}
	return nil
}

func (s *Store) disconnect() {
	for _, p := range []*pgxpool.Pool{s.intake, s.pool} {
		if p != nil {
			p.Close()
		}
	}
}

// release ends the leases of this node.
func (s *Store) release(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `update deliveries set token = 0, node = '', due = 0 where token <> 0 and node = $1`, s.o.Node)
	return err
}
