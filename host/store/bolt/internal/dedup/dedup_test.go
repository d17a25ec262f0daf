package dedup

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

func hashOf(n int) host.Hash {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return host.Hash(sum[:16])
}

func sample(n int) []Entry {
	all := make([]Entry, n)
	for i := range all {
		all[i] = Entry{Hash: hashOf(i), Seq: uint64(i), Index: i % 7, Content: host.Content{byte(i)}}
	}
	slices.SortFunc(all, Compare)
	return all
}

func TestBlock(t *testing.T) {
	all := sample(3 * BlockEntries)[BlockEntries : 2*BlockEntries]
	low, high := all[0].Hash, all[len(all)-1].Hash
	b, err := ParseBlock(EncodeBlock(low, high, all[:len(all)-1]))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range all[:len(all)-1] {
		got, found, err := b.Find(want.Hash)
		if err != nil || !found || got != want || b.At(i) != want {
			t.Errorf("entry %d: %+v, %t, %v, want %+v", i, got, found, err, want)
		}
	}
	inside := all[3].Hash
	inside[15]++
	if _, found, err := b.Find(inside); found || err != nil {
		t.Errorf("a hash that is not there: %t, %v", found, err)
	}
	below := low
	below[0]--
	for name, h := range map[string]host.Hash{"below": below, "above": high} {
		if _, _, err := b.Find(h); !errors.Is(err, ErrDamaged) {
			t.Errorf("a hash %s the block: %v, want ErrDamaged", name, err)
		}
	}
}

func TestParseBlock_everyFlippedBitIsFound(t *testing.T) {
	good := EncodeBlock(host.Hash{}, host.Hash{}, sample(3))
	for i := range len(good) * 8 {
		b := slices.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if _, err := ParseBlock(b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d: %v, want ErrDamaged", i, err)
		}
	}
}

func TestFilter(t *testing.T) {
	const n = 20_000
	f := NewFilter(n)
	for i := range n {
		f.Add(hashOf(i))
	}
	f, err := DecodeFilter(f.Words(), f.Encode())
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for i := range n {
		if !f.Has(Probe(hashOf(i))) {
			t.Fatalf("key %d is not there", i)
		}
		if f.Has(Probe(hashOf(n + i))) {
			wrong++
		}
	}
	// Expected are 4 in 1,000.
	if wrong > n/100 {
		t.Errorf("%d of %d keys that are not there seem to be", wrong, n)
	}
}

func TestDecodeFilter_everyFlippedBitIsFound(t *testing.T) {
	f := NewFilter(100)
	for i := range 100 {
		f.Add(hashOf(i))
	}
	good := f.Encode()
	if again, err := DecodeFilter(f.Words(), good); err != nil || !cmp.Equal(again.Encode(), good) {
		t.Fatalf("the filter itself: %v", err)
	}
	for i := range len(good[0]) * 8 {
		part := slices.Clone(good[0])
		part[i/8] ^= 1 << (i % 8)
		if _, err := DecodeFilter(f.Words(), [][]byte{part}); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d: %v, want ErrDamaged", i, err)
		}
	}
	if _, err := DecodeFilter(f.Words()+1, good); !errors.Is(err, ErrDamaged) {
		t.Errorf("a word too few: %v", err)
	}
}
