package record

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/postern/postern/host"
)

func putTime(b []byte, t time.Time) {
	binary.BigEndian.PutUint64(b, uint64(t.Unix()))           //nolint:gosec // two's complement both ways
	binary.BigEndian.PutUint32(b[8:], uint32(t.Nanosecond())) //nolint:gosec // below 1e9
}

func getTime(b []byte) time.Time {
	sec, nsec := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	return time.Unix(int64(sec), int64(nsec)).UTC() //nolint:gosec // two's complement both ways
}

// timeSize is the length of a coded time.
const timeSize = 12

func appendTime(b []byte, t time.Time) []byte {
	var at [timeSize]byte
	putTime(at[:], t)
	return append(b, at[:]...)
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendEvidence(b []byte, all []host.Evidence) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, e := range all {
		b = appendText(b, e.Secret)
		b = binary.AppendVarint(b, int64(e.Value))
		b = appendText(b, e.Algorithm)
		b = append(b, byte(e.Covers))
	}
	return b
}

// What the parts of fixed or usual length take in a frame, generously: a buffer
// that grows is copied.
const (
	hintFrame = 256
	hintEvent = 384
	hintItem  = 64
)

func eventsHint(rec *host.Record) int {
	n := hintFrame + len(rec.Detail) + hintItem*len(rec.Evidence)
	for i := range rec.Events {
		n += hintEvent + len(rec.Events[i].Data)
	}
	for i := range rec.Aside {
		n += hintItem + len(rec.Aside[i].Reason) + len(rec.Aside[i].Item)
	}
	return n
}

func rawHint(cb *host.Callback) int {
	n := hintFrame + len(cb.Target) + len(cb.PublicURL) + len(cb.Body) + hintItem*len(cb.Tokens)
	for _, h := range cb.Headers {
		n += 8 + len(h.Name) + len(h.Value)
	}
	return n
}

// appendEvents writes all of the record but its callback.
func appendEvents(b []byte, rec *host.Record) []byte {
	for _, s := range []string{rec.Tenant, rec.Endpoint, rec.Provider, rec.Plugin, rec.Detail} {
		b = appendText(b, s)
	}
	b = appendEvidence(b, rec.Evidence)
	b = binary.AppendUvarint(b, uint64(len(rec.Events)))
	for i := range rec.Events {
		b = appendEvent(b, &rec.Events[i])
	}
	b = binary.AppendUvarint(b, uint64(len(rec.Aside)))
	for i := range rec.Aside {
		b = append(b, rec.Aside[i].Key[:]...)
		b = appendText(b, rec.Aside[i].Reason)
		b = appendText(b, rec.Aside[i].Item)
	}
	return b
}

// record reads what appendEvents wrote.
func (r *reader) record() *host.Record {
	rec := &host.Record{}
	for _, s := range []*string{&rec.Tenant, &rec.Endpoint, &rec.Provider, &rec.Plugin, &rec.Detail} {
		*s = r.text()
	}
	rec.Evidence = r.evidence()
	if n := r.count(minEvent); n > 0 {
		rec.Events = make([]host.Event, n)
		for i := range rec.Events {
			r.event(&rec.Events[i])
		}
	}
	if n := r.count(minAside); n > 0 {
		rec.Aside = make([]host.Aside, n)
		for i := range rec.Aside {
			a := &rec.Aside[i]
			copy(a.Key[:], r.take(len(a.Key)))
			a.Reason, a.Item = r.text(), r.bytes()
		}
	}
	return rec
}

// The flags of an event.
const (
	flagConflict = 1 << iota
	flagConfirm
	flagSandbox
	flagAnnotated // the annotations follow; an event without any reads and is written as ever
)

func appendEvent(b []byte, ev *host.Event) []byte {
	b = append(b, ev.Key[:]...)
	b = append(b, ev.ConflictKey[:]...)
	b = append(b, ev.Content[:]...)
	var flags byte
	for i, set := range []bool{ev.Conflict, ev.Confirm, ev.Sandbox, len(ev.Annotations) > 0} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, flags, byte(ev.Covers))
	b = appendTime(b, ev.Time)
	b = appendTime(b, ev.Received)
	for _, s := range []string{
		ev.Source, ev.Type, ev.Subject, ev.Tenant, ev.Endpoint, ev.Provider, string(ev.VerifiedBy),
	} {
		b = appendText(b, s)
	}
	b = appendText(b, ev.Data)
	if len(ev.Annotations) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(ev.Annotations)))
	for _, a := range ev.Annotations {
		b = appendText(appendText(b, a.Name), a.Value)
	}
	return b
}

