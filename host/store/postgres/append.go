package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

// tries is how often a batch is tried that lost against another or lost its
// connection.
const tries = 5

// request is one callback on its way to the server.
type request struct {
	rec         *host.Record
	events, raw []byte
	state       atomic.Int32
	receipt     host.Receipt
	// hold says that it is of kind Held and to be stored.
	hold bool
	err  error
	done chan struct{}
}

// The states of a request: the caller may withdraw it while it is queued, not
// once the committer has taken it.
const (
	queued int32 = iota
	taken
	withdrawn
)

// Append implements [host.Appender]. Encoding and checksums happen in the
// caller's goroutine.
func (s *Store) Append(ctx context.Context, rec *host.Record) (host.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return host.Receipt{}, host.Errorf(host.StoreFull, "append: %w", err)
	}
	if err := s.broken(); err != nil {
		return host.Receipt{}, err
	}
	r := &request{rec: rec, done: make(chan struct{})}
	var err error
	if r.events, r.raw, err = record.Encode(rec); err != nil {
		return host.Receipt{}, fmt.Errorf("append: %w", err)
	}
	if !s.appends.offer(r) {
		return host.Receipt{}, host.Errorf(host.StoreFull, "append: the queue is full")
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, withdrawn) {
			return host.Receipt{}, host.Errorf(host.StoreFull, "append: wait in the queue: %w", ctx.Err())
		}
		<-r.done
	}
	return r.receipt, r.err
}

// commitAppends makes a batch durable and answers it.
func (s *Store) commitAppends(all []*request) {
	live := all[:0]
	for _, r := range all {
		if r.state.CompareAndSwap(queued, taken) {
			live = append(live, r)
		}
	}
	var err error
	if len(live) > 0 {
		err = s.write(live)
	}
	for _, r := range live {
		// A duplicate's first copy may be in this very batch, so it fails with
		// it; what was refused stays refused.
		if err != nil && host.CodeOf(r.err) != host.KeptFull {
			r.receipt, r.err = host.Receipt{}, err
		}
		close(r.done)
	}
}

// write commits a batch, again where another node was in its way or the
// connection was lost.
//
// Invariant 1: who loses a connection while it commits cannot know what became of
// it, so it is tried again: what is stored by now is a duplicate then, and what
// is kept or ignored, and has no key, may be stored twice. A failure would be
// lost with a provider that does not send again.
func (s *Store) write(live []*request) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	for try := 1; ; try++ {
		if err := s.broken(); err != nil {
			return err
		}
		b := &batch{s: s, live: live}
		err := b.run(ctx)
		switch {
		case err == nil:
			s.full.Store(nil)
			return nil
		case outdated(err):
			s.fail.Do(func() { close(s.failed) })
			return errOutdated
		case try == tries:
		case state(err) == stateNoPartition:
			if err = s.addPartition(ctx, maxBatch); err == nil {
				continue
			}
		case lost(err), dropped(err):
			continue
		}
		return s.coded("append", err)
	}
}

// outdated reports whether the server refused a batch because the version of the
// schema is another: see [batch.end].
func outdated(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == stateNull && e.TableName == "counter" && e.ColumnName == "next"
}

// errVanished: a key stood in the way of an insert and was gone when it was
// looked at.
var errVanished = errors.New("a dedup key was removed while it was compared")

// lost reports whether a transaction lost against another and was undone.
func lost(err error) bool {
	switch state(err) {
	case stateSerialization, stateDeadlock:
		return true
	}
	return errors.Is(err, errVanished)
}

// dropped reports whether the connection broke: the server is going down, or
// somebody ended the session, or the network did.
func dropped(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return strings.HasPrefix(server.Code, "08") || server.Code == "57P01" || server.Code == "57P02"
	}
	var connect *pgconn.ConnectError
	var told safe
	return !errors.As(err, &connect) && !errors.As(err, &told) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errNoCommit)
}

// errNoCommit: the server answered a commit with something else.
var errNoCommit = errors.New("the server did not commit")

// batch is one transaction of appends.
type batch struct {
	s    *Store
	live []*request
	conn *pgxpool.Conn
	id   int64
	// keys are those of events and items set aside, conflicts those of events
	// whose key has other content.
	keys, conflicts map[host.Hash]*key
	// undone are the keys of holds that are not stored after all.
	undone map[host.Hash]bool
}

