package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

// The bounds of one Lease, and of what a sink may have taken and not settled.
const (
	maxLease      = 256
	maxLeaseBytes = 1 << 20
	maxEvents     = 16 // read at once, of what is due
	maxScan       = 4096
	maxScanBytes  = 4 << 20
	maxTaken      = 100_000
	// parkFor is how long an event that cannot be read is left alone.
	parkFor = time.Minute
)

// turn is the place of a delivery in the order of its sink. walk tells apart the
// deliveries of one event: zero is the first way through the log, every replay
// has a number of its own.
type turn struct {
	seq       int64
	idx, walk int
}

func (a turn) compare(b turn) int {
	return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.idx, b.idx), cmp.Compare(a.walk, b.walk))
}

// lease is a delivery that is given out.
type lease struct {
	turn

	due      int64 // when it fell due
	token    int64
	attempts int
	first    int64
	event    *host.Event
	copied   []byte // the row's own event
}

// leasing is one Lease under way.
type leasing struct {
	s    *Store
	tx   pgx.Tx
	name string
	row  *sinkRow
	ends int64 // when the leases end
	// tokens are numbers from a random one on: a sequence of the server's would
	// give out again what it gave out before a crash.
	tokens int64
	room   int
	bytes  int

	out []lease
	// taken are rows to be put; those that are parked have no token.
	taken []lease
	// first are the earliest deliveries of subjects that were asked for.
	first map[string]turn
	held  bool
}

// Lease implements [host.Queue]. It returns at most 256 deliveries of about 1 MiB
// together; when there is more, Next is not after now.
//
// Invariant 6: it waits for no other sink, and only for those nodes that lease
// for the same one at this moment.
func (s *Store) Lease(ctx context.Context, name string, n int, ttl time.Duration) (host.Leased, error) {
	k := s.sink(name)
	k.leasing.Lock()
	defer k.leasing.Unlock()
	var out host.Leased
	// What is lost of it in a crash is leased again, and the token with it.
	err := s.tx(ctx, true, func(tx pgx.Tx) error {
		row, err := s.readSink(ctx, tx, name, `for no key update`)
		if err != nil {
			return err
		}
		k.ordered.Store(row.ordered)
		if err := row.ready(k); err != nil {
			return err
		}
		l := &leasing{
			s: s, tx: tx, name: name, row: row, ends: row.now + int64(ttl), tokens: rand.Int64N(never / 2), //nolint:gosec // it tells leases apart and guards nothing
			room: min(n, maxLease), bytes: maxLeaseBytes, first: make(map[string]turn),
		}
		out, err = l.run(ctx)
		return err
	})
	if err != nil {
		return host.Leased{}, fmt.Errorf("lease for %s: %w", name, cause(err))
	}
	return out, nil
}

func (l *leasing) run(ctx context.Context) (host.Leased, error) {
	if l.row.paused {
		return host.Leased{Next: l.soon(never)}, nil
	}
	failed := l.due(ctx)
	if failed != nil && !errors.Is(failed, record.ErrDamaged) {
		return host.Leased{}, failed
	}
	more, err := l.log(ctx)
	if err != nil {
		return host.Leased{}, err
	}
	next, err := l.write(ctx)
	if err != nil {
		return host.Leased{}, err
	}
	if failed != nil {
		l.s.o.Log.Error("cannot read what is due", "sink", l.name, "error", failed)
	}
	if more && !l.held {
		next = l.row.now
	}
	out := host.Leased{Next: l.soon(next)}
	for i := range l.out {
		d := &l.out[i]
		out.Deliveries = append(out.Deliveries, host.Delivery{
			Token: uint64(d.token), Sink: l.name, Event: *d.event, Attempt: d.attempts, First: l.row.out(d.first), //nolint:gosec // never negative
		})
	}
	return out, nil
}

// soon is the time as the caller's clock has it, and not later than the poll.
func (l *leasing) soon(next int64) time.Time {
	if poll := int64(l.s.o.Poll); poll > 0 {
		next = min(next, l.row.now+poll)
	}
	if next == never {
		return time.Time{}
	}
	return l.row.out(next)
}

