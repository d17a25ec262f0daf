package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

// defaultLimit is the size of a page that names none.
const defaultLimit = 100

// letterForm is the cursor of a dead letter: when it died, and its turn. The time
// is counted up from the earliest one, so that it has no sign.
const letterForm = "%016x%016x%04x%08x"

// mustSink is ErrNotFound for a sink that is not subscribed.
func mustSink(ctx context.Context, tx pgx.Tx, name string) error {
	var one int
	return notFound(tx.QueryRow(ctx, `select 1 from sinks where name = $1`, name).Scan(&one))
}

// DeadLetters implements [host.Queue].
func (s *Store) DeadLetters(ctx context.Context, name string, after host.Cursor, n int) ([]host.DeadLetter, host.Cursor, error) {
	if n <= 0 {
		n = defaultLimit
	}
	died, at := uint64(0), turn{seq: -1}
	if after != "" {
		if _, err := fmt.Sscanf(string(after), letterForm, &died, &at.seq, &at.idx, &at.walk); err != nil {
			return nil, "", fmt.Errorf("dead letters of %s: cursor %q is not one of this store's", name, string(after))
		}
	}
	var out []host.DeadLetter
	var next host.Cursor
	err := s.tx(ctx, true, func(tx pgx.Tx) error {
		out, next = nil, ""
		if err := mustSink(ctx, tx, name); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select died, seq, idx, walk, attempts, first, reason, answer, event from dead
			where sink = $1 and (died, seq, idx, walk) > ($2, $3, $4, $5) order by died, seq, idx, walk limit $6`,
			name, fromSortable(died), at.seq, at.idx, at.walk, n+1)
		if err != nil {
			return err
		}
		var last host.Cursor
		var when, first int64
		var reason, answer, event []byte
		dl := host.DeadLetter{Sink: name}
		_, err = pgx.ForEachRow(rows, []any{&when, &at.seq, &at.idx, &at.walk, &dl.Attempts, &first, &reason, &answer, &event}, func() error {
			if len(out) == n {
				next = last
				return nil
			}
			ev, err := record.DecodeEvent(event)
			if err != nil {
				return fmt.Errorf("dead letter of event %d of record %d: %w", at.idx, at.seq, err)
			}
			dl.Event, dl.Died, dl.First = *ev, fromNanos(when), fromNanos(first)
			dl.Reason, dl.Answer = string(reason), string(answer)
			out = append(out, dl)
			last = host.Cursor(fmt.Sprintf(letterForm, sortable(when), at.seq, at.idx, at.walk))
			return nil
		})
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("dead letters of %s: %w", name, cause(err))
	}
	return out, next, nil
}

// sortable maps times to numbers without a sign, in the same order.
func sortable(n int64) uint64     { return uint64(n) ^ 1<<63 } //nolint:gosec // the sign is turned over
func fromSortable(n uint64) int64 { return int64(n ^ 1<<63) }  //nolint:gosec // and back

// Redrive implements [host.Queue].
func (s *Store) Redrive(ctx context.Context, name string, ids ...string) (int, error) {
	n, err := s.removeDead(ctx, name, ids, `with gone as (`+deleteDead+` returning *)
		insert into deliveries (sink, seq, idx, walk, due, subject, event)
		select sink, seq, idx, walk, $4, subject, event from gone`)
	if err != nil {
		return 0, fmt.Errorf("redrive for %s: %w", name, cause(err))
	}
	return n, nil
}

// Discard implements [host.Queue].
func (s *Store) Discard(ctx context.Context, name string, ids ...string) (int, error) {
	n, err := s.removeDead(ctx, name, ids, deleteDead+` and $4::bigint is not null`)
	if err != nil {
		return 0, fmt.Errorf("discard for %s: %w", name, cause(err))
	}
	return n, nil
}

const deleteDead = `delete from dead where sink = $1 and ($2 or id = any($3::bytea[]))`

func (s *Store) removeDead(ctx context.Context, name string, ids []string, sql string) (int, error) {
	n := 0
	var hashes [][]byte
	for _, id := range ids {
		if h, err := host.ParseID(id); err == nil {
			hashes = append(hashes, h[:])
		}
	}
	err := s.tx(ctx, false, func(tx pgx.Tx) error {
		row, err := s.readSink(ctx, tx, name, `for update`)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sql, name, len(ids) == 0, hashes, row.now)
		n = int(tag.RowsAffected())
		return err
	})
	return n, err
}

// Replay implements [host.Queue].
func (s *Store) Replay(ctx context.Context, name string, from, to host.Cursor) error {
	seq, idx, err := from.At()
	if err == nil {
		_, _, err = to.At()
	}
	if err != nil {
		return fmt.Errorf("replay to %s: %w", name, err)
	}
	err = s.tx(ctx, false, func(tx pgx.Tx) error {
		row, err := s.readSink(ctx, tx, name, `for update`)
		if err != nil {
			return err
		}
		if row.replay != nil {
			return host.ErrBusy
		}
		until := to
		if end := host.CursorAt(uint64(row.end), 0); until == "" || until > end { //nolint:gosec // sequences are above zero
			until = end
		}
		at := host.CursorAt(max(seq, 1), idx)
		if at >= until {
			return nil
		}
		_, err = tx.Exec(ctx, `update sinks set walks = walks + 1, taken = 0, replay_from = $2, replay_to = $3, replay_at = $4 where name = $1`,
			name, string(from), string(until), string(at))
		return err
	})
	if err != nil {
		return fmt.Errorf("replay to %s: %w", name, cause(err))
	}
	return nil
}

// StopReplay implements [host.Queue].
func (s *Store) StopReplay(ctx context.Context, name string) error {
	err := s.tx(ctx, false, func(tx pgx.Tx) error {
		row, err := s.readSink(ctx, tx, name, `for update`)
		if err != nil || row.replay == nil {
			return err
		}
		_, err = tx.Exec(ctx, `update sinks set replay_from = null, replay_to = null, replay_at = null where name = $1`, name)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `delete from deliveries where sink = $1 and walk = $2 and parked returning subject`, name, row.walks)
		if err != nil {
			return err
		}
		freed, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil || len(freed) == 0 {
			return err
		}
		return unpark(ctx, tx, name, freed)
	})
	if err != nil {
		return fmt.Errorf("stop the replay to %s: %w", name, cause(err))
	}
	return nil
}
