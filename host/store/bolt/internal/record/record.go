// Package record is the coding of what the bolt store writes: of one callback
// as it lies in a segment, and of the rows of state.db.
//
// A record is a header, the events frame and the raw frame:
//
//	 0  version      1 byte, 2
//	 1  codec        1 byte, 1 is s2
//	 2  kind         1 byte, [host.Kind]
//	 3  reserved     1 byte, 0
//	 4  sequence     8 bytes
//	12  received     8 bytes of Unix seconds, 4 of nanoseconds
//	24  events       2 bytes, how many
//	26  set aside    2 bytes, how many
//	28  events frame stored length, decoded length, CRC-32C: 4 bytes each
//	40  raw frame    the same; all zero when the raw callback has expired
//	52  previous     8 bytes, the sequence of the record before
//	60  dispositions 1 byte for each event, then for each item set aside
//	    identities   key, key as a conflict and content of each event, 40
//	                 bytes; then the key of each item set aside, 16 bytes
//	    CRC-32C of all the above, 4 bytes
//	    events frame
//	    raw frame
//
// Version 1 has no previous sequence, and the identities stand in its events
// frame.
//
// Integers are big endian. Inside the frames, once decompressed, integers are
// uvarints, and texts and lists have their length before them. The header is
// not compressed: the dispositions and the sequences are known only in the
// commit, hashes do not compress, and whoever looks for keys reads nothing else.
// The previous sequence shows where a record is missing. Every checksum is
// checked on every read.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/postern/postern/host"
)

const (
	version1 = 1
	version  = 2
	codecS2  = 1

	seqAt         = 4
	eventsFrameAt = 28
	rawFrameAt    = 40
	previousAt    = 52
	crcSize       = 4

	// The size of an event's identity, and of that of an item set aside.
	eventIdentity = 16 + 16 + 8
	asideIdentity = 16

	// maxFrame bounds a frame once decompressed, so that a damaged length
	// cannot ask for the whole memory.
	maxFrame = 256 << 20
)

// ErrDamaged is what every error of reading is.
var ErrDamaged = errors.New("damaged record")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// dispositionsAt is where the dispositions begin, by the record's version.
func dispositionsAt(version byte) int {
	if version == version1 {
		return previousAt
	}
	return previousAt + 8
}

// identitiesSize is the length of the identities, by the record's version.
func identitiesSize(version byte, events, aside int) int {
	if version == version1 {
		return 0
	}
	return events*eventIdentity + aside*asideIdentity
}

// Encode returns rec as it is to be stored, but for what [Seal] fills in. It
// does all the work that takes time. An error means that rec is too large. It
// uses the memory of b, whose bytes are lost, where there is enough; nil is fine.
func Encode(b []byte, rec *host.Record) ([]byte, error) {
	n := len(rec.Events) + len(rec.Aside)
	if len(rec.Events) > math.MaxUint16 || len(rec.Aside) > math.MaxUint16 {
		return nil, fmt.Errorf("a record of %d events and items is too large", n)
	}
	plain := frames.Get().(*[]byte)
	defer giveBack(plain)
	*plain = appendEvents(slices.Grow((*plain)[:0], eventsHint(rec)+rawHint(&rec.Callback)), rec)
	split := len(*plain)
	*plain = appendRaw(*plain, &rec.Callback)
	events, raw := (*plain)[:split], (*plain)[split:]
	if len(events) > maxFrame || len(raw) > maxFrame {
		return nil, fmt.Errorf("a record of %d and %d bytes is too large", len(events), len(raw))
	}
	identities := dispositionsAt(version) + n
	header := identities + identitiesSize(version, len(rec.Events), len(rec.Aside)) + crcSize
	b = slices.Grow(b[:0], header+s2.MaxEncodedLen(len(events))+s2.MaxEncodedLen(len(raw)))[:header]
	clear(b)
	putIdentities(b[identities:identities], rec)
	b[0], b[1], b[2] = version, codecS2, byte(rec.Kind)
	putTime(b[12:], rec.Callback.Received)
	binary.BigEndian.PutUint16(b[24:], uint16(len(rec.Events))) //nolint:gosec // bounded above
	binary.BigEndian.PutUint16(b[26:], uint16(len(rec.Aside)))  //nolint:gosec // bounded above
	b = appendFrame(b, eventsFrameAt, events)
	return appendFrame(b, rawFrameAt, raw), nil
}

// frames are buffers for what is then compressed.
var frames = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled is up to which size a buffer is worth keeping.
const maxPooled = 64 << 10

func giveBack(b *[]byte) {
	if cap(*b) <= maxPooled {
		frames.Put(b)
	}
}

