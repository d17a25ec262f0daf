package postgres

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres/internal/record"
)

// key is a dedup key of a batch: where it stands first, and what is known of it.
type key struct {
	place, idx int // idx is -1 for an item set aside
	content    host.Content
	// fresh: it was in no batch before.
	fresh bool
}

func (k *key) at(place, idx int) bool { return k.place == place && k.idx == idx }

// asideIdx stands for the index of what is no event.
const asideIdx = -1

// collect lists the batch's keys, each where it stands first.
func (b *batch) collect() {
	b.keys = make(map[host.Hash]*key)
	add := func(h host.Hash, k key) {
		if b.keys[h] == nil {
			b.keys[h] = &k
		}
	}
	for place, r := range b.live {
		if r.rec.Kind == host.Held {
			add(r.rec.Aside[0].Key, key{place: place, idx: asideIdx})
			continue
		}
		for i := range r.rec.Events {
			add(r.rec.Events[i].Key, key{place: place, idx: i, content: r.rec.Events[i].Content})
		}
		for i := range r.rec.Aside {
			add(r.rec.Aside[i].Key, key{place: place, idx: asideIdx - i})
		}
	}
}

// putKeys queues the insert of keys and marks those that are fresh. It waits for
// every transaction that has put one of them and not ended.
//
// All nodes put the keys of a batch in the same order, and conflicts' keys, which
// are no other's, behind them: so no two wait for each other.
func putKeys(q *pgx.Batch, keys map[host.Hash]*key, batch string, args ...any) {
	n := len(keys)
	hashes, contents := make([][]byte, 0, n), make([][]byte, 0, n)
	places, indexes := make([]int32, 0, n), make([]int32, 0, n)
	for _, h := range slices.SortedFunc(maps.Keys(keys), func(a, b host.Hash) int { return bytes.Compare(a[:], b[:]) }) {
		k := keys[h]
		hashes, contents = append(hashes, h[:]), append(contents, k.content[:])
		places, indexes = append(places, int32(k.place)), append(indexes, int32(max(k.idx, asideIdx))) //nolint:gosec // a batch is bounded
	}
	q.Queue(`insert into dedup (key, batch, place, idx, content, at)
		select u.key, `+batch+`, u.place, u.idx, u.content, $5
		from unnest($1::bytea[], $2::integer[], $3::integer[], $4::bytea[]) u (key, place, idx, content)
		on conflict (key) do nothing returning key`,
		append([]any{hashes, places, indexes, contents, time.Now().UnixNano()}, args...)...).
		Query(func(rows pgx.Rows) error {
			return eachHash(rows, func(h host.Hash) { keys[h].fresh = true })
		})
}

func eachHash(rows pgx.Rows, yield func(host.Hash)) error {
	var b []byte
	_, err := pgx.ForEachRow(rows, []any{&b}, func() error {
		yield(host.Hash(b))
		return nil
	})
	return err
}

// settleKeys finds out the content of the keys that were there, and puts the
// keys of the conflicts that follow.
//
// Invariant 3: whoever put a key that was there has committed it, or the insert
// would still wait; a statement that begins after it sees its content.
func (b *batch) settleKeys(ctx context.Context) error {
	var there [][]byte
	for h, k := range b.keys {
		if !k.fresh {
			there = append(there, h[:])
		}
	}
	if len(there) > 0 {
		if err := b.readContents(ctx, there); err != nil {
			return err
		}
	}
	b.conflicts = make(map[host.Hash]*key)
	for place, r := range b.live {
		if r.rec.Kind == host.Held {
			continue
		}
		for i := range r.rec.Events {
			ev := &r.rec.Events[i]
			if b.keys[ev.Key].content != ev.Content && b.conflicts[ev.ConflictKey] == nil {
				b.conflicts[ev.ConflictKey] = &key{place: place, idx: i, content: ev.Content}
			}
		}
	}
	if len(b.conflicts) == 0 {
		return nil
	}
	var q pgx.Batch
	putKeys(&q, b.conflicts, `$6`, b.id)
	return b.conn.SendBatch(ctx, &q).Close()
}

func (b *batch) readContents(ctx context.Context, there [][]byte) error {
	rows, err := b.conn.Query(ctx, `select key, content from dedup where key = any($1::bytea[])`, there)
	if err != nil {
		return err
	}
	var h, content []byte
	tag, err := pgx.ForEachRow(rows, []any{&h, &content}, func() error {
		b.keys[host.Hash(h)].content = host.Content(content)
		return nil
	})
	if err == nil && int(tag.RowsAffected()) != len(there) {
		return errVanished
	}
	return err
}

