package sdktest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/sdk/internal/abi"
)

// docs/plugin-abi.md §9.

const (
	maxAnnotations = 16
	maxAnnotation  = 1024
)

var (
	attributeForm = regexp.MustCompile(`^[a-z0-9]{1,20}$`)
	attributes    = strings.Fields(`specversion id source type subject time datacontenttype dataschema data database64
		tenant provider verifiedby covers receivedtime dedupkey conflict confirm sandbox`)
)

// ruling is what a guard's golden expects; docs/goldens.md §2.
type ruling struct {
	Verdict     string       `json:"verdict"`
	Detail      string       `json:"detail,omitempty"`
	Annotations []annotation `json:"annotations,omitempty"`
}

type annotation struct {
	Event int32  `json:"event"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// guardHost is the host of a guard: what says an event, gives evidence or signs
// is denied. In a provider's plugin's host the three functions of guards are.
type guardHost struct {
	*host

	prefix string
	events int32
	notes  []annotation
}

func (h *guardHost) rule(verdict int32) (*ruling, error) {
	r := &ruling{Verdict: map[int32]string{abi.GuardPass: "pass", abi.GuardHold: "hold", abi.GuardReject: "reject"}[verdict], Annotations: h.notes}
	if r.Verdict == "" {
		return nil, fmt.Errorf("the guard returned %d, which is no verdict", verdict)
	}
	if verdict != abi.GuardPass {
		r.Detail = h.detail
	}
	return r, nil
}

// guard makes the host of a guard of that of one run.
func (c *testCase) guard(h *host) *guardHost {
	g := &guardHost{host: h, prefix: strings.ReplaceAll(c.name, "-", "")}
	for _, text := range c.golden.Events {
		h.chunks = append(h.chunks, chunk{bytes: text})
		g.events++
	}
	return g
}

// Events is the ABI's events.
func (h *guardHost) Events() int32 { return h.events }

// EventView is the ABI's event_view.
func (h *guardHost) EventView(i int32) int32 {
	if i < 0 || i >= h.events {
		return abi.Absent
	}
	return h.View(abi.ViewJSON, i+1)
}

// Annotate is the ABI's annotate.
func (h *guardHost) Annotate(i int32, name, value string) int32 {
	view := h.EventView(i)
	full, of := h.prefix+name, 0
	for _, n := range h.notes {
		if n.Event == i {
			of++
		}
	}
	switch {
	case view < 0:
		return view
	case !attributeForm.MatchString(name) || value == "" || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return abi.Malformed
	case len(value) > maxAnnotation || of >= maxAnnotations || !h.hold(len(value)):
		return abi.Limit
	case slices.Contains(attributes, full) || h.Kind(view, "/"+full) != abi.KindAbsent ||
		slices.ContainsFunc(h.notes, func(n annotation) bool { return n.Event == i && n.Name == full }):
		return abi.Invalid
	}
	h.notes = append(h.notes, annotation{i, full, value})
	return 0
}

// Events is denied to a provider's plugin.
func (h *host) Events() int32 { return abi.Denied }

// EventView is denied to a provider's plugin.
func (h *host) EventView(int32) int32 { return abi.Denied }

// Annotate is denied to a provider's plugin.
func (h *host) Annotate(int32, string, string) int32 { return abi.Denied }

// Tell is denied to a guard.
func (h *guardHost) Tell([]abi.Field) int32 { return abi.Denied }

// SetAside is denied to a guard.
func (h *guardHost) SetAside(int32, string, string) int32 { return abi.Denied }

// Ack is denied to a guard.
func (h *guardHost) Ack(int32, string, string) int32 { return abi.Denied }

// Respond is denied to a guard.
func (h *guardHost) Respond(int32, string, string) int32 { return abi.Denied }

// RespondMAC is denied to a guard.
func (h *guardHost) RespondMAC(string, string, int32) int32 { return abi.Denied }

// Token is denied to a guard.
func (h *guardHost) Token(string) int32 { return abi.Denied }

// SignedBegin is denied to a guard.
func (h *guardHost) SignedBegin(string) int32 { return abi.Denied }

// SignedBytes is denied to a guard.
func (h *guardHost) SignedBytes(int32, string) int32 { return abi.Denied }

// SignedBody is denied to a guard.
func (h *guardHost) SignedBody(int32) int32 { return abi.Denied }

// SignedCheck is denied to a guard.
func (h *guardHost) SignedCheck(int32, string, int32) int32 { return abi.Denied }

// CoversBody is denied to a guard.
func (h *guardHost) CoversBody(int32, int32, string, int32) int32 { return abi.Denied }

// TokenText is denied to a guard.
func (h *guardHost) TokenText(string, []byte) int32 { return abi.Denied }

// Decrypt is denied to a guard.
func (h *guardHost) Decrypt(string, []byte, int32) int32 { return abi.Denied }

// Same is denied to a guard.
func (h *guardHost) Same(int32, int32, string) int32 { return abi.Denied }

// SameBytes is denied to a guard.
func (h *guardHost) SameBytes(int32, int32) int32 { return abi.Denied }

// Sign is denied to a guard.
func (h *guardHost) Sign(int32, int32, []byte) int32 { return abi.Denied }

// Encrypt is denied to a guard.
func (h *guardHost) Encrypt(string, []byte, int32) int32 { return abi.Denied }

// OutToken is denied to a guard.
func (h *guardHost) OutToken(string, string) int32 { return abi.Denied }

// OutHeader is denied to a guard.
func (h *guardHost) OutHeader(string, string) int32 { return abi.Denied }

// OutBody is denied to a guard.
func (h *guardHost) OutBody(string) int32 { return abi.Denied }

var (
	_ abi.Host = (*guardHost)(nil)
	_ abi.Host = (*host)(nil)
)