// appendFrame compresses frame to the end of b and describes it in the header.
func appendFrame(b []byte, at int, frame []byte) []byte {
	start := len(b)
	b = slices.Grow(b, s2.MaxEncodedLen(len(frame)))
	stored := s2.Encode(b[start:cap(b)], frame)
	binary.BigEndian.PutUint32(b[at:], uint32(len(stored)))  //nolint:gosec // frames are bounded
	binary.BigEndian.PutUint32(b[at+4:], uint32(len(frame))) //nolint:gosec // frames are bounded
	binary.BigEndian.PutUint32(b[at+8:], crc32.Checksum(stored, castagnoli))
	return b[:start+len(stored)]
}

// putIdentities writes them to the end of b, which has room.
func putIdentities(b []byte, rec *host.Record) {
	for i := range rec.Events {
		ev := &rec.Events[i]
		b = append(b, ev.Key[:]...)
		b = append(b, ev.ConflictKey[:]...)
		b = append(b, ev.Content[:]...)
	}
	for i := range rec.Aside {
		b = append(b, rec.Aside[i].Key[:]...)
	}
}

// Seal completes what Encode made with what is known only in the commit: its
// own sequence, that of the record before it, and what became of its parts.
func Seal(b []byte, seq, previous uint64, events, aside []host.Disposition) {
	binary.BigEndian.PutUint64(b[seqAt:], seq)
	binary.BigEndian.PutUint64(b[previousAt:], previous)
	at := dispositionsAt(version)
	for _, list := range [][]host.Disposition{events, aside} {
		for _, d := range list {
			b[at] = byte(d)
			at++
		}
	}
	at += identitiesSize(version, len(events), len(aside))
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b[:at], castagnoli))
}

// header is a record's header, checked.
type header struct {
	version    byte
	kind       host.Kind
	received   time.Time
	previous   uint64 // zero in version 1
	events     []byte // dispositions
	aside      []byte
	identities []byte // empty in version 1
	frames     int    // where the first begins
	stored     [2]int
	decoded    [2]int
	crc        [2]uint32
}

// Its frames.
const (
	eventsFrame = iota
	rawFrame
)

// parse checks that b is a whole record with this sequence.
func parse(b []byte, seq uint64) (*header, error) {
	if len(b) < dispositionsAt(version)+crcSize {
		return nil, damaged("%d bytes are no record", len(b))
	}
	if b[0] != version && b[0] != version1 {
		return nil, damaged("version %d is unknown", b[0])
	}
	nEvents := int(binary.BigEndian.Uint16(b[24:]))
	nAside := int(binary.BigEndian.Uint16(b[26:]))
	start := dispositionsAt(b[0])
	identities := start + nEvents + nAside
	end := identities + identitiesSize(b[0], nEvents, nAside)
	if len(b) < end+crcSize {
		return nil, damaged("the header is cut off")
	}
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, damaged("checksum of the header")
	}
	if b[1] != codecS2 || b[3] != 0 {
		return nil, damaged("codec %d is unknown", b[1])
	}
	if got := binary.BigEndian.Uint64(b[seqAt:]); got != seq {
		return nil, damaged("it has sequence %d and lies at %d", got, seq)
	}
	h := &header{
		version: b[0], kind: host.Kind(b[2]), received: getTime(b[12:]), frames: end + crcSize,
		events:     b[start : start+nEvents],
		aside:      b[start+nEvents : identities],
		identities: b[identities:end],
	}
	if h.version != version1 {
		h.previous = binary.BigEndian.Uint64(b[previousAt:])
	}
	for i, at := range []int{eventsFrameAt, rawFrameAt} {
		h.stored[i] = int(binary.BigEndian.Uint32(b[at:]))
		h.decoded[i] = int(binary.BigEndian.Uint32(b[at+4:]))
		h.crc[i] = binary.BigEndian.Uint32(b[at+8:])
	}
	if len(b) != h.frames+h.stored[eventsFrame]+h.stored[rawFrame] {
		return nil, damaged("%d bytes do not fit the header", len(b))
	}
	return h, nil
}

// frame checks and decompresses one frame into memory of its own.
func (h *header) frame(b []byte, which int) ([]byte, error) {
	start := h.frames
	if which == rawFrame {
		start += h.stored[eventsFrame]
	}
	stored := b[start : start+h.stored[which]]
	if crc32.Checksum(stored, castagnoli) != h.crc[which] {
		return nil, damaged("checksum of frame %d", which)
	}
	if n, err := s2.DecodedLen(stored); err != nil || n != h.decoded[which] || n > maxFrame {
		return nil, damaged("length of frame %d", which)
	}
	out, err := s2.Decode(nil, stored)
	if err != nil {
		return nil, damaged("frame %d: %v", which, err)
	}
	return out, nil
}

