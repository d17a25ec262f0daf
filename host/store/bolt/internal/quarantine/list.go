package quarantine

import (
	"fmt"
	"strconv"

	"github.com/postern/postern/host"
)

// Part is the next of one of the two lists; More says that it goes on.
type Part struct {
	Entries []host.Rejected
	More    bool
}

// End says that nothing more comes.
func (p *Part) End() bool { return len(p.Entries) == 0 && !p.More }

// cut says that what comes next is not known.
func (p *Part) cut() bool { return len(p.Entries) == 0 && p.More }

// Reached is how far a list is: the last kept or held and the last refused callback
// in it.
type Reached struct{ Kept, Refused uint64 }

// Cursor is the place as a caller has it.
func (l Reached) Cursor() host.Cursor { return host.Cursor(fmt.Sprintf("%d.%d", l.Kept, l.Refused)) }

// ParseReached is the inverse of [Reached.Cursor].
func ParseReached(c host.Cursor) (l Reached, err error) {
	if c == "" {
		return l, nil
	}
	if _, err = fmt.Sscanf(string(c), "%d.%d", &l.Kept, &l.Refused); err != nil || l.Cursor() != c {
		return l, fmt.Errorf("cursor %q is not one of this list", string(c))
	}
	return l, nil
}

// Merge takes up to n, the one that came first of the two next, and ends where
// one of them is not known.
func (l *Reached) Merge(kept, refused *Part, n int) (out []host.Rejected) {
	for len(out) < n && !kept.cut() && !refused.cut() {
		from := kept
		if kept.End() || len(refused.Entries) > 0 &&
			refused.Entries[0].Callback.Received.Before(kept.Entries[0].Callback.Received) {
			from = refused
		}
		if from.End() {
			break
		}
		r := from.Entries[0]
		from.Entries = from.Entries[1:]
		out = append(out, r)
		if _, number, _ := ParseID(r.ID); r.Kept || r.Held != nil {
			l.Kept = number
		} else {
			l.Refused = number
		}
	}
	return out
}

// ParseID takes an id apart: the sequence of a kept or held callback, or the number
// of a refused one.
func ParseID(id string) (kept bool, n uint64, err error) {
	for _, prefix := range []string{host.ReasonKept + "-", host.ReasonHeld + "-", Prefix} {
		if len(id) <= len(prefix) || id[:len(prefix)] != prefix {
			continue
		}
		n, err := strconv.ParseUint(id[len(prefix):], 10, 64)
		// One number has one spelling.
		if err == nil && prefix+strconv.FormatUint(n, 10) == id {
			return prefix != Prefix, n, nil
		}
	}
	return false, 0, fmt.Errorf("%q is not of the form kept-1, held-1 or %s1", id, Prefix)
}
