package record

import (
	"encoding/binary"
	"time"

	"github.com/postern/postern/host"
)

// Ring is a row of quarantine.db: what was refused at one endpoint for one
// reason, as a whole.
type Ring struct {
	// Number is the ring's own, never given to another.
	Number   uint64
	Tenant   string
	Endpoint string
	Reason   string
	// Entries and Bytes are what it holds, Used when it last got something.
	Entries int
	Bytes   int64
	Used    time.Time
}

// Repeats is a row of quarantine.db: what changes of an entry when the same
// body comes again.
type Repeats struct {
	Count uint64
	Last  time.Time
	Body  [32]byte // SHA-256
}

const (
	ringVersion    = 1
	repeatsVersion = 1
)

// EncodeRefused returns a refused callback as it is stored, with a record's
// checksums. Its kind is none: it is no record of the log.
func EncodeRefused(id uint64, r *host.Rejected) ([]byte, error) {
	b, err := Encode(nil, &host.Record{
		Tenant: r.Tenant, Endpoint: r.Endpoint, Provider: r.Provider, Plugin: r.Plugin,
		Detail: r.Detail, Evidence: r.Evidence, Callback: r.Callback,
	})
	if err != nil {
		return nil, err
	}
	Seal(b, id, 0, nil, nil)
	return b, nil
}

// Encode returns the row as it is stored, with a checksum.
func (g *Ring) Encode() []byte {
	b := []byte{ringVersion}
	b = binary.AppendUvarint(b, g.Number)
	for _, s := range []string{g.Tenant, g.Endpoint, g.Reason} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(g.Entries)) //nolint:gosec // never negative
	b = binary.AppendUvarint(b, uint64(g.Bytes))   //nolint:gosec // never negative
	return appendSum(appendTime(b, g.Used))
}

// ParseRing reads what [Ring.Encode] wrote.
func ParseRing(b []byte) (*Ring, error) {
	b, err := checkSum(b)
	if err != nil {
		return nil, err
	}
	r := &reader{b: b}
	if r.byte() != ringVersion {
		return nil, damaged("version of a ring is unknown")
	}
	g := &Ring{Number: r.uvarint(), Tenant: r.text(), Endpoint: r.text(), Reason: r.text()}
	g.Entries, g.Bytes, g.Used = r.int(), int64(r.uvarint()), r.time() //nolint:gosec // written from one
	return g, r.end()
}

// Encode returns the row as it is stored, with a checksum.
func (p *Repeats) Encode() []byte {
	b := binary.AppendUvarint([]byte{repeatsVersion}, p.Count)
	b = appendTime(b, p.Last)
	return appendSum(append(b, p.Body[:]...))
}

// ParseRepeats reads what [Repeats.Encode] wrote.
func ParseRepeats(b []byte) (Repeats, error) {
	b, err := checkSum(b)
	if err != nil {
		return Repeats{}, err
	}
	r := &reader{b: b}
	if r.byte() != repeatsVersion {
		return Repeats{}, damaged("version of an entry's row is unknown")
	}
	p := Repeats{Count: r.uvarint(), Last: r.time()}
	copy(p.Body[:], r.take(len(p.Body)))
	return p, r.end()
}
