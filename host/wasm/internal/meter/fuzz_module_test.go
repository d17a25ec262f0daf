package meter_test

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// generator makes a valid module out of any bytes: each choice takes the next
// byte, and when there are none left every choice is the simplest.
type generator struct {
	data []byte

	types     []signature
	imported  int   // how many functions are the host's; they come first
	functions []int // the type of each
	globals   []genGlobal
	tables    []genTable
	memory    bool
	segments  []byte // the flag of each data segment
	steps     int    // the global that counts what could go on for ever
	ticks     int    // the global that counts what is executed, or -1
	counted   bool   // the code names a data segment, so their number stands before it
	repeat    int    // how often it does at each place
	left      int    // instructions that may still be generated
}

type signature struct{ params, results []byte }

type genGlobal struct {
	t       byte
	mutable bool
}

type genTable struct {
	t    byte
	size uint32
}

// byte is the next choice.
func (g *generator) byte() byte {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return b
}

// n is a choice among n.
func (g *generator) n(n int) int { return int(g.byte()) % n }

// chance is true once in n, and never without bytes.
func (g *generator) chance(n int) bool { return g.n(n) == n-1 }

func (g *generator) anyType() byte {
	return []byte{tI32, tI64, tF32, tF64, tV128, tI32, tFunc, tExtern, tI64}[g.n(9)]
}

// someTypes are up to n, mostly few.
func (g *generator) someTypes(n int) []byte {
	if g.n(2) == 0 {
		return nil
	}
	types := make([]byte, g.n(n+1))
	for i := range types {
		types[i] = g.anyType()
	}
	return types
}

// typeOf is the index of a function type, sometimes of a second one like it.
func (g *generator) typeOf(params, results []byte) int {
	for i, s := range g.types {
		if slices.Equal(s.params, params) && slices.Equal(s.results, results) && !g.chance(16) {
			return i
		}
	}
	g.types = append(g.types, signature{slices.Clone(params), slices.Clone(results)})
	return len(g.types) - 1
}

// unsigned appends a number in LEB128, sometimes longer than it must be.
func (g *generator) unsigned(b []byte, v uint32) []byte {
	return g.pad(binary.AppendUvarint(b, uint64(v)), len(b), 0x00, 5)
}

// signed likewise, in up to most bytes.
func (g *generator) signed(b []byte, v int64, most int) []byte {
	start, fill := len(b), byte(0)
	if v < 0 {
		fill = 0x7f
	}
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return g.pad(append(b, byte(v)&0x7f), start, fill, most)
}

// pad lengthens the number that begins at start to up to most bytes.
func (g *generator) pad(b []byte, start int, fill byte, most int) []byte {
	if !g.chance(32) {
		return b
	}
	for len(b)-start < most && !g.chance(4) {
		b[len(b)-1] |= 0x80
		b = append(b, fill)
	}
	return b
}

// literal appends the constant instruction of a type.
func (g *generator) literal(b []byte, t byte) []byte {
	switch t {
	case tI32:
		return g.signed(append(b, 0x41), int64(int32(g.bits(32))), 5)
	case tI64:
		return g.signed(append(b, 0x42), int64(g.bits(64)), 10)
	case tF32:
		return binary.LittleEndian.AppendUint32(append(b, 0x43), uint32(g.bits(32)))
	case tF64:
		return binary.LittleEndian.AppendUint64(append(b, 0x44), g.bits(64))
	case tV128:
		b = binary.LittleEndian.AppendUint64(append(b, 0xfd, 0x0c), g.bits(64))
		return binary.LittleEndian.AppendUint64(b, g.bits(64))
	}
	return append(b, 0xd0, t)
}

// bits are those of a number: a small one, an edge, or any.
func (g *generator) bits(width int) uint64 {
	switch g.n(5) {
	case 1:
		return uint64(g.byte()) - 128
	case 2:
		return []uint64{0x80000000, 0x7fffffff, 1 << 63, 1<<63 - 1, 0x3f800000, 0x3ff << 52, 0x7f800000, 0x7ff << 52, 0x7fc00001}[g.n(9)]
	case 3:
		var b [8]byte
		for i := range width / 8 {
			b[i] = g.byte()
		}
		return binary.LittleEndian.Uint64(b[:])
	}
	return uint64(g.n(8))
}

