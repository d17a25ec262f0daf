package meter_test

import "slices"

// statements reports whether what follows them is never reached; it may still
// be generated, since it is valid.
func (f *function) statements(depth int) bool {
	dead := false
	for range f.n(5) {
		if f.left < 0 {
			break
		}
		if f.statement(depth - 1) {
			dead = true
			f.unreached()
		}
	}
	return dead
}

// unreached takes from the stack what is not there: behind a branch that is
// valid.
func (f *function) unreached() {
	switch f.n(6) {
	case 1:
		f.op(0x1a)
	case 2:
		f.op(0x6a, 0x1a) // i32.add, drop
	case 3:
		f.op(0x1b, 0x1a) // select, drop
	case 4:
		f.op(0x02, 0x40, 0x00, 0x1a, 0x0b) // block, unreachable, drop, end
	case 5:
		f.op(0x03, 0x40, 0x0c, 0x00, 0x0b) // loop, br 0, end
	}
}

// statement reports whether what follows it is never reached.
func (f *function) statement(depth int) bool {
	f.left--
	f.tick()
	if depth < 0 {
		f.op(0x01)
		return false
	}
	switch f.n(16) {
	case 1, 2:
		f.assign(depth)
	case 3, 4:
		f.store(depth)
	case 5, 6, 7, 8:
		results := f.someTypes(2)
		f.block(f.someTypes(2), results, depth)
		f.sink(results)
	case 9:
		f.callAny(depth)
	case 10:
		f.callIndirect(depth)
	case 11:
		f.bulk(depth)
	case 12:
		f.branchIf(nil, depth)
	case 13:
		return f.branch(depth)
	case 14:
		if f.memory {
			f.grow(depth)
			f.op(0x1a)
		}
	case 15:
		f.expression(f.anyType(), depth)
		f.op(0x1a)
	default:
		f.op(0x01)
	}
	return false
}

// assign sets a local or a global.
func (f *function) assign(depth int) {
	t := f.anyType()
	if globals := f.globalsOf(t, true); len(globals) > 0 && f.chance(2) {
		f.expression(t, depth)
		f.op(0x24)
		f.u32(uint32(globals[f.n(len(globals))]))
		return
	}
	f.expression(t, depth)
	f.sink([]byte{t})
}

// block is a block, a loop or an if: it takes its parameters from the stack and
// leaves its results.
func (f *function) block(params, results []byte, depth int) {
	f.expressions(params, depth)
	switch f.n(3) {
	case 0:
		f.op(0x02)
		f.blockType(params, results)
		f.inside(label{types: results}, params, results, depth)
	case 1:
		f.loop(params, results, depth)
	default:
		f.expression(tI32, depth)
		f.op(0x04)
		f.blockType(params, results)
		f.inside(label{types: results}, params, results, depth)
		if !slices.Equal(params, results) || f.chance(2) {
			f.op(0x05)
			f.inside(label{types: results}, params, results, depth)
		}
	}
	f.end()
}

func (f *function) blockType(params, results []byte) {
	switch {
	case len(params) > 0 || len(results) > 1 || f.chance(8):
		f.code = f.signed(f.code, int64(f.typeOf(params, results)), 5)
	case len(results) == 1:
		f.op(results[0])
	default:
		f.op(0x40)
	}
}

// inside generates what stands between a block's head and its end.
func (f *function) inside(l label, params, results []byte, depth int) {
	f.labels = append(f.labels, l)
	through := slices.Equal(params, results) && f.chance(4) // the values stay where they are
	if !through {
		f.sink(params)
	}
	if dead := f.statements(depth); !through && (!dead || f.chance(2)) {
		f.expressions(results, depth)
	}
	f.labels = f.labels[:len(f.labels)-1]
}

// loop ends either by a counter of its own or by the module's count of steps.
func (f *function) loop(params, results []byte, depth int) {
	head := func() {
		f.op(0x03)
		f.blockType(params, results)
	}
	switch f.n(3) {
	case 0:
		f.countedLoop(head, params, results, depth)
	case 1:
		head()
		f.spend()
		f.inside(label{types: params, loop: paid}, params, results, depth)
	default:
		head()
		f.inside(label{types: params, loop: unpaid}, params, results, depth)
	}
}

func (f *function) countedLoop(head func(), params, results []byte, depth int) {
	counter := uint32(f.local(tI32))
	f.i32(int32(1 + f.n(4)))
	f.set(counter)
	head()
	f.labels = append(f.labels, label{types: params, loop: reserved})
	f.sink(params)
	f.statements(depth)
	f.expressions(params, depth)
	f.get(counter)
	f.i32(1)
	f.op(0x6b, 0x22)
	f.u32(counter)
	f.op(0x0d)
	f.u32(0)
	f.sink(params)
	f.expressions(results, depth)
	f.labels = f.labels[:len(f.labels)-1]
}

