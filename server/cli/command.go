package cli

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
)

// command is a command line of this program as one types it in the shell that
// it was called from: with the name that it was called by.
func (p *program) command(words ...string) string {
	name := p.name
	if name == "" {
		name = "postern"
	}
	line := quoted(name)
	for _, w := range words {
		line += " " + quoted(w)
	}
	return line
}

// bare is what no shell reads as anything but itself.
var bare = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quoted is a word as it is written in a shell.
func quoted(word string) string {
	if bare.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// sameConfig are the flags that make another command read the configuration
// that this one read.
func (p *program) sameConfig() []string {
	if p.configFile == "" || p.configFile == defaultConfig {
		return nil
	}
	return []string{"--config", p.configFile}
}

// samePlace are the flags that make another command look at the store that this
// one, which has a --data for it, looked at.
func (p *program) samePlace(c *cobra.Command) []string {
	if dir, err := c.Flags().GetString("data"); err == nil && dir != "" {
		return []string{"--data", dir}
	}
	return p.sameConfig()
}

// onward is a command that looks at the same store as this one.
func (p *program) onward(c *cobra.Command, words ...string) string {
	return p.command(append(words, p.samePlace(c)...)...)
}

// overridden reports whether a key came from a flag or a variable, which may
// have been given to this call alone.
func (p *program) overridden(c *cobra.Command, key string) bool {
	_, set := p.getenv(config.EnvName(key))
	return set || c.Flags().Changed(key)
}

// serveHint proposes to serve, where the configuration that would be served is
// known.
func (p *program) serveHint(c *cobra.Command) string {
	if c.Flags().Changed("data") || p.configFile == "" {
		return ""
	}
	return "\nstart one: " + p.command(append([]string{"serve"}, p.sameConfig()...)...)
}
