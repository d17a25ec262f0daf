package record

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/host"
)

var update = flag.Bool("update", false, "write the golden files anew; a released form never changes")

const (
	goldenSeq      = 4_711
	goldenPrevious = 4_709
)

// golden is the record of the golden file: everything that a record can hold.
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

func goldenBytes(t testing.TB) []byte {
	rec, events, aside := golden()
	b, err := Encode(nil, rec)
	if err != nil {
		t.Fatal(err)
	}
	Seal(b, goldenSeq, goldenPrevious, events, aside)
	return b
}

func goldenRow() *Row {
	rec, _, _ := golden()
	ev := rec.Events[2]
	ev.Conflict = true
	return &Row{Attempts: 7, First: rec.Callback.Received, Reason: "503", Answer: "try later", Parked: true, Line: [16]byte{1, 2}, Lined: true, Event: &ev}
}

func goldenPosition() *Position {
	return &Position{Low: Pos{300, 2}, Above: []Pos{{300, 4}, {70_000, 999}}}
}

func goldenReplay() *Replay {
	return &Replay{Number: 3, From: "00000000000000010000", To: Pos{80_000, 0}, Taken: 300, Position: *goldenPosition()}
}

// file returns a golden file.
func file(t *testing.T, name string, fresh []byte) []byte {
	t.Helper()
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
	return b
}

// wantGolden is the golden record as it is read: without its duplicates.
func wantGolden() *host.Record {
	want, _, _ := golden()
	want.Events, want.Aside = want.Events[1:], want.Aside[:1]
	want.Events[1].Conflict = true
	return want
}

func TestInvariant10_recordOfForm1IsRead(t *testing.T) {
	stored, err := os.ReadFile("testdata/record-v1.bin")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(stored, goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	same(t, wantGolden(), got)
	first, err := Look(stored, goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Look(goldenBytes(t), goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	second.Previous = 0 // which version 1 does not know
	same(t, second, first)
}

func TestInvariant10_recordOfForm2IsRead(t *testing.T) {
	fresh := goldenBytes(t)
	stored := file(t, "record-v2.bin", fresh)
	got, err := Decode(stored, goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	same(t, wantGolden(), got)
	// The compressor may find another coding on another machine.
	if runtime.GOARCH == "amd64" && !bytes.Equal(stored, fresh) {
		t.Errorf("the golden record is now coded as\n%x, was\n%x", fresh, stored)
	}
	for _, which := range []int{eventsFrame, rawFrame} {
		if a, b := frameOf(t, stored, which), frameOf(t, fresh, which); !bytes.Equal(a, b) {
			t.Errorf("frame %d is now\n%x, was\n%x", which, b, a)
		}
	}
}

// TestInvariant10_heldAndAnnotatedIsRead: what is new in form 2 since guards. The
// golden record above shows that what has none of it is written as before.
func TestInvariant10_heldAndAnnotatedIsRead(t *testing.T) {
	rec, _, _ := golden()
	rec.Kind = host.Held
	rec.Events[1].Annotations = []host.Annotation{{Name: "limitover", Value: "ü"}, {Name: "limitby", Value: "1.50"}}
	events := []host.Disposition{host.Withheld, host.Withheld, host.Withheld}
	aside := []host.Disposition{host.SetAside, host.Withheld}
	fresh, err := Encode(nil, rec)
	if err != nil {
		t.Fatal(err)
	}
	Seal(fresh, goldenSeq, goldenPrevious, events, aside)
	stored := file(t, "held-v2.bin", fresh)
	got, err := Decode(stored, goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	same(t, rec, got)
	if a, b := frameOf(t, stored, eventsFrame), frameOf(t, fresh, eventsFrame); !bytes.Equal(a, b) {
		t.Errorf("the events frame is now\n%x, was\n%x", b, a)
	}
	e, err := Look(stored, goldenSeq)
	if err != nil || len(e.Keys) != 1 || e.Keys[0].Hash != rec.Aside[0].Key {
		t.Errorf("keys %v, %v; want that of the hold alone", e.Keys, err)
	}
	if err := Events(stored, goldenSeq, func(i int, _ *host.Event) bool {
		t.Errorf("event %d is given out", i)
		return true
	}); err != nil {
		t.Error(err)
	}
}

func frameOf(t *testing.T, b []byte, which int) []byte {
	t.Helper()
	h, err := parse(b, goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := h.frame(b, which)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func TestInvariant10_rowOfForm1IsRead(t *testing.T) {
	want := goldenRow()
	want.Answer, want.Parked, want.Line, want.Lined = "", false, [16]byte{}, false
	// Nothing writes this form any more.
	stored, err := os.ReadFile(filepath.Join("testdata", "row-v1.bin"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRow(stored)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
}

func TestInvariant10_rowOfForm2IsRead(t *testing.T) {
	want := goldenRow()
	stored := file(t, "row-v2.bin", want.Encode())
	got, err := ParseRow(stored)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
	if fresh := got.Encode(); !bytes.Equal(stored, fresh) {
		t.Errorf("the golden row is now coded as\n%x, was\n%x", fresh, stored)
	}
}

func TestInvariant10_positionOfForm1IsRead(t *testing.T) {
	want := goldenPosition()
	stored := file(t, "position-v1.bin", want.Encode())
	got, err := ParsePosition(stored)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, &got)
	if fresh := got.Encode(); !bytes.Equal(stored, fresh) {
		t.Errorf("the golden position is now coded as\n%x, was\n%x", fresh, stored)
	}
}

func TestInvariant10_replayOfForm1IsRead(t *testing.T) {
	want := goldenReplay()
	stored := file(t, "replay-v1.bin", want.Encode())
	got, err := ParseReplay(stored)
	if err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
	if fresh := got.Encode(); !bytes.Equal(stored, fresh) {
		t.Errorf("the golden replay is now coded as\n%x, was\n%x", fresh, stored)
	}
}

func TestDecode_everyFlippedBitIsFound(t *testing.T) {
	good := goldenBytes(t)
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if _, err := Decode(b, goldenSeq); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d, bit %d: error %v, want ErrDamaged", i, bit, err)
			}
		}
	}
	for n := range good {
		if _, err := Decode(good[:n], goldenSeq); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: error %v, want ErrDamaged", n, err)
		}
	}
	if _, err := Decode(append(bytes.Clone(good), 0), goldenSeq); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte too many: error %v, want ErrDamaged", err)
	}
	if _, err := Decode(good, goldenSeq+1); !errors.Is(err, ErrDamaged) {
		t.Errorf("at another sequence: error %v, want ErrDamaged", err)
	}
}

func TestParse_everyFlippedBitOfARowIsFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		good  []byte
		parse func([]byte) error
	}{
		{"row", goldenRow().Encode(), func(b []byte) error { _, err := ParseRow(b); return err }},
		{"position", goldenPosition().Encode(), func(b []byte) error { _, err := ParsePosition(b); return err }},
		{"replay", goldenReplay().Encode(), func(b []byte) error { _, err := ParseReplay(b); return err }},
	} {
		for i := range len(c.good) * 8 {
			b := bytes.Clone(c.good)
			b[i/8] ^= 1 << (i % 8)
			if err := c.parse(b); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s, bit %d: error %v, want ErrDamaged", c.name, i, err)
			}
		}
	}
}

