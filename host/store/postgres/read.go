package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

const (
	// maxRead is how many records one query of a Range reads.
	maxRead = 256
	// endOfRecord is an index behind every event of a record.
	endOfRecord = 0xffff
)

// Callback implements [host.Reader].
func (s *Store) Callback(ctx context.Context, seq uint64) (*host.Record, error) {
	var events, raw []byte
	err := s.pool.QueryRow(ctx, `select events, raw from records where seq = $1`, int64(min(seq, math.MaxInt64))).Scan(&events, &raw)
	if err != nil {
		return nil, fmt.Errorf("read callback %d: %w", seq, cause(notFound(err)))
	}
	rec, err := record.Decode(events, raw)
	if err != nil {
		return nil, fmt.Errorf("read callback %d: %w", seq, err)
	}
	return rec, nil
}

// Event implements [host.Reader].
func (s *Store) Event(ctx context.Context, id string) (host.StoredEvent, error) {
	key, err := host.ParseID(id)
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event: %w", err)
	}
	var seq int64
	var idx int
	var events []byte
	err = s.pool.QueryRow(ctx, `select r.seq, d.idx, r.events from dedup d join batches b on b.id = d.batch
		join records r on r.seq = b.first + d.place where d.key = $1 and d.idx >= 0`, key[:]).Scan(&seq, &idx, &events)
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, cause(notFound(err)))
	}
	places, err := record.Events(events)
	if err != nil {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, named(seq, err))
	}
	i := slices.IndexFunc(places, func(p record.Place) bool { return p.Index == idx })
	if i < 0 {
		return host.StoredEvent{}, fmt.Errorf("read event %s: %w", id, named(seq, record.ErrDamaged))
	}
	return stored(seq, places[i]), nil
}

func stored(seq int64, p record.Place) host.StoredEvent {
	return host.StoredEvent{Seq: uint64(seq), Cursor: host.CursorAt(uint64(seq), p.Index), Event: *p.Event} //nolint:gosec // sequences are above zero
}

// Range implements [host.Reader]. What is damaged is noted and passed over.
func (s *Store) Range(ctx context.Context, p host.Page) ([]host.StoredEvent, host.Cursor, error) {
	seq, _, err := p.After.At()
	if err != nil {
		return nil, "", fmt.Errorf("read events: %w", err)
	}
	if p.Limit <= 0 {
		p.Limit = defaultLimit
	}
	if p.Newest && p.After == "" {
		seq = math.MaxInt64
	}
	sc := scan{Page: p, next: int64(min(seq, math.MaxInt64)), cursor: p.After}
	for !sc.full && !sc.end {
		if err := sc.read(ctx, s); err != nil {
			return nil, "", fmt.Errorf("read events: %w", cause(err))
		}
	}
	return sc.out, sc.cursor, nil
}

// scan is a Range under way.
type scan struct {
	host.Page

	next      int64 // the sequence to go on from
	cursor    host.Cursor
	out       []host.StoredEvent
	full, end bool
	damaged   map[int64]error
}

func (sc *scan) read(ctx context.Context, s *Store) error {
	sql := `select seq, events from records where seq >= $1 order by seq limit $2`
	if sc.Newest {
		sql = `select seq, events from records where seq <= $1 order by seq desc limit $2`
	}
	rows, err := s.pool.Query(ctx, sql, sc.next, maxRead)
	if err != nil {
		return err
	}
	var seq int64
	var events []byte
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&seq, &events}, func() error {
		n++
		if sc.full {
			return nil
		}
		sc.add(seq, events)
		return nil
	})
	sc.end = n < maxRead
	if err == nil && len(sc.damaged) > 0 {
		err = s.noteDamage(ctx, s.pool, sc.damaged)
		sc.damaged = nil
	}
	return err
}

func (sc *scan) add(seq int64, events []byte) {
	places, err := record.Events(events)
	if err != nil {
		if sc.damaged == nil {
			sc.damaged = make(map[int64]error)
		}
		sc.damaged[seq] = err
	}
	if sc.Newest {
		slices.Reverse(places)
	}
	for _, p := range places {
		ev := stored(seq, record.Place{Index: p.Index, Event: owned(p.Event)})
		if sc.passed(ev.Cursor) || !sc.Filter.Match(&ev.Event) {
			continue
		}
		if sc.out = append(sc.out, ev); len(sc.out) == sc.Limit {
			sc.full, sc.cursor = true, ev.Cursor
			return
		}
	}
	if sc.Newest {
		sc.next, sc.cursor = seq-1, host.CursorAt(uint64(seq), 0) //nolint:gosec // sequences are above zero
		return
	}
	sc.next, sc.cursor = seq+1, max(sc.cursor, host.CursorAt(uint64(seq), endOfRecord)) //nolint:gosec // sequences are above zero
}

// passed reports whether the page before had it.
func (sc *scan) passed(at host.Cursor) bool {
	switch {
	case sc.After == "":
		return false
	case sc.Newest:
		return at >= sc.After
	}
	return at <= sc.After
}

// Status implements [host.Store].
func (s *Store) Status(ctx context.Context) (host.Status, error) {
	st := host.Status{Engine: "postgres"}
	if full := s.full.Load(); full != nil {
		st.Full = *full
	}
	err := s.tx(ctx, true, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `select (select kept from counter) - h.n, h.n, (select count(*) from rejected),
			(select count(*) from pg_inherits where inhparent = 'records'::regclass),
			(select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c
				join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'r')
			from (select count(*) as n from kept where held) h`, s.o.Schema).
			Scan(&st.Kept, &st.Held, &st.Quarantined, &st.Segments, &st.Bytes)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select format('record %s: %s', seq, what) from damaged order by seq limit 100`)
		if err != nil {
			return err
		}
		if st.Damaged, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
		var oldest []byte
		err = tx.QueryRow(ctx, `select events from records order by seq limit 1`).Scan(&oldest)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			// A damaged one is named when it is read.
			st.Oldest, _ = record.Received(oldest)
		}
		return err
	})
	if err != nil {
		return host.Status{}, fmt.Errorf("status: %w", cause(err))
	}
	return st, nil
}
