package meter

import (
	"fmt"
	"strconv"
)

// signature has the types of a function's parameters and results, in the bytes of
// the module.
type signature struct{ params, results []byte }

// module is what the pass knows of the module that it rewrites.
type module struct {
	sections [sections][]byte
	names    []byte

	types       []signature
	functions   []uint32 // the type of each, imported ones first
	imported    int      // how many are
	tables      int
	memories    int
	globals     int
	mutable     []int
	hostInTable bool     // an imported function may stand in a table
	taken       []Import // where and what, without their signatures
	given       []offer
	exports     int
	prefix      string
	elements    int
	data        int
	dataCount   int // none without that section

	targets, locals, flow int // what is left of the limits for all functions

	slice      int64
	body, part []byte // of the section and the function being written
	out        []byte
}

// Indices of what is appended.
func (m *module) fuel() uint32     { return word(m.globals) }
func (m *module) yield() uint32    { return word(m.imported) }
func (m *module) slow() uint32     { return word(len(m.functions)) + 1 }
func (m *module) byBytes() uint32  { return m.slow() + 1 }
func (m *module) byPages() uint32  { return m.slow() + 2 }
func (m *module) typeNone() uint32 { return word(len(m.types)) }
func (m *module) typeSame() uint32 { return m.typeNone() + 1 }

func rewrite(code []byte, o Options) (*Module, error) {
	m := &module{slice: o.Slice, targets: maxAllTargets + len(code)/8, locals: maxAllLocals, flow: maxAllFlow + maxFlowPerByte*len(code)}
	if err := m.split(code); err != nil {
		return nil, err
	}
	if err := m.readHead(); err != nil {
		return nil, err
	}
	m.out = append(make([]byte, 0, len(code)+len(code)/4+256), header...)
	for _, id := range order {
		m.body = m.body[:0]
		if err := m.section(id); err != nil {
			return nil, err
		}
	}
	if m.names != nil {
		m.body = m.body[:0]
		if err := m.readNames(); err != nil {
			return nil, err
		}
		m.put(secCustom, nil, m.body)
	}
	out := &Module{Code: m.out, Fuel: m.prefix + "fuel"}
	for _, i := range m.mutable {
		out.Globals = append(out.Globals, m.prefix+strconv.Itoa(i))
	}
	return out, nil
}

