package record

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"

	"github.com/postern/postern/host"
)

// Row is a delivery that waits: for its retry, for an earlier one of its subject,
// or as a dead letter.
type Row struct {
	Attempts int
	First    time.Time
	Reason   string
	Answer   string
	// Parked: it was never leased.
	Parked bool
	// Line is the hash of its subject, all zero for an event without one; it
	// counts only if Lined.
	Line  [16]byte
	Lined bool
	// Event is the row's own copy; nil for a retry, whose event is in the log.
	Event *host.Event
}

// Version 1 of a row has no answer and no line.
const (
	rowVersion    = 2
	placeVersion  = 1
	replayVersion = 1
)

// The flags of a row.
const (
	rowHasEvent = 1 << iota
	rowIsParked
	rowHasLine
)

// Encode returns the row as it is stored, with a checksum.
func (r *Row) Encode() []byte {
	b := []byte{rowVersion, 0}
	b = binary.AppendUvarint(b, uint64(r.Attempts)) //nolint:gosec // never negative
	b = appendTime(b, r.First)
	b = appendText(b, r.Reason)
	b = appendText(b, r.Answer)
	if r.Parked {
		b[1] |= rowIsParked
	}
	if r.Lined {
		b[1] |= rowHasLine
		b = append(b, r.Line[:]...)
	}
	if r.Event != nil {
		b[1] |= rowHasEvent
		b = appendEvent(b, r.Event)
	}
	return appendSum(b)
}

// ParseRow reads what [Row.Encode] wrote. The result shares no memory with b.
func ParseRow(b []byte) (*Row, error) {
	b, err := checkSum(b)
	if err != nil {
		return nil, err
	}
	r := &reader{b: append([]byte(nil), b...)}
	// Invariant 10: what an earlier version wrote is read.
	version := r.byte()
	if version == 0 || version > rowVersion {
		return nil, damaged("version of a row is unknown")
	}
	flags := r.byte()
	row := &Row{Attempts: r.int(), First: r.time(), Reason: r.text()}
	if version > 1 {
		row.Answer = r.text()
	}
	row.Parked = flags&rowIsParked != 0
	if row.Lined = flags&rowHasLine != 0; row.Lined {
		copy(row.Line[:], r.take(len(row.Line)))
	}
	if flags&rowHasEvent != 0 {
		row.Event = &host.Event{}
		r.event(row.Event)
	}
	return row, r.end()
}

// Pos is the place of an event in the log.
type Pos struct {
	Seq   uint64
	Index int
}

// Before reports whether p comes before q.
func (p Pos) Before(q Pos) bool {
	return p.Seq < q.Seq || (p.Seq == q.Seq && p.Index < q.Index)
}

// Position is how far a sink is: every event before Low is over, and so are
// those in Above, rising, which lie behind it.
type Position struct {
	Low   Pos
	Above []Pos
}

// Encode returns the position as it is stored, with a checksum.
func (p *Position) Encode() []byte {
	return appendSum(appendPosition([]byte{placeVersion}, p))
}

func appendPos(b []byte, at Pos) []byte {
	b = binary.AppendUvarint(b, at.Seq)
	return binary.AppendUvarint(b, uint64(at.Index)) //nolint:gosec // never negative
}

func appendPosition(b []byte, p *Position) []byte {
	b = appendPos(b, p.Low)
	b = binary.AppendUvarint(b, uint64(len(p.Above)))
	for _, at := range p.Above {
		b = appendPos(b, at)
	}
	return b
}

// ParsePosition reads what [Position.Encode] wrote.
func ParsePosition(b []byte) (Position, error) {
	b, err := checkSum(b)
	if err != nil {
		return Position{}, err
	}
	r := &reader{b: b}
	if r.byte() != placeVersion {
		return Position{}, damaged("version of a position is unknown")
	}
	p := r.position()
	return p, r.end()
}

func (r *reader) pos() Pos { return Pos{r.uvarint(), r.int()} }

func (r *reader) position() Position {
	p := Position{Low: r.pos()}
	for range r.count(2) {
		p.Above = append(p.Above, r.pos())
	}
	return p
}

// Replay is a replay under way: which of the sink's it is, its bounds, how many
// events were taken and are over or have a row, and how far it is.
type Replay struct {
	Number   uint32
	From     string // the cursor as it was given
	To       Pos
	Taken    uint64
	Position Position
}

// Encode returns the replay as it is stored, with a checksum.
func (p *Replay) Encode() []byte {
	b := binary.AppendUvarint([]byte{replayVersion}, uint64(p.Number))
	b = appendText(b, p.From)
	b = appendPos(b, p.To)
	b = binary.AppendUvarint(b, p.Taken)
	return appendSum(appendPosition(b, &p.Position))
}

// ParseReplay reads what [Replay.Encode] wrote.
func ParseReplay(b []byte) (*Replay, error) {
	b, err := checkSum(b)
	if err != nil {
		return nil, err
	}
	r := &reader{b: b}
	if r.byte() != replayVersion {
		return nil, damaged("version of a replay is unknown")
	}
	number := r.uvarint()
	if number > math.MaxUint32 {
		return nil, damaged("number of a replay")
	}
	p := &Replay{Number: uint32(number), From: r.text(), To: r.pos(), Taken: r.uvarint(), Position: r.position()}
	return p, r.end()
}

// The times that a stamp can hold.
var (
	firstStamp = time.Unix(0, 0)
	lastStamp  = time.Unix(0, 1<<63-1)
)

// Stamp is a time as keys have it, in Unix nanoseconds: the nearest that there is
// from 1970 to 2262.
func Stamp(t time.Time) uint64 {
	if t.Before(firstStamp) {
		t = firstStamp
	}
	if t.After(lastStamp) {
		t = lastStamp
	}
	return uint64(t.UnixNano())
}

// Unstamp is the inverse of [Stamp].
func Unstamp(v uint64) time.Time { return time.Unix(0, int64(v)).UTC() } //nolint:gosec // made by Stamp

// int reads a number that is small by nature.
func (r *reader) int() int {
	const limit = 1 << 31
	v := r.uvarint()
	if v >= limit {
		r.bad = true
		return 0
	}
	return int(v)
}

func appendSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// checkSum returns b without its checksum.
func checkSum(b []byte) ([]byte, error) {
	n := len(b) - crcSize
	if n < 0 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, damaged("checksum of a row")
	}
	return b[:n], nil
}
