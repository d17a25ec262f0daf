package cli

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server"
	"github.com/postern/postern/server/cli/internal/cases"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/first"
	"github.com/postern/postern/server/cli/internal/outgoing"
)

// demoConfig is the configuration of the demo's server.
//
//go:embed demo.yaml.tmpl
var demoConfig string

func (p *program) demoCommand() *cobra.Command {
	var from demoFrom
	var expect string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Serve and send real callbacks, and show what became of each",
		Long: `Starts a server on a port of its own with a data directory of its own, which
goes when the demo ends, sends it callbacks as the providers would, genuine,
repeated, changed, forged and broken ones, and reads back what became of each:
from the store, and from the file that its sink writes. Exit code 1 if anything
is not as it must be.`,
		Args: takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			all := cases.All()
			if expect != "" {
				if err := changeWants(all, expect); err != nil {
					return err
				}
			}
			results, err := p.demo(c.Context(), from, all)
			if err != nil && c.Context().Err() != nil {
				return errors.New("interrupted")
			}
			if err != nil {
				return err
			}
			return p.printDemo(results, from.Plugins)
		},
	}
	c.Flags().StringVar(&from.Plugins, "plugins", defaultPlugins, "the `directory` of the plugins")
	c.Flags().StringVar(&from.Cache, "cache", "", "a `directory` of compiled plugins to use and to leave behind")
	c.Flags().StringVar(&expect, "expect", "", "a JSON `file` of other expectations, by case")
	_ = c.Flags().MarkHidden("expect")
	_ = c.Flags().MarkHidden("cache")
	return c
}

// nextAfterDemo is what to type after a demo that went well.
func (p *program) nextAfterDemo(plugins string) string {
	words := []string{"init", "ottu"}
	if plugins != defaultPlugins {
		words = append(words, "--plugins", plugins)
	}
	line := p.command(words...)
	// Only in the repository does make know it.
	_, noMake := os.Stat("Makefile")
	_, noDemo := os.Stat(filepath.Join("config", "demo.yaml"))
	if noMake == nil && noDemo == nil && plugins == defaultPlugins {
		line = "make run, or " + line
	}
	return line
}

// demoFrom are the directories that the demo's configuration names.
type demoFrom struct {
	// Dir is the demo's own, Plugins that of the modules.
	Dir, Plugins string
	// Cache is that of compiled modules; empty means one in Dir.
	Cache string
}

// changeWants replaces what is expected of some cases, so that a test can see
// the demo fail.
func changeWants(all []cases.Case, file string) error {
	text, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return fmt.Errorf("read expectations: %w", err)
	}
	var others map[string]json.RawMessage
	if err := json.Unmarshal(text, &others); err != nil {
		return fmt.Errorf("read expectations: %w", err)
	}
	for i := range all {
		other, ok := others[all[i].String()]
		if !ok {
			continue
		}
		if err := json.Unmarshal(other, &all[i].Want); err != nil {
			return fmt.Errorf("read expectations: %w", err)
		}
		delete(others, all[i].String())
	}
	for name := range others {
		return fmt.Errorf("read expectations: there is no case %q", name)
	}
	return nil
}

// demo is one run: a server, and who sends to it.
type demo struct {
	demoFrom
	cfg *config.Config
	srv *server.Server
	rt  *wasm.Runtime
	// genuine have the endpoints' secrets, forgers others, and strangers do not
	// even know the URLs; by endpoint.
	genuine, forgers, strangers map[string]*outgoing.Sender
	stored                      *client.Client
	// seen is what the server saw of each callback, in order.
	seen chan host.Observation
	// after is behind the newest event seen.
	after string
}

