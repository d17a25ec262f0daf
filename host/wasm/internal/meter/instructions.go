package meter

// instruction reads one.
func (f *function) instruction() {
	from := f.at
	op := f.byte()
	code := opcodes[op]
	if code.kind != call {
		f.pay(uint64(code.weight))
	}
	switch code.kind {
	case plain:
	case local:
		if i := f.u32(); uint64(i) >= f.locals {
			f.fail("function %d: local %d of %d", f.index, i, f.locals)
		}
	case const32:
		f.signed(32)
	case const64:
		f.signed(64)
	case memory:
		f.memarg()
	case structure:
		f.structured(op)
	case branch, branchTable, leave:
		f.branches(op)
	case call:
		f.call(from)
	case callIndirect:
		if f.calls = true; f.m.hostInTable {
			f.pay(weightHost)
		}
		f.below(len(f.m.types), "type")
		f.below(f.m.tables, "table")
	case global:
		f.below(f.m.globals, "global")
	case float32Const:
		f.bytes(4)
	case float64Const:
		f.bytes(8)
	case memoryOnly:
		if op == opMemoryGrow {
			f.byLength(from, editPages, weightGrow)
		}
		f.zero()
	case prefixMisc:
		f.misc(from)
	case prefixVector:
		f.vector()
	default:
		f.references(op, code.kind, from)
	}
}

func (f *function) call(from int) {
	i := f.m.function(f.reader)
	f.calls = true
	f.edits = append(f.edits, edit{from, f.at - from, editCall, i})
	if int(i) < f.m.imported {
		f.pay(weightHost)
	} else {
		f.pay(weightCall)
	}
}

// references reads the seldom ones, and refuses.
func (f *function) references(op byte, k kind, from int) {
	switch k {
	case refNull:
		f.heapType()
	case refFunc:
		i := f.m.function(f.reader)
		f.edits = append(f.edits, edit{from, f.at - from, editRefFunc, i})
	case selectTyped:
		if f.byte() != 1 {
			f.fail("function %d: a select of several values", f.index)
		}
		f.valueType()
	case tableOf:
		f.below(f.m.tables, "table")
	case refusedThreads:
		f.refuse(Threads, "function %d has an atomic instruction", f.index)
	case refusedExceptions:
		f.refuse(Exceptions, "function %d", f.index)
	case refusedTailCalls:
		f.refuse(TailCalls, "function %d", f.index)
	case refusedReferences:
		f.refuse(References, "function %d has opcode %#x", f.index, op)
	case refusedTables:
		f.refuse(TableMutation, "function %d has table.set", f.index)
	default:
		f.refuse(Unknown, "function %d has opcode %#x", f.index, op)
	}
}

// branches reads what goes elsewhere.
func (f *function) branches(op byte) {
	switch op {
	case opBr, opBrIf:
		f.jump(f.u32())
	case opBrTable:
		n := f.count()
		if f.m.targets -= n; f.m.targets < 0 {
			f.refuse(CompileBomb, "function %d: too many targets of branch tables in all", f.index)
		}
		for i := 0; i <= n && f.err == nil; i++ {
			f.jump(f.u32())
		}
	case opReturn:
		f.jump(word(len(f.frames) - 1))
	}
	switch {
	case op != opBrIf:
		f.cur = none
	case f.cur != none:
		f.cur = f.begin(f.cur)
	}
}

// blockType reads nothing, one value's type, or the index of a type.
func (f *function) blockType() {
	if !f.more() {
		f.fail("unexpected end")
		return
	}
	switch t := f.b[f.at]; {
	case t == emptyBlock:
		f.at++
	case t < emptyBlock || t >= 0x80:
		from := f.at
		f.signed(33)
		switch {
		case f.err != nil:
		case f.b[f.at-1]&0x40 != 0:
			f.fail("function %d: a block of type %#x", f.index, t)
		default:
			f.at = from // again, as a number without a sign
			f.below(len(f.m.types), "type")
		}
	default:
		f.valueType()
	}
}

func (f *function) memarg() {
	align := f.u32()
	if align&0x40 != 0 && align < 0x80 {
		f.refuse(SeveralMemories, "function %d names a memory", f.index)
	}
	if align >= 32 || f.m.memories == 0 {
		f.fail("function %d: alignment %d of %d memories", f.index, align, f.m.memories)
	}
	f.u32()
}

// zero reads the place of a memory's index.
func (f *function) zero() {
	if f.byte() != 0 {
		f.refuse(SeveralMemories, "function %d names a memory", f.index)
	}
	if f.m.memories == 0 {
		f.fail("function %d: there is no memory", f.index)
	}
}

// byLength has a number on the stack charged for before the instruction that
// takes it.
func (f *function) byLength(from int, k editKind, weight uint64) {
	f.pay(weight)
	f.calls = true
	if f.cur != none {
		f.edits = append(f.edits, edit{at: from, kind: k})
	}
}

// misc reads what stands behind the prefix 0xfc.
func (f *function) misc(from int) {
	switch n := f.u32(); n {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncations
		f.pay(1)
	case 8, 10, 11: // memory.init, copy, fill
		f.byLength(from, editBytes, weightBulk)
		if n == 8 {
			f.below(max(f.m.dataCount, 0), "data segment")
		}
		if n == 10 {
			f.zero()
		}
		f.zero()
	case 9:
		f.refuse(DroppedData, "function %d has data.drop", f.index)
	case 12, 13, 14, 15, 17:
		names := [...]string{12: "table.init", "elem.drop", "table.copy", "table.grow", 17: "table.fill"}
		f.refuse(TableMutation, "function %d has %s", f.index, names[n])
	case 16: // table.size
		f.pay(1)
		f.below(f.m.tables, "table")
	default:
		f.refuse(Unknown, "function %d has opcode 0xfc %d", f.index, n)
	}
}

// vector reads what stands behind the prefix 0xfd. The engine takes the first
// byte alone for the number, so there must be one spelling of each.
func (f *function) vector() {
	n := f.byte()
	if n >= 0x80 {
		switch more := f.byte(); more {
		case 0x01:
		case 0x02:
			f.refuse(RelaxedSIMD, "function %d", f.index)
		default:
			f.refuse(Unknown, "function %d has opcode 0xfd %#x %#x", f.index, n, more)
		}
	}
	v := vectors[n]
	f.pay(uint64(v.weight))
	switch v.shape {
	case vecUnknown:
		f.refuse(Unknown, "function %d has opcode 0xfd %#x", f.index, n)
	case vecMemory:
		f.memarg()
	case vecMemoryLane:
		f.memarg()
		f.byte()
	case vecLane:
		f.byte()
	case vecBytes:
		f.bytes(16)
	case vecPlain:
	}
}
