package meter

import "slices"

// A module of the tests is the sections that it is put together from.

func assemble(sections ...[]byte) []byte {
	return append([]byte(header), slices.Concat(sections...)...)
}

func section(id byte, body ...byte) []byte {
	return append(uleb([]byte{id}, uint32(len(body))), body...)
}

// vector is a section of entries.
func vec(id byte, entries ...[]byte) []byte {
	return section(id, append(uleb(nil, uint32(len(entries))), slices.Concat(entries...)...)...)
}

func text(s string) []byte { return append(uleb(nil, uint32(len(s))), s...) }

func custom(name string, body ...byte) []byte {
	return section(secCustom, append(text(name), body...)...)
}

// typ is a function's type.
func typ(params, results string) []byte {
	of := map[rune]byte{'i': 0x7f, 'l': 0x7e, 'f': 0x7d, 'd': 0x7c, 'v': 0x7b, 'r': typeFuncref}
	b := []byte{0x60}
	for _, list := range []string{params, results} {
		b = uleb(b, uint32(len(list)))
		for _, t := range list {
			b = append(b, of[t])
		}
	}
	return b
}

// body is a function's, with so many locals of i64.
func body(locals int, code ...byte) []byte {
	b := []byte{0}
	if locals > 0 {
		b = append(uleb([]byte{1}, uint32(locals)), 0x7e)
	}
	b = append(append(b, code...), opEnd)
	return append(uleb(nil, uint32(len(b))), b...)
}

func export(name string, kind byte, index byte) []byte {
	return append(text(name), kind, index)
}

// one is a module of one function, of type 0, exported as run, with a memory.
func one(t, b []byte) []byte {
	return assemble(vec(secType, t), vec(secFunction, []byte{0}), vec(secMemory, []byte{0, 1}),
		vec(secExport, export("run", 0, 0)), vec(secCode, b))
}
