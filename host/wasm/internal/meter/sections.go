package meter

import (
	"bytes"
	"fmt"
)

// The sections of a module, by their ids.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag
	sections // how many there are
)

var sectionNames = [sections]string{
	"custom", "type", "import", "function", "table", "memory", "global",
	"export", "start", "element", "code", "data", "data count", "tag",
}

// order is how they stand in a module.
var order = [...]byte{
	secType, secImport, secFunction, secTable, secMemory, secGlobal,
	secExport, secStart, secElement, secDataCount, secCode, secData,
}

const header = "\x00asm\x01\x00\x00\x00"

// split finds the sections of a module and its names; what is not there is
// empty.
func (m *module) split(b []byte) error {
	if !bytes.HasPrefix(b, []byte(header)) {
		if len(b) >= 8 && bytes.HasPrefix(b, []byte(header[:4])) && b[6] != 0 {
			return &Refused{Unknown, "a component, not a core module; build one for wasip1, not wasip2"}
		}
		return fmt.Errorf("%w: not a core WebAssembly module, whose first bytes are \\0asm and version 1; give the .wasm file that was built", ErrMalformed)
	}
	r := &reader{b: b, at: len(header)}
	next := 0
	for r.more() {
		id := r.byte()
		n := r.u32()
		if left := len(b) - r.at; r.err == nil && int64(n) > int64(left) {
			r.fail("a section has %d bytes and the file ends after %d of them: it was cut short, copy or build it again", n, left)
		}
		body := r.bytes(n)
		switch {
		case r.err != nil:
		case id == secCustom:
			m.custom(r, body)
		case id == secTag:
			r.refuse(Exceptions, "a tag section")
		case id >= sections:
			r.fail("section %d", id)
		default:
			for next < len(order) && order[next] != id {
				next++
			}
			if next == len(order) {
				r.fail("the %s section stands twice or in the wrong place", sectionNames[id])
			}
			next++
			m.sections[id] = body
		}
	}
	return r.err
}

// custom keeps the first section of names, the only one that means anything to
// an engine.
func (m *module) custom(r *reader, body []byte) {
	s := &reader{b: body}
	name := s.bytes(s.u32())
	if s.err != nil {
		r.fail("a custom section without a name")
		return
	}
	if string(name) == "name" {
		if m.names != nil {
			r.fail("two sections of names")
		}
		m.names = body[s.at:]
	}
}

// vector reads a section that is one vector, element by element.
func (m *module) vector(id byte, limit int, each func(r *reader, i int)) error {
	if m.sections[id] == nil {
		return nil
	}
	r := &reader{b: m.sections[id]}
	n := r.count()
	if n > limit {
		r.refuse(Oversize, "%d entries in the %s section, the limit is %d", n, sectionNames[id], limit)
	}
	for i := 0; i < n && r.err == nil; i++ {
		each(r, i)
	}
	if r.err == nil && r.more() {
		r.fail("the %s section is longer than its contents", sectionNames[id])
	}
	return r.err
}

// readTypes keeps each type.
func (m *module) readTypes() error {
	return m.vector(secType, maxTypes, func(r *reader, i int) {
		switch form := r.byte(); form {
		case 0x60:
		case 0x4e, 0x4f, 0x50, 0x5e, 0x5f:
			r.refuse(References, "type %d", i)
		default:
			r.fail("type %d has form %#x", i, form)
		}
		var of [2][]byte
		for k := range of {
			n := r.count()
			if n > maxParams {
				r.refuse(CompileBomb, "type %d has %d parameters or results, the limit is %d", i, n, maxParams)
			}
			from := r.at
			for range n {
				r.valueType()
			}
			of[k] = r.b[from:r.at]
		}
		m.types = append(m.types, signature{params: of[0], results: of[1]})
	})
}

// valueType reads a type of the second version of WebAssembly.
func (r *reader) valueType() byte {
	t := r.byte()
	switch {
	case t >= 0x7b && t <= 0x7f, t == typeFuncref, t == typeExternref:
	case t == 0x69 || t == 0x74:
		r.refuse(Exceptions, "a value of type exnref")
	case t >= 0x63 && t <= 0x73:
		r.refuse(References, "a value of type %#x", t)
	default:
		r.fail("a value of type %#x", t)
	}
	return t
}

const (
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
)

