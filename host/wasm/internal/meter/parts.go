package meter

import (
	"strings"
)

// readExports copies the exports to the body, functions renumbered, and finds
// a prefix that none of their names has.
func (m *module) readExports() error {
	const base = "postern.meter"
	longest := 0 // run of dots behind the base
	err := m.vector(secExport, maxExports, func(r *reader, i int) {
		from := r.at
		name := r.bytes(r.u32())
		if rest, ok := strings.CutPrefix(string(name), base); ok {
			longest = max(longest, len(rest)-len(strings.TrimLeft(rest, ".")))
		}
		kind := r.byte()
		m.body = append(m.body, r.b[from:r.at]...)
		of := offer{name: name, kind: kind}
		switch kind {
		case 0:
			of.function = r.below(len(m.functions), "function")
			m.body = uleb(m.body, m.shifted(of.function))
		case 1:
			m.body = uleb(m.body, r.below(m.tables, "table"))
		case 2:
			m.body = uleb(m.body, r.below(m.memories, "memory"))
		case 3:
			m.body = uleb(m.body, r.below(m.globals, "global"))
		case 4:
			r.refuse(Exceptions, "export %d is a tag", i)
		default:
			r.fail("export %d is of kind %d", i, kind)
		}
		m.given = append(m.given, of)
		m.exports++
	})
	m.prefix = base + strings.Repeat(".", longest+1)
	return err
}

func (m *module) readStart() error {
	if m.sections[secStart] == nil {
		return nil
	}
	r := &reader{b: m.sections[secStart]}
	m.body = uleb(m.body, m.function(r))
	if r.err == nil && r.more() {
		r.fail("the start section is longer than its contents")
	}
	return r.err
}

// readElements copies the element segments to the body, functions renumbered.
// Bit 0 of a segment's form says that it is passive or declarative, bit 1 that
// a table (active) or declarative is meant, bit 2 that it holds expressions.
func (m *module) readElements() error {
	left := maxElements
	return m.vector(secElement, maxSegments, func(r *reader, i int) {
		m.elements++
		form := r.u32()
		if form > 7 {
			r.fail("element segment %d has form %d", i, form)
			return
		}
		m.body = append(m.body, byte(form))
		if form&1 == 0 {
			if form&2 != 0 {
				m.body = uleb(m.body, r.below(m.tables, "table"))
			}
			m.constant(r)
		}
		if form&3 != 0 {
			of := r.byte()
			switch {
			case form&4 == 0 && of != 0, form&4 != 0 && of != typeFuncref && of != typeExternref:
				r.refuse(References, "element segment %d is of type %#x", i, of)
			}
			m.body = append(m.body, of)
		}
		n := r.count()
		if left -= n; left < 0 {
			r.refuse(Oversize, "more than %d elements", maxElements)
		}
		m.body = uleb(m.body, word(n))
		for ; n > 0 && r.err == nil; n-- {
			if form&4 != 0 {
				m.constant(r)
			} else {
				m.body = uleb(m.body, m.inTable(m.function(r)))
			}
		}
	})
}

// inTable notes whether a call through a table may be one of the host.
func (m *module) inTable(i uint32) uint32 {
	m.hostInTable = m.hostInTable || int64(i) < int64(m.imported)
	return i
}

// The parts of the section of names that are kept.
const (
	nameModule = iota
	nameFunctions
	nameLocals
)

// readNames copies the names of the module, its functions and their locals to
// the body, functions renumbered.
func (m *module) readNames() error {
	m.body = append(uleb(m.body, 4), "name"...)
	r := &reader{b: m.names}
	for r.more() {
		id := r.byte()
		part := &reader{b: r.bytes(r.u32())}
		m.part = m.part[:0]
		switch id {
		case nameModule:
			m.name(part)
		case nameFunctions:
			m.nameEach(part, m.shifted, m.name)
		case nameLocals:
			m.nameEach(part, m.shifted, func(part *reader) { m.nameEach(part, nil, m.name) })
		default:
			continue
		}
		if part.err == nil && part.more() {
			part.fail("a part of the names is longer than its contents")
		}
		if part.err != nil {
			return part.err
		}
		m.body = uleb(append(m.body, id), word(len(m.part)))
		m.body = append(m.body, m.part...)
	}
	return r.err
}

// nameEach copies a map whose keys are renumbered.
func (m *module) nameEach(r *reader, renumber func(uint32) uint32, value func(*reader)) {
	n := r.count()
	m.part = uleb(m.part, word(n))
	for ; n > 0 && r.err == nil; n-- {
		i := r.u32()
		if renumber != nil {
			i = renumber(i)
		}
		m.part = uleb(m.part, i)
		value(r)
	}
}

func (m *module) name(r *reader) {
	n := r.u32()
	m.part = append(uleb(m.part, n), r.bytes(n)...)
}

// shifted is the new index of a function: the module's own stand one further,
// behind the added import.
func (m *module) shifted(i uint32) uint32 {
	if int64(i) >= int64(m.imported) {
		i++
	}
	return i
}
