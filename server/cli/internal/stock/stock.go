// Package stock has the commands that keep the plugins' directory: what is there,
// and putting versions in, back and away, with their signatures.
package stock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/shelf"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
)

// Program is the command line that the commands belong to. Every field is required.
type Program struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(name string) (value string, set bool)
	Screen         func() *screen.Screen
	// JSON reports whether programs read the answer.
	JSON func() bool
	Now  func() time.Time
	// Command spells a command line of this program that reads the same
	// configuration.
	Command func(words ...string) string
	// Config reads the configuration, or the defaults without one; secrets that are
	// not there are no problem.
	Config func(*cobra.Command) (*config.Config, error)
	// Takes is the check of how many arguments there are.
	Takes func(least, most int) cobra.PositionalArgs
	// Usage marks an error as one of the command line.
	Usage func(error) error

	dir string // --plugins
}

// Commands are those below "plugin".
func (p *Program) Commands() []*cobra.Command {
	all := []*cobra.Command{
		p.list(), p.inspect(), p.install(), p.remove(), p.rollback(), p.verify(), p.sign(), p.keygen(),
	}
	for _, c := range all[:6] {
		c.Flags().StringVar(&p.dir, "plugins", "", "the `directory` of the plugins, if not plugins.path of the configuration")
	}
	return all
}

// open reads the configuration and opens the shelf.
func (p *Program) open(c *cobra.Command) (*config.Config, *shelf.Shelf, error) {
	cfg, err := p.Config(c)
	if err != nil {
		return nil, nil, err
	}
	if p.dir != "" {
		cfg.Plugins.Path = p.dir
	}
	s, err := server.OpenShelf(&cfg.Plugins)
	return cfg, s, err
}

// ref reads a reference of the command line.
func (p *Program) ref(text string) (host.Ref, error) {
	ref, err := host.ParseRef(text)
	if err != nil {
		return ref, p.Usage(fmt.Errorf("%w; a plugin is named ottu, ottu@1.2.0 or ottu@sha256: and its digest", err))
	}
	return ref, nil
}

// json writes one line for programs.
func (p *Program) json(v any) error {
	enc := json.NewEncoder(p.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// users are the endpoints that mean this version, "acme/pay".
func users(cfg *config.Config, plugin *shelf.Plugin, current bool) []string {
	names := []string{} // a list also in JSON
	for name, ref := range references(cfg) {
		if ref.Name == plugin.Name && (ref.Version == plugin.Version || ref.Sum == plugin.Sum || !ref.Pinned() && current) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// references are what the endpoints name.
func references(cfg *config.Config) map[string]host.Ref {
	all := make(map[string]host.Ref)
	for tenant, t := range cfg.Tenants {
		for name, e := range t.Endpoints {
			if ref, err := host.ParseRef(e.Plugin); err == nil {
				all[tenant+"/"+name] = ref
			}
		}
	}
	return all
}

// reloaded is what became of telling the server.
type reloaded struct {
	// Running says that a server answered.
	Running bool     `json:"running"`
	Changes []string `json:"changes"`
}

// reload has the server take what is current now, or has undo take it back.
func (p *Program) reload(ctx context.Context, cfg *config.Config, undo func() error) (*reloaded, error) {
	cl := client.Socket(cfg.Store.Path)
	defer func() { _ = cl.Close() }()
	changes, err := cl.Reload(ctx)
	if client.Absent(err) {
		return &reloaded{Changes: []string{}}, nil
	}
	if err != nil {
		if back := undo(); back != nil {
			return nil, errors.Join(fmt.Errorf("the server does not take it: %w", err), fmt.Errorf("and it could not be taken back: %w", back))
		}
		return nil, fmt.Errorf("the server does not take it, and it was taken back: %w", err)
	}
	return &reloaded{Running: true, Changes: append([]string{}, changes...)}, nil
}

// printReloaded says it, as the last step.
func (p *Program) printReloaded(s *screen.Screen, cfg *config.Config, r *reloaded, plugin *shelf.Plugin) {
	switch {
	case !r.Running:
		step(s, "server", "none is running on "+cfg.Store.Path+": the next start takes it")
	case len(r.Changes) == 0 && len(users(cfg, plugin, true)) == 0:
		step(s, "server", "reloaded, and nothing changes: no endpoint names this version")
	case len(r.Changes) == 0:
		step(s, "server", "reloaded: it has it already")
	default:
		step(s, "server", "reloaded")
		for _, line := range r.Changes {
			s.Printf("            %s\n", screen.Clean(line))
		}
	}
}

// step says that one was passed.
func step(s *screen.Screen, name, detail string) {
	s.Printf("%s%s\n", s.Paint(screen.Good, fmt.Sprintf("%-12s", name)), screen.Clean(detail))
}

// signature says who signed, in words.
func signature(plugin *shelf.Plugin) string {
	switch {
	case plugin.Signer != "" && !plugin.Expires.IsZero():
		return plugin.Signer + " until " + plugin.Expires.UTC().Format(time.RFC3339)
	case plugin.Signer != "":
		return plugin.Signer
	case plugin.Signature != nil:
		return "there, and no key of plugins.keys to judge it by"
	}
	return "none"
}

// described is a plugin for programs.
type described struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
	// Signer is the id of the trusted key, empty for none.
	Signer  string     `json:"signer"`
	Expires *time.Time `json:"expires,omitempty"`
}

func describe(plugin *shelf.Plugin) described {
	d := described{Name: plugin.Name, Version: plugin.Version, SHA256: plugin.Sum, Signer: plugin.Signer}
	if !plugin.Expires.IsZero() {
		d.Expires = &plugin.Expires
	}
	return d
}

// bytes is a number of them as one says it.
func bytes(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// isFile tells a file from a reference.
func isFile(text string) bool {
	return strings.ContainsAny(text, "/\\") || strings.HasSuffix(text, ".wasm")
}

// sortedNames are a map's keys.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
