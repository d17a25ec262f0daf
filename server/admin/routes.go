package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern/postern/host"
)

// How many entries a page has.
const (
	defaultLimit = 20
	maxLimit     = 500
	maxCursor    = 256 // bytes, well above what any store makes
)

func (a *Admin) version(*http.Request) (any, error) {
	return map[string]string{"version": a.o.Version}, nil
}

func (a *Admin) endpoints(*http.Request) (any, error) {
	return map[string]any{"endpoints": list(a.o.Endpoints())}, nil
}

func (a *Admin) status(r *http.Request) (any, error) {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	status, err := a.o.Status(r.Context())
	if err != nil {
		return nil, fmt.Errorf("read the store's status: %w", err)
	}
	return status, nil
}

// list is s, empty and not null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// stored is an event with its place.
type stored struct {
	Seq    uint64      `json:"seq"`
	Cursor host.Cursor `json:"cursor"`
	Event  *host.Event `json:"event"`
}

func (a *Admin) events(r *http.Request) (any, error) {
	page, err := readPage(r.URL.RawQuery, "newest", "tenant", "provider", "type")
	if err != nil {
		return nil, err
	}
	if _, _, err := page.After.At(); err != nil {
		return nil, badCursor()
	}
	found, next, err := a.o.Reader.Range(r.Context(), page)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	out := make([]stored, len(found))
	for i := range found {
		out[i] = stored{found[i].Seq, found[i].Cursor, &found[i].Event}
	}
	return map[string]any{"events": out, "next": next}, nil
}

// readQuery reads the parameters of a route that takes the known ones.
func readQuery(rawQuery string, known ...string) (map[string]string, error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, invalid("the query cannot be parsed; encode it as a form")
	}
	if len(query) > 0 && len(known) == 0 {
		return nil, invalid("this route takes no parameters")
	}
	given := make(map[string]string, len(query))
	for name, values := range query {
		if !slices.Contains(known, name) {
			slices.Sort(known)
			return nil, invalid("parameter %q is unknown; known here: %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, invalid("parameter %q stands there twice; give it once", name)
		}
		given[name] = values[0]
	}
	return given, nil
}

// readPage reads the query of a list: after, limit and what else is known.
func readPage(rawQuery string, known ...string) (host.Page, error) {
	// Operators see everything; what is held back from sinks is marked.
	page := host.Page{Limit: defaultLimit, Filter: host.Filter{Unverified: true, Conflicts: true}}
	given, err := readQuery(rawQuery, append(known, "after", "limit")...)
	if err != nil {
		return page, err
	}
	for name, value := range given {
		if err := readParameter(&page, name, value); err != nil {
			return page, err
		}
	}
	return page, nil
}

func readParameter(page *host.Page, name, value string) error {
	switch name {
	case "after":
		if len(value) > maxCursor {
			return badCursor()
		}
		page.After = host.Cursor(value)
	case "limit":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxLimit {
			return invalid("limit is %q; use a number from 1 to %d", value, maxLimit)
		}
		page.Limit = n
	case "newest":
		if value != "true" && value != "false" {
			return invalid("newest is %q; use true or false", value)
		}
		page.Newest = value == "true"
	case "tenant":
		page.Filter.Tenants = []string{value}
	case "provider":
		page.Filter.Providers = []string{value}
	case "type":
		page.Filter.Types = []string{value}
	}
	return nil
}

// callback is the record of one event's callback. Tokens were masked before it
// was stored.
type callback struct {
	Kind     string          `json:"kind"`
	Detail   string          `json:"detail,omitempty"`
	Plugin   string          `json:"plugin"`
	Method   string          `json:"method"`
	Target   string          `json:"target"`
	Headers  []host.Header   `json:"headers"`
	Remote   string          `json:"remote,omitempty"`
	Received time.Time       `json:"received"`
	Evidence []host.Evidence `json:"evidence"`
	// Body is the body if it is UTF-8, else Base64 is set.
	Body   *string      `json:"body,omitempty"`
	Base64 []byte       `json:"body_base64,omitempty"`
	Aside  []host.Aside `json:"aside,omitempty"`
}

func (a *Admin) event(r *http.Request) (any, error) {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	found, err := a.o.Reader.Event(r.Context(), r.PathValue("id"))
	if errors.Is(err, host.ErrNotFound) {
		return nil, notFound("no event has this id")
	}
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	record, err := a.o.Reader.Callback(r.Context(), found.Seq)
	if err != nil {
		return nil, fmt.Errorf("read callback %d: %w", found.Seq, err)
	}
	return struct {
		stored
		Callback callback `json:"callback"`
	}{stored{found.Seq, found.Cursor, &found.Event}, describe(record)}, nil
}

func describe(rec *host.Record) callback {
	cb := &rec.Callback
	out := callback{
		Kind: rec.Kind.String(), Detail: rec.Detail, Plugin: rec.Plugin,
		Method: cb.Method, Target: cb.Target, Headers: list(cb.Headers), Received: cb.Received.UTC(),
		Evidence: list(rec.Evidence), Aside: rec.Aside,
	}
	if cb.Remote.IsValid() {
		out.Remote = cb.Remote.String()
	}
	if utf8.Valid(cb.Body) {
		text := string(cb.Body)
		out.Body = &text
	} else {
		out.Base64 = cb.Body
	}
	return out
}

// readBody decodes the body of a request strictly. An empty one changes nothing.
func readBody(r *http.Request, into any, form string) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return invalid("the body is not of the form %s", form)
	}
	if dec.More() {
		return invalid("more than one JSON value stands in the body")
	}
	return nil
}

// bare refuses parameters and a body where a route takes neither.
func bare(r *http.Request) error {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return err
	}
	return readBody(r, &struct{}{}, "{}: this route takes nothing")
}

// refusal is an error that the caller can do something about.
type refusal struct {
	status     int
	code, text string
	// problems are what is wrong, a line each, where there may be several.
	problems []string
}

func (e *refusal) Error() string { return e.text }

func invalid(format string, args ...any) error {
	return &refusal{status: http.StatusBadRequest, code: "request.invalid", text: fmt.Sprintf(format, args...)}
}

func badCursor() error { return invalid("after is no cursor; take one from an earlier answer") }

// conflict refuses what cannot be done as things are; code says which things.
func conflict(code, format string, args ...any) error {
	return &refusal{status: http.StatusConflict, code: code, text: fmt.Sprintf(format, args...)}
}

func notFound(text string) error {
	return &refusal{status: http.StatusNotFound, code: "not-found", text: text}
}

// writeError tells an operator what is wrong. The text of an error of ours is
// for operators, and holds no secret (invariant 8).
func writeError(w http.ResponseWriter, err error) {
	var e *refusal
	switch {
	case errors.As(err, &e):
	case errors.Is(err, host.ErrUnsupported):
		e = &refusal{status: http.StatusNotImplemented, code: "unsupported", text: err.Error()}
	default:
		code := host.CodeOf(err)
		e = &refusal{status: code.Status(), code: code.String(), text: err.Error()}
	}
	answer := map[string]any{"error": map[string]string{"code": e.code, "message": e.text}}
	if len(e.problems) > 0 {
		answer["problems"] = e.problems
	}
	writeJSON(w, e.status, answer)
}
