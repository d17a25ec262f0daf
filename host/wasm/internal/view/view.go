// Package view parses the bytes of a callback once, strictly, and answers
// questions about them by path. It is the only parser that a callback meets:
// what was verified and what is stored are read by the same eyes.
//
// A view is an immutable tree over the bytes it was made from, which must not
// change while it is in use. It is not safe for concurrent use: a lookup may
// build an index.
package view

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math/bits"
	"strconv"
	"strings"
)

// Kind of a value. The numbers are those of the ABI.
type Kind uint8

// The kinds.
const (
	Absent  Kind = 0
	Null    Kind = 1
	Boolean Kind = 2
	Number  Kind = 3
	String  Kind = 4
	Array   Kind = 5
	Object  Kind = 6
)

// ErrMalformed is returned for bytes that the strict parser refuses. It says
// nothing of the bytes: they may hold anything.
var ErrMalformed = errors.New("malformed")

// View is a parsed document.
type View struct {
	// nodes are the values in document order: the root first, a container before
	// its children.
	nodes []node
	// text is the document, kept what had to be decoded to be read: names with
	// escapes, and all names and values of a form. A node has spans of them.
	text, kept []byte
	// index finds the members of a large object and the elements of a large
	// array, built at the first lookup: a get costs the path, not the document.
	index map[int32]*children
	// fields of a form by name, in order; nil for JSON. /name/2 is the third.
	fields map[string][]int32
	// outer are the containers around the one being read, while the document is
	// parsed.
	outer []frame
}

// What a value is counted as, no less than it takes: its node, and its places in
// an index or, of a form, among the fields of its name.
const (
	perValue = 96
	perField = 192
)

// Size is the memory, in bytes, that the view takes beside the bytes it was made
// from, its index included, whether built or not. It is about right.
func (v *View) Size() int {
	if v.fields == nil {
		return perValue * len(v.nodes)
	}
	n := perField * len(v.nodes)
	for i := range v.nodes {
		n += len(v.name(&v.nodes[i])) + len(v.raw(&v.nodes[i]))
	}
	return n
}

// MostJSON is what [View.Size] is at most for JSON of n bytes, which nobody has
// read: a value takes two bytes at least.
func MostJSON(n int) int { return perValue * (n/2 + linear) }

// node is a value. It has no pointers, so that neither the garbage collector nor
// a view that is used again has to mind them, and two nodes share a cache line.
type node struct {
	// raw is the value as it stands in the document; for a form the decoded
	// value.
	raw span
	// name is the decoded name of a member.
	name span
	// next is the first node behind the value and all that is in it: its next
	// sibling, if that is below the parent's next. The first child of a container
	// is the node behind it.
	next int32
	// size is the number of children.
	size int32
	// tag is the tagOf the name, of JSON.
	tag  uint32
	kind Kind
	// escaped says that something is escaped in a string, of JSON; renamed that the
	// name had to be kept.
	escaped, renamed bool
}

// span is a part of a text.
type span struct{ from, to int32 }

func (s span) of(text []byte) []byte { return text[s.from:s.to] }

func (v *View) raw(n *node) []byte {
	if v.fields != nil && n.kind == String {
		return n.raw.of(v.kept)
	}
	return n.raw.of(v.text)
}

func (v *View) name(n *node) []byte {
	if n.renamed {
		return n.name.of(v.kept)
	}
	return n.name.of(v.text)
}

// keep keeps what was decoded, which is no longer than it was in the document.
func (v *View) keep(decoded string) span {
	from := len(v.kept)
	v.kept = append(v.kept, decoded...)
	return span{int32(from), int32(len(v.kept))} //nolint:gosec // see maxText
}

// tagOf is a number that equal names have in common, and few others of an object.
func tagOf(name []byte) uint32 {
	if len(name) == 0 {
		return 0
	}
	// 2³² divided by the golden ratio spreads the sums over the highest bits.
	const golden = 0x9e3779b1
	sum := uint32(len(name))<<16 ^ uint32(name[0])<<8 ^ uint32(name[len(name)-1]) //nolint:gosec // any bits will do
	return sum * golden
}