func TestEvents_damagedRawFrameDoesNotMatter(t *testing.T) {
	b := goldenBytes(t)
	b[len(b)-1] ^= 1
	var got []int
	err := Events(b, goldenSeq, func(i int, _ *host.Event) bool {
		got = append(got, i)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, []int{1, 2}, got)
}

func TestLook(t *testing.T) {
	rec, _, _ := golden()
	got, err := Look(goldenBytes(t), goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	same(t, Entry{
		Kind: host.Accepted, Received: rec.Callback.Received, Previous: goldenPrevious,
		Keys: []Key{
			{rec.Events[1].Key, 1, rec.Events[1].Content},
			{rec.Events[2].ConflictKey, 2, rec.Events[2].Content},
			{rec.Aside[0].Key, 3, host.Content{}},
		},
	}, got)
}

func TestDecode_expiredRaw(t *testing.T) {
	b := goldenBytes(t)
	h, err := parse(b, goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	b = b[:len(b)-h.stored[rawFrame]]
	clear(b[rawFrameAt:previousAt])
	_, events, aside := golden()
	Seal(b, goldenSeq, goldenPrevious, events, aside)
	got, err := Decode(b, goldenSeq)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _ := golden()
	same(t, host.Callback{Received: want.Callback.Received}, got.Callback)
	if len(got.Events) != 2 {
		t.Errorf("%d events, want 2", len(got.Events))
	}
}

// FuzzDecode feeds bytes to every reader, the frames' readers included, which
// a checksum otherwise keeps them from: none may panic or ask for memory that
// the bytes do not have.
func FuzzDecode(f *testing.F) {
	b := goldenBytes(f)
	f.Add(b)
	f.Add(goldenRow().Encode())
	f.Add(goldenPosition().Encode())
	f.Add(goldenRing().Encode())
	f.Add(goldenRepeats().Encode())
	f.Add(goldenReplay().Encode())
	rec, _, _ := golden()
	f.Add(appendEvents(nil, rec))
	f.Add(appendRaw(nil, &rec.Callback))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Decode(b, goldenSeq); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("error %v is not ErrDamaged", err)
		}
		_, _ = ParseRow(appendSum(bytes.Clone(b)))
		_, _ = ParsePosition(appendSum(bytes.Clone(b)))
		_, _ = ParseRing(appendSum(bytes.Clone(b)))
		_, _ = ParseRepeats(appendSum(bytes.Clone(b)))
		_, _ = ParseReplay(appendSum(bytes.Clone(b)))
		_ = readRaw(b, &host.Callback{})
		_, _ = Look(b, goldenSeq)
		_, _ = readEvents(b, true)
		rec, err := readEvents(b, false)
		if err != nil {
			return
		}
		// What is read is written and read again as the same.
		again, err := readEvents(appendEvents(nil, rec), false)
		if err != nil {
			t.Fatal(err)
		}
		same(t, rec, again)
	})
}

func same(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("differ (-want +got):\n%s", d)
	}
}
