package queue

import (
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// Move is a delivery on its way into a row, of a retry or of a dead letter.
type Move struct {
	Dead     bool
	Key, Row []byte
	// Old is the key of the row that it has until then, nil for none; see
	// [Sink.Begin].
	Old []byte

	d  *delivery
	at time.Time
}

// Settle ends the leases. It returns what must become a row, which goes through
// Begin, in the transaction, and then through End or Revert.
func (k *Sink) Settle(now time.Time, all []host.Settlement) []*Move {
	k.mu.Lock()
	defer k.mu.Unlock()
	var moves []*Move
	for _, st := range all {
		d := k.tokens[st.Token]
		// Invariant 5: a late settle is ignored, also when nobody has leased
		// the event again yet.
		if d == nil || !now.Before(d.at) {
			continue
		}
		delete(k.tokens, st.Token)
		k.unheap(d)
		d.token = 0
		if st.Outcome == host.Done {
			k.finish(d)
			continue
		}
		d.moving = true
		moves = append(moves, newMove(d, st, now))
	}
	return moves
}

func newMove(d *delivery, st host.Settlement, now time.Time) *Move {
	m := &Move{d: d, at: kept(st.At)}
	d.know(d.event)
	row := record.Row{
		Attempts: d.attempts, First: d.first, Reason: bounded(st.Reason), Answer: bounded(st.Answer),
		Line: d.line, Lined: true,
	}
	if d.copied {
		row.Event = d.event
	}
	if st.Outcome == host.Dead {
		// A dead letter has its own copy: it may outlive the segment.
		m.Dead, m.at, row.Event = true, kept(now), d.event
	}
	m.Key, m.Row = Key(m.at, d.pos, d.number), row.Encode()
	return m
}

func bounded(s string) string { return s[:min(len(s), host.MaxReason)] }

// Begin says that the rows are being written: in that transaction, and only if it
// succeeds, the position passes the deliveries. It fills in their old rows.
func (k *Sink) Begin(moves []*Move) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		m.Old = m.d.row
		if m.d.entry != nil {
			m.d.entry.settled = true
			k.dirty = true
		}
	}
}

// End says that the rows are durable.
func (k *Sink) End(moves []*Move) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		d := m.d
		k.leave(d)
		d.moving = false
		if d.row != nil {
			k.rows--
		}
		if m.Dead {
			k.dead++
			k.exit(d)
			continue
		}
		d.row, d.at, d.event = m.Key, m.at, nil
		k.rows++
		k.ready(d)
	}
}

// Revert says that the rows were not written: the deliveries come back when their
// leases would have ended, so that a full disk makes no sink be called in a loop.
func (k *Sink) Revert(moves []*Move) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		if m.d.entry != nil {
			m.d.entry.settled = false
		}
		m.d.moving = false
		k.ready(m.d)
	}
}

// Redrive makes the retry of a dead letter that lay under a key.
func Redrive(key []byte, ev *host.Event, now time.Time) (*Move, error) {
	_, at, number, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	m := &Move{d: &delivery{pos: at, number: number, copied: true}, at: kept(now)}
	m.d.know(ev)
	row := record.Row{Event: ev, Line: m.d.line, Lined: true}
	m.Key, m.Row = Key(m.at, at, number), row.Encode()
	return m, nil
}

// Redriven says that what were dead letters are retries, durably.
func (k *Sink) Redriven(moves []*Move) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range moves {
		m.d.row, m.d.at = m.Key, m.at
		k.enter(m.d)
	}
	k.rows += len(moves)
	k.dead -= len(moves)
}
