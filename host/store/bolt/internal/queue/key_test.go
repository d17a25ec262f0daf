package queue

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// TestKey_ordersByTimeThenPlaceThenReplay: a key reads back as what it was made of,
// and sorts as bytes like that.
func TestKey_ordersByTimeThenPlaceThenReplay(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC)
	place := func(seq uint64, index int) Pos { return Pos{Seq: seq, Index: index} }
	var keys [][]byte
	for _, c := range []struct {
		at     time.Time
		pos    Pos
		number uint32
	}{
		{time.Unix(0, 0).UTC(), place(9, 9), 0},
		{at, place(1, 0), 0},
		{at, place(1, 0), 1},
		{at, place(1, 0), 300},
		{at, place(1, 1), 0},
		{at, place(2, 0), 2},
		{at.Add(1), place(1, 0), 0},
	} {
		key := Key(c.at, c.pos, c.number)
		got, pos, number, err := ParseKey(key)
		if err != nil || !got.Equal(c.at) || pos != c.pos || number != c.number {
			t.Errorf("read back %v, %v, %d, %v; want %v, %v, %d", got, pos, number, err, c.at, c.pos, c.number)
		}
		keys = append(keys, key)
	}
	if !slices.IsSortedFunc(keys, bytes.Compare) {
		t.Errorf("keys do not rise: %x", keys)
	}
	for n := range 30 {
		_, _, _, err := ParseKey(make([]byte, n))
		if want := n != 18 && n != 22; (err != nil) != want {
			t.Errorf("a key of %d bytes: error %v", n, err)
		}
	}
}