func (m *module) readImports() error {
	return m.vector(secImport, maxImports, func(r *reader, i int) {
		module, name := r.bytes(r.u32()), r.bytes(r.u32())
		if string(module) == ImportModule {
			r.refuse(Reserved, "import %d is of %s", i, ImportModule)
		}
		switch kind := r.byte(); kind {
		case 0:
			m.functions = append(m.functions, r.below(len(m.types), "type"))
			m.taken = append(m.taken, Import{Module: string(module), Name: string(name)})
			m.imported++
		case 1, 2, 3:
			r.refuse(ImportedState, "import %d, %.40q of %.40q, is a %s", i, name, module, [...]string{"table", "memory", "global"}[kind-1])
		case 4:
			r.refuse(Exceptions, "import %d is a tag", i)
		default:
			r.fail("import %d is of kind %d", i, kind)
		}
	})
}

func (m *module) readFunctions() error {
	return m.vector(secFunction, maxFunctions, func(r *reader, _ int) {
		m.functions = append(m.functions, r.below(len(m.types), "type"))
	})
}

func (m *module) readTables() error {
	return m.vector(secTable, maxTables, func(r *reader, i int) {
		switch t := r.byte(); t {
		case typeFuncref, typeExternref:
		case 0x40, 0x63, 0x64:
			r.refuse(References, "table %d", i)
		default:
			r.fail("table %d is of type %#x", i, t)
		}
		r.limits("table", i, maxElements)
		m.tables++
	})
}

func (m *module) readMemory() error {
	return m.vector(secMemory, 1<<16, func(r *reader, i int) {
		if i > 0 {
			r.refuse(SeveralMemories, "memory %d", i)
		}
		r.limits("memory", i, maxPages)
		m.memories++
	})
}

// limits reads how small something is at first and how large it may get.
func (r *reader) limits(of string, i int, most uint32) {
	flags := r.byte()
	switch {
	case flags > 0x0f:
		r.fail("%s %d has limits of form %#x", of, i, flags)
	case flags&0x08 != 0:
		r.refuse(Unknown, "%s %d has pages of another size", of, i)
	case flags&0x04 != 0:
		r.refuse(Memory64, "%s %d", of, i)
	case flags&0x02 != 0:
		r.refuse(Threads, "%s %d is shared", of, i)
	}
	if n := r.u32(); n > most {
		r.refuse(Oversize, "%s %d begins with %d, the limit is %d", of, i, n, most)
	}
	if flags&1 != 0 {
		r.u32()
	}
}

// readGlobals copies the globals to the body, functions renumbered.
func (m *module) readGlobals() error {
	err := m.vector(secGlobal, maxGlobals, func(r *reader, i int) {
		t, mutable := r.valueType(), r.byte()
		switch {
		case mutable > 1:
			r.fail("global %d is neither mutable nor not", i)
		case mutable == 1 && (t == typeFuncref || t == typeExternref):
			r.refuse(ReferenceGlobal, "global %d", i)
		case mutable == 1 && t == typeV128:
			r.refuse(VectorGlobal, "global %d", i)
		case mutable == 1:
			m.mutable = append(m.mutable, i)
		}
		m.body = append(m.body, t, mutable)
		m.constant(r)
		m.globals++
	})
	if err == nil && len(m.mutable) > maxMutable {
		return &Refused{CompileBomb, fmt.Sprintf("%d mutable globals, the limit is %d", len(m.mutable), maxMutable)}
	}
	return err
}

// constant copies a constant expression to the body, functions renumbered.
func (m *module) constant(r *reader) {
	for r.err == nil {
		from := r.at
		op := r.byte()
		switch op {
		case opEnd:
			m.body = append(m.body, op)
			return
		case opI32Const:
			r.signed(32)
		case opI64Const:
			r.signed(64)
		case opF32Const:
			r.bytes(4)
		case opF64Const:
			r.bytes(8)
		case opGlobalGet:
			r.below(m.globals, "global")
		case opRefNull:
			r.heapType()
		case opRefFunc:
			m.body = uleb(append(m.body, op), m.inTable(m.function(r)))
			continue
		case opVector:
			if r.byte() != vecConst {
				r.fail("no constant expression")
			}
			r.bytes(16)
		default:
			r.fail("opcode %#x in a constant expression", op)
		}
		m.body = append(m.body, r.b[from:r.at]...)
	}
}

func (r *reader) heapType() {
	switch t := r.byte(); t {
	case typeFuncref, typeExternref:
	default:
		r.refuse(References, "a reference of type %#x", t)
	}
}

// function reads the index of a function and gives its new one.
func (m *module) function(r *reader) uint32 {
	return m.shifted(r.below(len(m.functions), "function"))
}
