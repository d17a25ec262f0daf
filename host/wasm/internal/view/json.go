package view

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a document: one beyond them is nobody's callback. A value takes
// some 50 bytes with its places in an index, and anyone may send a body.
const (
	maxDepth  = 128
	maxValues = 100_000
	maxFields = 10_000
	maxText   = math.MaxInt32 // for a span
)

// JSON parses RFC 8259 text: one value, no duplicate names, valid UTF-8, no
// lone surrogates, nothing behind it, at most 100,000 values nested at most 128
// deep. Numbers stay text. doc must not change while the view is in use.
//
// It is written by hand because every callback passes here; see RATIONALE: Why a
// JSON parser of our own?
func JSON(doc []byte) (*View, error) {
	v, _ := spare.Get().(*View)
	if cap(v.nodes) == 0 {
		v.nodes, v.outer = make([]node, 0, 32), make([]frame, 0, 8)
	}
	v.text = doc
	p := parser{View: v, nodes: v.nodes, outer: v.outer}
	ok := len(doc) <= maxText && p.run()
	v.nodes, v.outer = p.nodes, p.outer
	if !ok {
		v.Release()
		return nil, ErrMalformed
	}
	return v, nil
}

// spare are views whose nodes can be used again: most callbacks are alike.
var spare = sync.Pool{New: func() any { return new(View) }}

// mostSpare is how many nodes are kept for another view.
const mostSpare = 256

// Release ends the use of the view, and of whatever else than bytes of its
// document came from it.
func (v *View) Release() {
	if v.fields != nil || cap(v.nodes) > mostSpare {
		return
	}
	*v = View{nodes: v.nodes[:0], outer: v.outer[:0]}
	spare.Put(v)
}

// IsJSON reports whether [JSON] takes doc.
func IsJSON(doc []byte) bool {
	v, err := JSON(doc)
	if err != nil {
		return false
	}
	v.Release()
	return true
}

// parser reads a document. Where it is stands in no field but goes from function
// to function, which is faster: each takes where to begin and returns where it
// ended, and whether the document is well-formed so far.
type parser struct {
	*View
	// nodes and outer are those of the view, which has them back in the end; here
	// they are nearer.
	nodes []node
	outer []frame
	// in is the container being read. The one around the whole document never
	// closes.
	in frame
}

// frame is a container being read.
type frame struct {
	// seen has a bit for every tag of a member.
	seen       uint64
	node, size int32
	close      byte
}

// run reads the document.
func (p *parser) run() bool {
	doc, at, ok := p.text, 0, true
	for {
		i := len(p.nodes)
		if i == maxValues {
			return false
		}
		p.nodes = append(p.nodes, node{})
		n := &p.nodes[i]
		n.next = int32(i) + 1 //nolint:gosec // at most maxValues
		if p.in.close == '}' {
			if at, ok = p.member(n, at); !ok {
				return false
			}
		}
		p.in.size++
		if at = blank(doc, at); at >= len(doc) {
			return false
		}
		n.raw.from = int32(at) //nolint:gosec // see maxText
		switch c := doc[at]; c {
		case '"':
			n.kind = String
			at, n.escaped, ok = text(doc, at+1)
		case '{', '[':
			if !p.open(n, c) {
				return false
			}
			if at = blank(doc, at+1); at >= len(doc) || doc[at] != p.in.close {
				continue
			}
		default:
			n.kind, at, ok = word(doc, at)
		}
		if !ok {
			return false
		}
		n.raw.to = int32(at) //nolint:gosec // see maxText
		for {
			at = blank(doc, at)
			if len(p.outer) == 0 || at >= len(doc) {
				return len(p.outer) == 0 && at == len(doc)
			}
			c := doc[at]
			at++
			if c == ',' {
				break
			}
			if c != p.in.close || !p.closed(at) {
				return false
			}
		}
	}
}

// blank passes over white space.
func blank(doc []byte, at int) int {
	const space = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'
	for at < len(doc) && doc[at] <= ' ' && space>>doc[at]&1 != 0 {
		at++
	}
	return at
}

// open begins a container, the last of nodes.
func (p *parser) open(n *node, c byte) bool {
	if len(p.outer) == maxDepth {
		return false
	}
	n.kind = Object
	if c == '[' {
		n.kind = Array
	}
	p.outer = append(p.outer, p.in)
	// The bytes that close are the second behind those that open.
	p.in = frame{node: n.next - 1, close: c + 2}
	return true
}

// closed ends the container being read, at its last byte.
func (p *parser) closed(at int) bool {
	i := p.in.node
	n := &p.nodes[i]
	n.raw.to, n.next, n.size = int32(at), int32(len(p.nodes)), p.in.size //nolint:gosec // see maxText and maxValues
	p.in = p.outer[len(p.outer)-1]
	p.outer = p.outer[:len(p.outer)-1]
	if n.kind == Array || n.size <= linear {
		return true
	}
	p.View.nodes = p.nodes
	return p.indexed(i).distinct
}

// member reads a name and its colon.
func (p *parser) member(n *node, at int) (end int, ok bool) {
	doc := p.text
	if at = blank(doc, at); at >= len(doc) || doc[at] != '"' {
		return at, false
	}
	if end, n.renamed, ok = text(doc, at+1); !ok {
		return end, false
	}
	name := doc[at+1 : end-1]
	n.name = span{int32(at + 1), int32(end - 1)} //nolint:gosec // see maxText
	if n.renamed {
		name = unquote(doc[at:end])
		n.name = p.keep(string(name))
	}
	n.tag = tagOf(name)
	if !p.distinct(n.tag, name) {
		return end, false
	}
	if end = blank(doc, end); end >= len(doc) || doc[end] != ':' {
		return end, false
	}
	return end + 1, true
}

