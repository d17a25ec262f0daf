package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

const (
	prefixKept    = host.ReasonKept + "-"
	prefixHeld    = host.ReasonHeld + "-"
	prefixRefused = "refused-"
)

func rejectedSize(r *host.Rejected) int64 {
	n := len(r.Callback.Body) + len(r.Callback.Target) + len(r.Detail)
	for i := range r.Callback.Headers {
		n += len(r.Callback.Headers[i].Value)
	}
	return int64(n)
}

// Put implements [host.Quarantine].
func (s *Store) Put(_ context.Context, r *host.Rejected) error {
	if !s.rejects.offer(r) {
		return host.Errorf(host.StoreFull, "quarantine: the queue is full")
	}
	return nil
}

// ring is where one endpoint's callbacks of one reason lie.
type ring struct{ tenant, endpoint, reason string }

// place is that of all equal bodies in a ring.
type place struct {
	ring

	body [sha256.Size]byte
}

// counted is a place's new callbacks: the first, how many, and when the last
// came.
type counted struct {
	place

	first *host.Rejected
	n     int64
	last  int64
}

// commitRejects puts what has come together. What cannot be put is gone: nobody
// waits for it, and the provider was told that it was refused.
func (s *Store) commitRejects(all []*host.Rejected) {
	var list []*counted
	byPlace := make(map[place]*counted)
	for _, r := range all {
		at := place{ring{r.Tenant, r.Endpoint, r.Reason}, sha256.Sum256(r.Callback.Body)}
		c := byPlace[at]
		if c == nil {
			c = &counted{place: at, first: r, last: earliest}
			byPlace[at] = c
			list = append(list, c)
		}
		c.n++
		c.last = max(c.last, nanos(r.Callback.Received))
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	err := s.tx(ctx, true, func(tx pgx.Tx) error { return s.putRejected(ctx, tx, list) })
	if err != nil {
		s.o.Log.Error("cannot quarantine", "callbacks", len(all), "error", cause(err))
	}
}

// putRejected puts places in the order they came, under a lock that nodes take in
// turns: rows of several rings, locked in any order, would be waited for in
// circles.
func (s *Store) putRejected(ctx context.Context, tx pgx.Tx, list []*counted) error {
	if _, err := tx.Exec(ctx, `lock table rejected in share row exclusive mode`); err != nil {
		return err
	}
	rings := make(map[ring]bool)
	var q pgx.Batch
	for _, c := range list {
		rings[c.ring] = true
		q.Queue(`insert into rejected (tenant, endpoint, reason, body, count, received, last, callback)
			values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant, endpoint, reason, body)
			do update set count = rejected.count + excluded.count, last = greatest(rejected.last, excluded.last)`,
			[]byte(c.tenant), []byte(c.endpoint), []byte(c.reason), c.body[:], c.n,
			nanos(c.first.Callback.Received), c.last, record.EncodeRejected(c.first))
	}
	for r := range rings {
		// A flood in one ring pushes out its own oldest and nothing else.
		q.Queue(`delete from rejected where tenant = $1 and endpoint = $2 and reason = $3 and id <= (
			select id from rejected where tenant = $1 and endpoint = $2 and reason = $3 order by id desc offset $4 limit 1)`,
			[]byte(r.tenant), []byte(r.endpoint), []byte(r.reason), s.o.MaxRing)
	}
	return tx.SendBatch(ctx, &q).Close()
}

// selectRejected are kept, held and refused callbacks alike; of the kept and held
// ones the record has the rest.
const selectRejected = `select id, seq, received, count, last, callback from (
		select case when held then 'held-' else 'kept-' end || seq as id, seq, received, tenant, endpoint,
			case when held then 'held'::bytea else 'kept'::bytea end as reason,
			1::bigint as count, received as last, null::bytea as callback from kept
		union all
		select 'refused-' || id, 0, received, tenant, endpoint, reason, count, last, callback from rejected
	) a `

// rejectedForm is the cursor: when it came, and its id.
const rejectedForm = "%016x"

// List implements [host.Quarantine].
func (s *Store) List(ctx context.Context, want host.Wanted, after host.Cursor, n int) ([]host.Rejected, host.Cursor, error) {
	if n <= 0 {
		n = defaultLimit
	}
	received, id := int64(earliest), ""
	if after != "" {
		const digits = 16
		at, err := strconv.ParseUint(string(after[:min(len(after), digits)]), 16, 64)
		if err != nil {
			return nil, "", fmt.Errorf("list the quarantine: cursor %q is not one of this store's", string(after))
		}
		received, id = fromSortable(at), string(after[digits:])
	}
	rows, err := s.pool.Query(ctx, selectRejected+`where ($1 = ''::bytea or tenant = $1) and ($2 = ''::bytea or endpoint = $2)
		and ($3 = ''::bytea or reason = $3) and (received, id collate "C") > ($4, $5) order by received, id collate "C" limit $6`,
		[]byte(want.Tenant), []byte(want.Endpoint), []byte(want.Reason), received, id, n+1)
	var all []rejected
	if err == nil {
		all, err = collectRejected(rows)
	}
	next := host.Cursor("")
	if len(all) > n {
		all = all[:n]
		next = host.Cursor(fmt.Sprintf(rejectedForm, sortable(all[n-1].received)) + all[n-1].ID)
	}
	if err == nil {
		err = s.fillKept(ctx, all)
	}
	if err != nil {
		return nil, "", fmt.Errorf("list the quarantine: %w", cause(err))
	}
	out := make([]host.Rejected, len(all))
	for i := range all {
		out[i] = all[i].Rejected
	}
	return out, next, nil
}

// rejected is a row of [selectRejected]; seq is that of a kept or held callback's
// record.
type rejected struct {
	host.Rejected

	seq, received int64
}

func collectRejected(rows pgx.Rows) ([]rejected, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r rejected, err error) {
		var id string
		var count, last int64
		var coded []byte
		if err := row.Scan(&id, &r.seq, &r.received, &count, &last, &coded); err != nil {
			return r, err
		}
		if coded != nil {
			q, err := record.DecodeRejected(coded)
			if err != nil {
				return r, fmt.Errorf("rejected callback %s: %w", id, err)
			}
			r.Rejected = *q
		}
		r.ID, r.Count, r.Last = id, uint64(count), fromNanos(last) //nolint:gosec // counted up from zero
		return r, nil
	})
}