// children are the nodes of a container: at in document order, and for an
// object slots, an open hash table of positions in at, counted from one.
type children struct {
	at    []int32
	slots []int32
	// distinct says that no two of an object have one name.
	distinct bool
}

// seed makes the hash of a name nobody's to foresee: a document cannot be
// written to collide.
var seed = maphash.MakeSeed()

// linear is the most children that are looked through one by one: up to here
// the time is bounded by a constant smaller than building an index.
const linear = 16

// Kind returns the kind of the value at the path, Absent if there is none.
func (v *View) Kind(path []byte) Kind {
	i, ok := v.find(path)
	if !ok {
		return Absent
	}
	return v.nodes[i].kind
}

// Text returns the value at the path as text: a string unescaped, a number or
// boolean as it stands, an array or object (or the form at "") as it was sent.
// Null and absent values have none. The bytes are valid as long as the view and must not be changed.
func (v *View) Text(path []byte) ([]byte, bool) {
	i, ok := v.find(path)
	if !ok || v.nodes[i].kind == Null {
		return nil, false
	}
	return v.plain(&v.nodes[i]), true
}

// plain is a value as text.
func (v *View) plain(n *node) []byte {
	switch {
	case n.kind != String || v.fields != nil:
		return v.raw(n)
	case n.escaped:
		return unquote(n.raw.of(v.text))
	}
	return v.text[n.raw.from+1 : n.raw.to-1]
}

// JSON returns the value at the path as JSON: of a JSON document as it stands
// there, of a form written as an object of strings and arrays of strings.
func (v *View) JSON(path []byte) ([]byte, bool) {
	i, ok := v.find(path)
	if !ok {
		return nil, false
	}
	n := &v.nodes[i]
	switch {
	case v.fields != nil && n.kind == Object:
		return v.formJSON(), true
	case v.fields != nil:
		return quote(v.raw(n)), true
	}
	return v.raw(n), true
}

// Len returns the number of elements or members at the path; of a form the
// fields at "" and the repeats of a name at "/name". It reports false for
// anything that has none.
func (v *View) Len(path []byte) (int, bool) {
	i, ok := v.find(path)
	if !ok {
		return 0, false
	}
	n := &v.nodes[i]
	switch {
	case n.kind == Object || n.kind == Array:
		return int(n.size), true
	case v.fields != nil && v.fields[string(v.name(n))][0] == i && bytes.Count(path, slash) == 1:
		return len(v.fields[string(v.name(n))]), true
	}
	return 0, false
}

// NameAt returns the name of the i-th member of the object at the path, in
// document order.
func (v *View) NameAt(path []byte, i int) (string, bool) {
	at, ok := v.find(path)
	if !ok || v.nodes[at].kind != Object {
		return "", false
	}
	child, ok := v.element(at, i)
	if !ok {
		return "", false
	}
	return string(v.name(&v.nodes[child])), true
}

// find walks a JSON Pointer (RFC 6901).
func (v *View) find(path []byte) (int32, bool) {
	at := int32(0)
	if len(path) == 0 || path[0] != '/' {
		return at, len(path) == 0
	}
	for from := 1; ; {
		end, escaped := tokenEnd(path, from)
		token, found := path[from:end], end < len(path)
		if escaped {
			token = []byte(pointerEscapes.Replace(string(token)))
		}
		if v.fields != nil && at != 0 {
			return v.repeat(at, token, found)
		}
		var ok bool
		if at, ok = v.step(at, token); !ok || !found {
			return at, ok
		}
		from = end + 1
	}
}

// tokenEnd is where the token of a path ends that begins at from, and whether
// anything may be escaped in it.
func tokenEnd(path []byte, from int) (end int, escaped bool) {
	for end = from; len(path)-end >= 8; end += 8 {
		word := binary.LittleEndian.Uint64(path[end:])
		// A "~" behind the "/" is not of this token: that costs a look too many.
		escaped = escaped || has(word, '~') != 0
		if slashes := has(word, '/'); slashes != 0 {
			return end + bits.TrailingZeros64(slashes)/8, escaped
		}
	}
	for ; end < len(path) && path[end] != '/'; end++ {
		escaped = escaped || path[end] == '~'
	}
	return end, escaped
}

