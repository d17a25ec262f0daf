package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// The versions of the files' form. A file of a later one is refused, one of
// Form1 becomes one of Form when it is written to.
const (
	Form1 = 1
	Form  = 2
)

// KeyForm is the key that a file has its form under, a [Number].
var KeyForm = []byte("form")

// CheckForm refuses a file of another version by the bucket that has its form.
//
// Invariant 10: forms 1 and 2 are read; this version knows no other.
func CheckForm(m *bbolt.Bucket) error {
	if got := m.Get(KeyForm); !bytes.Equal(got, Number(Form)) && !bytes.Equal(got, Number(Form1)) {
		return fmt.Errorf("its form is %x, and this version of postern knows only %x and %x", got, Number(Form1), Number(Form))
	}
	return nil
}

// Number is how the files have a number, mostly a sequence: 8 bytes that sort as
// numbers do.
func Number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// ParseNumber is the inverse of [Number]. The error is [ErrDamaged].
func ParseNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: a sequence of %d bytes", ErrDamaged, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}
