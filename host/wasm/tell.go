package wasm

import "encoding/binary"

// docs/plugin-abi.md §6: tell says of events what event_begin, set, set_i64 and
// map say one by one.

const (
	fieldSize  = 32 // bytes of a record
	maxTold    = 4096
	fieldBegin = 0
	// What a record is of, where it is of no view.
	fromText   = -1
	fromNumber = -2
	// told is what the place of a record that was refused is counted in.
	told = 16
)

func (g *guest) tell() {
	n := g.u32(1)
	if n > maxTold {
		g.give(overLimit)
		return
	}
	records, inside := g.memory.Read(g.u32(0), n*fieldSize)
	if !inside {
		panic(errBadPointer)
	}
	for i := range int(n) {
		g.spend(fuelForCall)
		if c := g.record(records[i*fieldSize : (i+1)*fieldSize]); c < ok {
			g.give(c - told*count(i))
			return
		}
	}
	g.give(count(int(n)))
}

// record says what one record is.
func (g *guest) record(b []byte) code {
	le := binary.LittleEndian
	field, from := le.Uint32(b), int32(le.Uint32(b[4:])) //nolint:gosec // an i32 of the ABI
	number := int64(le.Uint64(b[24:]))                   //nolint:gosec // an i64 of the ABI
	switch {
	case field == fieldBegin && from != fromNumber:
		return invalid
	case field == fieldBegin:
		return g.begin(number)
	case from == fromNumber:
		return g.became(field, g.setNumber(field, number))
	}
	ptr, size := le.Uint64(b[8:]), le.Uint64(b[16:])
	if (ptr|size)>>32 != 0 {
		panic(errBadPointer)
	}
	text := g.bytes(uint32(ptr), uint32(size)) //nolint:gosec // just compared
	if from == fromText {
		return g.became(field, g.setBytes(field, text))
	}
	return g.became(field, g.setAt(field, uint32(from), text)) //nolint:gosec // no view, if negative
}
