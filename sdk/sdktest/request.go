package sdktest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// request is a callback as a golden writes it; docs/goldens.md §1.
type request struct {
	method, target, public string
	headers                []field
	body                   []byte

	traces [][2]string // of tokens, and what masks each
}

type field struct{ name, value string }

func parseRequest(file []byte) (*request, error) {
	head, body, ok := bytes.Cut(file, []byte("\n\n"))
	if !ok {
		return nil, errors.New("no blank line ends the head")
	}
	if bytes.IndexByte(head, '\r') >= 0 {
		return nil, errors.New("a CR stands in the head: its lines end with LF")
	}
	lines := strings.Split(string(head), "\n")
	first := strings.Split(lines[0], " ")
	if len(first) != 3 || first[0] == "" || !strings.HasPrefix(first[1], "/") || first[2] != "HTTP/1.1" {
		return nil, fmt.Errorf("first line %q is not METHOD /target HTTP/1.1", lines[0])
	}
	r := &request{method: first[0], target: first[1], body: body}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("header line %q is not Name: value", line)
		}
		r.headers = append(r.headers, field{name, strings.Trim(value, " \t")})
	}
	return r, nil
}

// text writes the request in the form of a golden.
func (r *request) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\n", r.method, r.target)
	for _, h := range r.headers {
		fmt.Fprintf(&b, "%s: %s\n", h.name, h.value)
	}
	b.WriteByte('\n')
	b.Write(r.body)
	return b.Bytes()
}
