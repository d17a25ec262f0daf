package view

import (
	"bytes"
	"net/url"
	"strings"
)

// Form parses application/x-www-form-urlencoded text. Order and repeats are
// kept, empty fields skipped; a bad escape and a ";" are malformed. A value need
// not be UTF-8. It has at most 10,000 fields.
func Form(doc []byte) (*View, error) {
	if len(doc) > maxText {
		return nil, ErrMalformed
	}
	root := node{kind: Object, raw: span{to: int32(len(doc))}} //nolint:gosec // see maxText
	v := &View{text: doc, nodes: []node{root}, fields: make(map[string][]int32)}
	for pair := range strings.SplitSeq(string(doc), "&") {
		if pair == "" {
			continue
		}
		name, value, err := field(pair)
		if err != nil {
			return nil, err
		}
		if len(v.nodes) > maxFields {
			return nil, ErrMalformed
		}
		at := int32(len(v.nodes)) //nolint:gosec // at most maxFields
		v.nodes = append(v.nodes, node{kind: String, name: v.keep(name), renamed: true, raw: v.keep(value), next: at + 1})
		v.fields[name] = append(v.fields[name], at)
	}
	v.nodes[0].next = int32(len(v.nodes))     //nolint:gosec // at most maxFields
	v.nodes[0].size = int32(len(v.nodes)) - 1 //nolint:gosec // at most maxFields
	return v, nil
}

func field(pair string) (name, value string, err error) {
	if strings.Contains(pair, ";") {
		return "", "", ErrMalformed
	}
	name, value, _ = strings.Cut(pair, "=")
	if name, err = url.QueryUnescape(name); err != nil {
		return "", "", ErrMalformed
	}
	if value, err = url.QueryUnescape(value); err != nil {
		return "", "", ErrMalformed
	}
	return name, value, nil
}

// repeat finds the value that "/name/2" means, given the name's first field.
func (v *View) repeat(first int32, token []byte, more bool) (int32, bool) {
	i, ok := arrayIndex(token)
	if !ok || more {
		return 0, false
	}
	return v.repeatOf(v.name(&v.nodes[first]), i)
}

func (v *View) repeatOf(name []byte, i int) (int32, bool) {
	if at := v.fields[string(name)]; i < len(at) {
		return at[i], true
	}
	return 0, false
}

// formJSON writes the form as a JSON object: a field once as a string, a
// repeated one as an array, in the order of first appearance.
func (v *View) formJSON() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for at := int32(1); at < v.nodes[0].next; at++ {
		all := v.fields[string(v.name(&v.nodes[at]))]
		if all[0] != at {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(quote(v.name(&v.nodes[at])))
		b.WriteByte(':')
		if len(all) == 1 {
			b.Write(quote(v.raw(&v.nodes[at])))
			continue
		}
		values := make([][]byte, len(all))
		for i, n := range all {
			values[i] = quote(v.raw(&v.nodes[n]))
		}
		b.WriteByte('[')
		b.Write(bytes.Join(values, []byte(",")))
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return b.Bytes()
}