// appendRaw writes a callback but for the time of receipt.
func appendRaw(b []byte, cb *host.Callback) []byte {
	b = appendText(b, cb.Method)
	b = appendText(b, cb.Target)
	b = appendText(b, cb.PublicURL)
	b = binary.AppendUvarint(b, uint64(len(cb.Headers)))
	for _, h := range cb.Headers {
		b = appendText(b, h.Name)
		b = appendText(b, h.Value)
	}
	b = appendText(b, cb.Body)
	remote := ""
	if cb.Remote.IsValid() {
		remote = cb.Remote.String()
	}
	b = appendText(b, remote)
	return appendEvidence(b, cb.Tokens)
}

// callback reads what appendRaw wrote.
func (r *reader) callback(cb *host.Callback) {
	cb.Method, cb.Target, cb.PublicURL = r.text(), r.text(), r.text()
	if n := r.count(minHeader); n > 0 {
		cb.Headers = make([]host.Header, n)
		for i := range cb.Headers {
			cb.Headers[i].Name, cb.Headers[i].Value = r.text(), r.text()
		}
	}
	cb.Body = r.bytes()
	if remote := r.text(); remote != "" {
		addr, err := netip.ParseAddr(remote)
		r.bad = r.bad || err != nil
		cb.Remote = addr
	}
	cb.Tokens = r.evidence()
}

// The fewest bytes that one element of a list takes.
const (
	minEvidence = 4
	minEvent    = 16 + 16 + 8 + 2 + 2*timeSize + 8
	minAside    = 16 + 2
	minHeader   = 2

	minAnnotation = 2
)

// reader takes a frame apart. After the first thing that does not fit it yields
// zero values, and end returns an error.
type reader struct {
	b   []byte
	bad bool
}

// take returns the next n bytes, which the caller may keep.
func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

// count reads the length of a list whose elements take at least size bytes
// each, so that a damaged one asks for no more memory than there are bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)/size) { //nolint:gosec // never negative
		r.bad = true
		return 0
	}
	return int(n) //nolint:gosec // at most the length of b
}

// bytes reads a text as bytes; an empty one is nil.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	return r.take(int(n)) //nolint:gosec // at most the length of b
}

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) time() time.Time {
	if b := r.take(timeSize); b != nil {
		return getTime(b)
	}
	return time.Time{}
}

func (r *reader) evidence() []host.Evidence {
	n := r.count(minEvidence)
	if n == 0 {
		return nil
	}
	out := make([]host.Evidence, n)
	for i := range out {
		out[i] = host.Evidence{
			Secret: r.text(), Value: int(r.varint()),
			Algorithm: host.Algorithm(r.text()), Covers: host.Covers(r.byte()),
		}
	}
	return out
}

func (r *reader) event(ev *host.Event) {
	copy(ev.Key[:], r.take(len(ev.Key)))
	copy(ev.ConflictKey[:], r.take(len(ev.ConflictKey)))
	copy(ev.Content[:], r.take(len(ev.Content)))
	flags := r.byte()
	ev.Conflict, ev.Confirm, ev.Sandbox = flags&flagConflict != 0, flags&flagConfirm != 0, flags&flagSandbox != 0
	ev.Covers = host.Covers(r.byte())
	ev.Time, ev.Received = r.time(), r.time()
	for _, s := range []*string{
		&ev.Source, &ev.Type, &ev.Subject, &ev.Tenant, &ev.Endpoint, &ev.Provider,
	} {
		*s = r.text()
	}
	ev.VerifiedBy = host.Algorithm(r.text())
	ev.Data = r.bytes()
	if flags&flagAnnotated == 0 {
		return
	}
	for range r.count(minAnnotation) {
		ev.Annotations = append(ev.Annotations, host.Annotation{Name: r.text(), Value: r.text()})
	}
}

// end reports whether all of it was taken and all of it fitted.
func (r *reader) end() error {
	if r.bad || len(r.b) != 0 {
		return damaged("the frame does not fit its form")
	}
	return nil
}
