package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

// walk is a way of a sink through the log: that of what is new, or a replay's.
type walk struct {
	number int
	// seq and idx are the next event to look at, to is behind the last.
	seq, to    int64
	idx, toIdx int
	// found are events that were read and not taken, read is where the reading
	// goes on.
	found []lease
	read  int64
	took  uint64
}

func (w *walk) ended() bool {
	return len(w.found) == 0 && (w.seq > w.to || w.seq == w.to && w.idx >= w.toIdx)
}

// log takes what the sink wants from the log, by turns a new event and one of the
// replay, and reports whether there is more.
func (l *leasing) log(ctx context.Context) (more bool, err error) {
	walks, err := l.walks()
	if err != nil {
		return false, err
	}
	scanned := 0
	if l.room > 0 && slices.ContainsFunc(walks, func(w *walk) bool { return !w.ended() }) {
		if l.held, err = l.full(ctx); err != nil {
			return false, err
		}
	}
	idle := 0
	for l.room > 0 && l.bytes > 0 && !l.held && scanned < maxScan && len(l.taken) < maxScan && idle < len(walks) {
		w := walks[0]
		if len(walks) > 1 {
			if l.row.turn {
				w = walks[1]
			}
			l.row.turn = !l.row.turn
		}
		if w.ended() {
			idle++
			continue
		}
		idle = 0
		if len(w.found) == 0 {
			n, err := l.read(ctx, w)
			if err != nil {
				return false, err
			}
			scanned += n
		}
		if len(w.found) > 0 {
			l.take(w)
		}
	}
	l.moved(walks)
	for _, w := range walks {
		more = more || !w.ended()
	}
	return more, nil
}

// full is back-pressure: a sink that fails or hangs stops being given new events
// before its rows fill the database.
func (l *leasing) full(ctx context.Context) (bool, error) {
	var n int
	err := l.tx.QueryRow(ctx, `select count(*) from (select 1 from deliveries where sink = $1 limit $2) a`, l.name, maxTaken).Scan(&n)
	return n >= maxTaken, err
}

func (l *leasing) walks() ([]*walk, error) {
	r := l.row
	all := []*walk{{seq: r.seq, idx: r.idx, to: r.end}}
	if r.replay == nil {
		return all, nil
	}
	at, atIdx, err := r.replay.At.At()
	to, toIdx, err2 := r.replay.To.At()
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	return append(all, &walk{
		number: r.walks, seq: int64(at), idx: atIdx, to: int64(to), toIdx: toIdx, //nolint:gosec // sequences of ours
	}), nil
}

// moved notes how far the walks are.
func (l *leasing) moved(walks []*walk) {
	l.row.seq, l.row.idx = walks[0].seq, walks[0].idx
	if len(walks) == 1 {
		return
	}
	w, r := walks[1], l.row.replay
	r.At, r.Taken = host.CursorAt(uint64(w.seq), w.idx), r.Taken+w.took //nolint:gosec // sequences are above zero
	if w.ended() {
		l.row.replay = nil
	}
}

// read looks at the next records of a walk, of about 4 MiB together, and returns
// how many.
//
// A damaged record is noted, and the rest is served.
func (l *leasing) read(ctx context.Context, w *walk) (int, error) {
	limit := min(max(2*l.room, 16), maxLease)
	rows, err := l.tx.Query(ctx, `select seq, events, n from (
			select seq, events, count(*) over () as n, sum(octet_length(events)) over (order by seq) - octet_length(events) as before
			from (select seq, events from records where seq >= $1 and seq <= $2 order by seq limit $3) a
		) b where before < $4 order by seq`, w.seq, w.to, limit, maxScanBytes)
	if err != nil {
		return 0, err
	}
	n, there, damaged := 0, 0, make(map[int64]error)
	var seq int64
	var coded []byte
	if _, err := pgx.ForEachRow(rows, []any{&seq, &coded, &there}, func() error {
		n++
		w.read = seq + 1
		places, err := record.Events(coded)
		if err != nil {
			damaged[seq] = err
		}
		for _, p := range places {
			from, to := seq == w.seq && p.Index < w.idx, seq == w.to && p.Index >= w.toIdx
			if !from && !to && l.row.filter.Match(p.Event) {
				w.found = append(w.found, lease{turn: turn{seq, p.Index, w.number}, event: owned(p.Event)})
			}
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if n == there && n < limit {
		w.read = w.to + 1
	}
	if len(w.found) == 0 {
		w.pass()
	}
	if err := l.s.noteDamage(ctx, l.tx, damaged); err != nil {
		return 0, err
	}
	if l.row.ordered {
		return n, l.askSubjects(ctx, w.found)
	}
	return n, nil
}

// pass goes on behind what was read.
func (w *walk) pass() {
	w.seq, w.idx = w.read, 0
	if w.read > w.to {
		w.seq, w.idx = w.to, w.toIdx
	}
}

// take leases the next event of a walk, or parks it behind an earlier one of its
// subject.
func (l *leasing) take(w *walk) {
	d := w.found[0]
	w.found, w.took = w.found[1:], w.took+1
	if w.seq, w.idx = d.seq, d.idx+1; len(w.found) == 0 {
		w.pass()
	}
	subject := string(subjectOf(d.event))
	earliest, busy := l.first[subject]
	parked := l.row.ordered && subject != "" && busy && earliest.compare(d.turn) < 0
	if subject != "" && !parked {
		l.first[subject] = d.turn
	}
	if !parked {
		l.tokens++
		d.token, d.attempts, d.first = l.tokens, 1, l.row.now
		l.give(d)
	}
	l.taken = append(l.taken, d)
}

// askSubjects reads the earliest delivery of each subject.
func (l *leasing) askSubjects(ctx context.Context, found []lease) error {
	var ask [][]byte
	for i := range found {
		if s := subjectOf(found[i].event); s != nil {
			if _, known := l.first[string(s)]; !known {
				ask = append(ask, s)
			}
		}
	}
	if len(ask) == 0 {
		return nil
	}
	rows, err := l.tx.Query(ctx, `select distinct on (subject) subject, seq, idx, walk from deliveries
		where sink = $1 and subject = any($2::bytea[]) order by subject, seq, idx, walk`, l.name, ask)
	if err != nil {
		return err
	}
	var subject []byte
	var at turn
	_, err = pgx.ForEachRow(rows, []any{&subject, &at.seq, &at.idx, &at.walk}, func() error {
		l.first[string(subject)] = at
		return nil
	})
	return err
}

// subjectOf is what deliveries that wait for each other have in common, nil for
// an event that waits for nobody.
func subjectOf(ev *host.Event) []byte {
	if ev.Subject == "" {
		return nil
	}
	var b []byte
	for _, s := range []string{ev.Tenant, ev.Endpoint, ev.Subject} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return sum[:16]
}

// session is a transaction or a pool.
type session interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// noteDamage has the store's status name damaged records, and logs what is new of
// them.
func (s *Store) noteDamage(ctx context.Context, db session, damaged map[int64]error) error {
	for seq, err := range damaged {
		tag, put := db.Exec(ctx, `insert into damaged (seq, what) values ($1, $2) on conflict do nothing`, seq, err.Error())
		if put != nil {
			return put
		}
		if tag.RowsAffected() > 0 {
			s.o.Log.Error("a record is damaged and was passed over", "sequence", seq, "error", err)
		}
	}
	return nil
}
