package view

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// byLibrary parses as [JSON] does, by a library's decoder.
func byLibrary(doc []byte) (*View, error) {
	dec, _ := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewBuffer(doc))
	p := oracle{dec: dec, view: &View{nodes: make([]node, 0, 32)}, doc: doc}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.view, nil
}

var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

type oracle struct {
	dec  *jsontext.Decoder
	view *View
	doc  []byte
	open []opened
}

// opened is a container being read.
type opened struct {
	node, last int32
	start      int64
}

func (p *oracle) run() error {
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

func (p *oracle) inObject() bool {
	return len(p.open) > 0 && p.view.nodes[p.open[len(p.open)-1].node].kind == Object
}

func (p *oracle) memberName() ([]byte, error) {
	raw, err := p.dec.ReadValue()
	if err != nil || raw.Kind() != '"' {
		return nil, ErrMalformed
	}
	return unquote(p.last(raw)), nil
}

// last is the value just read as it stands in the document, which outlives
// the decoder's buffer.
func (p *oracle) last(raw jsontext.Value) []byte {
	end := p.dec.InputOffset()
	return p.doc[end-int64(len(raw)) : end]
}

func (p *oracle) value(kind jsontext.Kind, name []byte) error {
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
		p.open = append(p.open, opened{node: at, start: p.dec.InputOffset() - 1})
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
func (p *oracle) add(n node) int32 {
	at := int32(len(p.view.nodes))
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
