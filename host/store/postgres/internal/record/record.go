// Package record is the coding of what the postgres store keeps as bytes: a
// record's two columns, the copy of an event that a dead letter has, and a
// rejected callback.
//
// The column "events" is all of a record but its callback:
//
//	 0  version      1 byte, 1
//	 1  kind         1 byte, [host.Kind]
//	 2  received     8 bytes of Unix seconds, 4 of nanoseconds
//	14  events       2 bytes, how many
//	16  set aside    2 bytes, how many
//	18  dispositions 1 byte for each event, then for each item set aside
//	    CRC-32C of all the above, 4 bytes
//	    frame
//	    CRC-32C of the frame, 4 bytes
//
// Everything else is version, frame and CRC-32C of both. Integers are big
// endian; in a frame they are uvarints, and texts and lists have their length
// before them. The dispositions stand before the frame because they are known
// only in the commit, when the frame has long been coded. Nothing is compressed
// here: the server does that to what is large. Every checksum is checked on
// every read.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/postern/postern/host"
)

const (
	version = 1

	receivedAt     = 2
	countsAt       = receivedAt + timeSize
	dispositionsAt = countsAt + 4
	crcSize        = 4
)

// ErrDamaged is what every error of reading is.
var ErrDamaged = errors.New("damaged record")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the columns of rec, but for what [Seal] fills in. An error
// means that rec is too large.
func Encode(rec *host.Record) (events, raw []byte, err error) {
	if len(rec.Events) > math.MaxUint16 || len(rec.Aside) > math.MaxUint16 {
		return nil, nil, fmt.Errorf("a record of %d events and items is too large", len(rec.Events)+len(rec.Aside))
	}
	start := dispositionsAt + len(rec.Events) + len(rec.Aside) + crcSize
	events = make([]byte, start, start+eventsHint(rec)+crcSize)
	events[0], events[1] = version, byte(rec.Kind)
	putTime(events[receivedAt:], rec.Callback.Received)
	binary.BigEndian.PutUint16(events[countsAt:], uint16(len(rec.Events)))  //nolint:gosec // bounded above
	binary.BigEndian.PutUint16(events[countsAt+2:], uint16(len(rec.Aside))) //nolint:gosec // bounded above
	events = appendEvents(events, rec)
	events = binary.BigEndian.AppendUint32(events, crc32.Checksum(events[start:], castagnoli))

	raw = append(make([]byte, 0, rawHint(&rec.Callback)), version)
	return events, seal(appendRaw(raw, &rec.Callback)), nil
}

// Seal completes the column of events that Encode made with what is known only
// in the commit.
func Seal(b []byte, events, aside []host.Disposition) {
	at := dispositionsAt
	for _, list := range [][]host.Disposition{events, aside} {
		for _, d := range list {
			b[at] = byte(d)
			at++
		}
	}
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b[:at], castagnoli))
}

// header is what stands before the frame of events, checked.
type header struct {
	kind     host.Kind
	received time.Time
	events   []byte // dispositions
	aside    []byte
	frame    []byte
}

func parse(b []byte) (*header, error) {
	if len(b) < dispositionsAt+2*crcSize {
		return nil, damaged("%d bytes are no record", len(b))
	}
	if b[0] != version {
		return nil, damaged("version %d is unknown", b[0])
	}
	nEvents := int(binary.BigEndian.Uint16(b[countsAt:]))
	end := dispositionsAt + nEvents + int(binary.BigEndian.Uint16(b[countsAt+2:]))
	if len(b) < end+2*crcSize {
		return nil, damaged("the header is cut off")
	}
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, damaged("checksum of the header")
	}
	frame, sum := b[end+crcSize:len(b)-crcSize], b[len(b)-crcSize:]
	if crc32.Checksum(frame, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, damaged("checksum of the events")
	}
	return &header{
		kind: host.Kind(b[1]), received: getTime(b[receivedAt:]), frame: frame,
		events: b[dispositionsAt : dispositionsAt+nEvents],
		aside:  b[dispositionsAt+nEvents : end],
	}, nil
}

