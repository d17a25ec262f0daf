package view

import (
	"bytes"
	"errors"
	"io"
	"sync"

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
func JSON(doc []byte) (*View, error) {
	dec, _ := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewBuffer(doc))
	p := parser{dec: dec, view: &View{nodes: make([]node, 0, expect(doc))}, doc: doc}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.view, nil
}

// expect is how many values to make room for: no more than can be there, so
// that a long document of nothing costs nothing.
func expect(doc []byte) int {
	most := 1
	for _, mark := range []string{",", "[", "{"} {
		most += bytes.Count(doc, []byte(mark))
	}
	return min(most, 16+len(doc)/16, maxValues)
}

// IsJSON reports whether doc is as strict and as shallow as [JSON] takes it, and
// builds nothing. Its bound is in tokens, three for each value.
func IsJSON(doc []byte) bool {
	dec, _ := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewBuffer(doc))
	for n := 0; ; n++ {
		if _, err := dec.ReadToken(); err != nil || dec.StackDepth() > maxDepth || n > 3*maxValues {
			return false
		}
		if dec.StackDepth() == 0 {
			break
		}
	}
	_, err := dec.ReadToken()
	return errors.Is(err, io.EOF)
}

var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

type parser struct {
	dec  *jsontext.Decoder
	view *View
	doc  []byte
	open []frame
}

// frame is a container being read.
type frame struct {
	node, last int32
	start      int64
}

func (p *parser) run() error {
	for {
		kind := p.dec.PeekKind()
		if kind == 0 || len(p.open) > maxDepth || len(p.view.nodes) > maxValues {
			return ErrMalformed
		}
		var name []byte
		if p.inObject() && kind != '}' {
			var err error
			if name, err = p.memberName(); err != nil {
				return err
			}
			kind = p.dec.PeekKind()
		}
		if err := p.value(kind, name); err != nil {
			return err
		}
		if len(p.open) == 0 {
			break
		}
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return ErrMalformed
	}
	return nil
}

func (p *parser) inObject() bool {
	return len(p.open) > 0 && p.view.nodes[p.open[len(p.open)-1].node].kind == Object
}

func (p *parser) memberName() ([]byte, error) {
	raw, err := p.dec.ReadValue()
	if err != nil || raw.Kind() != '"' {
		return nil, ErrMalformed
	}
	return unquote(p.last(raw)), nil
}

// last is the value just read as it stands in the document, which outlives
// the decoder's buffer.
func (p *parser) last(raw jsontext.Value) []byte {
	end := p.dec.InputOffset()
	return p.doc[end-int64(len(raw)) : end]
}

func (p *parser) value(kind jsontext.Kind, name []byte) error {
	switch kind {
	case '{', '[':
		if _, err := p.dec.ReadToken(); err != nil {
			return ErrMalformed
		}
		n := node{kind: Object, name: name}
		if kind == '[' {
			n.kind = Array
		}
		at := p.add(n)
		p.open = append(p.open, frame{node: at, start: p.dec.InputOffset() - 1})
		return nil
	case '}', ']':
		if _, err := p.dec.ReadToken(); err != nil || len(p.open) == 0 {
			return ErrMalformed
		}
		f := p.open[len(p.open)-1]
		p.open = p.open[:len(p.open)-1]
		p.view.nodes[f.node].raw = p.doc[f.start:p.dec.InputOffset()]
		return nil
	default:
		raw, err := p.dec.ReadValue()
		if err != nil {
			return ErrMalformed
		}
		p.add(node{kind: scalar(raw.Kind()), name: name, raw: p.last(raw)})
		return nil
	}
}

// add appends a node as the last child of the container being read.
func (p *parser) add(n node) int32 {
	at := int32(len(p.view.nodes)) //nolint:gosec // a body is far below 2 GiB, and so are its nodes
	p.view.nodes = append(p.view.nodes, n)
	if len(p.open) == 0 {
		return at
	}
	f := &p.open[len(p.open)-1]
	if f.last == 0 {
		p.view.nodes[f.node].first = at
	} else {
		p.view.nodes[f.last].next = at
	}
	f.last = at
	p.view.nodes[f.node].size++
	return at
}

func scalar(k jsontext.Kind) Kind {
	switch k {
	case '"':
		return String
	case '0':
		return Number
	case 't', 'f':
		return Boolean
	default:
		return Null
	}
}

// unquote decodes a JSON string that the decoder has already accepted.
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