// waits is true of a delivery d that an earlier one of its subject holds up; $1
// is the sink.
const waits = `(d.subject is not null and exists (select 1 from deliveries e where e.sink = $1 and e.subject = d.subject
	and (e.seq, e.idx, e.walk) < (d.seq, d.idx, d.walk)))`

// due leases what has fallen due: retries, what waits no more, and deliveries
// whose lease has ended. A row that somebody settles at this moment is left out.
//
// Invariant 5: what was leased and not settled comes back, under a new token.
func (l *leasing) due(ctx context.Context) error {
	if l.room <= 0 {
		return nil
	}
	rows, err := l.tx.Query(ctx, `with picked as (
			select seq, idx, walk, due from deliveries d where sink = $1 and due <= $2 and not ($3 and `+waits+`)
			order by due, seq, idx, walk limit $4 for update of d skip locked
		), numbered as (
			select *, row_number() over (order by due, seq, idx, walk) as n from picked
		)
		update deliveries d set token = $5 + n.n, node = $6, due = $7, parked = false, attempts = attempts + 1,
			first = case when attempts = 0 then $2 else first end
		from numbered n where d.sink = $1 and (d.seq, d.idx, d.walk) = (n.seq, n.idx, n.walk)
		returning d.seq, d.idx, d.walk, n.due, d.token, d.attempts, d.first, d.event`,
		l.name, l.row.now, l.row.ordered, l.room, l.tokens, l.s.o.Node, l.ends)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d lease, err error) {
		err = row.Scan(&d.seq, &d.idx, &d.walk, &d.due, &d.token, &d.attempts, &d.first, &d.copied)
		return d, err
	})
	if err != nil || len(all) == 0 {
		return err
	}
	l.tokens += int64(len(all))
	slices.SortFunc(all, func(a, b lease) int { return cmp.Or(cmp.Compare(a.due, b.due), a.compare(b.turn)) })
	return l.giveDue(ctx, all)
}

// giveDue gives out what is due, as far as there is room for its events. What
// cannot be read is left alone for a while, so that it does not hold up the rest;
// the error names it.
func (l *leasing) giveDue(ctx context.Context, all []lease) (damage error) {
	var back, at []int64
	lost := make(map[int64]error)
	for chunk := range slices.Chunk(all, maxEvents) {
		if l.bytes > 0 {
			if err := l.s.readEvents(ctx, l.tx, chunk); errors.Is(err, record.ErrDamaged) {
				damage = err
			} else if err != nil {
				return err
			}
		}
		for i := range chunk {
			switch d := &chunk[i]; {
			case l.bytes <= 0:
				back, at = append(back, d.token), append(at, d.due)
			case d.event == nil:
				back, at = append(back, d.token), append(at, l.row.now+int64(parkFor))
				lost[d.seq] = record.ErrDamaged
			default:
				l.give(*d)
			}
		}
	}
	if err := l.s.noteDamage(ctx, l.tx, lost); err != nil {
		return err
	}
	if len(back) > 0 {
		_, err := l.tx.Exec(ctx, `update deliveries d set token = 0, node = '', due = u.due, attempts = attempts - 1
			from unnest($2::bigint[], $3::bigint[]) u (token, due) where d.sink = $1 and d.token = u.token`, l.name, back, at)
		if err != nil {
			return err
		}
	}
	return damage
}

func (l *leasing) give(d lease) {
	l.room--
	l.bytes -= len(d.event.Data)
	l.out = append(l.out, d)
}

