package meter

import (
	"fmt"
	"slices"
)

// gap is how many bytes may lie between two data segments that are joined.
const gap = 256

// readDataCount reads how many data segments the code may name.
func (m *module) readDataCount() error {
	m.dataCount = none
	if m.sections[secDataCount] == nil {
		return nil
	}
	r := &reader{b: m.sections[secDataCount]}
	n := r.u32()
	if n > maxSegments {
		r.refuse(Oversize, "%d data segments, the limit is %d", n, maxSegments)
	}
	if r.err == nil && r.more() {
		r.fail("the data count section is longer than its contents")
	}
	m.dataCount = int(n)
	return r.err
}

// joint is the data segment that is being put together of neighbours. The engine
// keeps something for each segment in each instance, and Go's linker makes
// thousands of them, one for whatever stands between some zeros.
type joint struct {
	open    bool
	at, end uint64
	data    []byte
	// before is where those before it lie: no zeros may be put there.
	before []extent
	// over says that no more are joined: the code can name them, or it is not known
	// where one lies, or they are too many to look through.
	over bool
}

// extent is from one address up to another.
type extent struct{ from, to uint64 }

// mostBefore bounds how many extents each gap is compared with.
const mostBefore = 128

// readData copies the data segments to the body, joined where the code cannot name
// them.
func (m *module) readData() error {
	read := 0
	j := joint{over: m.dataCount != none}
	err := m.vector(secData, maxSegments, func(r *reader, i int) {
		read++
		form := r.u32()
		switch form {
		case 0, 1:
		case 2:
			if r.u32() != 0 {
				r.refuse(SeveralMemories, "data segment %d is for another", i)
			}
			form = 0
		default:
			r.fail("data segment %d has form %d", i, form)
		}
		from := len(m.body)
		if form == 0 {
			m.constant(r)
		}
		at, known := address(m.body[from:])
		offset := append([]byte(nil), m.body[from:]...)
		m.body = m.body[:from]
		data := r.bytes(r.u32())
		if known && m.join(&j, at, data) {
			return
		}
		m.flush(&j)
		j.over = j.over || form == 0 && !known
		j.wrote(extent{at, at + uint64(len(data))})
		m.body = append(append(m.body, byte(form)), offset...)
		m.body = append(uleb(m.body, word(len(data))), data...)
		m.data++
	})
	m.flush(&j)
	if err == nil && m.dataCount >= 0 && m.dataCount != read {
		return fmt.Errorf("%w: %d data segments, the count says %d", ErrMalformed, read, m.dataCount)
	}
	return err
}

// join takes a segment up, unless it must stand by itself. What lies before the end
// is far away, counted without a sign.
func (m *module) join(j *joint, at uint64, data []byte) bool {
	if j.over {
		return false
	}
	if !j.open || at-j.end > gap || !j.free(extent{j.end, at}) {
		m.flush(j)
		j.open, j.at, j.end = true, at, at
	}
	j.data = append(append(j.data, make([]byte, at-j.end)...), data...)
	j.end = at + uint64(len(data))
	return true
}

// free reports whether no earlier segment lies there.
func (j *joint) free(gap extent) bool {
	return !slices.ContainsFunc(j.before, func(e extent) bool { return e.from < gap.to && gap.from < e.to })
}

// wrote notes where a segment lies that the body has.
func (j *joint) wrote(e extent) {
	j.before = append(j.before, e)
	j.over = j.over || len(j.before) > mostBefore
}

// flush writes the segment that was put together.
func (m *module) flush(j *joint) {
	if !j.open {
		return
	}
	at := int64(int32(uint32(j.at))) //nolint:gosec // an address is an i32, read as one
	m.body = append(sleb(append(m.body, 0, opI32Const), at), opEnd)
	m.body = append(uleb(m.body, word(len(j.data))), j.data...)
	m.data++
	j.wrote(extent{j.at, j.end})
	j.open, j.data = false, j.data[:0]
}

// address is the value of a constant expression that is nothing but an i32.
func address(expression []byte) (at uint64, known bool) {
	n := len(expression)
	if n < 3 || expression[0] != opI32Const {
		return 0, false
	}
	var value, shift uint64
	for _, c := range expression[1 : n-1] {
		value |= uint64(c&0x7f) << shift
		shift += 7
	}
	if expression[n-2]&0x40 != 0 { // the sign goes on
		value |= ^uint64(0) << shift
	}
	return value & (1<<32 - 1), true
}
