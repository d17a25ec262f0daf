package record

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/host"
)

var update = flag.Bool("update", false, "write the golden files anew; a released form never changes")

// golden is the record of the golden files: everything that a record can hold.
// The first event is a duplicate, the second new, the third a conflict.
func golden() (rec *host.Record, events, aside []host.Disposition) {
	at := time.Date(2026, 3, 1, 12, 30, 45, 123_456_789, time.UTC)
	event := func(n byte) host.Event {
		return host.Event{
			Key: host.Hash{n, 1}, ConflictKey: host.Hash{n, 2}, Content: host.Content{n, 3},
			Source: "/acme/till", Type: "payment.succeeded", Subject: "txn-1",
			Time: at.Add(-time.Hour), Received: at, Tenant: "acme", Endpoint: "till", Provider: "samplepay",
			VerifiedBy: host.HMACSHA256, Covers: host.CoversBody, Confirm: n == 2, Sandbox: n == 3,
			Data: []byte(`{"status":"succeeded","n":1}`),
		}
	}
	rec = &host.Record{
		Kind: host.Accepted, Tenant: "acme", Endpoint: "till", Provider: "samplepay",
		Plugin: "samplepay@1.2.3", Detail: "a remark",
		Callback: host.Callback{
			Method: "POST", Target: "/in/acme/till?a=1", PublicURL: "https://hooks.example.com/in/acme/till?a=1",
			Headers:  []host.Header{{Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}, {Name: "X-Empty"}},
			Body:     []byte("a\x00b\xff"),
			Received: at,
			Remote:   netip.MustParseAddr("2001:db8::1"),
			Tokens:   []host.Evidence{{Secret: "token", Value: 1, Algorithm: host.StaticToken}},
		},
		Evidence: []host.Evidence{{Secret: "key", Value: -1, Algorithm: host.HMACSHA256, Covers: host.CoversBody}},
		Events:   []host.Event{event(1), event(2), event(3)},
		Aside:    []host.Aside{{Reason: "no amount", Item: []byte(`{"x":1}`), Key: host.Hash{9}}, {Key: host.Hash{8}}},
	}
	return rec, []host.Disposition{host.Duplicate, host.Stored, host.Conflicted},
		[]host.Disposition{host.SetAside, host.Duplicate}
}

// goldenRecord is what is read of the golden record.
func goldenRecord() *host.Record {
	rec, _, _ := golden()
	rec.Events, rec.Aside = rec.Events[1:], rec.Aside[:1]
	rec.Events[1].Conflict = true
	return rec
}

func goldenRejected() *host.Rejected {
	rec, _, _ := golden()
	return &host.Rejected{
		Reason: "not-verified", Detail: "the signature does not fit", Tenant: rec.Tenant, Endpoint: rec.Endpoint,
		Provider: rec.Provider, Plugin: rec.Plugin, Evidence: rec.Evidence, Callback: rec.Callback,
	}
}

// coded are all forms of the golden record, by the names of their files.
func coded(t testing.TB) map[string][]byte {
	t.Helper()
	rec, dispositions, aside := golden()
	events, raw, err := Encode(rec)
	if err != nil {
		t.Fatal(err)
	}
	Seal(events, dispositions, aside)
	return map[string][]byte{
		"events-v1.bin":   events,
		"raw-v1.bin":      raw,
		"event-v1.bin":    EncodeEvent(&goldenRecord().Events[1]),
		"rejected-v1.bin": EncodeRejected(goldenRejected()),
	}
}

func TestInvariant10_form1IsRead(t *testing.T) {
	stored := make(map[string][]byte)
	for name, fresh := range coded(t) {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, fresh, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, fresh) {
			t.Errorf("%s is now coded as\n%x, was\n%x", name, fresh, b)
		}
		stored[name] = b
	}
	got, err := Decode(stored["events-v1.bin"], stored["raw-v1.bin"])
	same(t, goldenRecord(), got, err)
	ev, err := DecodeEvent(stored["event-v1.bin"])
	want := goldenRecord().Events[1]
	same(t, &want, ev, err)
	q, err := DecodeRejected(stored["rejected-v1.bin"])
	same(t, goldenRejected(), q, err)
}

