package sdktest

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// request is a callback as a golden writes it; docs/goldens.md §1.
type request struct {
	method, target, public string
	headers                []field
	body                   []byte
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

// take returns the value of a token that stands in the request once, and
// leaves its mask in every place where it stands.
func (r *request) take(s *secret) (string, bool) {
	mask := "[token:" + s.Name + "]"
	place, key, _ := strings.Cut(s.In, ":")
	switch place {
	case "header":
		return r.takeHeader(key, mask)
	case "query":
		return r.takeQuery(key, mask)
	default:
		return r.takePath(mask)
	}
}

func (r *request) takeHeader(key, mask string) (got string, ok bool) {
	n := 0
	for i, h := range r.headers {
		if strings.EqualFold(h.name, key) {
			got, n = h.value, n+1
			r.headers[i].value = mask
		}
	}
	return got, n == 1
}

func (r *request) takeQuery(key, mask string) (got string, ok bool) {
	path, query, found := strings.Cut(r.target, "?")
	if !found {
		return "", false
	}
	n := 0
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err != nil || plain != key {
			continue
		}
		n++
		parts[i] = name + "=" + mask
		if plain, err := url.QueryUnescape(value); err == nil {
			got = plain
		}
	}
	r.target = path + "?" + strings.Join(parts, "&")
	return got, n == 1
}

// takePath takes the fourth segment, /in/tenant/endpoint/TOKEN.
func (r *request) takePath(mask string) (string, bool) {
	path, query, more := strings.Cut(r.target, "?")
	parts := strings.SplitN(path, "/", 5)
	if len(parts) != 5 {
		return "", false
	}
	got := parts[4]
	r.target = strings.Join(parts[:4], "/") + "/" + mask
	if more {
		r.target += "?" + query
	}
	return got, got != ""
}
