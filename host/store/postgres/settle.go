package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

// settling is one Settle, sorted by outcome.
type settling struct {
	done, again, dead []int64
	at                []host.Settlement          // beside again
	letters           map[int64]*host.Settlement // by the tokens of dead
}

func sorted(all []host.Settlement) settling {
	p := settling{letters: make(map[int64]*host.Settlement)}
	seen := make(map[int64]bool)
	for i := range all {
		token := int64(all[i].Token) //nolint:gosec // ours are below the sign
		if token <= 0 || seen[token] {
			continue
		}
		seen[token] = true
		switch all[i].Outcome {
		case host.Done:
			p.done = append(p.done, token)
		case host.Again:
			p.again, p.at = append(p.again, token), append(p.at, all[i])
		case host.Dead:
			p.dead, p.letters[token] = append(p.dead, token), &all[i]
		}
	}
	return p
}

// errOrder: the sink's order is not what was thought.
var errOrder = errors.New("the order of the sink has changed")

// Settle implements [host.Queue]. Where there is no order, settlements wait for
// no lease and for no other settlement: they take a lock that they share.
func (s *Store) Settle(ctx context.Context, name string, all ...host.Settlement) error {
	p := sorted(all)
	k := s.sink(name)
	for {
		ordered := k.ordered.Load()
		err := s.tx(ctx, len(p.again)+len(p.dead) == 0, func(tx pgx.Tx) error {
			return s.settle(ctx, tx, name, p, ordered)
		})
		switch {
		case errors.Is(err, errOrder):
			k.ordered.Store(!ordered)
			continue
		case err != nil:
			return fmt.Errorf("settle for %s: %w", name, cause(err))
		}
		return nil
	}
}

// settle ends leases that have not ended by themselves.
//
// Invariant 5: a late settle finds no row with its token, or one whose lease has
// ended, also when nobody has leased the event again yet.
func (s *Store) settle(ctx context.Context, tx pgx.Tx, name string, p settling, ordered bool) error {
	lock := ` for key share`
	if ordered {
		lock = ` for no key update`
	}
	var server int64
	var isOrdered bool
	err := tx.QueryRow(ctx, `select ordered, `+serverClock+` from sinks where name = $1`+lock, name).Scan(&isOrdered, &server)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	case ordered != isOrdered:
		return errOrder
	}
	c := s.clock(server)
	if err := s.bury(ctx, tx, name, p, c); err != nil {
		return err
	}
	if len(p.again) > 0 {
		at := make([]int64, len(p.at))
		for i := range p.at {
			at[i] = min(c.in(p.at[i].At), latest)
		}
		_, err := tx.Exec(ctx, `update deliveries d set token = 0, node = '', due = u.at
			from unnest($2::bigint[], $3::bigint[]) u (token, at) where d.sink = $1 and d.token = u.token and d.due > $4`,
			name, p.again, at, c.now)
		if err != nil {
			return err
		}
	}
	if len(p.done)+len(p.dead) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `delete from deliveries where sink = $1 and token = any($2::bigint[]) and due > $3 returning subject`,
		name, slices.Concat(p.done, p.dead), c.now)
	if err != nil {
		return err
	}
	freed, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil || !ordered || len(freed) == 0 {
		return err
	}
	return unpark(ctx, tx, name, freed)
}

// unpark makes due what waited for deliveries of these subjects and is the
// earliest now: all others wait for it.
func unpark(ctx context.Context, tx pgx.Tx, name string, subjects [][]byte) error {
	_, err := tx.Exec(ctx, `update deliveries d set due = 0
		from (select distinct subject from unnest($2::bytea[]) subject) s, lateral (
			select seq, idx, walk from deliveries e where e.sink = $1 and e.subject = s.subject order by seq, idx, walk limit 1
		) f where d.sink = $1 and (d.seq, d.idx, d.walk) = (f.seq, f.idx, f.walk) and d.due = $3`, name, subjects, int64(never))
	return err
}

// bury makes dead letters, each with a copy of its event: it may outlive the log.
func (s *Store) bury(ctx context.Context, tx pgx.Tx, name string, p settling, c clock) error {
	if len(p.dead) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `select seq, idx, walk, token, attempts, first, event from deliveries
		where sink = $1 and token = any($2::bigint[]) and due > $3 for update`, name, p.dead, c.now)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d lease, err error) {
		err = row.Scan(&d.seq, &d.idx, &d.walk, &d.token, &d.attempts, &d.first, &d.copied)
		return d, err
	})
	if err != nil {
		return err
	}
	if err := s.readEvents(ctx, tx, all); err != nil {
		return err
	}
	var q pgx.Batch
	for i := range all {
		d, st := &all[i], p.letters[all[i].token]
		id, err := host.ParseID(d.event.ID())
		if err != nil {
			return err
		}
		q.Queue(`insert into dead (sink, seq, idx, walk, id, died, attempts, first, reason, answer, subject, event)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			name, d.seq, d.idx, d.walk, id[:], c.now, d.attempts, d.first, bounded(st.Reason), bounded(st.Answer),
			subjectOf(d.event), record.EncodeEvent(d.event))
	}
	return tx.SendBatch(ctx, &q).Close()
}

func bounded(text string) []byte { return []byte(text[:min(len(text), host.MaxReason)]) }