// distinct reports whether no member before this one, the last of nodes, has its
// name. Where there are more than a few, that is for closed to find, by an index.
func (p *parser) distinct(tag uint32, name []byte) bool {
	bit := uint64(1) << (tag >> 26)
	if p.in.seen&bit == 0 || p.in.size >= linear {
		p.in.seen |= bit
		return true
	}
	last := int32(len(p.nodes)) - 1 //nolint:gosec // at most maxValues
	for i := p.in.node + 1; i < last; i = p.nodes[i].next {
		if n := &p.nodes[i]; n.tag == tag && bytes.Equal(p.name(n), name) {
			return false
		}
	}
	return true
}

// In a word of eight bytes: every byte one, every byte's highest bit.
const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// special has the highest bit of every byte that ends a run of plain bytes in a
// string, which are quotes, backslashes and control characters. What is less
// than it is compared with borrows from the bytes above it, so that only the
// lowest bit is to be relied on.
func special(word uint64) uint64 {
	quote, slash := word^'"'*ones, word^'\\'*ones
	return ((quote - ones) | (slash - ones) | (word - ' '*ones)) &^ word & highs
}

// text reads a string behind its first quote, and says whether anything is escaped
// in it. Most are short and ASCII: all has the bits of all their bytes together,
// which tell whether there is UTF-8 to be looked at.
func text(doc []byte, at int) (end int, escaped, ok bool) {
	start, all := at, uint64(0)
	for {
		if len(doc)-at >= 8 {
			word := binary.LittleEndian.Uint64(doc[at:])
			found := special(word)
			if found == 0 {
				all |= word
				at += 8
				continue
			}
			// All bits below the lowest of found. To count them is faster than to ask
			// for the lowest, which amd64 has no good instruction for before v3.
			below := (found - 1) &^ found
			all |= word & below
			at += bits.OnesCount64(below) / 8
		} else if at >= len(doc) {
			return at, false, false
		}
		switch c := doc[at]; {
		case c == '"':
			return at + 1, escaped, all&highs == 0 || utf8.Valid(doc[start:at])
		case c < ' ':
			return at, false, false
		case c == '\\':
			escaped = true
			if at, ok = escape(doc, at+1); !ok {
				return at, false, false
			}
		default:
			all |= uint64(c)
			at++
		}
	}
}

// escape reads what stands behind a backslash. Half of a surrogate pair is no
// character.
func escape(doc []byte, at int) (end int, ok bool) {
	if at >= len(doc) {
		return at, false
	}
	switch doc[at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 1, true
	case 'u':
	default:
		return at, false
	}
	const high, low, none = 0xd800, 0xdc00, 0xe000
	unit, ok := digits16(doc, at+1)
	at += 5
	if !ok || unit < high || unit >= none {
		return at, ok
	}
	if unit >= low || !bytes.HasPrefix(doc[at:], []byte(`\u`)) {
		return at, false
	}
	unit, ok = digits16(doc, at+2)
	return at + 6, ok && unit >= low && unit < none
}

// digits16 reads the four digits behind a "u".
func digits16(doc []byte, at int) (unit rune, ok bool) {
	if len(doc)-at < 4 {
		return 0, false
	}
	for _, c := range doc[at : at+4] {
		digit := rune(c)
		switch {
		case '0' <= c && c <= '9':
			digit -= '0'
		case 'a' <= c && c <= 'f':
			digit -= 'a' - 10
		case 'A' <= c && c <= 'F':
			digit -= 'A' - 10
		default:
			return 0, false
		}
		unit = unit<<4 | digit
	}
	return unit, true
}

// word reads a value that is neither a string nor a container. What cannot stand
// behind one is for others to refuse.
func word(doc []byte, at int) (kind Kind, end int, ok bool) {
	rest := doc[at:]
	switch {
	case len(rest) >= 4 && string(rest[:4]) == "true":
		return Boolean, at + 4, true
	case len(rest) >= 5 && string(rest[:5]) == "false":
		return Boolean, at + 5, true
	case len(rest) >= 4 && string(rest[:4]) == "null":
		return Null, at + 4, true
	}
	end, ok = number(doc, at)
	return Number, end, ok
}

// number reads a number.
func number(doc []byte, at int) (end int, ok bool) {
	at = skip(doc, at, '-')
	if end = skip(doc, at, '0'); end == at {
		if end = digits(doc, at); end == at {
			return at, false
		}
	}
	if at = skip(doc, end, '.'); at > end {
		if end = digits(doc, at); end == at {
			return at, false
		}
	}
	if end >= len(doc) || doc[end]|0x20 != 'e' {
		return end, true
	}
	at = end + 1
	if at < len(doc) && (doc[at] == '+' || doc[at] == '-') {
		at++
	}
	end = digits(doc, at)
	return end, end > at
}

func skip(doc []byte, at int, c byte) int {
	if at < len(doc) && doc[at] == c {
		at++
	}
	return at
}

func digits(doc []byte, at int) int {
	for at < len(doc) && '0' <= doc[at] && doc[at] <= '9' {
		at++
	}
	return at
}

// unquote decodes a JSON string that the parser has already accepted.
func unquote(raw []byte) []byte {
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return nil
	}
	return text
}

func quote(text []byte) []byte {
	// JSON has no words for bytes that are no text: they become U+FFFD here,
	// and stand as they were in the body.
	out, err := jsontext.AppendQuote(nil, bytes.ToValidUTF8(text, []byte("\uFFFD")))
	if err != nil {
		return []byte(`""`)
	}
	return out
}