// globalsOf are the globals of a type. Those that count are not among them.
func (g *generator) globalsOf(t byte, mutable bool) []int {
	var all []int
	for i, global := range g.globals {
		if i != g.steps && i != g.ticks && global.t == t && (global.mutable || !mutable) {
			all = append(all, i)
		}
	}
	return all
}

// hostFunctions are what a generated module may import from "env".
var hostFunctions = []signature{
	{[]byte{tI32}, []byte{tI32}},
	{[]byte{tI64, tF64}, nil},
	{nil, []byte{tF32}},
}

// generated is a module and what there is to know of it.
type generated struct {
	code    []byte
	calls   []signature // of the functions that it exports as f0, f1 …
	mutable []int       // the indices of its mutable globals
	ticks   int         // the global that counts what is executed, or -1
}

// generate makes a module. The names are taken: it may use them for exports of
// its own.
func generate(data []byte, taken []string) *generated {
	g := &generator{data: data, left: 500}
	for _, i := range []int{0, 1, 2}[:g.n(4)] {
		g.functions = append(g.functions, g.typeOf(hostFunctions[i].params, hostFunctions[i].results))
	}
	g.imported = len(g.functions)
	for range 1 + g.n(5) {
		g.functions = append(g.functions, g.typeOf(g.someTypes(4), g.someTypes(3)))
	}
	g.declare()
	out := &generated{ticks: g.ticks}
	var code [][]byte
	for _, t := range g.functions[g.imported:] {
		out.calls = append(out.calls, g.types[t])
		f := &function{generator: g, sig: g.types[t]}
		code = append(code, g.sized(f.body(4)))
	}
	for i, global := range g.globals {
		if global.mutable {
			out.mutable = append(out.mutable, i)
		}
	}
	out.code = g.module(code, taken)
	return out
}

// declare chooses the module's state.
func (g *generator) declare() {
	for range g.n(5) {
		t := g.anyType()
		// Mutable references and vectors are refused.
		g.globals = append(g.globals, genGlobal{t, t != tV128 && t != tFunc && t != tExtern && g.n(4) > 0})
	}
	g.steps = g.n(len(g.globals) + 1)
	g.globals = slices.Insert(g.globals, g.steps, genGlobal{tI32, true})
	if g.ticks = -1; g.chance(2) {
		g.ticks, g.repeat = len(g.globals), 1+2*g.n(2)
		g.globals = append(g.globals, genGlobal{tI64, true})
	}
	for range g.n(3) {
		t := byte(tFunc)
		if g.chance(4) {
			t = tExtern
		}
		g.tables = append(g.tables, genTable{t, uint32(g.n(6))})
	}
	g.memory = g.n(8) > 0
	if g.memory {
		for range g.n(3) {
			g.segments = append(g.segments, []byte{0, 1, 2}[g.n(3)])
		}
	}
}

func (g *generator) sized(b []byte) []byte { return append(g.unsigned(nil, uint32(len(b))), b...) }

func (g *generator) name(b []byte, name string) []byte {
	return append(g.unsigned(b, uint32(len(name))), name...)
}

// module puts the sections together. One without content is left out, or
// stands there empty; sections of no meaning stand between.
func (g *generator) module(code [][]byte, taken []string) []byte {
	var count []byte // of the data segments; it stands before the code
	if g.counted || len(g.segments) > 0 && g.chance(2) {
		count = g.unsigned(nil, uint32(len(g.segments)))
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		id   byte
		body []byte
	}{
		{1, g.typeSection()},
		{2, g.importSection()},
		{3, g.functionSection()},
		{4, g.tableSection()},
		{5, g.memorySection()},
		{6, g.globalSection()},
		{7, g.exportSection(taken)},
		{8, g.start()},
		{9, g.elementSection()},
		{12, count},
		{10, g.vector(code)},
		{11, g.dataSection()},
	} {
		if g.chance(8) {
			out = append(out, 0)
			out = append(out, g.sized(append(g.name(nil, "note"), g.byte(), g.byte()))...)
		}
		if s.body == nil {
			continue
		}
		out = append(out, s.id)
		out = append(out, g.sized(s.body)...)
	}
	if g.chance(2) {
		out = append(out, 0)
		out = append(out, g.sized(g.nameSection())...)
	}
	return out
}