// Decode reads a record whole, duplicates left out; raw is nil once the callback
// has expired. The result may share memory with the columns.
func Decode(events, raw []byte) (*host.Record, error) {
	rec, h, err := decodeEvents(events)
	if err != nil {
		return nil, err
	}
	rec.Events = keep(rec.Events, h.events)
	rec.Aside = keep(rec.Aside, h.aside)
	if raw != nil {
		r, err := open(raw)
		if err != nil {
			return nil, err
		}
		r.callback(&rec.Callback)
		if err := r.end(); err != nil {
			return nil, err
		}
	}
	rec.Callback.Received = h.received
	return rec, nil
}

func keep[T any](all []T, dispositions []byte) []T {
	out := all[:0]
	for i, d := range dispositions {
		if host.Disposition(d) != host.Duplicate {
			out = append(out, all[i])
		}
	}
	return out
}

// Place is an event with its index in its record.
type Place struct {
	Index int
	Event *host.Event
}

// Events returns the events of a record that count, in order.
func Events(b []byte) ([]Place, error) {
	rec, h, err := decodeEvents(b)
	if err != nil {
		return nil, err
	}
	var out []Place
	for i := range rec.Events {
		if host.Disposition(h.events[i]).Counts() {
			out = append(out, Place{i, &rec.Events[i]})
		}
	}
	return out, nil
}

// Received returns when a record's callback came.
func Received(b []byte) (time.Time, error) {
	h, err := parse(b)
	if err != nil {
		return time.Time{}, err
	}
	return h.received, nil
}

func decodeEvents(b []byte) (*host.Record, *header, error) {
	h, err := parse(b)
	if err != nil {
		return nil, nil, err
	}
	r := &reader{b: h.frame}
	rec := r.record()
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	if len(rec.Events) != len(h.events) || len(rec.Aside) != len(h.aside) {
		return nil, nil, damaged("header and frame differ in the number of events")
	}
	rec.Kind = h.kind
	for i := range rec.Events {
		rec.Events[i].Conflict = host.Disposition(h.events[i]) == host.Conflicted
	}
	return rec, h, nil
}

// EncodeEvent returns the copy of an event.
func EncodeEvent(ev *host.Event) []byte {
	return seal(appendEvent([]byte{version}, ev))
}

// DecodeEvent reads what [EncodeEvent] wrote.
func DecodeEvent(b []byte) (*host.Event, error) {
	r, err := open(b)
	if err != nil {
		return nil, err
	}
	ev := &host.Event{}
	r.event(ev)
	return ev, r.end()
}

// EncodeRejected returns what was rejected but for its id, its count and when it
// last came.
func EncodeRejected(q *host.Rejected) []byte {
	b := []byte{version}
	for _, s := range []string{q.Reason, q.Detail, q.Tenant, q.Endpoint, q.Provider, q.Plugin} {
		b = appendText(b, s)
	}
	b = appendEvidence(b, q.Evidence)
	b = appendTime(b, q.Callback.Received)
	return seal(appendRaw(b, &q.Callback))
}

// DecodeRejected reads what [EncodeRejected] wrote.
func DecodeRejected(b []byte) (*host.Rejected, error) {
	r, err := open(b)
	if err != nil {
		return nil, err
	}
	q := &host.Rejected{}
	for _, s := range []*string{&q.Reason, &q.Detail, &q.Tenant, &q.Endpoint, &q.Provider, &q.Plugin} {
		*s = r.text()
	}
	q.Evidence = r.evidence()
	received := r.time()
	r.callback(&q.Callback)
	q.Callback.Received = received
	return q, r.end()
}

// seal appends the checksum.
func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// open checks version and checksum.
func open(b []byte) (*reader, error) {
	n := len(b) - crcSize
	if n < 1 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, damaged("checksum")
	}
	if b[0] != version {
		return nil, damaged("version %d is unknown", b[0])
	}
	return &reader{b: b[1:n]}, nil
}
