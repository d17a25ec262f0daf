package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
)

// sink is what this node knows of a sink beside its row.
type sink struct {
	// leasing is held by one Lease, so that no more than one connection waits
	// for the lock of the sink's row.
	leasing sync.Mutex
	// ordered is what its row said last.
	ordered atomic.Bool

	mu   sync.Mutex
	want host.Filter
}

func (s *Store) sink(name string) *sink {
	s.sinksMu.Lock()
	defer s.sinksMu.Unlock()
	k := s.sinks[name]
	if k == nil {
		k = &sink{}
		s.sinks[name] = k
	}
	return k
}

// newNode names a process that was given no name.
func newNode() string { return rand.Text() }

// tx runs a transaction, again if it lost against another. What it changes need
// not be on the disk at once if lazy: a later commit that is brings it there
// first.
func (s *Store) tx(ctx context.Context, lazy bool, run func(tx pgx.Tx) error) error {
	if err := s.broken(); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
			if lazy {
				if _, err := tx.Exec(ctx, `set local synchronous_commit = off`); err != nil {
					return err
				}
			}
			return run(tx)
		})
		if !lost(err) || try == tries {
			return err
		}
	}
}

// Subscribe implements [host.Queue]. The filter counts for all nodes; its
// expression is compiled in this one only, and a node that has compiled another
// text leases nothing until it subscribes as well.
func (s *Store) Subscribe(ctx context.Context, name string, sub host.Subscription) error {
	filter, err := json.Marshal(&sub.Filter)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", name, err)
	}
	if name == "" {
		return errors.New("subscribe: a sink without a name")
	}
	ordered := sub.Order == host.OrderSubject
	if !ordered && sub.Order != host.OrderNone && sub.Order != "" {
		return fmt.Errorf("subscribe %s: no such order %q", name, sub.Order)
	}
	err = s.tx(ctx, false, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select 1 from sinks where name = $1 for update`, name); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `update sinks set filter = $2, ordered = $3 where name = $1`, name, filter, ordered)
		if err == nil && tag.RowsAffected() == 0 {
			err = newSink(ctx, tx, name, filter, ordered, sub.From)
		}
		if err == nil && !ordered {
			_, err = tx.Exec(ctx, `update deliveries set due = 0 where sink = $1 and due = $2`, name, int64(never))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", name, cause(err))
	}
	k := s.sink(name)
	k.ordered.Store(ordered)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.want = sub.Filter.Clone()
	return nil
}

func newSink(ctx context.Context, tx pgx.Tx, name string, filter []byte, ordered bool, from host.From) error {
	if from != host.FromNow && from != host.FromOldest {
		return safe(fmt.Sprintf("no such start %q", from))
	}
	// Another node may do the same: then the one that comes second changes it.
	_, err := tx.Exec(ctx, `insert into sinks (name, filter, ordered, seq)
		select $1, $2, $3, case when $4 then next else 1 end from counter
		on conflict (name) do update set filter = excluded.filter, ordered = excluded.ordered`,
		name, filter, ordered, from == host.FromNow)
	return err
}

// Unsubscribe implements [host.Queue].
func (s *Store) Unsubscribe(ctx context.Context, name string) error {
	err := s.tx(ctx, false, func(tx pgx.Tx) error {
		var q pgx.Batch
		q.Queue(`delete from sinks where name = $1`, name)
		q.Queue(`delete from deliveries where sink = $1`, name)
		q.Queue(`delete from dead where sink = $1`, name)
		return tx.SendBatch(ctx, &q).Close()
	})
	if err != nil {
		return fmt.Errorf("unsubscribe %s: %w", name, cause(err))
	}
	s.sinksMu.Lock()
	defer s.sinksMu.Unlock()
	delete(s.sinks, name)
	return nil
}

// Sinks implements [host.Queue].
func (s *Store) Sinks(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, `select name from sinks order by name collate "C"`)
	if err == nil {
		var all []string
		if all, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			return all, nil
		}
	}
	return nil, fmt.Errorf("list the sinks: %w", cause(err))
}

// Pause implements [host.Queue].
func (s *Store) Pause(ctx context.Context, name string) error {
	return s.changeSink(ctx, "pause", name, `update sinks set paused = true where name = $1`)
}

// Resume implements [host.Queue].
func (s *Store) Resume(ctx context.Context, name string) error {
	return s.changeSink(ctx, "resume", name, `update sinks set paused = false where name = $1`)
}

func (s *Store) changeSink(ctx context.Context, what, name, sql string) error {
	tag, err := s.pool.Exec(ctx, sql, name)
	if err == nil && tag.RowsAffected() == 0 {
		err = host.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, name, cause(err))
	}
	return nil
}

// sinkRow is a sink's row.
type sinkRow struct {
	clock

	filter          host.Filter
	ordered, paused bool
	turn            bool
	seq             int64
	idx             int
	walks           int
	taken           int64
	replay          *host.Replay
	// end is behind the newest record.
	end int64
}

// readSink reads a sink's row, and locks it: "for no key update" against leases
// and, where there is an order, settlements of other nodes, "for update" against
// all settlements.
func (s *Store) readSink(ctx context.Context, tx pgx.Tx, name, lock string) (*sinkRow, error) {
	var r sinkRow
	var filter []byte
	var from, to, at *string
	var server int64
	err := tx.QueryRow(ctx, `select filter, ordered, paused, turn, seq, idx, walks, taken, replay_from, replay_to, replay_at,
		(select next from counter), `+serverClock+` from sinks where name = $1 `+lock, name).
		Scan(&filter, &r.ordered, &r.paused, &r.turn, &r.seq, &r.idx, &r.walks, &r.taken, &from, &to, &at, &r.end, &server)
	if err != nil {
		return nil, notFound(err)
	}
	r.clock = s.clock(server)
	r.end = max(r.end, r.seq)
	if to != nil {
		r.replay = &host.Replay{From: host.Cursor(*from), To: host.Cursor(*to), At: host.Cursor(*at), Taken: uint64(r.taken)} //nolint:gosec // never negative
	}
	return &r, json.Unmarshal(filter, &r.filter)
}

// ready gives the filter its compiled expression, if this node has it.
func (r *sinkRow) ready(k *sink) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.want.Where == r.filter.Where {
		r.filter.Test = k.want.Test
	}
	if !r.filter.Ready() {
		return safe(fmt.Sprintf("the expression %q is not compiled in this process", r.filter.Where))
	}
	return nil
}

// Lag implements [host.Queue].
func (s *Store) Lag(ctx context.Context, name string) (host.Lag, error) {
	var lag host.Lag
	err := s.tx(ctx, true, func(tx pgx.Tx) error {
		r, err := s.readSink(ctx, tx, name, ``)
		if err != nil {
			return err
		}
		lag = host.Lag{Paused: r.paused, Replay: r.replay, Records: uint64(r.end - r.seq)} //nolint:gosec // never negative
		return tx.QueryRow(ctx, `select
			count(*) filter (where token <> 0 and due > $2),
			count(*) filter (where not parked and (token = 0 or due <= $2)),
			count(*) filter (where parked),
			(select count(*) from dead where sink = $1)
			from deliveries where sink = $1`, name, r.now).Scan(&lag.Leased, &lag.Retrying, &lag.Parked, &lag.Dead)
	})
	if err != nil {
		return host.Lag{}, fmt.Errorf("lag of %s: %w", name, cause(err))
	}
	return lag, nil
}
