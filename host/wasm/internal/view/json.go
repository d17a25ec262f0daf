package view

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a document: one beyond them is nobody's callback. A value takes
// some 70 bytes, and anyone may send a body.
const (
	maxDepth  = 128
	maxValues = 100_000
	maxFields = 10_000
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
		v.nodes, v.open = make([]node, 0, 32), make([]frame, 0, 8)
	}
	p := parser{View: v, doc: doc}
	if !utf8.Valid(doc) || !p.run() {
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
	clear(v.nodes)
	*v = View{nodes: v.nodes[:0], open: v.open[:0]}
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

// parser reads a document whose UTF-8 is valid. Its methods report whether the
// document is well-formed so far.
type parser struct {
	*View
	doc []byte
	at  int
}

// frame is a container being read.
type frame struct {
	node, last int32
	start      int
	close      byte
}

func (p *parser) run() bool {
	for more := true; more; {
		var name []byte
		if n := len(p.open); n > 0 && p.open[n-1].close == '}' {
			var ok bool
			if name, ok = p.member(); !ok {
				return false
			}
		}
		opened, ok := p.value(name)
		if !ok {
			return false
		}
		if more, ok = p.after(opened); !ok {
			return false
		}
	}
	return p.peek() == 0 && p.at == len(p.doc)
}

// peek passes over white space and tells the byte behind it; zero at the end.
func (p *parser) peek() byte {
	for ; p.at < len(p.doc); p.at++ {
		switch c := p.doc[p.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// member reads a name and its colon.
func (p *parser) member() (name []byte, ok bool) {
	if p.peek() != '"' {
		return nil, false
	}
	raw, escaped, ok := p.text()
	if !ok || p.peek() != ':' {
		return nil, false
	}
	p.at++
	if escaped {
		return unquote(raw), true
	}
	return raw[1 : len(raw)-1], true
}

// value reads a scalar, or opens a container.
func (p *parser) value(name []byte) (opened, ok bool) {
	c := p.peek()
	n := node{name: name}
	switch start := p.at; c {
	case '{', '[':
		p.at++
		n.kind = Object
		if c == '[' {
			n.kind = Array
		}
		if len(p.open) == maxDepth || !p.add(n) {
			return false, false
		}
		// The bytes that close are the second behind those that open.
		p.open = append(p.open, frame{node: int32(len(p.nodes)) - 1, start: start, close: c + 2}) //nolint:gosec // see add
		return true, true
	case '"':
		n.kind = String
		n.raw, _, ok = p.text()
	case 't':
		n.kind, ok = Boolean, p.word("true")
		n.raw = p.doc[start:p.at]
	case 'f':
		n.kind, ok = Boolean, p.word("false")
		n.raw = p.doc[start:p.at]
	case 'n':
		n.kind, ok = Null, p.word("null")
		n.raw = p.doc[start:p.at]
	default:
		n.kind, ok = Number, p.number()
		n.raw = p.doc[start:p.at]
	}
	return false, ok && p.add(n)
}

// add appends a node as the last child of the container being read.
func (p *parser) add(n node) bool {
	if len(p.nodes) == maxValues {
		return false
	}
	at := int32(len(p.nodes)) //nolint:gosec // at most maxValues
	p.nodes = append(p.nodes, n)
	if len(p.open) == 0 {
		return true
	}
	f := &p.open[len(p.open)-1]
	if f.last == 0 {
		p.nodes[f.node].first = at
	} else {
		p.nodes[f.last].next = at
	}
	f.last = at
	p.nodes[f.node].size++
	return true
}

// after goes from the end of a value, or from where a container was opened, to
// where the next value or member begins, closing containers on the way. There is
// no more when the whole document has ended.
func (p *parser) after(opened bool) (more, ok bool) {
	for len(p.open) > 0 {
		f := &p.open[len(p.open)-1]
		switch c := p.peek(); {
		case c == f.close:
			p.at++
			p.nodes[f.node].raw = p.doc[f.start:p.at]
			if c == '}' && !p.distinct(f.node) {
				return false, false
			}
			p.open, opened = p.open[:len(p.open)-1], false
		case opened:
			return true, true
		case c == ',':
			p.at++
			return true, true
		default:
			return false, false
		}
	}
	return false, true
}

// distinct reports whether no two members of an object have one name.
func (p *parser) distinct(object int32) bool {
	n := &p.nodes[object]
	if n.size > linear {
		return p.indexed(object).distinct
	}
	for a := n.first; a != 0; a = p.nodes[a].next {
		for b := p.nodes[a].next; b != 0; b = p.nodes[b].next {
			if bytes.Equal(p.nodes[a].name, p.nodes[b].name) {
				return false
			}
		}
	}
	return true
}

// text reads a string, quotes and all, and says whether anything is escaped in it.
func (p *parser) text() (raw []byte, escaped, ok bool) {
	start := p.at
	for p.at++; p.at < len(p.doc); p.at++ {
		switch c := p.doc[p.at]; {
		case c == '"':
			p.at++
			return p.doc[start:p.at], escaped, true
		case c < ' ':
			return nil, false, false
		case c == '\\':
			escaped = true
			if !p.escape() {
				return nil, false, false
			}
		}
	}
	return nil, false, false
}

// escape reads what stands behind a backslash, up to its last byte. Half of a
// surrogate pair is no character.
func (p *parser) escape() bool {
	p.at++
	if p.at == len(p.doc) {
		return false
	}
	switch p.doc[p.at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
	default:
		return false
	}
	unit, ok := p.unit()
	const high, low, end = 0xd800, 0xdc00, 0xe000
	if !ok || unit < high || unit >= end {
		return ok
	}
	if unit >= low || !bytes.HasPrefix(p.doc[p.at+1:], []byte(`\u`)) {
		return false
	}
	p.at += 2
	unit, ok = p.unit()
	return ok && unit >= low && unit < end
}

// unit reads the four digits behind a "u".
func (p *parser) unit() (unit rune, ok bool) {
	if len(p.doc)-p.at <= 4 {
		return 0, false
	}
	for _, c := range p.doc[p.at+1 : p.at+5] {
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
	p.at += 4
	return unit, true
}

func (p *parser) word(word string) bool {
	if !bytes.HasPrefix(p.doc[p.at:], []byte(word)) {
		return false
	}
	p.at += len(word)
	return true
}

// number reads a number; what cannot stand behind one is for others to refuse.
func (p *parser) number() bool {
	p.skip('-')
	if !p.skip('0') && !p.digits() {
		return false
	}
	if p.skip('.') && !p.digits() {
		return false
	}
	if p.skip('e') || p.skip('E') {
		_ = p.skip('+') || p.skip('-')
		return p.digits()
	}
	return true
}

func (p *parser) skip(c byte) bool {
	if p.at < len(p.doc) && p.doc[p.at] == c {
		p.at++
		return true
	}
	return false
}

// digits reads one digit or more.
func (p *parser) digits() bool {
	start := p.at
	for p.at < len(p.doc) && '0' <= p.doc[p.at] && p.doc[p.at] <= '9' {
		p.at++
	}
	return p.at > start
}

// unquote decodes a JSON string that the parser has already accepted.
func unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
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
