package queue

import (
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// StartReplay begins a replay of what lies from low on and before high; from is
// the cursor as it was given. Leasing is held until it is durable: the next Flush
// has it. It returns how many replays there were with it, zero if there is nothing
// in the range, and what takes it back; or ErrBusy.
func (k *Sink) StartReplay(from host.Cursor, low, high Pos) (n uint32, back func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.replay
	switch {
	case old != nil && !old.over():
		return 0, nil, host.ErrBusy
	case !low.Before(high):
		return 0, nil, nil
	}
	k.replays++
	w := newWalk(k.replays, record.Position{Low: low})
	w.from, w.to = from, high
	k.replay, k.dirty = w, true
	return k.replays, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.replay = old
	}, nil
}

// StopReplay ends the replay under way and reports whether there was one. Leasing
// is held until it is durable: with the next Flush what is leased of it gets rows,
// and what was never leased is dropped.
func (k *Sink) StopReplay() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.replay
	if w == nil || w.over() {
		return false
	}
	for d := range k.open {
		switch {
		case d.number != w.number:
		case d.fresh:
			k.finish(d)
		case d.entry != nil:
			k.parking = append(k.parking, d)
		}
	}
	k.replay, k.dirty = nil, true
	k.admit(w)
	return true
}