// targets are the labels that a branch with such values may name, by distance;
// nil types stand for any.
func (f *function) targets(types []byte) []int {
	var all []int
	for i, l := range slices.Backward(f.labels) {
		if l.loop != reserved && (types == nil || slices.Equal(types, l.types)) {
			all = append(all, len(f.labels)-1-i)
		}
	}
	return all
}

func (f *function) at(distance int) label { return f.labels[len(f.labels)-1-distance] }

// branchIf leaves values of the given types on the stack, or with nil those of
// any label, which it takes off again.
func (f *function) branchIf(types []byte, depth int) {
	all := f.targets(types)
	if len(all) == 0 {
		f.expressions(types, depth)
		return
	}
	to := all[f.n(len(all))]
	l := f.at(to)
	if l.loop == unpaid {
		f.spend()
	}
	f.expressions(l.types, depth)
	f.expression(tI32, depth)
	f.op(0x0d)
	f.u32(uint32(to))
	if types == nil {
		f.sink(l.types)
	}
}

// branch ends what can be reached, if it may branch at all.
func (f *function) branch(depth int) bool {
	all := f.targets(nil)
	to := all[f.n(len(all))] // the function's own is always there
	l := f.at(to)
	switch f.n(4) {
	case 0:
		if l.loop == unpaid {
			f.spend()
		}
		f.expressions(l.types, depth)
		f.op(0x0c)
		f.u32(uint32(to))
	case 1:
		f.branchTable(l.types, to, depth)
	case 2:
		f.expressions(f.sig.results, depth)
		f.op(0x0f)
	default:
		if f.chance(2) {
			return false
		}
		f.op(0x00)
	}
	return true
}

func (f *function) branchTable(types []byte, to, depth int) {
	same := f.targets(append([]byte{}, types...))
	names := make([]int, f.n(5), 6)
	for i := range names {
		names[i] = same[f.n(len(same))]
	}
	if slices.ContainsFunc(append(names, to), func(d int) bool { return f.at(d).loop == unpaid }) {
		f.spend()
	}
	f.expressions(types, depth)
	if f.chance(4) {
		f.expression(tI32, depth)
	} else {
		f.i32(int32(f.n(6)))
	}
	f.op(0x0e)
	f.u32(uint32(len(names)))
	for _, d := range append(names, to) {
		f.u32(uint32(d))
	}
}

// call calls a function by its index or through a table.
func (f *function) call(index, depth int) {
	f.expressions(f.types[f.functions[index]].params, depth)
	f.op(0x10)
	f.u32(uint32(index))
}

func (f *function) callAny(depth int) {
	index := f.n(len(f.functions))
	f.call(index, depth)
	f.sink(f.types[f.functions[index]].results)
}

func (f *function) callFor(t byte, depth int) {
	var fit []int
	for i, sig := range f.functions {
		if slices.Equal(f.types[sig].results, []byte{t}) {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		f.operate(t, depth)
		return
	}
	f.call(fit[f.n(len(fit))], depth)
}

func (f *function) callIndirect(depth int) {
	var fit []int
	for i, table := range f.tables {
		if table.t == tFunc {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		return
	}
	table := fit[f.n(len(fit))]
	sig := f.functions[f.n(len(f.functions))]
	f.expressions(f.types[sig].params, depth)
	f.index(f.tables[table].size, depth)
	f.op(0x11)
	f.u32(uint32(sig))
	f.u32(uint32(table))
	f.sink(f.types[sig].results)
}

// bulk moves bytes of memory, mostly few.
func (f *function) bulk(depth int) {
	if !f.memory {
		return
	}
	kind := f.n(3)
	if kind == 2 && len(f.segments) == 0 {
		kind = 0
	}
	f.address(depth)
	if kind == 2 {
		f.i32(int32(f.n(8)))
	} else {
		f.address(depth) // or a byte
	}
	switch mask := []int32{7, 0x1ff, 0x3fff, -1}[f.n(4)]; {
	case kind == 2:
		f.i32(int32(f.n(8)))
	case mask == -1 && !f.chance(4):
		f.i32(int32(f.n(256)))
	default:
		f.expression(tI32, depth)
		f.i32(mask)
		f.op(0x71)
	}
	switch kind {
	case 0:
		f.op(0xfc, 11, 0x00)
	case 1:
		f.op(0xfc, 10, 0x00, 0x00)
	default:
		f.op(0xfc, 8)
		f.u32(uint32(f.n(len(f.segments))))
		f.op(0x00)
		f.counted = true
	}
}