// TestInvariant10_heldAndAnnotatedIsRead: what is new in form 1 since guards. The
// golden files above show that what has none of it is written as before.
func TestInvariant10_heldAndAnnotatedIsRead(t *testing.T) {
	rec, _, _ := golden()
	rec.Kind = host.Held
	rec.Events[1].Annotations = []host.Annotation{{Name: "limitover", Value: "ü"}, {Name: "limitby", Value: "1.50"}}
	fresh, raw, err := Encode(rec)
	if err != nil {
		t.Fatal(err)
	}
	Seal(fresh, []host.Disposition{host.Withheld, host.Withheld, host.Withheld}, []host.Disposition{host.SetAside, host.Withheld})
	path := filepath.Join("testdata", "held-v1.bin")
	if *update {
		if err := os.WriteFile(path, fresh, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, fresh) {
		t.Errorf("it is now coded as\n%x, was\n%x", fresh, stored)
	}
	got, err := Decode(stored, raw)
	same(t, rec, got, err)
	if places, err := Events(stored); err != nil || len(places) != 0 {
		t.Errorf("%d events are given out, %v", len(places), err)
	}
}

func TestDecode_withoutTheCallback(t *testing.T) {
	want := goldenRecord()
	want.Callback = host.Callback{Received: want.Callback.Received}
	got, err := Decode(coded(t)["events-v1.bin"], nil)
	same(t, want, got, err)
	received, err := Received(coded(t)["events-v1.bin"])
	same(t, want.Callback.Received, received, err)
}

func TestEvents_leavesOutDuplicates(t *testing.T) {
	want := goldenRecord().Events
	got, err := Events(coded(t)["events-v1.bin"])
	same(t, []Place{{1, &want[0]}, {2, &want[1]}}, got, err)
}

// TestDamage flips every bit and cuts at every byte of every form: each is an
// error, never other data and never a panic.
func TestDamage(t *testing.T) {
	all := coded(t)
	for name, read := range map[string]func(b []byte) error{
		"events-v1.bin":   func(b []byte) error { _, err := Decode(b, all["raw-v1.bin"]); return err },
		"raw-v1.bin":      func(b []byte) error { _, err := Decode(all["events-v1.bin"], b); return err },
		"event-v1.bin":    func(b []byte) error { _, err := DecodeEvent(b); return err },
		"rejected-v1.bin": func(b []byte) error { _, err := DecodeRejected(b); return err },
	} {
		if err := read(all[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range all[name] {
			for bit := range 8 {
				b := bytes.Clone(all[name])
				b[i] ^= 1 << bit
				if err := read(b); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s with bit %d of byte %d turned over: error %v, want %v", name, bit, i, err, ErrDamaged)
				}
			}
			if err := read(all[name][:i:i]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s cut to %d bytes: error %v, want %v", name, i, err, ErrDamaged)
			}
		}
	}
}

func TestEncode_refusesWhatItCannotCount(t *testing.T) {
	if _, _, err := Encode(&host.Record{Events: make([]host.Event, 1<<16)}); err == nil {
		t.Error("a record of 65536 events: no error")
	}
}

// FuzzDecode: nothing that lies in a column makes reading it panic.
func FuzzDecode(f *testing.F) {
	for _, b := range coded(f) {
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Decode(b, b)
		_, _ = Decode(b, nil)
		_, _ = DecodeEvent(b)
		_, _ = DecodeRejected(b)
		// Behind the checksums.
		r := &reader{b: b}
		r.record()
		_ = r.end()
		r = &reader{b: b}
		r.callback(&host.Callback{})
		_ = r.end()
	})
}

func same(t *testing.T, want, got any, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("differs (-want +got):\n%s", d)
	}
}
