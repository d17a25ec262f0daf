package author

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

// Difference is one place where what came out is not what was expected.
type Difference struct {
	// Member is its place, "events[0].status"; empty for the whole.
	Member string `json:"member"`
	// Expected and Got are JSON; empty where there is nothing.
	Expected json.RawMessage `json:"expected,omitempty"`
	Got      json.RawMessage `json:"got,omitempty"`
}

// Differences compares two JSON texts member by member, in the order of what is
// expected. What is on one side only is one difference, however large. There is
// none only where both are the same bytes but for the white space between tokens.
func Differences(expected, got []byte) []Difference {
	return differ("", compact(expected), compact(got))
}

func compact(text []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return text
	}
	return b.Bytes()
}

func differ(at string, expected, got []byte) []Difference {
	if bytes.Equal(expected, got) {
		return nil
	}
	if found := within(at, expected, got); len(found) > 0 {
		return found
	}
	return []Difference{{Member: at, Expected: expected, Got: got}}
}

// within are the differences inside of two objects or two arrays; none where only
// the order or the writing differs.
func within(at string, expected, got []byte) []Difference {
	a, isObject := parts(expected)
	b, isToo := parts(got)
	if len(a)+len(b) == 0 || isObject != isToo || expected[0] != got[0] {
		return nil
	}
	var found []Difference
	for _, p := range a {
		place, i := join(at, p.name, isObject), slices.IndexFunc(b, p.named)
		if i < 0 {
			found = append(found, Difference{Member: place, Expected: p.value})
			continue
		}
		found = append(found, differ(place, p.value, b[i].value)...)
	}
	for _, p := range b {
		if !slices.ContainsFunc(a, p.named) {
			found = append(found, Difference{Member: join(at, p.name, isObject), Got: p.value})
		}
	}
	return found
}

// part is a member of an object, or an element of an array by its number.
type part struct {
	name  string
	value json.RawMessage
}

func (p part) named(other part) bool { return p.name == other.name }

func join(at, name string, member bool) string {
	switch {
	case !member:
		return at + "[" + name + "]"
	case at == "":
		return name
	}
	return at + "." + name
}

// parts are those of an object or an array, in their order; none of anything
// else.
func parts(text []byte) (found []part, isObject bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	open, err := d.Token()
	isObject = open == json.Delim('{')
	if err != nil || !isObject && open != json.Delim('[') {
		return nil, false
	}
	for d.More() {
		p := part{name: strconv.Itoa(len(found))}
		if isObject {
			name, err := d.Token()
			if err != nil {
				return nil, false
			}
			p.name, _ = name.(string)
		}
		if d.Decode(&p.value) != nil {
			return nil, false
		}
		found = append(found, p)
	}
	return found, isObject
}
