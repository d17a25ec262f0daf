package meter_test

import (
	"encoding/binary"
	"slices"
)

// function generates the body of one function. What it emits is valid by its
// construction: an expression leaves one value of its type on the stack, a
// statement leaves the stack as it was.
type function struct {
	*generator
	code     []byte
	sig      signature
	declared []byte         // types of the locals after the parameters
	vars     map[byte][]int // locals to read and write, by type
	scratch  map[byte]int   // one local by type, for a few instructions on end
	labels   []label        // the last one is the innermost
}

// label is what a branch may go to.
type label struct {
	types []byte
	loop  backEdge
}

// backEdge says how a branch to a label is kept from going round for ever.
type backEdge int

const (
	forward  backEdge = iota // it leaves a block
	paid                     // the loop's head has counted
	unpaid                   // whoever branches counts first
	reserved                 // only the loop's own counter branches
)

func (f *function) op(code ...byte) { f.code = append(f.code, code...) }
func (f *function) u32(v uint32)    { f.code = f.unsigned(f.code, v) }

// prefixed emits an instruction. The engine takes only the shortest form of the
// number behind a prefix.
func (f *function) prefixed(prefix byte, code uint32) {
	if prefix == 0 {
		f.op(byte(code))
		return
	}
	f.code = binary.AppendUvarint(append(f.code, prefix), uint64(code))
}

func (f *function) local(t byte) int {
	f.declared = append(f.declared, t)
	return len(f.sig.params) + len(f.declared) - 1
}

// temporary is a local that nothing generated in between can change.
func (f *function) temporary(t byte) uint32 {
	i, ok := f.scratch[t]
	if !ok {
		i = f.local(t)
		f.scratch[t] = i
	}
	return uint32(i)
}

func (f *function) get(local uint32) { f.op(0x20); f.u32(local) }
func (f *function) set(local uint32) { f.op(0x21); f.u32(local) }
func (f *function) i32(v int32)      { f.op(0x41); f.code = f.signed(f.code, int64(v), 5) }
func (f *function) end()             { f.op(0x0b) }

// constant pushes a value of a type that says nothing but its bits.
func (f *function) constant(t byte) { f.code = f.literal(f.code, t) }

// zero pushes the simplest value of a type.
func (f *function) zero(t byte) {
	g := generator{} // out of choices
	f.code = g.literal(f.code, t)
}

// spend counts one step and ends the function when none is left. Every call
// and every way back to a loop's head does it, so that all that is generated
// comes to an end.
func (f *function) spend() {
	steps := uint32(f.steps)
	f.op(0x23)
	f.u32(steps)
	f.i32(1)
	f.op(0x6b, 0x24)
	f.u32(steps)
	f.op(0x23)
	f.u32(steps)
	f.i32(0)
	f.op(0x4c, 0x04, 0x40)
	if f.chance(2) {
		f.op(0x00)
	} else {
		for _, t := range f.sig.results {
			f.zero(t)
		}
		f.op(0x0f)
	}
	f.end()
}

// tickCost is how many instructions one tick is.
const tickCost = 4

// tick counts that this place is executed: once, or several times, so that the
// greater part of what a function burns is for that.
func (f *function) tick() {
	if f.ticks < 0 {
		return
	}
	for range f.repeat {
		f.op(0x23)
		f.u32(uint32(f.ticks))
		f.op(0x42, 0x01, 0x7c, 0x24)
		f.u32(uint32(f.ticks))
	}
}

// body is the function: the declaration of its locals and its code.
func (f *function) body(depth int) []byte {
	f.vars, f.scratch = make(map[byte][]int), make(map[byte]int)
	for i, t := range f.sig.params {
		f.vars[t] = append(f.vars[t], i)
	}
	for range f.n(6) {
		t := f.anyType()
		f.vars[t] = append(f.vars[t], f.local(t))
	}
	f.labels = []label{{types: f.sig.results}}
	f.spend()
	if dead := f.statements(depth); !dead || f.chance(2) {
		f.expressions(f.sig.results, depth)
	}
	f.end()
	return append(f.locals(), f.code...)
}

