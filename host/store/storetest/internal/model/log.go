package model

import (
	"math/rand/v2"

	"github.com/postern/postern/host"
)

// Log is what was stored.
type Log struct {
	// Events are in order; At says where each is, by its id.
	Events []host.Event
	At     map[string]int
	// Keys is how many dedup keys there are, from 0 on.
	Keys int

	// first is the content of each key's first event, known every content of it.
	first map[int]int
	known map[[2]int]bool
}

// NewLog makes an empty one.
func NewLog() *Log {
	return &Log{At: make(map[string]int), first: make(map[int]int), known: make(map[[2]int]bool)}
}

// Pick chooses the key and the content of an event to append and says what is to
// become of it: mostly a new one, else a duplicate or a conflict.
func (l *Log) Pick(r *rand.Rand) (key, content int, d host.Disposition) {
	const back, contents = 200, 3
	key = l.Keys
	if l.Keys > 0 && r.IntN(4) == 0 {
		key, content = l.Keys-1-r.IntN(min(l.Keys, back)), r.IntN(contents)
	}
	first, there := l.first[key]
	switch {
	case !there:
		l.Keys++
		l.first[key], d = content, host.Stored
	case first == content || l.known[[2]int{key, content}]:
		d = host.Duplicate
	default:
		d = host.Conflicted
	}
	l.known[[2]int{key, content}] = true
	return key, content, d
}

// Add stores an event and returns its place.
func (l *Log) Add(ev *host.Event) int {
	at := len(l.Events)
	l.Events, l.At[ev.ID()] = append(l.Events, *ev), at
	return at
}
