package bolt

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/keys"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/bolt/internal/segment"
)

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
	own := buffers.Get().(*[]byte)
	coded, err := record.Encode(*own, rec)
	if err != nil {
		return host.Receipt{}, fmt.Errorf("append: %w", err)
	}
	r := &request{rec: rec, coded: coded, done: make(chan struct{})}
	if !s.appends.Offer(r) {
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
	// Nobody looks at it any more: bbolt has copied it into its pages.
	if *own = coded; cap(coded) <= maxPooled {
		buffers.Put(own)
	}
	return r.receipt, r.err
}

// buffers are the memory of coded records.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled is up to which size such a buffer is worth keeping.
const maxPooled = 64 << 10

// batch is one commit of appends: what it will change in memory once it has
// succeeded.
type batch struct {
	s *Store
	// first is the sequence of its first record, next that of the one after its
	// last, previous that of the last record so far.
	first, next, previous uint64
	kept, held            int64 // callbacks kept or held by it, and those held alone
	bytes                 int64 // of its records
	// fresh are the keys of what is stored in this commit.
	fresh map[host.Hash]keys.Place
	puts  []*request
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
	now := s.options.Now()
	if err := s.room(now); err != nil {
		return err
	}
	if err := s.reserve(s.next + uint64(len(live))); err != nil {
		return err
	}
	b := &batch{
		s: s, first: s.next, next: s.next, previous: s.last.Load(),
		fresh: make(map[host.Hash]keys.Place, len(live)),
	}
	for _, r := range live {
		b.judge(r)
	}
	if len(b.puts) == 0 {
		return nil
	}
	g := s.active()
	err := s.update(g.DB, func(tx *bbolt.Tx) error { return b.write(tx, g) })
	if err := s.judge("append", err); err != nil {
		return err
	}
	// Invariant 2: what others see changes only once the commit has succeeded.
	s.next = b.next
	g.Kept.Add(b.kept)
	s.kept.Add(b.kept)
	s.held.Add(b.held)
	s.commits.Add(1)
	whole := s.index.Add(b.fresh, b.previous, b.bytes, now)
	s.last.Store(b.previous)
	if whole {
		s.tendSoon()
	}
	return nil
}

// room reports what keeps appends from being tried, and begins a new segment
// where the active one is full.
func (s *Store) room(now time.Time) error {
	if short, err := disk.Short(s.dir, s.options.Reserve); err == nil && short {
		return host.Errorf(host.StoreFull, "append: less than the reserve is free in %s", s.dir)
	}
	return s.rotate(now)
}

// judge says what each part of a callback is, and takes it into the batch if
// anything of it is new.
func (b *batch) judge(r *request) {
	rec := r.rec
	kept := b.s.kept.Load() + b.kept
	full := kept >= int64(b.s.options.MaxKept)
	anew := rec.Kind == host.Ignored || rec.Kind == host.Kept
	var own []host.Hash
	take := func(key host.Hash, index int, content host.Content, d host.Disposition) host.Disposition {
		b.fresh[key] = keys.Place{Seq: b.next, Index: index, Content: content}
		own, anew = append(own, key), true
		return d
	}
	events := make([]host.Disposition, len(rec.Events))
	aside := make([]host.Disposition, len(rec.Aside))
	dispositions := b.dispositions
	if rec.Kind == host.Held {
		dispositions = b.withhold
	}
	err := dispositions(rec, events, aside, take)
	if err == nil && full && anew && rec.Kind.Waits() {
		err = host.Errorf(host.KeptFull, "%d callbacks are kept or held already", kept)
	}
	if err != nil {
		// Nothing of it was stored: the next one with these keys is the first.
		for _, key := range own {
			delete(b.fresh, key)
		}
		if r.err = fmt.Errorf("append: %w", err); host.CodeOf(err) != host.KeptFull {
			r.err = host.Errorf(host.StoreUnavailable, "append: %w", err)
			b.s.tendSoon()
		}
		return
	}
	r.receipt = host.Receipt{Events: events, Aside: aside}
	if !anew {
		return
	}
	if rec.Kind.Waits() {
		b.kept++
	}
	if rec.Kind == host.Held {
		b.held++
	}
	record.Seal(r.coded, b.next, b.previous, events, aside)
	r.receipt.Seq = b.next
	b.previous = b.next
	b.next++
	b.bytes += int64(len(r.coded))
	b.puts = append(b.puts, r)
}

