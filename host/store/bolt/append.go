package bolt

import (
	"context"
	"fmt"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// fillLog packs the pages of the log: sequences only rise, so that no page is
// ever inserted into. bbolt does not store it; it is set in every transaction.
const fillLog = 0.95

// request is one callback on its way to the disk.
type request struct {
	rec     *host.Record
	coded   []byte
	state   atomic.Int32
	receipt host.Receipt
	err     error
	done    chan struct{}
}

// The states of a request: the caller may withdraw it while it is queued, not
// once the committer has taken it.
const (
	queued int32 = iota
	taken
	withdrawn
)

// Append implements [host.Appender]. Encoding, compressing and checksums happen
// in the caller's goroutine.
func (s *Store) Append(ctx context.Context, rec *host.Record) (host.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return host.Receipt{}, host.Errorf(host.StoreFull, "append: %w", err)
	}
	if err := s.broken(); err != nil {
		return host.Receipt{}, err
	}
	coded, err := record.Encode(rec)
	if err != nil {
		return host.Receipt{}, fmt.Errorf("append: %w", err)
	}
	r := &request{rec: rec, coded: coded, done: make(chan struct{})}
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

// batch is one commit of appends: what it will change in memory once it has
// succeeded.
type batch struct {
	s       *Store
	log     *bbolt.Bucket
	dedup   *bbolt.Bucket
	kept    *bbolt.Bucket
	next    uint64
	keptN   int
	changed bool
}

// commitAppends makes a batch durable and answers it.
func (s *Store) commitAppends(all []*request) {
	live := all[:0]
	for _, r := range all {
		if r.state.CompareAndSwap(queued, taken) {
			live = append(live, r)
		}
	}
	err := s.writeAppends(live)
	for _, r := range live {
		// A duplicate's first copy may be in this very batch, so it fails with
		// it; what was refused stays refused.
		if err != nil && r.err == nil {
			r.receipt, r.err = host.Receipt{}, err
		}
		close(r.done)
	}
}

func (s *Store) writeAppends(live []*request) error {
	if len(live) == 0 {
		return nil
	}
	if err := s.broken(); err != nil {
		return err
	}
	if short, err := s.short(); err == nil && short {
		return host.Errorf(host.StoreFull, "append: less than the reserve is free in %s", s.dir)
	}
	if err := s.reserve(s.next + uint64(len(live))); err != nil {
		return err
	}
	b := &batch{s: s, next: s.next, keptN: s.kept}
	err := s.update(s.active().db, func(tx *bbolt.Tx) error { return b.write(tx, live) })
	if err := s.judge("append", err); err != nil {
		return err
	}
	// Invariant 2: what others see changes only once the commit has succeeded.
	s.next, s.kept = b.next, b.keptN
	if b.changed {
		s.commits.Add(1)
		s.last.Store(b.next - 1)
	}
	return nil
}

func (b *batch) write(tx *bbolt.Tx, live []*request) error {
	b.log, b.dedup, b.kept = tx.Bucket(bucketLog), tx.Bucket(bucketDedup), tx.Bucket(bucketKept)
	b.log.FillPercent = fillLog
	first := b.next
	for _, r := range live {
		if err := b.add(r); err != nil {
			return err
		}
	}
	if !b.changed {
		return errNothing
	}
	return tx.Bucket(bucketMeta).Put(keyBatch, seqKey(first))
}

// add judges one callback and puts it, if anything of it is new.
//
// Invariant 2: record, dedup keys and the mark of a kept callback go in one
// transaction.
func (b *batch) add(r *request) error {
	rec := r.rec
	if rec.Kind == host.Kept && b.keptN >= b.s.options.MaxKept {
		r.err = host.Errorf(host.KeptFull, "append: %d callbacks are kept already", b.keptN)
		return nil
	}
	anew := rec.Kind != host.Accepted
	events := make([]host.Disposition, len(rec.Events))
	for i := range rec.Events {
		d, err := b.event(&rec.Events[i], i)
		if err != nil {
			return err
		}
		events[i] = d
		anew = anew || d != host.Duplicate
	}
	aside := make([]host.Disposition, len(rec.Aside))
	for i := range rec.Aside {
		d, err := b.aside(rec.Aside[i].Key, len(rec.Events)+i)
		if err != nil {
			return err
		}
		aside[i] = d
		anew = anew || d != host.Duplicate
	}
	r.receipt = host.Receipt{Events: events, Aside: aside}
	if !anew {
		return nil
	}
	if rec.Kind == host.Kept {
		b.keptN++
		if err := b.kept.Put(seqKey(b.next), nil); err != nil {
			return err
		}
	}
	record.Seal(r.coded, b.next, events, aside)
	if err := b.log.Put(seqKey(b.next), r.coded); err != nil {
		return err
	}
	r.receipt.Seq = b.next
	b.next++
	b.changed = true
	return nil
}

// event judges one event and indexes it unless it is a duplicate. Its record
// is stored then, with sequence b.next.
//
// Invariant 3: the dedup state is the one after every earlier append, those
// earlier in this batch and in this callback included; a conflict is stored
// once for each key and content, because its own key holds both.
func (b *batch) event(ev *host.Event, index int) (host.Disposition, error) {
	p := place{seq: b.next, index: index, content: ev.Content}
	first, found, err := b.find(ev.Key)
	if err != nil {
		return 0, err
	}
	if !found {
		return host.Stored, b.dedup.Put(ev.Key[:], p.coded())
	}
	if first.content == ev.Content {
		return host.Duplicate, nil
	}
	if _, found, err = b.find(ev.ConflictKey); err != nil {
		return 0, err
	}
	if found {
		return host.Duplicate, nil
	}
	return host.Conflicted, b.dedup.Put(ev.ConflictKey[:], p.coded())
}

func (b *batch) aside(key host.Hash, index int) (host.Disposition, error) {
	_, found, err := b.find(key)
	if err != nil {
		return 0, err
	}
	if found {
		return host.Duplicate, nil
	}
	return host.SetAside, b.dedup.Put(key[:], place{seq: b.next, index: index}.coded())
}

// find looks a key up in this transaction, then in the closed segments, the
// newest first.
func (b *batch) find(key host.Hash) (place, bool, error) {
	if p, found, err := findIn(b.dedup, key); found || err != nil {
		return p, found, err
	}
	return b.s.findClosed(key)
}

// findClosed looks a key up in all segments but the active one.
func (s *Store) findClosed(key host.Hash) (place, bool, error) {
	for i := len(s.segments) - 2; i >= 0; i-- {
		if p, found, err := s.segments[i].find(key); found || err != nil {
			return p, found, err
		}
	}
	return place{}, false, nil
}