// demo runs the cases and returns what became of each. Everything it made on
// the disk is gone when it returns.
func (p *program) demo(ctx context.Context, from demoFrom, all []cases.Case) (results []cases.Result, err error) {
	if from.Dir, err = os.MkdirTemp("", "postern-demo-"); err != nil {
		return nil, fmt.Errorf("make the demo's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(from.Dir)) }()
	d := &demo{demoFrom: from}
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	if err := d.start(ctx, p.version.Version); err != nil {
		return nil, err
	}
	if !p.asJSON {
		s := p.screen()
		s.Printf("A server of its own on %s, real callbacks over HTTP,\n", outgoing.BaseOf(d.srv.Addr().String()))
		s.Printf("signed as the providers sign. What became of each, by its store and its sink:\n\n")
	}
	for i := range all {
		r, err := d.try(ctx, &all[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", &all[i], err)
		}
		results = append(results, r)
	}
	return results, d.collect(ctx, results)
}

// start brings the server up and binds the plugins for signing.
func (d *demo) start(ctx context.Context, version string) error {
	if _, err := available(d.Plugins); err != nil {
		return err
	}
	var err error
	if d.cfg, err = d.config(); err != nil {
		return fmt.Errorf("make the demo's configuration: %w", err)
	}
	d.seen = make(chan host.Observation, 1)
	if d.srv, err = server.Start(ctx, d.cfg, server.Options{
		Version: version, Observe: func(o host.Observation) { d.seen <- o },
	}); err != nil {
		return err
	}
	d.stored = client.Socket(d.cfg.Store.Path)
	// With the server's own cache nothing is compiled twice.
	if d.rt, err = outgoing.OpenRuntime(ctx, d.cfg); err != nil {
		return err
	}
	// The forgers know everything but the secrets.
	other, err := d.config()
	if err != nil {
		return fmt.Errorf("make the forgers' configuration: %w", err)
	}
	if d.genuine, err = d.senders(ctx, d.cfg, d.cfg); err != nil {
		return err
	}
	if d.forgers, err = d.senders(ctx, d.cfg, other); err != nil {
		return err
	}
	d.strangers, err = d.senders(ctx, other, other)
	return err
}

// senders make one sender for each endpoint: its address from one
// configuration, its secrets from another.
func (d *demo) senders(ctx context.Context, address, secrets *config.Config) (map[string]*outgoing.Sender, error) {
	all := map[string]*outgoing.Sender{}
	for path, e := range endpointsOf(secrets) {
		plugin, err := outgoing.BindSigner(ctx, d.rt, secrets, e)
		if err != nil {
			return nil, err
		}
		where := shortName(path)
		tenant, name, _ := strings.Cut(where, "/")
		at := address.Tenants[tenant].Endpoints[name]
		all[name] = &outgoing.Sender{
			Where: where, Endpoint: &at, Plugin: plugin,
			Base: outgoing.BaseOf(d.srv.Addr().String()), HTTP: &http.Client{Timeout: 30 * time.Second},
		}
	}
	return all, nil
}

// config makes a configuration with fresh random secrets.
func (from demoFrom) config() (*config.Config, error) {
	t, err := template.New("demo").Funcs(template.FuncMap{"random": first.Token}).Parse(demoConfig)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, from); err != nil {
		return nil, err
	}
	// An environment of its own: a POSTERN__ variable must not change the demo.
	return config.Load(config.Options{File: "demo", Text: text.Bytes(), Environ: []string{}})
}

// stopTimeout bounds the draining of the demo's server.
const stopTimeout = 20 * time.Second

// close ends what start began, as far as it came.
func (d *demo) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var errs []error
	if d.stored != nil {
		errs = append(errs, d.stored.Close())
	}
	if d.srv != nil {
		errs = append(errs, d.srv.Stop(ctx))
	}
	if d.rt != nil {
		errs = append(errs, d.rt.Close(ctx))
	}
	d.stored, d.srv, d.rt = nil, nil, nil
	return errors.Join(errs...)
}

// sinkFile is what the demo's sink writes.
func (d *demo) sinkFile() string { return filepath.Join(d.Dir, "events.ndjson") }
