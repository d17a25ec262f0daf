package cli

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server/admin"
	"github.com/postern/postern/server/cli/internal/client"
)

// loadConfig reads the configuration; extra is environment beside the
// program's own.
func (p *program) loadConfig(c *cobra.Command, extra ...string) (*config.Config, error) {
	if _, err := os.Stat(p.configFile); p.configFile != "" && errors.Is(err, fs.ErrNotExist) {
		words := []string{"init"}
		if p.configFile != defaultConfig {
			words = append(words, "--out", p.configFile)
		}
		return nil, &config.Problem{Path: p.configFile, Text: "there is no such file", Fix: "this writes one: " + p.command(words...)}
	}
	return config.Load(config.Options{
		File: p.configFile, Flags: c.Flags(), Environ: append(p.environ[:len(p.environ):len(p.environ)], extra...),
	})
}

// unneeded stands for a secret that a command has no use for; it has the form
// of all of them.
const unneeded = "value:whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// index is the end of the path of one value of several.
var index = regexp.MustCompile(`\.[0-9]+$`)

// place finds the store.
func (p *program) place(c *cobra.Command) (client.Place, error) {
	if dir, err := c.Flags().GetString("data"); err == nil && dir != "" {
		return client.Place{Dir: dir, Engine: config.EngineBolt, SinksUnknown: true, Version: p.version.Version}, nil
	}
	cfg, err := p.lookConfig(c)
	if err != nil {
		return client.Place{}, err
	}
	at := client.Place{
		Dir: cfg.Store.Path, Engine: cfg.Store.Engine, SinksUnknown: p.configFile == "", Version: p.version.Version,
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Sinks)) {
		at.Sinks = append(at.Sinks, admin.Sink{Name: name, Type: cfg.Sinks[name].Type, Filter: cfg.Sinks[name].Filter})
	}
	return at, nil
}

// lookConfig reads the configuration, or the defaults where there is none, for
// a command that needs no secrets: those that this shell does not have are no
// problem then.
func (p *program) lookConfig(c *cobra.Command) (*config.Config, error) {
	if _, err := os.Stat(p.configFile); errors.Is(err, fs.ErrNotExist) && !c.Flags().Changed("config") {
		p.configFile = ""
	}
	cfg, err := p.loadConfig(c)
	if err != nil {
		cfg, err = p.loadConfig(c, withoutSecrets(err)...)
	}
	return cfg, err
}

// withoutSecrets returns the environment that overrides each secret that err
// complains of.
func withoutSecrets(err error) []string {
	var environ []string
	for _, problem := range config.Problems(err) {
		key := index.ReplaceAllString(problem.Path, "")
		if strings.Contains(key, ".secrets") || strings.HasSuffix(key, ".token") || key == "store.dsn" {
			environ = append(environ, config.EnvName(key)+"="+unneeded)
		}
	}
	return environ
}

// open connects for a command that looks at what is stored.
func (p *program) open(c *cobra.Command) (*client.Client, error) {
	at, err := p.place(c)
	if err != nil {
		return nil, err
	}
	return client.Open(c.Context(), at)
}

// dataFlag lets a command do without a configuration.
func dataFlag(c *cobra.Command) {
	c.PersistentFlags().String("data", "", "the data `directory`, instead of the configuration's store.path")
}