// locals declares them in groups, some of which are empty or could be one.
func (f *function) locals() []byte {
	var groups []byte
	n := uint32(0)
	for i := 0; i < len(f.declared); {
		run := 1
		for i+run < len(f.declared) && f.declared[i+run] == f.declared[i] && !f.chance(4) {
			run++
		}
		if f.chance(8) {
			groups = append(f.unsigned(groups, 0), f.anyType())
			n++
		}
		groups = append(f.unsigned(groups, uint32(run)), f.declared[i])
		n++
		i += run
	}
	return append(f.unsigned(nil, n), groups...)
}

func (f *function) expressions(types []byte, depth int) {
	for _, t := range types {
		f.expression(t, depth)
	}
}

// sink takes values from the stack, the last type's first.
func (f *function) sink(types []byte) {
	for _, t := range slices.Backward(types) {
		if vars := f.vars[t]; len(vars) > 0 && f.chance(2) {
			f.set(uint32(vars[f.n(len(vars))]))
		} else {
			f.op(0x1a)
		}
	}
}

func (f *function) expression(t byte, depth int) {
	f.left--
	f.tick()
	if depth <= 0 || f.left < 0 {
		f.leaf(t)
		return
	}
	depth--
	switch f.n(14) {
	case 0:
		f.leaf(t)
	case 1, 2, 3, 4, 5:
		f.operate(t, depth)
	case 6:
		f.load(t, depth)
	case 7:
		f.block(f.someTypes(2), []byte{t}, depth)
	case 8:
		f.choose(t, depth)
	case 9:
		f.callFor(t, depth)
	case 10:
		f.branchIf([]byte{t}, depth)
	case 11:
		if vars := f.vars[t]; len(vars) > 0 {
			f.expression(t, depth)
			f.op(0x22)
			f.u32(uint32(vars[f.n(len(vars))]))
			return
		}
		f.leaf(t)
	default:
		f.special(t, depth)
	}
}

// leaf pushes a value without computing one.
func (f *function) leaf(t byte) {
	vars, globals := f.vars[t], f.globalsOf(t, false)
	switch k := f.n(3); {
	case k == 1 && len(vars) > 0:
		f.get(uint32(vars[f.n(len(vars))]))
	case k == 2 && len(globals) > 0:
		f.op(0x23)
		f.u32(uint32(globals[f.n(len(globals))]))
	default:
		f.reference(t)
	}
}

// reference is a constant, or of a function or nothing.
func (f *function) reference(t byte) {
	if t == tFunc && f.chance(2) {
		f.op(0xd2)
		f.u32(uint32(f.n(len(f.functions))))
		return
	}
	f.constant(t)
}

// traps reports whether an operation traps for some operands.
func (o *operation) traps() bool {
	return o.prefix == 0 && (o.code >= 0x6d && o.code <= 0x70 || o.code >= 0x7f && o.code <= 0x82 ||
		o.code >= 0xa8 && o.code <= 0xab || o.code >= 0xae && o.code <= 0xb1)
}

// operate applies an operation. Traps are rare, so that more than the first
// few instructions run.
func (f *function) operate(t byte, depth int) {
	all := operations[t]
	if len(all) == 0 {
		f.leaf(t)
		return
	}
	o := &all[f.n(len(all))]
	if o.traps() && !f.chance(8) {
		o = &all[f.n(len(all))]
	}
	f.expressions(o.in, depth)
	f.prefixed(o.prefix, o.code)
	if o.lanes > 0 {
		f.op(byte(f.n(o.lanes)))
	}
	f.canonical(o.out)
}

