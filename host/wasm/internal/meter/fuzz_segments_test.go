package meter_test

// elementSection fills the tables of functions, and has segments that fill
// none, in all the forms that the format has.
func (g *generator) elementSection() []byte {
	var entries [][]byte
	for i, table := range g.tables {
		if table.t != tFunc || table.size == 0 || !g.chance(2) && i > 0 {
			continue
		}
		offset := g.n(int(table.size))
		entries = append(entries, g.active(i, offset, int(table.size)-offset))
	}
	for range g.n(3) {
		entries = append(entries, g.inert())
	}
	return g.vector(entries)
}

// active is a segment that fills a table from an offset on.
func (g *generator) active(table, offset, most int) []byte {
	form := byte(g.n(4)) * 2 // 0, 2, 4, 6
	if table > 0 {
		form |= 2
	}
	b := []byte{form}
	if form&2 != 0 {
		b = g.unsigned(b, uint32(table))
	}
	b = append(g.signed(append(b, 0x41), int64(offset), 5), 0x0b)
	switch form {
	case 2:
		b = append(b, 0x00)
	case 6:
		b = append(b, tFunc)
	}
	return g.elements(b, form, g.n(most+1))
}

// inert is a passive segment or one that only declares functions.
func (g *generator) inert() []byte {
	form := byte(1 + 2*g.n(4)) // 1, 3, 5, 7
	if form < 4 {
		return g.elements([]byte{form, 0x00}, form, g.n(4))
	}
	return g.elements([]byte{form, tFunc}, form, g.n(4))
}

// elements are the functions of a segment, by index or as expressions.
func (g *generator) elements(b []byte, form byte, n int) []byte {
	b = g.unsigned(b, uint32(n))
	for range n {
		switch {
		case form < 4:
			b = g.unsigned(b, uint32(g.n(len(g.functions))))
		case g.chance(4):
			b = append(b, 0xd0, tFunc, 0x0b)
		default:
			b = append(g.unsigned(append(b, 0xd2), uint32(g.n(len(g.functions)))), 0x0b)
		}
	}
	return b
}

func (g *generator) dataSection() []byte {
	var entries [][]byte
	for _, form := range g.segments {
		b := []byte{form}
		if form == 2 {
			b = g.unsigned(b, 0)
		}
		if form != 1 {
			b = append(g.signed(append(b, 0x41), int64(g.n(256))*100, 5), 0x0b)
		}
		text := make([]byte, g.n(16))
		for i := range text {
			text[i] = g.byte()
		}
		entries = append(entries, append(g.unsigned(b, uint32(len(text))), text...))
	}
	return g.vector(entries)
}

// nameSection names the module and some functions and locals.
func (g *generator) nameSection() []byte {
	b := g.name(nil, "name")
	if g.chance(2) {
		b = append(append(b, 0), g.sized(g.name(nil, "module"))...)
	}
	var functions, locals []byte
	n := uint32(0)
	for i := range g.functions {
		if g.chance(2) {
			functions = g.name(g.unsigned(functions, uint32(i)), "ƒ")
			locals = g.unsigned(g.unsigned(locals, uint32(i)), 1)
			locals = g.name(g.unsigned(locals, 0), "x")
			n++
		}
	}
	b = append(append(b, 1), g.sized(append(g.unsigned(nil, n), functions...))...)
	return append(append(b, 2), g.sized(append(g.unsigned(nil, n), locals...))...)
}
