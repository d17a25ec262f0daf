package config

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// warn lists what is legal and notable. file is the configuration's own.
func warn(c *Config, file string) []string {
	var out []string
	say := func(path, text string) { out = append(out, path+": "+text) }
	warnIntake(say, &c.Intake)
	if c.Intake.MaxBody > c.Plugins.MaxMemory/16 {
		say("intake.max_body", fmt.Sprintf("%s is more than a sixteenth of plugins.max_memory, and a plugin holds a body several times over; "+
			"raise plugins.max_memory to 16 times intake.max_body, or lower that", c.Intake.MaxBody))
	}
	warnStore(say, &c.Store, c.Intake.MaxBody)
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
	secrets, tokens := c.plainSecrets()
	mode, known := modeOf(file)
	open := known && mode&0o077 != 0
	told := secrets
	// A token is made for this file alone and no provider's secret: one that
	// only the file's owner can read is where it belongs.
	if open || !known {
		told = slices.Concat(secrets, tokens)
	}
	for _, path := range told {
		say(path, "is written in the configuration itself; env:NAME or file:/path keep it out")
	}
	if open && len(told) > 0 {
		say(file, fmt.Sprintf("holds secrets and its mode is %04o, so others can read it; chmod 600 it", mode))
	}
	return out
}

func warnIntake(say func(path, text string), in *Intake) {
	if !in.TLS.On() && len(in.TrustedProxies) == 0 && !loopback(in.Listen) {
		say("intake.listen", "is open to other machines without TLS, so tokens and callbacks can be read on the way; "+
			"set intake.tls, or name the proxy that has it in intake.trusted_proxies")
	}
}

// minWindow is longer than the longest that a known provider tries again for.
const minWindow = 31 * day

func warnStore(say func(path, text string), s *Store, maxBody Size) {
	if s.Engine == EngineMem {
		say("store.engine", "mem forgets everything when the process ends; use it only to try things out")
	}
	if s.DedupWindow < minWindow {
		say("store.dedup_window", fmt.Sprintf("%s is short: providers retry for up to 30 days, and what comes again after the window is a new event",
			spell(s.DedupWindow)))
	}
	if s.QueueBytes < maxBody {
		say("store.queue_bytes", fmt.Sprintf("%s is less than intake.max_body, %s: a callback of that size is taken in only while nothing else waits",
			s.QueueBytes, maxBody))
	}
	if s.Quarantine.RingBytes < maxBody {
		say("store.quarantine.ring_bytes", fmt.Sprintf("%s is less than intake.max_body, %s: a refused callback of that size is not kept in quarantine",
			s.Quarantine.RingBytes, maxBody))
	}
	if s.Engine == EnginePostgres {
		say("store.engine", "postgres keeps every record and every dedup key: nothing is removed from it by age yet")
	}
}

// loopback reports whether an address to listen on is reachable from this
// machine only.
func loopback(listen string) bool {
	host, _, _ := net.SplitHostPort(listen)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func warnSink(say func(path, text string), path string, s *Sink) {
	if s.Retry.Over < time.Hour {
		say(path+".retry.over", fmt.Sprintf("gives up after %s, less than many outages last", s.Retry.Over))
	}
	if s.NATS != nil {
		warnNATS(say, path, s.NATS)
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

// credential is a header whose name says that its value is secret.
var credential = regexp.MustCompile(`(?i)auth|cookie|key|token|secret|passw|sign`)

// plainSecrets are the paths of secrets whose values stand in the file, and
// those of the endpoints' tokens apart.
func (c *Config) plainSecrets() (secrets, tokens []string) {
	collect := func(to *[]string, path string, values []Secret) {
		if slices.ContainsFunc(values, func(s Secret) bool { return s.plain }) {
			*to = append(*to, path)
		}
	}
	collect(&secrets, "store.dsn", []Secret{c.Store.DSN})
	for path, e := range c.endpoints() {
		for _, name := range slices.Sorted(maps.Keys(e.Secrets)) {
			collect(&secrets, path+".secrets."+name, e.Secrets[name])
		}
		collect(&tokens, path+".token", e.Token)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sinks)) {
		for _, key := range c.Sinks[name].brokerSecrets() {
			collect(&secrets, "sinks."+name+"."+key.name, []Secret{*key.value})
		}
		if w := c.Sinks[name].Webhook; w != nil {
			at := "sinks." + name
			collect(&secrets, at+".secrets", w.Secrets)
			for _, header := range slices.Sorted(maps.Keys(w.Headers)) {
				if credential.MatchString(header) {
					collect(&secrets, at+".headers."+header, []Secret{w.Headers[header]})
				}
			}
		}
	}
	return secrets, tokens
}

// modeOf is a file's permissions, if there is one.
func modeOf(file string) (mode fs.FileMode, known bool) {
	info, err := os.Stat(file)
	if file == "" || err != nil {
		return 0, false
	}
	return info.Mode().Perm(), true
}
