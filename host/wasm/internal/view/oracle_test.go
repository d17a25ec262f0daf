package view

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// value is what stands in a document: what the library reads, and what is in a
// view of it.
type value struct {
	Kind      Kind
	Raw, Name string
	// First is the first child, Next the next sibling, zero if there is none; Size
	// is the number of children.
	First, Next, Size int
}

// byLibrary parses as [JSON] does, by a library's decoder.
func byLibrary(doc []byte) ([]value, error) {
	dec, _ := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(dec)
	dec.Reset(bytes.NewBuffer(doc))
	p := oracle{dec: dec, values: make([]value, 0, 32), doc: doc}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.values, nil
}

// values are those of a view.
func (v *View) values() []value {
	all := make([]value, len(v.nodes))
	for i := range v.nodes {
		n := &v.nodes[i]
		all[i] = value{Kind: n.kind, Raw: string(v.raw(n)), Name: string(v.name(n)), Size: int(n.size)}
		last := 0
		for child := i + 1; child < int(n.next); child = int(v.nodes[child].next) {
			if last == 0 {
				all[i].First = child
			}
			last = child
		}
	}
	for i := range v.nodes {
		for child := all[i].First; child != 0; child = all[child].Next {
			if next := v.nodes[child].next; next < v.nodes[i].next {
				all[child].Next = int(next)
			}
		}
	}
	return all
}

var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

type oracle struct {
	dec    *jsontext.Decoder
	values []value
	doc    []byte
	open   []opened
}

// opened is a container being read.
type opened struct {
	node, last int
	start      int64
}

func (p *oracle) run() error {
	for {
		kind := p.dec.PeekKind()
		if kind == 0 || len(p.open) > maxDepth || len(p.values) > maxValues {
			return ErrMalformed
		}
		var name string
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
	return len(p.open) > 0 && p.values[p.open[len(p.open)-1].node].Kind == Object
}

func (p *oracle) memberName() (string, error) {
	raw, err := p.dec.ReadValue()
	if err != nil || raw.Kind() != '"' {
		return "", ErrMalformed
	}
	name, err := jsontext.AppendUnquote(nil, raw)
	return string(name), err
}

func (p *oracle) value(kind jsontext.Kind, name string) error {
	switch kind {
	case '{', '[':
		if _, err := p.dec.ReadToken(); err != nil {
			return ErrMalformed
		}
		n := value{Kind: Object, Name: name}
		if kind == '[' {
			n.Kind = Array
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
		p.values[f.node].Raw = string(p.doc[f.start:p.dec.InputOffset()])
		return nil
	default:
		raw, err := p.dec.ReadValue()
		if err != nil {
			return ErrMalformed
		}
		p.add(value{Kind: scalar(raw.Kind()), Name: name, Raw: string(raw)})
		return nil
	}
}

// add appends a node as the last child of the container being read.
func (p *oracle) add(n value) int {
	at := len(p.values)
	p.values = append(p.values, n)
	if len(p.open) == 0 {
		return at
	}
	f := &p.open[len(p.open)-1]
	if f.last == 0 {
		p.values[f.node].First = at
	} else {
		p.values[f.last].Next = at
	}
	f.last = at
	p.values[f.node].Size++
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
