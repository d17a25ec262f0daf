package postern

import "github.com/postern/postern/sdk/internal/abi"

// Bytes are bytes that the host holds: the body, or what [Callback.Decode] or
// [Callback.Decrypt] made. The zero value is the body; what came with an error
// is nothing, and every use of it fails.
type Bytes struct{ handle int32 }

// held is what a call that makes bytes returns.
func held(handle int32) (Bytes, error) {
	if handle < 0 {
		return Bytes{-1}, Error(handle)
	}
	return Bytes{handle}, nil
}

// JSON parses the bytes, in the host, by one strict parser: duplicate names,
// invalid UTF-8 and trailing data are ErrMalformed. On an error the View is
// empty: everything in it is absent. Of the body it is a view without the
// Content-Encoding, gzip or deflate. Of sealed bytes there is always a view, see
// [Callback.Decrypt].
func (b Bytes) JSON() (View, error) { return b.view(abi.ViewJSON) }

// Form parses the bytes as application/x-www-form-urlencoded; order and
// repeats are kept.
func (b Bytes) Form() (View, error) { return b.view(abi.ViewForm) }

func (b Bytes) view(kind int32) (View, error) {
	handle := abi.View(kind, b.handle)
	if handle < 0 {
		return View{}, Error(handle)
	}
	return View{handle + 1}, nil
}

// Read copies the bytes into the guest, nothing of sealed ones; the body as it
// was sent. It costs their length; most plugins need it only for texts that the
// provider signs in its own way.
func (b Bytes) Read() []byte {
	n := abi.Read(b.handle, 0, nil)
	if n <= 0 {
		return nil
	}
	out := make([]byte, n)
	abi.Read(b.handle, 0, out)
	return out
}

// Hash names a digest.
type Hash int32

// The digests. They prove nothing and give no evidence.
const (
	SHA256 = Hash(abi.SHA256)
	SHA512 = Hash(abi.SHA512)
	CRC32  = Hash(abi.CRC32) // IEEE, 4 bytes big-endian
)

// Hash returns the digest of the bytes.
func (b Bytes) Hash(hash Hash) []byte {
	var out [64]byte
	n := abi.Hash(int32(hash), b.handle, out[:])
	if n < 0 {
		return nil
	}
	return out[:n]
}

// Kind is the kind of a value in a view.
type Kind int32

// The kinds. In a form every value is a String.
const (
	Absent  = Kind(abi.KindAbsent)
	Null    = Kind(abi.KindNull)
	Boolean = Kind(abi.KindBoolean)
	Number  = Kind(abi.KindNumber)
	String  = Kind(abi.KindString)
	Array   = Kind(abi.KindArray)
	Object  = Kind(abi.KindObject)
)

// View is a parsed document that the host holds. A path is a JSON Pointer: ""
// is the whole, "/txn/state" a member, "/items/0/id" one of an item. In a form
// "/name" is the first value of a name and "/name/2" its third. The zero View
// is empty.
type View struct{ id int32 } // the host's handle and one

// Kind tells what stands at path.
func (v View) Kind(path string) Kind {
	if v.id == 0 {
		return Absent
	}
	return max(Absent, Kind(abi.Kind(v.id-1, path)))
}

// Get returns what stands at path, and its kind: a string unescaped, a number
// or boolean as its text, an array or object as its JSON, an absent value or
// null as nothing.
func (v View) Get(path string) (string, Kind) {
	kind := v.Kind(path)
	if kind == Absent || kind == Null {
		return "", kind
	}
	text, ok := pull(func(out []byte) int32 { return abi.Get(v.id-1, path, out) })
	if !ok {
		return "", Absent
	}
	return text, kind
}

// Text returns the string, number or boolean at path as text, and nothing for
// anything else: a JSON object is never taken for an id.
func (v View) Text(path string) string {
	if v.id == 0 {
		return ""
	}
	n := abi.Get(v.id-1, path, room())
	if long(n) {
		n = abi.Get(v.id-1, path, room())
	}
	text := taken(n)
	// The kind is a call of its own, and only these can be other than a scalar.
	if text != "" && (text[0] == '{' || text[0] == '[') && v.Kind(path) != String {
		return ""
	}
	return text
}

// Len returns the number of elements of an array, members of an object, fields
// of a form at "" or repeats of a field; zero for anything else.
func (v View) Len(path string) int {
	if v.id == 0 {
		return 0
	}
	return int(max(0, abi.Len(v.id-1, path)))
}

// NameAt returns the name of the i-th member of an object, in document order,
// and whether there is one.
func (v View) NameAt(path string, i int) (string, bool) {
	if v.id == 0 {
		return "", false
	}
	return pull(func(out []byte) int32 { return abi.NameAt(v.id-1, path, index(i), out) })
}
