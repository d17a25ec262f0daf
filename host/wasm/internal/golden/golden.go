// Package golden reads the goldens that a module carries: callbacks, and what the
// plugin must make of them.
package golden

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/manifest"
)

// Golden is a callback that a module carries, and what the plugin must make of
// it; docs/goldens.md.
type Golden struct {
	Name string
	// Request is the .http file, byte for byte.
	Request    []byte
	About      string
	Received   time.Time
	PublicURL  string
	Secrets    map[string][]string
	Settings   map[string]any
	Unverified bool
	// Events are those that a guard judges, as texts of CloudEvents.
	Events [][]byte
	// Verdict is the expected one; Expect is the whole expected result.
	Verdict string
	Expect  jsontext.Value
}

// circumstances is the form of NAME.golden.json.
type circumstances struct {
	About      string              `json:"about"`
	Received   time.Time           `json:"received"`
	PublicURL  string              `json:"public_url"`
	Secrets    map[string][]string `json:"secrets"`
	Settings   map[string]any      `json:"settings"`
	Unverified bool                `json:"unverified"`
	Events     []jsontext.Value    `json:"events"`
	Expect     jsontext.Value      `json:"expect"`
}

// Of are the goldens that a module carries, sorted by name; none if it has no
// section of them.
func Of(module []byte) ([]Golden, error) {
	section, err := manifest.Section(module, manifest.GoldensSection)
	if errors.Is(err, manifest.ErrNoSection) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	goldens, err := parse(section)
	if err != nil {
		return nil, fmt.Errorf("goldens: %w", err)
	}
	return goldens, nil
}

// Callback is the request as the intake would hand it over, its tokens not
// masked yet. It owns its memory.
func (g *Golden) Callback() (*host.Callback, error) {
	head, body, ok := bytes.Cut(g.Request, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	first := strings.Split(lines[0], " ")
	if !ok || len(first) != 3 || bytes.IndexByte(head, '\r') >= 0 {
		return nil, fmt.Errorf("%s.http is no request: a line of method, target and protocol, headers, an empty line, the body", g.Name)
	}
	base := g.PublicURL
	if base == "" {
		base = "https://postern.test"
	}
	cb := &host.Callback{
		Method: first[0], Target: first[1], PublicURL: base + first[1],
		Body: bytes.Clone(body), Received: g.Received,
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		cb.Headers = append(cb.Headers, host.Header{Name: name, Value: strings.Trim(value, " \t")})
	}
	return cb, nil
}

func parse(section []byte) ([]Golden, error) {
	var packed []struct {
		Name   string        `json:"name"`
		HTTP   []byte        `json:"http"`
		Golden circumstances `json:"golden"`
	}
	strict := json.RejectUnknownMembers(true)
	if err := json.Unmarshal(section, &packed, strict); err != nil {
		return nil, err
	}
	goldens := make([]Golden, 0, len(packed))
	for i := range packed {
		p := &packed[i]
		var expect struct {
			Verdict string `json:"verdict"`
		}
		if err := json.Unmarshal(p.Golden.Expect, &expect); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		c := &p.Golden
		var events [][]byte
		for _, text := range c.Events {
			events = append(events, text)
		}
		goldens = append(goldens, Golden{
			Name: p.Name, Request: p.HTTP, About: c.About, Received: c.Received, PublicURL: c.PublicURL,
			Secrets: c.Secrets, Settings: c.Settings, Unverified: c.Unverified,
			Events: events, Verdict: expect.Verdict, Expect: c.Expect,
		})
	}
	return goldens, nil
}
