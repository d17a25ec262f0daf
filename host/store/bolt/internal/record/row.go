package record

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/postern/postern/host"
)

// Row is a delivery that waits, for its retry or as a dead letter.
type Row struct {
	Attempts int
	First    time.Time
	Reason   string
	Answer   string
	// Event is the row's own copy; nil for a retry, whose event is in the log.
	Event *host.Event
}

// Version 1 of a row has no answer.
const (
	rowVersion   = 2
	rowHasEvent  = 1
	placeVersion = 1
)

// Encode returns the row as it is stored, with a checksum.
func (r *Row) Encode() []byte {
	b := []byte{rowVersion, 0}
	b = binary.AppendUvarint(b, uint64(r.Attempts)) //nolint:gosec // never negative
	b = appendTime(b, r.First)
	b = appendText(b, r.Reason)
	b = appendText(b, r.Answer)
	if r.Event != nil {
		b[1] = rowHasEvent
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
	b := []byte{placeVersion}
	put := func(at Pos) {
		b = binary.AppendUvarint(b, at.Seq)
		b = binary.AppendUvarint(b, uint64(at.Index)) //nolint:gosec // never negative
	}
	put(p.Low)
	b = binary.AppendUvarint(b, uint64(len(p.Above)))
	for _, at := range p.Above {
		put(at)
	}
	return appendSum(b)
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
	p := Position{Low: Pos{r.uvarint(), r.int()}}
	for range r.count(2) {
		p.Above = append(p.Above, Pos{r.uvarint(), r.int()})
	}
	return p, r.end()
}

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
