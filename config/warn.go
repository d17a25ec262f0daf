package config

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// warn lists what is legal and notable. file is the configuration's own.
func warn(c *Config, file string) []string {
	var out []string
	say := func(path, text string) { out = append(out, path+": "+text) }
	if c.Store.Engine == EngineMem {
		say("store.engine", "mem forgets everything when the process ends; use it only to try things out")
	}
	if len(c.Tenants) == 0 {
		say("tenants", "there are none, so nothing is taken in")
	}
	if len(c.Sinks) == 0 {
		say("sinks", "there are none, so events are stored and go nowhere")
	}
	for path, e := range c.endpoints() {
		if e.Verification == None {
			say(path+".verification", "none takes events from whoever knows the URL; they reach only sinks with filter.unverified")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sinks)) {
		s := c.Sinks[name]
		warnSink(say, "sinks."+name, &s)
	}
	plain := c.plainSecrets()
	for _, path := range plain {
		say(path, "is written in the configuration itself; env:NAME or file:/path keep it out")
	}
	if mode, open := openToOthers(file); open && len(plain) > 0 {
		say(file, fmt.Sprintf("holds secrets and its mode is %04o, so others can read it; chmod 600 it", mode.Perm()))
	}
	return out
}

func warnSink(say func(path, text string), path string, s *Sink) {
	if s.Retry.Over < time.Hour {
		say(path+".retry.over", fmt.Sprintf("gives up after %s, less than many outages last", s.Retry.Over))
	}
	if s.Webhook == nil {
		return
	}
	if strings.HasPrefix(strings.ToLower(s.Webhook.URL), "http:") {
		say(path+".url", "is not https: events can be read on the way")
	}
	if s.Webhook.AllowPrivate {
		say(path+".allow_private", "lets the sink reach addresses inside this network")
	}
}

// endpoints are all endpoints by their paths, in order.
func (c *Config) endpoints() func(yield func(string, *Endpoint) bool) {
	return func(yield func(string, *Endpoint) bool) {
		for _, tenant := range slices.Sorted(maps.Keys(c.Tenants)) {
			of := c.Tenants[tenant].Endpoints
			for _, name := range slices.Sorted(maps.Keys(of)) {
				e := of[name]
				if !yield("tenants."+tenant+".endpoints."+name, &e) {
					return
				}
			}
		}
	}
}

// plainSecrets are the paths of secrets whose values stand in the file.
func (c *Config) plainSecrets() []string {
	var out []string
	collect := func(path string, values []Secret) {
		if slices.ContainsFunc(values, func(s Secret) bool { return s.plain }) {
			out = append(out, path)
		}
	}
	for path, e := range c.endpoints() {
		for _, name := range slices.Sorted(maps.Keys(e.Secrets)) {
			collect(path+".secrets."+name, e.Secrets[name])
		}
		collect(path+".token", e.Token)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sinks)) {
		if w := c.Sinks[name].Webhook; w != nil {
			collect("sinks."+name+".secrets", w.Secrets)
		}
	}
	return out
}

// openToOthers reports a file's mode and whether more than its owner can read
// it. No file is open to nobody.
func openToOthers(file string) (fs.FileMode, bool) {
	info, err := os.Stat(file)
	if file == "" || err != nil {
		return 0, false
	}
	return info.Mode(), info.Mode().Perm()&0o077 != 0
}