// settleHolds finds out which records of kind Held are to be stored: those whose
// hold is new, and of which anything is.
func (b *batch) settleHolds(ctx context.Context) error {
	b.undone = make(map[host.Hash]bool)
	var parts [][]byte
	for _, r := range b.live {
		if r.hold = r.rec.Kind == host.Held; !r.hold {
			continue
		}
		for i := range r.rec.Events {
			parts = append(parts, r.rec.Events[i].Key[:], r.rec.Events[i].ConflictKey[:])
		}
		for i := range r.rec.Aside[1:] {
			parts = append(parts, r.rec.Aside[1+i].Key[:])
		}
	}
	there := make(map[host.Hash]host.Content)
	if len(parts) > 0 {
		rows, err := b.conn.Query(ctx, `select key, content from dedup where key = any($1::bytea[])`, parts)
		if err != nil {
			return err
		}
		var h, content []byte
		if _, err := pgx.ForEachRow(rows, []any{&h, &content}, func() error {
			there[host.Hash(h)] = host.Content(content)
			return nil
		}); err != nil {
			return err
		}
	}
	for place, r := range b.live {
		if !r.hold {
			continue
		}
		k := b.keys[r.rec.Aside[0].Key]
		own := k.fresh && k.at(place, asideIdx)
		if r.hold = own && anything(r.rec, there); own && !r.hold {
			b.undone[r.rec.Aside[0].Key] = true
		}
	}
	return nil
}

// anything reports whether anything of what is held is not there.
func anything(rec *host.Record, there map[host.Hash]host.Content) bool {
	for i := range rec.Events {
		ev := &rec.Events[i]
		content, found := there[ev.Key]
		if _, conflict := there[ev.ConflictKey]; !found || content != ev.Content && !conflict {
			return true
		}
	}
	for i := range rec.Aside[1:] {
		if _, found := there[rec.Aside[1+i].Key]; !found {
			return true
		}
	}
	return len(rec.Events)+len(rec.Aside) == 1
}

// withhold are the dispositions of a record of kind Held.
func (r *request) withhold() (events, aside []host.Disposition) {
	events, aside = make([]host.Disposition, len(r.rec.Events)), make([]host.Disposition, len(r.rec.Aside))
	d := host.Duplicate
	if r.hold {
		d = host.Withheld
	}
	for _, list := range [][]host.Disposition{events, aside} {
		for i := range list {
			list[i] = d
		}
	}
	if r.hold {
		aside[0] = host.SetAside
	}
	return events, aside
}

// dispositions are those of a record of any other kind.
func (b *batch) dispositions(r *request, place int) (events, aside []host.Disposition, anew bool) {
	events = make([]host.Disposition, len(r.rec.Events))
	for i := range events {
		events[i] = b.event(&r.rec.Events[i], place, i)
		anew = anew || events[i] != host.Duplicate
	}
	aside = make([]host.Disposition, len(r.rec.Aside))
	for i := range aside {
		aside[i] = host.Duplicate
		if k := b.keys[r.rec.Aside[i].Key]; k.fresh && k.at(place, asideIdx-i) {
			aside[i], anew = host.SetAside, true
		}
	}
	return events, aside, anew || r.rec.Kind != host.Accepted
}

// judge fills the receipts, but for the sequences, and returns what is to be
// stored.
func (b *batch) judge() rows {
	out := rows{kept: []int32{}} // nil would be null
	for place, r := range b.live {
		if r.err != nil {
			continue
		}
		var events, aside []host.Disposition
		anew := r.hold
		if r.rec.Kind == host.Held {
			events, aside = r.withhold()
		} else {
			events, aside, anew = b.dispositions(r, place)
		}
		r.receipt = host.Receipt{Events: events, Aside: aside}
		if !anew {
			continue
		}
		record.Seal(r.events, events, aside)
		out.places = append(out.places, int32(place))
		out.events, out.raw = append(out.events, r.events), append(out.raw, r.raw)
		if r.rec.Kind.Waits() {
			out.held = append(out.held, r.hold)
			out.kept = append(out.kept, int32(place))
			out.received = append(out.received, nanos(r.rec.Callback.Received))
			out.tenants = append(out.tenants, []byte(r.rec.Tenant))
			out.endpoints = append(out.endpoints, []byte(r.rec.Endpoint))
		}
	}
	return out
}

// event judges one event by the batch's keys.
//
// Invariant 3: of all that have a key, in the batch and in the store, the first
// is stored; of those with other content, the first of each.
func (b *batch) event(ev *host.Event, place, idx int) host.Disposition {
	switch k := b.keys[ev.Key]; {
	case k.fresh && k.at(place, idx):
		return host.Stored
	case k.content == ev.Content:
		return host.Duplicate
	}
	if c := b.conflicts[ev.ConflictKey]; c.fresh && c.at(place, idx) {
		return host.Conflicted
	}
	return host.Duplicate
}
