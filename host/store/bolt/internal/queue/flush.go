package queue

import (
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// Flush is what is under way to the disk of one sink.
type Flush struct {
	// Position is how far the sink is, Replay the replay under way, nil for
	// none.
	Position record.Position
	Replay   *record.Replay
	// Drops are keys of rows that are no more, Parked rows that are new.
	Drops  [][]byte
	Parked []Parked

	k *Sink
}

// Parked is a row that a delivery gets.
type Parked struct {
	Key, Row []byte

	d *delivery
}

// Flush returns what is to be written of the sink, nil for nothing; its End is to
// be called after the transaction.
func (k *Sink) Flush() *Flush {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.dirty {
		return nil
	}
	f := &Flush{k: k, Drops: k.drops, Parked: k.park()}
	k.drops, k.dirty = nil, false
	f.Position, _ = k.log.position()
	if k.replay != nil && !k.replay.over() {
		f.Replay = k.replay.replay()
	}
	return f
}

// park takes what is to get a row now. What is being settled in the transaction
// under way has one already, and may need it if that fails. mu is held.
func (k *Sink) park() []Parked {
	var out []Parked
	var left []*delivery
	for _, d := range k.parking {
		switch {
		case d.over || d.row != nil || d.entry == nil:
		case d.entry.settled:
			left = append(left, d)
		default:
			d.entry.settled = true
			row := record.Row{Attempts: d.attempts, First: d.first, Parked: d.fresh, Line: d.line, Lined: d.lined}
			at := kept(d.at)
			if d.token != 0 {
				// The attempt under way counts once it is settled, and a lease does
				// not survive: it is due at once then.
				row.Attempts, at = row.Attempts-1, kept(d.first)
			}
			out = append(out, Parked{d: d, Key: Key(at, d.pos, d.number), Row: row.Encode()})
		}
	}
	k.parking = left
	return out
}

// unpin has what is under way in a full window parked, so that a delivery that
// takes long holds up nobody else. mu is held.
func (k *Sink) unpin(w *walk) {
	for _, e := range w.window {
		if e.d != nil && !e.settled && !e.d.moving {
			k.parking, k.dirty = append(k.parking, e.d), true
		}
	}
}

// End says what became of the transaction.
func (f *Flush) End(ok bool) {
	k := f.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if ok && f.Replay == nil && k.replay != nil && k.replay.over() {
		k.replay = nil
	}
	for _, p := range f.Parked {
		switch {
		case !ok && p.d.entry != nil:
			p.d.entry.settled = false
			k.parking = append(k.parking, p.d)
		case ok && p.d.over:
			k.drops, k.dirty = append(k.drops, p.Key), true
		case ok:
			p.d.row = p.Key
			k.rows++
			k.leave(p.d)
		}
	}
	if !ok {
		k.drops, k.dirty = append(k.drops, f.Drops...), true
	}
}