// canonical gives a NaN the same bits in every engine.
func (f *function) canonical(letter byte) {
	var literal, equal []byte
	switch letter {
	case 'F':
		literal, equal = binary.LittleEndian.AppendUint32([]byte{0x43}, 0x7fc00000), []byte{0x5b}
	case 'D':
		literal, equal = binary.LittleEndian.AppendUint64([]byte{0x44}, 0x7ff8<<48), []byte{0x61}
	case 'P':
		literal, equal = append([]byte{0xfd, 0x0c}, make([]byte, 16)...), []byte{0xfd, 0x41}
	case 'Q':
		literal, equal = append([]byte{0xfd, 0x0c}, make([]byte, 16)...), []byte{0xfd, 0x47}
	default:
		return
	}
	x := f.temporary(letters[letter])
	f.set(x)
	f.get(x)
	f.op(literal...)
	f.get(x)
	f.get(x)
	f.op(equal...)
	if letter == 'P' || letter == 'Q' {
		f.op(0xfd, 0x52) // bitselect: a lane that is no number becomes 0
	} else {
		f.op(0x1b)
	}
}

// address pushes one, mostly inside the memory.
func (f *function) address(depth int) {
	switch f.n(16) {
	case 1, 2, 3, 4, 5, 6, 7, 8:
		f.expression(tI32, depth)
		f.i32(0x3fff)
		f.op(0x71)
	case 9:
		f.expression(tI32, depth)
	default:
		f.i32(int32(f.n(256)) * 17)
	}
}

func (f *function) access(a *access) {
	f.prefixed(a.prefix, a.code)
	f.u32(uint32(f.n(a.align + 1)))
	offset := uint32(f.n(256))
	if f.chance(32) {
		offset <<= 24
	}
	f.u32(offset)
	if a.lanes > 0 {
		f.op(byte(f.n(a.lanes)))
	}
}

func (f *function) load(t byte, depth int) {
	var fit []access
	for _, a := range loads {
		if a.value == t {
			fit = append(fit, a)
		}
	}
	if !f.memory || len(fit) == 0 {
		f.leaf(t)
		return
	}
	a := &fit[f.n(len(fit))]
	f.address(depth)
	if a.lanes > 0 {
		f.expression(tV128, depth)
	}
	f.access(a)
}

func (f *function) store(depth int) {
	if !f.memory {
		return
	}
	a := &stores[f.n(len(stores))]
	f.address(depth)
	f.expression(a.value, depth)
	f.access(a)
}

// choose is a select, with or without its type.
func (f *function) choose(t byte, depth int) {
	f.expressions([]byte{t, t, tI32}, depth)
	if t == tFunc || t == tExtern || f.chance(4) {
		f.op(0x1c, 0x01, t)
		return
	}
	f.op(0x1b)
}

// special are the operations that fit nowhere else.
func (f *function) special(t byte, depth int) {
	switch k := f.n(4); {
	case t == tI32 && k == 0 && f.memory:
		f.op(0x3f, 0x00)
	case t == tI32 && k == 1 && f.memory:
		f.grow(depth)
	case t == tI32 && k == 2:
		f.expression([]byte{tFunc, tExtern}[f.n(2)], depth)
		f.op(0xd1)
	case t == tI32 && len(f.tables) > 0:
		f.prefixed(0xfc, 16)
		f.u32(uint32(f.n(len(f.tables))))
	case t == tV128:
		f.expressions([]byte{tV128, tV128}, depth)
		f.op(0xfd, 0x0d)
		for range 16 {
			f.op(byte(f.n(32)))
		}
	case t == tFunc || t == tExtern:
		for i, table := range f.tables {
			if table.t == t {
				f.index(table.size, depth)
				f.op(0x25)
				f.u32(uint32(i))
				return
			}
		}
		f.leaf(t)
	default:
		f.operate(t, depth)
	}
}

func (f *function) grow(depth int) {
	if f.chance(4) {
		f.expression(tI32, depth)
	} else {
		f.i32(int32(f.n(3)))
	}
	f.op(0x40, 0x00)
}

// index pushes an index of a table, mostly inside it.
func (f *function) index(size uint32, depth int) {
	if size == 0 || f.chance(8) {
		f.expression(tI32, depth)
		return
	}
	f.expression(tI32, depth)
	f.i32(int32(size))
	f.op(0x70) // the rest of the division
}