// taker takes a part that will be stored under a key into the batch.
type taker func(key host.Hash, index int, content host.Content, d host.Disposition) host.Disposition

// dispositions fills in what each event and item set aside is, and takes those
// that will be stored.
//
// Invariant 3: the dedup state is the one after every earlier append, those
// earlier in this batch and in this callback included; a conflict is stored
// once for each key and content, because its own key holds both.
func (b *batch) dispositions(rec *host.Record, events, aside []host.Disposition, take taker) error {
	for i := range rec.Events {
		ev := &rec.Events[i]
		var err error
		if events[i], err = b.event(ev); err != nil {
			return err
		}
		switch events[i] {
		case host.Stored:
			take(ev.Key, i, ev.Content, host.Stored)
		case host.Conflicted:
			take(ev.ConflictKey, i, ev.Content, host.Conflicted)
		default:
		}
	}
	for i := range rec.Aside {
		_, found, err := b.find(rec.Aside[i].Key)
		if err != nil {
			return err
		}
		aside[i] = host.Duplicate
		if !found {
			aside[i] = take(rec.Aside[i].Key, len(rec.Events)+i, host.Content{}, host.SetAside)
		}
	}
	return nil
}

// event says what an event is, and takes nothing.
func (b *batch) event(ev *host.Event) (host.Disposition, error) {
	first, found, err := b.find(ev.Key)
	switch {
	case err != nil:
		return 0, err
	case !found:
		return host.Stored, nil
	case first.Content == ev.Content:
		return host.Duplicate, nil
	}
	_, found, err = b.find(ev.ConflictKey)
	if err == nil && found {
		return host.Duplicate, nil
	}
	return host.Conflicted, err
}

// withhold is dispositions for a record of kind Held: of all its parts only the
// hold has a key.
func (b *batch) withhold(rec *host.Record, events, aside []host.Disposition, take taker) error {
	_, known, err := b.find(rec.Aside[0].Key)
	anew := len(events)+len(aside) == 1
	for i := 0; err == nil && !anew && i < len(events); i++ {
		events[i], err = b.event(&rec.Events[i])
		anew = events[i] != host.Duplicate
	}
	for i := 1; err == nil && !anew && i < len(aside); i++ {
		var found bool
		_, found, err = b.find(rec.Aside[i].Key)
		anew = !found
	}
	d := host.Duplicate
	if anew && !known {
		d = host.Withheld
	}
	for _, list := range [][]host.Disposition{events, aside} {
		for i := range list {
			list[i] = d
		}
	}
	if d == host.Withheld && err == nil {
		aside[0] = take(rec.Aside[0].Key, len(events), host.Content{}, host.SetAside)
	}
	return err
}

// find looks a key up in this batch, then in all that is durable.
func (b *batch) find(key host.Hash) (keys.Place, bool, error) {
	if p, found := b.fresh[key]; found {
		return p, true, nil
	}
	return b.s.index.Find(key)
}

// write puts the records.
//
// Invariant 2: a record, with its dedup keys in it, and the mark of a kept or
// held callback go in one transaction.
func (b *batch) write(tx *bbolt.Tx, g *segment.File) error {
	log, kept, meta := tx.Bucket(segment.BucketLog), tx.Bucket(segment.BucketKept), tx.Bucket(segment.BucketMeta)
	mark, err := segment.ParseMark(meta.Get(segment.KeyBatch))
	if err != nil {
		return err
	}
	log.FillPercent = segment.Fill
	for _, r := range b.puts {
		key := disk.Number(r.receipt.Seq)
		if err := log.Put(key, r.coded); err != nil {
			return err
		}
		if r.rec.Kind.Waits() {
			mark.Kept++
			if err := kept.Put(key, nil); err != nil {
				return err
			}
		}
	}
	mark.First, mark.Last = b.first, b.previous
	g.Size.Store(tx.Size())
	return meta.Put(segment.KeyBatch, mark.Encode())
}
