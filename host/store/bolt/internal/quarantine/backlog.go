package quarantine

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/postern/postern/host"
)

// The bounds of what waits to be written to the file, and what an entry
// takes beside its callback.
const (
	maxBacklog      = 4096
	maxBacklogBytes = 16 << 20
	backlogOverhead = 512
)

// refusal is a refused callback on its way to the disk.
type refusal struct {
	r     *host.Rejected
	ring  ringName
	body  [32]byte
	size  int64
	count uint64
	last  time.Time
	order uint64
}

func newRefusal(r *host.Rejected) *refusal {
	cb := &r.Callback
	e := &refusal{
		r: r, ring: ringName{r.Tenant, r.Endpoint, r.Reason},
		body: sha256.Sum256(cb.Body), count: 1, last: cb.Received,
	}
	if len(cb.Body) == 0 {
		// What a callback without a body says is in its query.
		e.body = sha256.Sum256([]byte(cb.Method + " " + cb.Target))
	}
	e.size = int64(backlogOverhead + len(r.Detail) + len(cb.Target) + len(cb.PublicURL) + len(cb.Body))
	for _, h := range cb.Headers {
		e.size += int64(len(h.Name) + len(h.Value))
	}
	return e
}

// backlog is what waits for a commit, by ring.
type backlog struct {
	rings   map[ringName]*backlogRing
	entries int
	bytes   int64
	order   uint64
}

type backlogRing struct {
	entries []*refusal // the oldest first
	bodies  map[[32]byte]*refusal
	bytes   int64
}

func newBacklog() *backlog { return &backlog{rings: make(map[ringName]*backlogRing)} }

// halfFull reports whether half of the bounds is used up.
func (l *backlog) halfFull() bool {
	return l.entries >= maxBacklog/2 || l.bytes >= maxBacklogBytes/2
}

// add takes an entry in, or reports that there is no room for it. Where room
// must be made, the ring that takes most loses its oldest, and only if it takes
// more than this one would.
//
// Invariant 9: so a flood loses its own, here as in the rings of the file.
func (l *backlog) add(e *refusal, ringEntries int) bool {
	ring := l.rings[e.ring]
	if ring == nil {
		ring = &backlogRing{bodies: make(map[[32]byte]*refusal)}
	}
	if same := ring.bodies[e.body]; same != nil {
		same.count += e.count
		if e.last.After(same.last) {
			same.last = e.last
		}
		return true
	}
	if e.size > maxBacklogBytes {
		return false
	}
	for l.entries >= maxBacklog || l.bytes+e.size > maxBacklogBytes {
		largest := l.largest()
		if largest.bytes <= ring.bytes+e.size {
			return false
		}
		l.pushOut(largest)
	}
	l.order++
	e.order = l.order
	l.rings[e.ring] = ring
	ring.entries = append(ring.entries, e)
	ring.bodies[e.body] = e
	ring.bytes += e.size
	l.bytes += e.size
	l.entries++
	if len(ring.entries) > ringEntries {
		l.pushOut(ring)
	}
	return true
}

func (l *backlog) largest() *backlogRing {
	largest := &backlogRing{}
	for _, ring := range l.rings {
		if ring.bytes > largest.bytes {
			largest = ring
		}
	}
	return largest
}

// pushOut drops the oldest entry of a ring.
func (l *backlog) pushOut(ring *backlogRing) {
	e := ring.entries[0]
	ring.entries = ring.entries[1:]
	delete(ring.bodies, e.body)
	ring.bytes -= e.size
	l.bytes -= e.size
	l.entries--
	if len(ring.entries) == 0 {
		delete(l.rings, e.ring)
	}
}

// inOrder returns the entries as they came.
func (l *backlog) inOrder() []*refusal {
	var all []*refusal
	for _, ring := range l.rings {
		all = append(all, ring.entries...)
	}
	slices.SortFunc(all, func(a, b *refusal) int { return cmp.Compare(a.order, b.order) })
	return all
}
