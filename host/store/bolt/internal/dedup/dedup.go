// Package dedup is the coding of a file of dedup keys: sorted entries in blocks,
// and the filter that answers for most keys that are not there.
//
// A block is
//
//	low      16 bytes, the least hash it answers for
//	high     16 bytes, the least one beyond it; all zero in the last block
//	entries  hash, sequence, content and index, 36 bytes each, by hash
//	CRC-32C of all the above, 4 bytes
//
// The blocks of a file answer for all hashes between them. What a page of the
// tree above them says can be checked by that: a block that does not answer for
// the hash it was found by is damage, and never "not there".
package dedup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"

	"github.com/bits-and-blooms/bloom/v3"

	"github.com/postern/postern/host"
)

const (
	hashSize  = len(host.Hash{})
	entrySize = hashSize + 8 + len(host.Content{}) + 4
	entriesAt = 2 * hashSize
	crcSize   = 4

	// BlockEntries is how many entries a block has, so that a page of 4 KiB holds
	// one with its key.
	BlockEntries = 110

	// A filter has 12 bits for a key and seven probes: 4 of 1,000 keys that are
	// not there are looked for all the same.
	bitsForKey = 12
	probes     = 7
	chunkWords = 4096
)

// ErrDamaged is what every error of reading is.
var ErrDamaged = errors.New("damaged dedup file")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Entry is where the event or the item set aside with a key is.
type Entry struct {
	Hash    host.Hash
	Seq     uint64
	Index   int
	Content host.Content
}

// Compare orders entries by hash.
func Compare(a, b Entry) int { return bytes.Compare(a.Hash[:], b.Hash[:]) }

// EncodeBlock returns a block of sorted entries that answers for the hashes from
// low on, up to high if that is not zero.
func EncodeBlock(low, high host.Hash, entries []Entry) []byte {
	b := make([]byte, 0, entriesAt+len(entries)*entrySize+crcSize)
	b = append(b, low[:]...)
	b = append(b, high[:]...)
	for i := range entries {
		e := &entries[i]
		b = append(b, e.Hash[:]...)
		b = binary.BigEndian.AppendUint64(b, e.Seq)
		b = append(b, e.Content[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(e.Index)) //nolint:gosec // an index in a record
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Block is a block that was checked. It shares the memory of what was parsed.
type Block struct{ b []byte }

// ParseBlock checks a block.
func ParseBlock(b []byte) (Block, error) {
	n := len(b) - crcSize
	if n < entriesAt || (n-entriesAt)%entrySize != 0 ||
		crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return Block{}, fmt.Errorf("%w: checksum of a block", ErrDamaged)
	}
	return Block{b[:n]}, nil
}

// Bounds are the least hash the block answers for and the least one beyond it,
// which is zero in the last block.
func (b Block) Bounds() (low, high host.Hash) {
	return host.Hash(b.b[:hashSize]), host.Hash(b.b[hashSize:entriesAt])
}

// Len is the number of entries.
func (b Block) Len() int { return (len(b.b) - entriesAt) / entrySize }

// At returns the i-th entry.
func (b Block) At(i int) Entry {
	e := b.b[entriesAt+i*entrySize:]
	return Entry{
		Hash: host.Hash(e[:16]), Seq: binary.BigEndian.Uint64(e[16:]),
		Content: host.Content(e[24:32]), Index: int(binary.BigEndian.Uint32(e[32:])),
	}
}

// Find returns the entry of a hash. It is an error if the block does not answer
// for it.
func (b Block) Find(h host.Hash) (Entry, bool, error) {
	low, high := b.Bounds()
	if bytes.Compare(h[:], low[:]) < 0 || (high != host.Hash{} && bytes.Compare(h[:], high[:]) >= 0) {
		return Entry{}, false, fmt.Errorf("%w: a block is out of its place", ErrDamaged)
	}
	n := b.Len()
	i := sort.Search(n, func(i int) bool {
		at := entriesAt + i*entrySize
		return bytes.Compare(b.b[at:at+hashSize], h[:]) >= 0
	})
	if i == n {
		return Entry{}, false, nil
	}
	e := b.At(i)
	return e, e.Hash == h, nil
}

// Filter says of most hashes that are not in a file that they are not.
type Filter struct{ f *bloom.BloomFilter }

// NewFilter makes an empty filter for n keys.
func NewFilter(n int) Filter {
	words := max(1, (n*bitsForKey+63)/64)
	return Filter{bloom.From(make([]uint64, words), probes)}
}

// Add adds a hash.
func (f Filter) Add(h host.Hash) { f.f.Add(h[:]) }

// Probes are the places of a hash in every filter; see [Filter.Has].
type Probes []uint64

// Probe makes the probes of a hash.
func Probe(h host.Hash) Probes { return bloom.Locations(h[:], probes) }

// Has is false if the hash with these probes was not added, and nearly never
// true then.
func (f Filter) Has(p Probes) bool { return f.f.TestLocations(p) }

// Encode returns the filter in parts of 32 KiB and a checksum each.
func (f Filter) Encode() [][]byte {
	words := f.f.BitSet().Words()
	var out [][]byte
	for len(words) > 0 {
		n := min(chunkWords, len(words))
		b := make([]byte, 0, n*8+crcSize)
		for _, w := range words[:n] {
			b = binary.BigEndian.AppendUint64(b, w)
		}
		// The part's number too: a part in the place of another is damage.
		sum := crc32.Update(uint32(len(out)), castagnoli, b) //nolint:gosec // a few thousand at most
		out = append(out, binary.BigEndian.AppendUint32(b, sum))
		words = words[n:]
	}
	return out
}

// DecodeFilter is the inverse of [Filter.Encode]; words is how many words of 64
// bits the filter had, see [Filter.Words].
func DecodeFilter(words int, parts [][]byte) (Filter, error) {
	bits := make([]uint64, 0, words)
	for i, b := range parts {
		n := len(b) - crcSize
		if n < 0 || n%8 != 0 || crc32.Update(uint32(i), castagnoli, b[:n]) != binary.BigEndian.Uint32(b[n:]) {
			return Filter{}, fmt.Errorf("%w: checksum of the filter", ErrDamaged)
		}
		for ; n > 0; n -= 8 {
			bits = append(bits, binary.BigEndian.Uint64(b))
			b = b[8:]
		}
	}
	if len(bits) != words || words == 0 {
		return Filter{}, fmt.Errorf("%w: length of the filter", ErrDamaged)
	}
	return Filter{bloom.From(bits, probes)}, nil
}

// Words is the filter's size in words of 64 bits.
func (f Filter) Words() int { return len(f.f.BitSet().Words()) }
