// Package calibrate finds out what a provider does not document: it judges
// captured callbacks with every combination of some settings and says which
// verify them.
package calibrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// Choice is a setting and its values in the order in which they are tried.
type Choice struct {
	Setting string
	Values  []string
}

// Settings are one combination: a value for each choice.
type Settings map[string]string

// Refusal is a combination that cannot even be bound, such as a form that the
// secret does not have.
type Refusal struct {
	Settings Settings `json:"settings"`
	Reason   string   `json:"reason"`
}

// Report is what became of the combinations: each fits, or is refused, or is
// rejected. It is the answer for programs too; no list in it is nil.
type Report struct {
	// Plugin is the provider's name, Settings are those that were tried.
	Plugin   string   `json:"plugin"`
	Settings []string `json:"settings"`
	// Tried is how many combinations there are.
	Tried int `json:"tried"`
	// Fits are those that verify every callback.
	Fits    []Settings `json:"fits"`
	Refused []Refusal  `json:"refused"`
	// Rejected are those that leave a callback unverified, by what the plugin
	// said of the first such callback.
	Rejected map[string]int `json:"rejected"`
}

// Module tries what the manifest of a packed module says is to be found out, given
// the module's bytes.
// Cache is a directory of compiled modules, empty for none. It blocks while the
// module is compiled; see [Run] for the rest.
func Module(
	ctx context.Context, code []byte, cache string, callbacks []*host.Callback, secrets map[string][]string,
) (*Report, error) {
	rt, err := wasm.New(ctx, wasm.Options{Instances: 1, CacheDir: cache})
	if err != nil {
		return nil, err
	}
	defer func() { _ = rt.Close(ctx) }()
	m, err := rt.LoadCode(ctx, code)
	if err != nil {
		return nil, err
	}
	var choices []Choice
	for _, name := range m.Manifest().Calibrate {
		choices = append(choices, Choice{name, m.Manifest().Choices(name)})
	}
	report, err := Run(ctx, choices, callbacks, func(s Settings) (*host.Endpoint, error) {
		settings := make(map[string]any, len(s))
		for name, value := range s {
			settings[name] = value
		}
		bound, err := m.Bind(wasm.Binding{Secrets: secrets, Settings: settings})
		if err != nil {
			return nil, err
		}
		return &host.Endpoint{Plugin: bound, PluginVersion: m.Version(), Tokens: bound.Tokens()}, nil
	})
	if err == nil {
		report.Plugin = m.Manifest().Name
	}
	return report, err
}

// Run tries every combination of the choices, the last one's values fastest.
// Bind makes the endpoint that judges by a combination; its error refuses that
// one. The callbacks, at least one, are not changed. The error is the context's.
func Run(
	ctx context.Context, choices []Choice, callbacks []*host.Callback, bind func(Settings) (*host.Endpoint, error),
) (*Report, error) {
	r := &Report{Settings: []string{}, Fits: []Settings{}, Refused: []Refusal{}, Rejected: map[string]int{}}
	for _, c := range choices {
		r.Settings = append(r.Settings, c.Setting)
	}
	for settings := range combinations(choices) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.Tried++
		endpoint, err := bind(settings)
		if err != nil {
			r.Refused = append(r.Refused, Refusal{settings, strings.ReplaceAll(err.Error(), "\n", "; ")})
			continue
		}
		if why, ok := verified(ctx, endpoint, callbacks); !ok {
			r.Rejected[why]++
			continue
		}
		r.Fits = append(r.Fits, settings)
	}
	return r, nil
}

// combinations yields each combination once.
func combinations(choices []Choice) func(yield func(Settings) bool) {
	return func(yield func(Settings) bool) {
		at := make([]int, len(choices))
		for {
			settings := make(Settings, len(choices))
			for i, c := range choices {
				settings[c.Setting] = c.Values[at[i]]
			}
			if !yield(settings) {
				return
			}
			i := len(choices) - 1
			for ; i >= 0; i-- {
				if at[i]++; at[i] < len(choices[i].Values) {
					break
				}
				at[i] = 0
			}
			if i < 0 {
				return
			}
		}
	}
}

// verified reports whether all callbacks are, and what the plugin said of the
// first that is not. What it makes of a verified one does not matter.
func verified(ctx context.Context, endpoint *host.Endpoint, callbacks []*host.Callback) (why string, ok bool) {
	for _, cb := range callbacks {
		// Judging masks tokens.
		own := *cb
		own.Headers = slices.Clone(cb.Headers)
		result, err := endpoint.Judge(ctx, &own)
		switch {
		case err != nil:
			return fmt.Sprintf("the plugin failed: %v", err), false
		case result.Verdict == host.Reject && result.Reason == host.NotVerified, len(result.Evidence) == 0:
			return result.Detail, false
		}
	}
	return "", true
}
