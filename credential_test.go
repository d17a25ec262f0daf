package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// credential says where what verifies a callback stands: "body:/signature" (a
// JSON Pointer to a string), "header:clientId", or "path" (the last segment).
type credential string

// alter gives the callback with the credential's text changed by f, or with
// the whole credential taken out where f is nil. It is an error when nothing
// stands there: a case that changes nothing proves nothing.
func (c credential) alter(r *golden, f func(string) string) error {
	place, key, _ := strings.Cut(string(c), ":")
	switch place {
	case "body":
		return c.alterBody(r, key, f)
	case "header":
		i := slices.IndexFunc(r.headers, func(h [2]string) bool { return strings.EqualFold(h[0], key) })
		if i < 0 {
			return fmt.Errorf("no header %s", key)
		}
		if f == nil {
			r.headers = slices.Delete(slices.Clone(r.headers), i, i+1)
			return nil
		}
		r.headers = slices.Clone(r.headers)
		r.headers[i][1] = f(r.headers[i][1])
		return nil
	case "path":
		path, query, hasQuery := strings.Cut(r.target, "?")
		at := strings.LastIndexByte(path, '/')
		if strings.Count(path, "/") < 4 {
			return fmt.Errorf("the path %s has no token", path)
		}
		if f == nil {
			path = path[:at]
		} else {
			path = path[:at+1] + f(path[at+1:])
		}
		if r.target = path; hasQuery {
			r.target += "?" + query
		}
		return nil
	}
	return fmt.Errorf("credential %q must be body:/POINTER, header:NAME or path", c)
}

func (c credential) alterBody(r *golden, pointer string, f func(string) string) error {
	all, err := members(r.body)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(m member) bool { return m.path == pointer })
	if i < 0 {
		return fmt.Errorf("no member %s", pointer)
	}
	m := all[i]
	if f == nil {
		r.body = cutMember(r.body, m)
		return nil
	}
	var text string
	if err := json.Unmarshal(r.body[m.value:m.end], &text); err != nil {
		return fmt.Errorf("member %s: %w", pointer, err)
	}
	quoted, err := json.Marshal(f(text))
	if err != nil {
		return err
	}
	r.body = slices.Concat(r.body[:m.value], quoted, r.body[m.end:])
	return nil
}

// cutMember takes a member and one comma beside it out of its object.
func cutMember(body []byte, m member) []byte {
	before := bytes.TrimRight(body[:m.name], " \t\r\n")
	after := bytes.TrimLeft(body[m.end:], " \t\r\n")
	if rest, ok := bytes.CutPrefix(after, []byte(",")); ok {
		after = rest
	} else {
		before = bytes.TrimSuffix(before, []byte(","))
	}
	return slices.Concat(before, after)
}

// otherText is s with its i-th byte, or the first letter or digit after it,
// made another one of its kind: hexadecimal stays hexadecimal, base64 base64.
func otherText(s string, i int) string {
	b := []byte(s)
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c >= '0' && c <= '9':
			b[i] = '0' + (c-'0'+1)%10
		case c >= 'a' && c <= 'f':
			b[i] = 'a' + (c-'a'+1)%6
		case c >= 'A' && c <= 'F':
			b[i] = 'A' + (c-'A'+1)%6
		case c >= 'g' && c <= 'z':
			b[i] = 'g' + (c-'g'+1)%20
		case c >= 'G' && c <= 'Z':
			b[i] = 'G' + (c-'G'+1)%20
		default:
			continue
		}
		break
	}
	return string(b)
}

// member is one member of a JSON object, or one element of an array, and where
// it stands: its name begins at name (an element's value does), its value goes
// from value to end.
type member struct {
	path             string
	name, value, end int
}

// members lists everything in a JSON text, outer before inner, in order.
func members(text []byte) ([]member, error) {
	s := scan{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	if err := s.value(""); err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	return s.found, nil
}

type scan struct {
	text  []byte
	dec   *json.Decoder
	found []member
}

// next is where the next token begins.
func (s *scan) next() int {
	at := int(s.dec.InputOffset())
	for at < len(s.text) && strings.IndexByte(" \t\r\n,:", s.text[at]) >= 0 {
		at++
	}
	return at
}

func (s *scan) value(path string) error {
	open, err := s.dec.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') && open != json.Delim('[') {
		return nil
	}
	for n := 0; s.dec.More(); n++ {
		m := member{path: fmt.Sprintf("%s/%d", path, n), name: s.next()}
		if open == json.Delim('{') {
			name, err := s.dec.Token()
			if err != nil {
				return err
			}
			m.path = fmt.Sprintf("%s/%s", path, name)
		}
		m.value = s.next()
		i := len(s.found)
		s.found = append(s.found, m)
		if err := s.value(m.path); err != nil {
			return err
		}
		s.found[i].end = int(s.dec.InputOffset())
	}
	_, err = s.dec.Token()
	return err
}
