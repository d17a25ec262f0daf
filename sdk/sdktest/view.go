package sdktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern/postern/sdk/internal/abi"
)

// Bounds of a document; docs/plugin-abi.md §5.
const (
	maxDepth  = 128
	maxValues = 100_000
	maxFields = 10_000
)

var errMalformed = errors.New("malformed")

// node is a value of a view.
type node struct {
	kind int32
	// text is what get gives; json the value as JSON.
	text, json string
	// names and children of an object; an array has only children.
	names    []string
	children []*node
	// repeats are the values of a form's field, on its first one.
	repeats []*node
}

// parseView is the ABI's view.
func parseView(kind int32, doc []byte) (*node, error) {
	if kind == abi.ViewForm {
		return parseForm(string(doc))
	}
	d := jsontext.NewDecoder(bytes.NewReader(doc))
	n, err := readJSON(d, doc, 0)
	if err != nil {
		return nil, errMalformed
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) || n.values() > maxValues {
		return nil, errMalformed
	}
	return n, nil
}

// values counts the value and all inside it.
func (n *node) values() int {
	count := 1
	for _, child := range n.children {
		count += child.values()
	}
	return count
}

func readJSON(d *jsontext.Decoder, doc []byte, depth int) (*node, error) {
	kind := d.PeekKind()
	if kind != '{' && kind != '[' {
		return readScalar(d)
	}
	if depth == maxDepth {
		return nil, errMalformed
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	start := d.InputOffset() - 1
	n := &node{kind: abi.KindArray}
	if kind == '{' {
		n.kind = abi.KindObject
	}
	for {
		if next := d.PeekKind(); next == '}' || next == ']' {
			_, err := d.ReadToken()
			n.json = string(doc[start:d.InputOffset()])
			n.text = n.json
			return n, err
		}
		if kind == '{' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			n.names = append(n.names, name.String())
		}
		child, err := readJSON(d, doc, depth+1)
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, child)
	}
}

var scalars = map[jsontext.Kind]int32{
	'"': abi.KindString, '0': abi.KindNumber, 't': abi.KindBoolean, 'f': abi.KindBoolean, 'n': abi.KindNull,
}

func readScalar(d *jsontext.Decoder) (*node, error) {
	v, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	n := &node{text: string(v), json: string(v)}
	if n.kind = scalars[v.Kind()]; n.kind == abi.KindString {
		text, err := jsontext.AppendUnquote(nil, v)
		n.text = string(text)
		return n, err
	}
	return n, nil
}

func parseForm(doc string) (*node, error) {
	root := &node{kind: abi.KindObject, text: doc}
	for part := range strings.SplitSeq(doc, "&") {
		if part == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil || strings.Contains(part, ";") {
			return nil, errMalformed
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			return nil, errMalformed
		}
		root.addField(name, value)
	}
	if len(root.names) > maxFields {
		return nil, errMalformed
	}
	root.json = root.formJSON()
	return root, nil
}

func (n *node) addField(name, value string) {
	leaf := &node{kind: abi.KindString, text: value, json: quote(value)}
	first := leaf
	if i := slices.Index(n.names, name); i >= 0 {
		first = n.children[i]
	} else {
		first = &node{kind: leaf.kind, text: leaf.text, json: leaf.json}
	}
	first.repeats = append(first.repeats, leaf)
	n.names = append(n.names, name)
	if len(first.repeats) == 1 {
		leaf = first
	}
	n.children = append(n.children, leaf)
}

// formJSON is a form as provider data: an object of the names in the order of
// their first use, a repeated one as an array.
func (n *node) formJSON() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, child := range n.children {
		if child.repeats == nil {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(quote(n.names[i]) + ":")
		if len(child.repeats) == 1 {
			b.WriteString(child.json)
			continue
		}
		values := make([]string, len(child.repeats))
		for j, leaf := range child.repeats {
			values[j] = leaf.json
		}
		b.WriteString("[" + strings.Join(values, ",") + "]")
	}
	return b.String() + "}"
}

func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		return `""`
	}
	return string(b)
}

// splitPath reads a JSON Pointer.
func splitPath(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' {
		return nil, errMalformed
	}
	tokens := strings.Split(path[1:], "/")
	for i, t := range tokens {
		plain := strings.NewReplacer("~0", "", "~1", "").Replace(t)
		if strings.Contains(plain, "~") {
			return nil, errMalformed
		}
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens, nil
}

// find returns the value at a path, nil where there is none.
func (n *node) find(tokens []string) *node {
	for _, t := range tokens {
		switch n.kind {
		case abi.KindObject:
			i := slices.Index(n.names, t)
			if i < 0 {
				return nil
			}
			n = n.children[i]
		case abi.KindArray:
			if n = element(n.children, t); n == nil {
				return nil
			}
		default:
			if n = element(n.repeats, t); n == nil {
				return nil
			}
		}
	}
	return n
}

func element(list []*node, token string) *node {
	i, err := strconv.ParseUint(token, 10, 32)
	if err != nil || strconv.FormatUint(i, 10) != token || i >= uint64(len(list)) {
		return nil
	}
	return list[i]
}

// length is what len gives, or why it gives none.
func (n *node) length() int32 {
	switch {
	case n.kind == abi.KindObject || n.kind == abi.KindArray:
		return count(len(n.children))
	case n.repeats != nil:
		return count(len(n.repeats))
	case n.kind == abi.KindNull:
		return abi.Absent
	}
	return abi.Malformed
}

// compact takes the white space between tokens out of JSON.
func compact(text string) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