// fillKept reads the records of kept and held callbacks.
func (s *Store) fillKept(ctx context.Context, all []rejected) error {
	for i := range all {
		r := &all[i]
		if r.seq == 0 {
			continue
		}
		rec, err := s.Callback(ctx, uint64(r.seq)) //nolint:gosec // sequences are above zero
		if err != nil {
			return err
		}
		r.Rejected = *rec.Waiting(uint64(r.seq)) //nolint:gosec // sequences are above zero
	}
	return nil
}

// Get implements [host.Quarantine].
func (s *Store) Get(ctx context.Context, id string) (*host.Rejected, error) {
	rows, err := s.pool.Query(ctx, selectRejected+`where id = $1`, id)
	var all []rejected
	if err == nil {
		all, err = collectRejected(rows)
	}
	if err == nil && len(all) == 0 {
		err = host.ErrNotFound
	}
	if err == nil {
		err = s.fillKept(ctx, all)
	}
	if err != nil {
		return nil, fmt.Errorf("rejected callback %q: %w", id, cause(err))
	}
	return &all[0].Rejected, nil
}

// Drop implements [host.Quarantine].
func (s *Store) Drop(ctx context.Context, id string) error {
	sql := `delete from rejected where id = $1`
	number, ok := strings.CutPrefix(id, prefixRefused)
	kept := !ok
	if kept {
		sql = `delete from kept where seq = $1 and not held`
		number, ok = strings.CutPrefix(id, prefixKept)
	}
	if !ok {
		sql = `delete from kept where seq = $1 and held`
		number, ok = strings.CutPrefix(id, prefixHeld)
	}
	err := host.ErrNotFound
	if n, bad := strconv.ParseInt(number, 10, 64); ok && bad == nil {
		err = s.tx(ctx, false, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, sql, n)
			if err == nil && tag.RowsAffected() == 0 {
				err = host.ErrNotFound
			}
			if err == nil && kept {
				_, err = tx.Exec(ctx, `update counter set kept = kept - 1`)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("rejected callback %q: %w", id, cause(err))
	}
	return nil
}
