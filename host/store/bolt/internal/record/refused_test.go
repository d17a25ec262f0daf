package record

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

func goldenRing() *Ring {
	return &Ring{
		Number: 300, Tenant: "acme", Endpoint: "till", Reason: "not-verified",
		Entries: 1000, Bytes: 16 << 20, Used: time.Date(2026, 3, 1, 12, 30, 45, 123_456_789, time.UTC),
	}
}

func goldenRepeats() *Repeats {
	return &Repeats{Count: 70_000, Last: goldenRing().Used, Body: sha256.Sum256([]byte("body"))}
}

func TestInvariant10_ringOfForm1IsRead(t *testing.T) {
	want := goldenRing()
	stored := file(t, "ring-v1.bin", want.Encode())
	got, err := ParseRing(stored)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
	if fresh := got.Encode(); !bytes.Equal(stored, fresh) {
		t.Errorf("the golden ring is now coded as\n%x, was\n%x", fresh, stored)
	}
}

func TestInvariant10_repeatsOfForm1AreRead(t *testing.T) {
	want := goldenRepeats()
	stored := file(t, "repeats-v1.bin", want.Encode())
	got, err := ParseRepeats(stored)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, &got)
	if fresh := got.Encode(); !bytes.Equal(stored, fresh) {
		t.Errorf("the golden row is now coded as\n%x, was\n%x", fresh, stored)
	}
}

func TestParse_everyFlippedBitOfTheQuarantineIsFound(t *testing.T) {
	ring, repeats := goldenRing().Encode(), goldenRepeats().Encode()
	for i := range len(ring) * 8 {
		b := bytes.Clone(ring)
		b[i/8] ^= 1 << (i % 8)
		if _, err := ParseRing(b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("ring, bit %d: error %v, want ErrDamaged", i, err)
		}
	}
	for i := range len(repeats) * 8 {
		b := bytes.Clone(repeats)
		b[i/8] ^= 1 << (i % 8)
		if _, err := ParseRepeats(b); !errors.Is(err, ErrDamaged) {
			t.Fatalf("repeats, bit %d: error %v, want ErrDamaged", i, err)
		}
	}
}

func TestEncodeRefused(t *testing.T) {
	rec, _, _ := golden()
	b, err := EncodeRefused(7, &host.Rejected{
		Reason: "malformed", Detail: rec.Detail, Tenant: rec.Tenant, Endpoint: rec.Endpoint,
		Provider: rec.Provider, Plugin: rec.Plugin, Evidence: rec.Evidence, Callback: rec.Callback,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b, 7)
	if err != nil {
		t.Fatal(err)
	}
	rec.Kind, rec.Events, rec.Aside = 0, nil, nil
	same(t, rec, got)
	if _, err := Decode(b, 8); !errors.Is(err, ErrDamaged) {
		t.Errorf("at another number: error %v, want ErrDamaged", err)
	}
}
