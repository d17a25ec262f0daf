package meter

// Signature is a function's: the types of its parameters and results, by their
// bytes in WebAssembly, which are those of the engine.
type Signature struct{ Params, Results []byte }

// Import is a function that a module imports.
type Import struct {
	Module, Name string
	Signature
}

// Outline is what a module asks of its host and offers it, as it says itself.
type Outline struct {
	// Imports are in the order of the module.
	Imports []Import
	// Exports are the functions by name.
	Exports map[string]Signature
	// Memories are the names under which a memory is exported.
	Memories []string
}

// offer is an export of a module; function is its index, if it is one.
type offer struct {
	name     []byte
	kind     byte
	function uint32
}

// Look reads a module's outline. It compiles nothing, looks at no function's body,
// and on any bytes at all takes time and memory linear in their length. Every
// section of what it takes is whole, and the error otherwise is that of [Rewrite].
func Look(code []byte) (*Outline, error) {
	m := &module{}
	if err := m.split(code); err != nil {
		return nil, err
	}
	if err := m.readHead(); err != nil {
		return nil, err
	}
	if err := m.readGlobals(); err != nil {
		return nil, err
	}
	if err := m.readExports(); err != nil {
		return nil, err
	}
	out := &Outline{Imports: m.taken, Exports: make(map[string]Signature)}
	for i := range out.Imports {
		out.Imports[i].Signature = m.signature(word(i))
	}
	for _, e := range m.given {
		switch e.kind {
		case 0:
			out.Exports[string(e.name)] = m.signature(e.function)
		case 2:
			out.Memories = append(out.Memories, string(e.name))
		}
	}
	return out, nil
}

// signature is a function's by its index.
func (m *module) signature(function uint32) Signature {
	t := m.types[m.functions[function]]
	return Signature{t.params, t.results}
}
