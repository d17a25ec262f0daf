package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The custom sections that a packed module carries.
const (
	ManifestSection = "postern.manifest"
	GoldensSection  = "postern.goldens"
)

var errNotWasm = errors.New("not a core WebAssembly module")

// ErrNoSection is the error for a section that is not there.
var ErrNoSection = errors.New("it has no custom section")

// Section returns the contents of the custom section called name. It
// reads nothing else of the module, which need not be valid beyond that.
func Section(module []byte, name string) ([]byte, error) {
	const header = "\x00asm\x01\x00\x00\x00"
	if len(module) < len(header) || string(module[:len(header)]) != header {
		return nil, errNotWasm
	}
	for rest := module[len(header):]; len(rest) > 0; {
		id := rest[0]
		body, after, err := prefixed(rest[1:])
		if err != nil {
			return nil, err
		}
		rest = after
		if id != 0 {
			continue
		}
		got, contents, err := prefixed(body)
		if err != nil {
			return nil, err
		}
		if string(got) == name {
			return contents, nil
		}
	}
	return nil, fmt.Errorf("%w %q: build it with sdk/cmd/pack", ErrNoSection, name)
}

// AppendSection adds a custom section to a module and returns it.
func AppendSection(module []byte, name string, contents []byte) []byte {
	body := append(binary.AppendUvarint(nil, uint64(len(name))), name...)
	module = append(module, 0)
	module = binary.AppendUvarint(module, uint64(len(body)+len(contents)))
	return append(append(module, body...), contents...)
}

// prefixed cuts off the bytes that a LEB128 length announces.
func prefixed(b []byte) (body, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || used > 5 {
		return nil, nil, errNotWasm
	}
	if b = b[used:]; n > uint64(len(b)) {
		return nil, nil, errNotWasm
	}
	return b[:n], b[n:], nil
}