// vector is a count and so many entries; without entries, mostly nothing.
func (g *generator) vector(entries [][]byte) []byte {
	if len(entries) == 0 && !g.chance(4) {
		return nil
	}
	return append(g.unsigned(nil, uint32(len(entries))), slices.Concat(entries...)...)
}

func (g *generator) typeSection() []byte {
	var entries [][]byte
	for _, s := range g.types {
		b := g.unsigned([]byte{0x60}, uint32(len(s.params)))
		b = g.unsigned(append(b, s.params...), uint32(len(s.results)))
		entries = append(entries, append(b, s.results...))
	}
	return g.vector(entries)
}

func (g *generator) importSection() []byte {
	var entries [][]byte
	for i, t := range g.functions[:g.imported] {
		b := g.name(g.name(nil, "env"), fmt.Sprintf("h%d", i))
		entries = append(entries, g.unsigned(append(b, 0x00), uint32(t)))
	}
	return g.vector(entries)
}

func (g *generator) functionSection() []byte {
	var entries [][]byte
	for _, t := range g.functions[g.imported:] {
		entries = append(entries, g.unsigned(nil, uint32(t)))
	}
	return g.vector(entries)
}

func (g *generator) tableSection() []byte {
	var entries [][]byte
	for _, t := range g.tables {
		if g.chance(2) {
			entries = append(entries, g.unsigned(g.unsigned([]byte{t.t, 0x01}, t.size), t.size+uint32(g.n(3))))
		} else {
			entries = append(entries, g.unsigned([]byte{t.t, 0x00}, t.size))
		}
	}
	return g.vector(entries)
}

func (g *generator) memorySection() []byte {
	if !g.memory {
		return g.vector(nil)
	}
	pages := uint32(1 + g.n(2))
	if g.chance(2) {
		return g.vector([][]byte{g.unsigned(g.unsigned([]byte{0x01}, pages), pages+uint32(g.n(3)))})
	}
	return g.vector([][]byte{g.unsigned([]byte{0x00}, pages)})
}

func (g *generator) globalSection() []byte {
	var entries [][]byte
	for i, global := range g.globals {
		b := []byte{global.t, 0x00}
		if global.mutable {
			b[1] = 0x01
		}
		switch {
		case i == g.steps:
			b = g.signed(append(b, 0x41), maxSteps, 5)
		case i == g.ticks:
			b = append(b, 0x42, 0)
		case global.t == tFunc && g.chance(2):
			b = g.unsigned(append(b, 0xd2), uint32(g.n(len(g.functions))))
		default:
			b = g.literal(b, global.t)
		}
		entries = append(entries, append(b, 0x0b))
	}
	return g.vector(entries)
}

// maxSteps bounds one call of a generated module.
const maxSteps = 40

// exportSection exports every function, the count of steps, and some state.
func (g *generator) exportSection(taken []string) []byte {
	var entries [][]byte
	add := func(name string, kind byte, index int) {
		entries = append(entries, g.unsigned(append(g.name(nil, name), kind), uint32(index)))
	}
	for i := range g.functions {
		if i < g.imported {
			add(fmt.Sprintf("h%d", i), 0x00, i)
		} else {
			add(fmt.Sprintf("f%d", i-g.imported), 0x00, i)
		}
	}
	add("steps", 0x03, g.steps)
	if g.memory && g.chance(2) {
		add("memory", 0x02, 0)
	}
	for i := range g.tables {
		if g.chance(2) {
			add(fmt.Sprintf("t%d", i), 0x01, i)
		}
	}
	for i := range g.globals {
		if g.chance(4) {
			add(fmt.Sprintf("g%d", i), 0x03, i)
		}
	}
	for _, name := range taken {
		if g.chance(4) {
			add(name, []byte{0x00, 0x03}[g.n(2)], 0)
		}
	}
	return g.vector(entries)
}

// start is the section that names the start function, if a function can be it.
func (g *generator) start() []byte {
	for i, t := range g.functions {
		if len(g.types[t].params) == 0 && len(g.types[t].results) == 0 && g.chance(3) {
			return g.unsigned(nil, uint32(i))
		}
	}
	return nil
}
