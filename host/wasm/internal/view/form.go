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
	v := &View{nodes: []node{{kind: Object, raw: doc}}, fields: make(map[string][]int32)}
	last := int32(0)
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
		at := int32(len(v.nodes)) //nolint:gosec // a body is far below 2 GiB, and so are its fields
		v.nodes = append(v.nodes, node{kind: String, name: []byte(name), raw: []byte(value)})
		if last == 0 {
			v.nodes[0].first = at
		} else {
			v.nodes[last].next = at
		}
		last = at
		v.nodes[0].size++
		v.fields[name] = append(v.fields[name], at)
	}
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
	return v.repeatOf(v.nodes[first].name, i)
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
	for at := v.nodes[0].first; at != 0; at = v.nodes[at].next {
		all := v.fields[string(v.nodes[at].name)]
		if all[0] != at {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(quote(v.nodes[at].name))
		b.WriteByte(':')
		if len(all) == 1 {
			b.Write(quote(v.nodes[at].raw))
			continue
		}
		values := make([][]byte, len(all))
		for i, n := range all {
			values[i] = quote(v.nodes[n].raw)
		}
		b.WriteByte('[')
		b.Write(bytes.Join(values, []byte(",")))
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return b.Bytes()
}