// has finds a byte in a word, as special does.
func has(word uint64, c byte) uint64 {
	word ^= uint64(c) * ones
	return (word - ones) &^ word & highs
}

var (
	slash          = []byte("/")
	pointerEscapes = strings.NewReplacer("~1", "/", "~0", "~")
)

// IsPointer reports whether path is a JSON Pointer (RFC 6901): empty, or
// beginning with a slash, every "~" followed by "0" or "1".
func IsPointer(path []byte) bool {
	if len(path) > 0 && path[0] != '/' {
		return false
	}
	for rest := path; ; {
		i := bytes.IndexByte(rest, '~')
		if i < 0 {
			return true
		}
		rest = rest[i+1:]
		if len(rest) == 0 || (rest[0] != '0' && rest[0] != '1') {
			return false
		}
	}
}

func (v *View) step(at int32, token []byte) (int32, bool) {
	switch v.nodes[at].kind {
	case Object:
		return v.member(at, token)
	case Array:
		i, ok := arrayIndex(token)
		if !ok {
			return 0, false
		}
		return v.element(at, i)
	default:
		return 0, false
	}
}

// arrayIndex reads an index as RFC 6901 writes it: digits without a leading
// zero.
func arrayIndex(token []byte) (int, bool) {
	if len(token) == 0 || len(token) > 9 || (len(token) > 1 && token[0] == '0') {
		return 0, false
	}
	i, err := strconv.ParseUint(string(token), 10, 31)
	return int(i), err == nil
}

// member finds the first child with the name.
func (v *View) member(at int32, name []byte) (int32, bool) {
	if v.fields != nil {
		return v.repeatOf(name, 0)
	}
	n := &v.nodes[at]
	if n.size > linear {
		return v.hashed(v.indexed(at), name)
	}
	tag := tagOf(name)
	for child := at + 1; child < n.next; {
		c := &v.nodes[child]
		if c.tag == tag && bytes.Equal(v.name(c), name) {
			return child, true
		}
		// Where most values have nothing in them, to guess is faster than to wait
		// for c.next.
		child++
		if c.kind >= Array {
			child = c.next
		}
	}
	return 0, false
}

// slot is where the search for a name begins.
func (c *children) slot(name []byte) int {
	return int(maphash.Bytes(seed, name) % uint64(len(c.slots))) //nolint:gosec // a remainder
}

func (c *children) after(slot int) int { return (slot + 1) % len(c.slots) }

// hashed looks a name up in an object's table. Half of its slots are free, so
// that a search ends soon.
func (v *View) hashed(c *children, name []byte) (int32, bool) {
	for i := c.slot(name); c.slots[i] != 0; i = c.after(i) {
		if child := c.at[c.slots[i]-1]; bytes.Equal(v.name(&v.nodes[child]), name) {
			return child, true
		}
	}
	return 0, false
}

func (v *View) element(at int32, i int) (int32, bool) {
	n := &v.nodes[at]
	if i < 0 || i >= int(n.size) {
		return 0, false
	}
	if n.size > linear {
		return v.indexed(at).at[i], true
	}
	child := at + 1
	for ; i > 0; i-- {
		child = v.nodes[child].next
	}
	return child, true
}

func (v *View) indexed(at int32) *children {
	if c, ok := v.index[at]; ok {
		return c
	}
	n := &v.nodes[at]
	c := &children{at: make([]int32, 0, n.size), distinct: true}
	for child := at + 1; child < n.next; child = v.nodes[child].next {
		c.at = append(c.at, child)
	}
	if n.kind == Object {
		c.slots = make([]int32, 2*len(c.at))
		for position, child := range c.at {
			name := v.name(&v.nodes[child])
			i := c.slot(name)
			for ; c.slots[i] != 0; i = c.after(i) {
				if bytes.Equal(v.name(&v.nodes[c.at[c.slots[i]-1]]), name) {
					c.distinct = false
				}
			}
			c.slots[i] = int32(position) + 1
		}
	}
	if v.index == nil {
		v.index = make(map[int32]*children)
	}
	v.index[at] = c
	return c
}
