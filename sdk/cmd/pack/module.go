package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The custom sections of a packed module.
const (
	sectionManifest = "postern.manifest"
	sectionGoldens  = "postern.goldens"
)

const (
	header = "\x00asm\x01\x00\x00\x00"

	customID = 0
	importID = 2
)

var errNotWasm = errors.New("not a core WebAssembly module")

// appendSection adds a custom section behind the module's last one.
func appendSection(module []byte, name string, contents []byte) []byte {
	body := binary.AppendUvarint(nil, uint64(len(name)))
	body = append(body, name...)
	body = append(body, contents...)
	module = append(module, customID)
	module = binary.AppendUvarint(module, uint64(len(body)))
	return append(module, body...)
}

// section returns the contents of a custom section.
func section(module []byte, name string) ([]byte, error) {
	var found []byte
	err := sections(module, func(id byte, r reader) error {
		if id == customID && string(r.bytes()) == name {
			found = r.rest
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, fmt.Errorf("no section %s: the module is not packed", name)
	}
	return found, nil
}

// checkModule refuses a module that imports anything but the host and WASI: it
// would not load.
func checkModule(module []byte) error {
	return sections(module, func(id byte, r reader) error {
		if id != importID {
			return nil
		}
		for range r.uint() {
			from, name := string(r.bytes()), string(r.bytes())
			r.importType()
			if r.broken {
				return errNotWasm
			}
			if from != "postern1" && from != "wasi_snapshot_preview1" {
				return fmt.Errorf("imports %s.%s: a plugin imports only postern1 and wasi_snapshot_preview1", from, name)
			}
		}
		return nil
	})
}

func sections(module []byte, visit func(id byte, contents reader) error) error {
	if len(module) < len(header) || string(module[:len(header)]) != header {
		return errNotWasm
	}
	r := reader{rest: module[len(header):]}
	for len(r.rest) > 0 {
		id := r.byte()
		contents := reader{rest: r.bytes()}
		if r.broken {
			return errNotWasm
		}
		if err := visit(id, contents); err != nil {
			return err
		}
	}
	return nil
}

// reader reads a module's bytes; reading past the end breaks it for good.
type reader struct {
	rest   []byte
	broken bool
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.broken = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) uint() uint32 {
	n, used := binary.Uvarint(r.rest)
	if used <= 0 || n > 1<<32-1 {
		r.broken, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[used:]
	return uint32(n)
}

// bytes reads a length and as many bytes.
func (r *reader) bytes() []byte {
	n := r.uint()
	if uint64(n) > uint64(len(r.rest)) {
		r.broken, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// importType skips what an import is. Only functions, tables, memories and
// globals of fixed form are known; anything else breaks the reader.
func (r *reader) importType() {
	switch r.byte() {
	case 0: // function: its type
		r.uint()
	case 1: // table: element type and limits
		r.byte()
		r.limits()
	case 2: // memory
		r.limits()
	case 3: // global: value type and mutability
		r.byte()
		r.byte()
	default:
		r.broken = true
	}
}

func (r *reader) limits() {
	if r.byte()&1 == 1 {
		r.uint()
	}
	r.uint()
}