// Decode reads the record with this sequence whole, duplicates left out. The
// result shares no memory with b.
func Decode(b []byte, seq uint64) (*host.Record, error) {
	rec, h, err := decodeEvents(b, seq)
	if err != nil {
		return nil, err
	}
	rec.Events = keep(rec.Events, h.events)
	rec.Aside = keep(rec.Aside, h.aside)
	rec.Callback.Received = h.received
	if h.stored[rawFrame] == 0 {
		return rec, nil
	}
	raw, err := h.frame(b, rawFrame)
	if err != nil {
		return nil, err
	}
	if err := readRaw(raw, &rec.Callback); err != nil {
		return nil, err
	}
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

// Events calls yield with each event of the record that counts, in
// order, and with its index, until yield returns false. The raw frame is not
// looked at. The events share no memory with b.
func Events(b []byte, seq uint64, yield func(index int, ev *host.Event) bool) error {
	rec, h, err := decodeEvents(b, seq)
	if err != nil {
		return err
	}
	for i := range rec.Events {
		if !host.Disposition(h.events[i]).Counts() {
			continue
		}
		if !yield(i, &rec.Events[i]) {
			break
		}
	}
	return nil
}

// Previous checks the header of the record with this sequence and returns that
// of the record before it; zero for the first and where it is not known.
func Previous(b []byte, seq uint64) (uint64, error) {
	h, err := parse(b, seq)
	if err != nil {
		return 0, err
	}
	return h.previous, nil
}

// Entry is a record as its header tells of it: all that the indexes need.
type Entry struct {
	Kind     host.Kind
	Received time.Time
	// Previous is the sequence of the record before this one; zero for the first
	// and where it is not known.
	Previous uint64
	Keys     []Key
}

// Key is under what an event or an item set aside of a record is indexed, and
// its index in the record; items have indexes behind the events', and no
// content.
type Key struct {
	Hash    host.Hash
	Index   int
	Content host.Content
}

// Look reads the header of the record with this sequence. What is a duplicate or
// withheld has no key. A record of version 1 is decompressed for it.
func Look(b []byte, seq uint64) (Entry, error) {
	h, err := parse(b, seq)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Kind: h.kind, Received: h.received, Previous: h.previous}
	identities := h.identities
	if h.version == version1 {
		rec, _, err := decodeEvents(b, seq)
		if err != nil {
			return Entry{}, err
		}
		identities = make([]byte, identitiesSize(version, len(rec.Events), len(rec.Aside)))
		putIdentities(identities[:0], rec)
	}
	for i, d := range h.events {
		at := identities[i*eventIdentity:]
		switch host.Disposition(d) {
		case host.Duplicate, host.Withheld:
			continue
		case host.Conflicted:
			e.Keys = append(e.Keys, Key{host.Hash(at[16:32]), i, host.Content(at[32:40])})
		default:
			e.Keys = append(e.Keys, Key{host.Hash(at[:16]), i, host.Content(at[32:40])})
		}
	}
	for i, d := range h.aside {
		if host.Disposition(d).Counts() {
			at := identities[len(h.events)*eventIdentity+i*asideIdentity:]
			e.Keys = append(e.Keys, Key{Hash: host.Hash(at[:16]), Index: len(h.events) + i})
		}
	}
	return e, nil
}

func decodeEvents(b []byte, seq uint64) (*host.Record, *header, error) {
	h, err := parse(b, seq)
	if err != nil {
		return nil, nil, err
	}
	frame, err := h.frame(b, eventsFrame)
	if err != nil {
		return nil, nil, err
	}
	rec, err := readEvents(frame, h.version == version1)
	if err != nil {
		return nil, nil, err
	}
	if len(rec.Events) != len(h.events) || len(rec.Aside) != len(h.aside) {
		return nil, nil, damaged("header and frame differ in the number of events")
	}
	rec.Kind = h.kind
	h.identify(rec)
	for i := range rec.Events {
		rec.Events[i].Conflict = host.Disposition(h.events[i]) == host.Conflicted
	}
	return rec, h, nil
}

// identify gives the parts of rec the identities that the header has.
func (h *header) identify(rec *host.Record) {
	if h.version == version1 {
		return
	}
	b := h.identities
	for i := range rec.Events {
		ev := &rec.Events[i]
		ev.Key, ev.ConflictKey, ev.Content = host.Hash(b[:16]), host.Hash(b[16:32]), host.Content(b[32:40])
		b = b[eventIdentity:]
	}
	for i := range rec.Aside {
		rec.Aside[i].Key = host.Hash(b[:asideIdentity])
		b = b[asideIdentity:]
	}
}
