package queue

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/postern/postern/host"
)

// lineKey names a subject of an endpoint; zero is no subject.
type lineKey = [16]byte

// line holds the open deliveries of one subject, in order. Only the first may be
// leased, and is in due; the others wait.
type line struct {
	open []*delivery
}

func (l *line) full(bound int) bool { return l != nil && len(l.open) >= bound }

// keyOf is the line of an event.
func keyOf(ev *host.Event) lineKey {
	if ev.Subject == "" {
		return lineKey{}
	}
	var b []byte
	for _, s := range []string{ev.Tenant, ev.Endpoint, ev.Subject} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return lineKey(sum[:16])
}

// know finds out the line of a delivery whose event is at hand.
func (d *delivery) know(ev *host.Event) {
	if !d.lined {
		d.line, d.lined = keyOf(ev), true
	}
}

// insert takes up a delivery, which is not in due yet. mu is held.
func (k *Sink) insert(d *delivery) {
	k.open[d] = struct{}{}
	d.index = -1
	if k.lines == nil || d.line == (lineKey{}) {
		return
	}
	l := k.lines[d.line]
	if l == nil {
		l = &line{}
		k.lines[d.line] = l
	}
	l.open = insertSorted(l.open, d)
	// The one that was first until now waits, unless it is leased.
	if l.open[0] == d && len(l.open) > 1 && l.open[1].token == 0 {
		k.unheap(l.open[1])
	}
}

// waits reports whether a delivery waits for an earlier one of its subject. mu is
// held.
func (k *Sink) waits(d *delivery) bool {
	l := k.lines[d.line]
	return l != nil && (l.open[0] != d || k.ahead(d) != nil)
}

// ahead returns the walk that a delivery with a row of an earlier life is ahead
// of: what comes before it in the log may be of its subject, and so it waits until
// the log was looked at up to its place. mu is held.
func (k *Sink) ahead(d *delivery) *walk {
	if k.lines == nil || d.line == (lineKey{}) {
		return nil
	}
	for _, w := range k.walks() {
		if d.number == w.number && !d.pos.Before(w.next) {
			return w
		}
	}
	return nil
}

// enter takes up a delivery that is due at its time, once it waits for no other.
// mu is held.
func (k *Sink) enter(d *delivery) {
	k.insert(d)
	k.ready(d)
}

// ready puts a delivery into due if it waits for nothing but its time. mu is
// held.
func (k *Sink) ready(d *delivery) {
	if d.index >= 0 || d.moving {
		return
	}
	if w := k.ahead(d); w != nil {
		w.early = append(w.early, d)
	} else if !k.waits(d) {
		heap.Push(&k.due, d)
	}
}

// admit takes up what a walk has come up to. mu is held.
func (k *Sink) admit(w *walk) {
	early := w.early
	w.early = nil
	for _, d := range early {
		if !d.over {
			k.ready(d)
		}
	}
}

// exit forgets a delivery that is over. mu is held.
func (k *Sink) exit(d *delivery) {
	d.over = true
	k.unheap(d)
	delete(k.open, d)
	l := k.lines[d.line]
	if l == nil {
		return
	}
	i := slices.Index(l.open, d)
	l.open = slices.Delete(l.open, i, i+1)
	switch {
	case len(l.open) == 0:
		delete(k.lines, d.line)
	case i == 0:
		k.ready(l.open[0])
	}
}

// arrange brings the open deliveries into the order that the sink wants.
func (l *leasing) arrange() {
	k := l.k
	k.mu.Lock()
	ordered := k.order == host.OrderSubject
	same := ordered == (k.lines != nil)
	var unknown []*delivery
	for d := range k.open {
		if ordered && !same && !d.lined {
			unknown = append(unknown, d)
		}
	}
	k.mu.Unlock()
	if same {
		return
	}
	// Rows of the first version do not have it. One that cannot be read is left
	// without: it can be delivered to nobody, and so must not be waited for.
	lines := make(map[*delivery]lineKey, len(unknown))
	for _, d := range unknown {
		if ev, err := l.read(d); err == nil {
			lines[d] = keyOf(ev)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for d, key := range lines {
		d.line, d.lined = key, true
	}
	k.rearrange(ordered)
}

// rearrange takes up all open deliveries anew. mu is held.
func (k *Sink) rearrange(ordered bool) {
	k.lines, k.due = nil, nil
	if ordered {
		k.lines = make(map[lineKey]*line)
	}
	for _, w := range k.walks() {
		w.early, w.stuck = nil, nil
	}
	all := make([]*delivery, 0, len(k.open))
	for d := range k.open {
		d.index = -1
		all = append(all, d)
	}
	slices.SortFunc(all, byPlace)
	for _, d := range all {
		switch {
		case d.token != 0:
			// It is leased, and its lease ends when it does.
			k.insert(d)
			heap.Push(&k.due, d)
		case d.moving:
			k.insert(d)
		default:
			k.enter(d)
		}
	}
}