// run commits the batch and fills the receipts.
//
// Invariant 2: dedup keys, records and the marks of kept and held callbacks are
// one transaction.
func (b *batch) run(ctx context.Context) error {
	conn, err := b.s.intake.Acquire(ctx)
	if err != nil {
		return err
	}
	b.conn = conn
	defer func() {
		if b.conn.Conn().PgConn().TxStatus() != 'I' {
			_, _ = b.conn.Exec(ctx, `rollback`) // else the pool closes it
		}
		conn.Release()
	}()
	if err := b.begin(ctx); err != nil {
		return err
	}
	if err := b.settleKeys(ctx); err != nil {
		return err
	}
	if err := b.settleHolds(ctx); err != nil {
		return err
	}
	if err := b.boundKept(ctx); err != nil {
		return err
	}
	rows := b.judge()
	if len(rows.places) == 0 {
		return nil // rolled back: there is nothing in it
	}
	return b.end(ctx, rows)
}

// begin starts the transaction and puts the keys, as far as they are new.
//
// Invariant 1: it looks at the server's settings again, since a reload changes
// them under a connection.
func (b *batch) begin(ctx context.Context) error {
	b.collect()
	var set settings
	var q pgx.Batch
	q.Queue(`begin isolation level read committed`)
	q.Queue(`select nextval('batch_ids'), ` + durability).QueryRow(func(row pgx.Row) error { return set.scan(row, &b.id) })
	if len(b.keys) > 0 {
		putKeys(&q, b.keys, `currval('batch_ids')`)
	}
	if err := b.conn.SendBatch(ctx, &q).Close(); err != nil {
		return err
	}
	return set.refuse()
}

// boundKept refuses what would be kept or held beyond the bound. It comes last
// before the records: from here on the counter's row is locked.
func (b *batch) boundKept(ctx context.Context) error {
	wanted := 0
	for _, r := range b.live {
		r.err = nil
		if r.rec.Kind == host.Kept || r.hold {
			wanted++
		}
	}
	if wanted == 0 {
		return nil
	}
	var kept int
	if err := b.conn.QueryRow(ctx, `select kept from counter for update`).Scan(&kept); err != nil {
		return err
	}
	for _, r := range b.live {
		refused := r.rec.Kind == host.Held && b.undone[r.rec.Aside[0].Key] && kept >= b.s.o.MaxKept
		if r.rec.Kind != host.Kept && !r.hold && !refused {
			continue
		}
		if kept >= b.s.o.MaxKept {
			r.err = host.Errorf(host.KeptFull, "append: %d callbacks are kept or held already", kept)
			if r.hold {
				b.undone[r.rec.Aside[0].Key] = true
			}
			continue
		}
		kept++
	}
	return nil
}

// rows are the records of a batch by their places, and what is said of those
// kept or held.
type rows struct {
	places      []int32
	events, raw [][]byte

	kept               []int32
	received           []int64
	tenants, endpoints [][]byte
	held               []bool
}

// end takes the sequences and puts the records, all in one go with the commit:
// the counter's row is locked for no way over the network.
//
// A version that has changed makes the next sequence null, and a counter without
// its row the sequence of every record: the server refuses both, keys and all.
func (b *batch) end(ctx context.Context, r rows) error {
	const put = `with c as (
		update counter set next = case when version = $1 then next + $2 end, kept = kept + cardinality($7::integer[])
		returning next - $2 as first
	), b as (
		insert into batches (id, first) select $3, first from c
	), k as (
		insert into kept (seq, received, tenant, endpoint, held)
		select (select first from c) + u.place, u.received, u.tenant, u.endpoint, u.held
		from unnest($7::integer[], $8::bigint[], $9::bytea[], $10::bytea[], $11::boolean[]) u (place, received, tenant, endpoint, held)
	), r as (
		insert into records (seq, events, raw)
		select (select first from c) + u.place, u.events, u.raw
		from unnest($4::integer[], $5::bytea[], $6::bytea[]) u (place, events, raw)
	) select first from c`
	var first int64
	var q pgx.Batch
	if len(b.undone) > 0 {
		var keys [][]byte
		for h := range b.undone {
			keys = append(keys, h[:])
		}
		q.Queue(`delete from dedup where key = any($1::bytea[])`, keys)
	}
	q.Queue(put, version, len(b.live), b.id, r.places, r.events, r.raw, r.kept, r.received, r.tenants, r.endpoints, r.held).
		QueryRow(func(row pgx.Row) error { return row.Scan(&first) })
	q.Queue(`commit`).Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return errNoCommit
		}
		return nil
	})
	if err := b.conn.SendBatch(ctx, &q).Close(); err != nil {
		return err
	}
	for _, place := range r.places {
		b.live[place].receipt.Seq = uint64(first) + uint64(place) //nolint:gosec // sequences are above zero
	}
	return nil
}