// readHead reads the sections that others speak of.
func (m *module) readHead() error {
	for _, read := range []func() error{m.readTypes, m.readImports, m.readFunctions, m.readTables, m.readMemory, m.readDataCount} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

// put writes a section of a head and a body.
func (m *module) put(id byte, head, body []byte) {
	m.out = append(m.out, id)
	m.out = uleb(m.out, word(len(head)+len(body)))
	m.out = append(append(m.out, head...), body...)
}

// grown writes a section that is one vector with what is appended to it.
func (m *module) grown(id byte, n, added int, entries []byte) {
	m.put(id, uleb(nil, word(n+added)), entries)
}

// entries are a section without its count.
func (m *module) entries(id byte) []byte {
	r := &reader{b: m.sections[id]}
	if r.b != nil {
		r.u32()
	}
	return append(m.body, r.b[r.at:]...)
}

// section writes one, with what is appended.
func (m *module) section(id byte) error {
	was := m.sections[id]
	var err error
	switch id {
	case secType:
		b := append(m.entries(id), 0x60, 0, 0)
		m.grown(id, len(m.types), 2, append(b, 0x60, 1, 0x7f, 1, 0x7f))
	case secImport:
		b := append(uleb(m.entries(id), word(len(ImportModule))), ImportModule...)
		b = append(append(uleb(b, word(len(ImportYield))), ImportYield...), 0)
		m.grown(id, m.imported, 1, uleb(b, m.typeNone()))
	case secFunction:
		b := uleb(m.entries(id), m.typeNone())
		m.grown(id, len(m.functions)-m.imported, 3, uleb(uleb(b, m.typeSame()), m.typeSame()))
	case secTable, secMemory, secDataCount:
		if was != nil {
			m.put(id, nil, was)
		}
	case secGlobal:
		if err = m.readGlobals(); err == nil {
			b := append(sleb(append(m.body, 0x7e, 1, opI64Const), m.slice), opEnd)
			m.grown(id, m.globals, 1, b)
		}
	case secExport:
		err = m.exported()
	case secStart:
		if err = m.readStart(); err == nil && was != nil {
			m.put(id, nil, m.body)
		}
	case secElement:
		if err = m.readElements(); err == nil && was != nil {
			m.grown(id, m.elements, 0, m.body)
		}
	case secCode:
		err = m.code()
	case secData:
		if err = m.readData(); err == nil && was != nil {
			m.grown(id, m.data, 0, m.body)
		}
	}
	return err
}

// exported writes the exports, and those of the globals behind them.
func (m *module) exported() error {
	if err := m.readExports(); err != nil {
		return err
	}
	b := m.body
	export := func(name string, global uint32) {
		b = append(uleb(b, word(len(name))), name...)
		b = uleb(append(b, 3), global)
	}
	for _, i := range m.mutable {
		export(m.prefix+strconv.Itoa(i), word(i))
	}
	export(m.prefix+"fuel", m.fuel())
	m.grown(secExport, m.exports, len(m.mutable)+1, b)
	return nil
}

// code meters the bodies and appends those of ours.
func (m *module) code() error {
	f := &function{m: m, index: m.imported}
	n := len(m.functions) - m.imported
	found := 0
	err := m.vector(secCode, maxFunctions, func(r *reader, i int) {
		body := r.bytes(r.u32())
		if i >= n || r.err != nil {
			r.fail("more bodies than functions")
			return
		}
		found++
		f.index = m.imported + i
		if err := f.rewrite(body); err != nil {
			r.err = err
		}
	})
	if err != nil {
		return err
	}
	if found != n {
		return fmt.Errorf("%w: %d bodies of %d functions", ErrMalformed, found, n)
	}
	m.body = m.appended(m.body)
	m.grown(secCode, n, 3, m.body)
	return nil
}

// appended are the functions that the metered code calls.
func (m *module) appended(b []byte) []byte {
	wrap := func(code []byte) { b = append(uleb(b, word(len(code))), code...) }
	wrap(append(uleb([]byte{0, opCall}, m.yield()), opEnd))
	charge := func(op byte, by int64) []byte {
		c := uleb([]byte{0, opGlobalGet}, m.fuel())
		c = sleb(append(c, opLocalGet, 0, opI64ExtendU, opI64Const), by)
		c = uleb(append(c, op, opI64Sub, opGlobalSet), m.fuel())
		return append(m.check(c), opLocalGet, 0, opEnd)
	}
	wrap(charge(opI64ShrU, bytesShift))
	wrap(charge(opI64Mul, weightPage))
	return b
}

// check calls the host if the fuel is spent.
func (m *module) check(b []byte) []byte {
	b = uleb(append(b, opGlobalGet), m.fuel())
	b = append(b, opI64Const, 0, opI64LtS, opIf, emptyBlock, opCall)
	return append(uleb(b, m.slow()), opEnd)
}

// charge takes from the fuel.
func (m *module) charge(b []byte, cost uint64) []byte {
	b = uleb(append(b, opGlobalGet), m.fuel())
	b = sleb(append(b, opI64Const), int64(cost)) //nolint:gosec // a body is short
	return uleb(append(b, opI64Sub, opGlobalSet), m.fuel())
}

// rewrite appends the metered form of a body to the section.
func (f *function) rewrite(body []byte) error {
	m := f.m
	if len(body) > maxBody {
		return &Refused{CompileBomb, fmt.Sprintf("function %d has %d bytes, the limit is %d", f.index, len(body), maxBody)}
	}
	f.reader = &reader{b: body}
	f.locals = uint64(word(len(m.types[m.functions[f.index]].params)))
	for n := f.count(); n > 0 && f.err == nil; n-- {
		f.locals += uint64(f.u32())
		f.valueType()
	}
	if f.locals > maxLocals {
		f.refuse(CompileBomb, "function %d has %d locals, the limit is %d", f.index, f.locals, maxLocals)
	}
	if m.locals -= int(min(f.locals, maxLocals)); m.locals < 0 {
		f.refuse(CompileBomb, "more than %d locals in all", maxAllLocals)
	}
	if f.err == nil {
		f.scan()
	}
	if f.err != nil {
		return f.err
	}
	f.emit()
	m.body = append(uleb(m.body, word(len(m.part))), m.part...)
	return nil
}

// emit writes the body with its edits.
func (f *function) emit() {
	m := f.m
	b := m.part[:0]
	at := 0
	for _, e := range f.edits {
		b = append(b, f.b[at:e.at]...)
		at = e.at + e.skip
		switch e.kind {
		case editCharge:
			s := &f.segments[e.arg]
			if s.paidHere(e.arg) && s.cost+s.paid > 0 {
				b = m.charge(b, s.cost+s.paid)
			}
			if s.check {
				b = m.check(b)
			}
		case editCall:
			b = uleb(append(b, opCall), e.arg)
		case editRefFunc:
			b = uleb(append(b, opRefFunc), e.arg)
		case editBytes:
			b = uleb(append(b, opCall), m.byBytes())
		case editPages:
			b = uleb(append(b, opCall), m.byPages())
		}
	}
	m.part = append(b, f.b[at:]...)
}