// readEvents fills in the events of deliveries, those without a copy of their own
// from the log. One that cannot be read stays nil; the error names it.
func (s *Store) readEvents(ctx context.Context, tx pgx.Tx, all []lease) error {
	var seqs []int64
	wanted := make(map[turn]bool)
	var failed error
	for i := range all {
		d := &all[i]
		if d.copied == nil {
			seqs = append(seqs, d.seq)
			wanted[turn{seq: d.seq, idx: d.idx}] = true
			continue
		}
		var err error
		if d.event, err = record.DecodeEvent(d.copied); err != nil {
			d.event, failed = nil, fmt.Errorf("event %d of record %d: %w", d.idx, d.seq, err)
		}
	}
	if len(seqs) == 0 {
		return failed
	}
	found := make(map[turn]*host.Event)
	rows, err := tx.Query(ctx, `select seq, events from records where seq = any($1::bigint[])`, seqs)
	if err != nil {
		return err
	}
	var seq int64
	var coded []byte
	if _, err := pgx.ForEachRow(rows, []any{&seq, &coded}, func() error {
		places, err := record.Events(coded)
		if err != nil {
			failed = named(seq, err)
		}
		for _, p := range places {
			if at := (turn{seq: seq, idx: p.Index}); wanted[at] {
				found[at] = owned(p.Event)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for i := range all {
		d := &all[i]
		if d.copied != nil {
			continue
		}
		if d.event = found[turn{seq: d.seq, idx: d.idx}]; d.event == nil && failed == nil {
			failed = fmt.Errorf("event %d of record %d is not there: %w", d.idx, d.seq, record.ErrDamaged)
		}
	}
	return failed
}

// owned gives an event memory of its own: its data lies in that of its whole
// record.
func owned(ev *host.Event) *host.Event {
	ev.Data = slices.Clone(ev.Data)
	return ev
}

// named says which record is damaged.
func named(seq int64, err error) error { return fmt.Errorf("record %d: %w", seq, err) }

// write puts what was taken, moves the sink on and returns when something else
// falls due.
func (l *leasing) write(ctx context.Context) (int64, error) {
	next := int64(never)
	var q pgx.Batch
	if len(l.taken) > 0 {
		l.putTaken(&q)
	}
	var from, to, at *string
	if r := l.row.replay; r != nil {
		from, to, at = (*string)(&r.From), (*string)(&r.To), (*string)(&r.At)
		l.row.taken = int64(r.Taken) //nolint:gosec // counted up from zero
	}
	q.Queue(`update sinks set seq = $2, idx = $3, turn = $4, taken = $5, replay_from = $6, replay_to = $7, replay_at = $8
		where name = $1 and (seq, idx, turn, taken, replay_from, replay_to, replay_at) is distinct from ($2, $3, $4, $5, $6::text, $7::text, $8::text)`,
		l.name, l.row.seq, l.row.idx, l.row.turn, l.row.taken, from, to, at)
	q.Queue(`select coalesce(min(due), $3) from deliveries d where sink = $1 and due < $3 and not ($2 and `+waits+`)`,
		l.name, l.row.ordered, int64(never)).QueryRow(func(row pgx.Row) error { return row.Scan(&next) })
	return next, l.tx.SendBatch(ctx, &q).Close()
}

func (l *leasing) putTaken(q *pgx.Batch) {
	n := len(l.taken)
	seqs, tokens, subjects := make([]int64, n), make([]int64, n), make([][]byte, n)
	idxs, walks := make([]int32, n), make([]int32, n)
	for i := range l.taken {
		d := &l.taken[i]
		seqs[i], tokens[i], subjects[i] = d.seq, d.token, subjectOf(d.event)
		idxs[i], walks[i] = int32(d.idx), int32(d.walk) //nolint:gosec // indexes are bounded, replays are few
	}
	q.Queue(`insert into deliveries (sink, seq, idx, walk, token, subject, parked, node, due, attempts, first)
		select $1, u.seq, u.idx, u.walk, u.token, u.subject, p.parked,
			case when p.parked then '' else $7::text end, case when p.parked then $8::bigint else $9::bigint end,
			case when p.parked then 0 else 1 end, case when p.parked then 0 else $10::bigint end
		from unnest($2::bigint[], $3::integer[], $4::integer[], $5::bigint[], $6::bytea[]) u (seq, idx, walk, token, subject),
			lateral (select u.token = 0 as parked) p`,
		l.name, seqs, idxs, walks, tokens, subjects, l.s.o.Node, int64(never), l.ends, l.row.now)
}
