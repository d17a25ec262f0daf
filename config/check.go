package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/host"
)

// check notes what is decoded and makes no sense.
func check(ps *problems, c *Config) {
	checkIntake(ps, &c.Intake)
	checkAdmin(ps, c)
	ps.choice("log.format", c.Log.Format, "json", "text")
	checkStore(ps, &c.Store)
	checkPlugins(ps, &c.Plugins)
	for _, tenant := range slices.Sorted(maps.Keys(c.Tenants)) {
		limit := c.Tenants[tenant].RateLimit
		checkRate(ps, "tenants."+tenant+".rate_limit", &limit)
		if n := c.Tenants[tenant].Concurrency; n < 0 {
			ps.add("tenants."+tenant+".concurrency", fmt.Sprintf("%d is negative", n),
				"0 leaves the others a processor")
		}
	}
	for path, e := range c.endpoints() {
		checkEndpoint(ps, path, e)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sinks)) {
		s := c.Sinks[name]
		checkSink(ps, "sinks."+name, &s)
	}
	checkFiles(ps, c.Sinks)
}

func checkIntake(ps *problems, in *Intake) {
	checkListen(ps, "intake.listen", in.Listen)
	checkPublicURL(ps, "intake.public_url", in.PublicURL)
	checkPositive(ps, "intake.max_body", int(in.MaxBody), "every body would be too large")
	if in.MaxBody > maxBody {
		ps.add("intake.max_body", fmt.Sprintf("%s is more than 64MiB: a body is held in memory several times over", in.MaxBody), "set at most 64MiB")
	}
	checkDuration(ps, "intake.read_timeout", in.ReadTimeout, "lets a slow client hold a connection for ever")
	checkDuration(ps, "intake.write_timeout", in.WriteTimeout, "lets a client that does not read hold a connection for ever")
	checkDuration(ps, "intake.idle_timeout", in.IdleTimeout, "lets idle clients hold connections for ever")
	checkDuration(ps, "intake.drain_timeout", in.DrainTimeout, "cuts off what is under way at every stop")
	checkPositive(ps, "intake.max_connections", in.MaxConnections, "nobody could connect")
	checkTLS(ps, "intake.tls", &in.TLS)
	for _, p := range in.TrustedProxies {
		if p.Bits() == 0 {
			ps.add("intake.trusted_proxies", fmt.Sprintf("%s is everybody, who could then name any address as theirs", p),
				"name the proxies' own addresses")
		}
	}
}

func checkTLS(ps *problems, path string, t *TLS) {
	switch {
	case t.Cert != "" && t.Key == "":
		ps.add(path+".key", "is missing beside "+path+".cert", "name the file of the certificate's private key")
	case t.Cert == "" && t.Key != "":
		ps.add(path+".cert", "is missing beside "+path+".key", "name the file of the certificate")
	case t.ClientCA != "" && t.Cert == "":
		ps.add(path+".cert", "is missing: without TLS nobody can show a client certificate", "name the file of the certificate")
	}
}

// Bounds of a rate: below the least a refused provider would be told to wait for
// hours, and above the most nothing is bounded.
const (
	minRate = 0.001
	maxRate = 1e6
)

func checkRate(ps *problems, path string, r *RateLimit) {
	const fix = "0 means no limit"
	switch {
	case r.PerSecond < 0:
		ps.add(path+".per_second", fmt.Sprintf("%v is negative", r.PerSecond), fix)
	case r.PerSecond != 0 && (r.PerSecond < minRate || r.PerSecond > maxRate):
		ps.add(path+".per_second", fmt.Sprintf("%v is not between %v and %v", r.PerSecond, minRate, int(maxRate)), fix)
	}
	switch {
	case r.Burst < 0:
		ps.add(path+".burst", fmt.Sprintf("%d is negative", r.Burst), "0 means per_second, rounded up")
	case r.Burst > 0 && r.PerSecond == 0 && !ps.below(path):
		ps.add(path+".per_second", "is missing beside burst: nothing would be limited", "set it, or leave out burst")
	}
}

// checkListen notes an address that cannot be listened on.
func checkListen(ps *problems, path, address string) (ok bool) {
	const form = "write host:port, for example 127.0.0.1:8080"
	if address == "" {
		ps.add(path, "is empty", form)
		return false
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		ps.add(path, fmt.Sprintf("%q is not host:port", address), form)
		return false
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		ps.add(path, fmt.Sprintf("port %q is not a number from 0 to 65535", port), form)
		return false
	}
	return true
}

func checkAdmin(ps *problems, c *Config) {
	const path = "admin.listen"
	if !checkListen(ps, path, c.Admin.Listen) {
		return
	}
	if !loopback(c.Admin.Listen) {
		// The admin API shows callbacks and changes what is delivered, and asks
		// nobody who they are.
		ps.add(path, fmt.Sprintf("%q is reachable from other machines and the admin API has no authentication", c.Admin.Listen),
			"listen on 127.0.0.1 or [::1] and reach it through ssh or a proxy that authenticates")
	}
	if c.Admin.Listen == c.Intake.Listen && !strings.HasSuffix(c.Admin.Listen, ":0") {
		ps.add(path, "is also intake.listen", "use another port")
	}
}

func checkStore(ps *problems, s *Store) {
	ps.choice("store.engine", s.Engine, EngineBolt, EnginePostgres, EngineMem)
	switch dsn := s.DSN.Reveal() != ""; {
	case s.Engine == EnginePostgres && !dsn && !ps.below("store.dsn"):
		ps.add("store.dsn", "is missing for engine postgres", "write env:NAME, with postgres://user:password@host:5432/database in it")
	case s.Engine != EnginePostgres && dsn:
		ps.add("store.dsn", fmt.Sprintf("is for engine postgres, and the engine is %q", s.Engine), "remove it, or set store.engine")
	}
	if s.Path == "" {
		ps.add("store.path", "is empty", "name a directory, for example ./data")
	}
	checkPositive(ps, "store.max_kept", s.MaxKept, "nothing could be kept for plugins that fail")
	if s.SegmentSize < minSegment || s.SegmentSize > maxSegment {
		ps.add("store.segment_size", fmt.Sprintf("%s is not between %s and %s", s.SegmentSize, minSegment, maxSegment),
			"the default is 1GiB: what is past retention goes a segment at a time")
	}
	checkDuration(ps, "store.segment_age", s.SegmentAge, "would begin a segment with every callback")
	checkDuration(ps, "store.retention", s.Retention, "would remove what was delivered at once")
	checkDuration(ps, "store.dedup_window", s.DedupWindow, "would take every repetition for something new")
	if s.Reserve < 0 {
		ps.add("store.reserve", fmt.Sprintf("%s is negative", s.Reserve), "0 means 256MiB or 2 % of the file system, whichever is more")
	}
	checkPositive(ps, "store.queue_requests", s.QueueRequests, "nothing could wait for a commit")
	checkPositive(ps, "store.queue_bytes", int(s.QueueBytes), "nothing could wait for a commit")
	checkPositive(ps, "store.quarantine.ring_entries", s.Quarantine.RingEntries, "nothing that is refused could be looked at")
	checkPositive(ps, "store.quarantine.ring_bytes", int(s.Quarantine.RingBytes), "nothing that is refused could be looked at")
}

// Bounds of a segment: a smaller one holds little more than its own pages, and
// with a larger one retention frees nothing for weeks.
const (
	minSegment Size = 1 << 20
	maxSegment Size = 16 << 30
)

// Bounds of fuel: below the one an ordinary plugin does not come to its end, and
// beyond the other a call takes seconds.
const (
	minFuel = 100_000
	maxFuel = 2_000_000_000
)

func checkPlugins(ps *problems, p *Plugins) {
	if p.Path == "" {
		ps.add("plugins.path", "is empty", "name the directory of the .wasm files")
	}
	if p.CacheSize < 1<<20 {
		ps.add("plugins.cache_size", fmt.Sprintf("%s is below 1MiB", p.CacheSize), "no compiled plugin would stay; the default is 512MiB")
	}
	if p.MaxMemory < wasmPage || p.MaxMemory > maxPages*wasmPage || p.MaxMemory%wasmPage != 0 {
		ps.add("plugins.max_memory", fmt.Sprintf("%s is not between 64KiB and 64MiB in steps of 64KiB", p.MaxMemory),
			"WebAssembly counts memory in pages of 64KiB; the default is 16MiB")
	}
	if p.Fuel < minFuel {
		ps.add("plugins.fuel", fmt.Sprintf("%d is below %d", p.Fuel, minFuel), "no plugin would come to its end; the default is 2000000")
	}
	if p.MaxFuel < p.Fuel || p.MaxFuel > maxFuel {
		ps.add("plugins.max_fuel", fmt.Sprintf("%d is not between plugins.fuel (%d) and %d", p.MaxFuel, p.Fuel, maxFuel),
			"it is the most that a manifest or an endpoint may ask for; the default is 20000000")
	}
	ps.choice("plugins.isolation", p.Isolation, Pristine, Reuse)
	checkKeys(ps, p)
	if p.Pool < 0 {
		ps.add("plugins.pool", fmt.Sprintf("%d is negative", p.Pool), "0 means one instance for each processor")
	}
	checkDuration(ps, "plugins.wait", p.Wait, "fails every callback that finds all instances at work")
}

func checkKeys(ps *problems, p *Plugins) {
	for i, key := range p.Keys {
		// "Ed", the id of the key, and the key.
		b, err := base64.StdEncoding.DecodeString(key)
		if err != nil || len(b) != 2+8+32 || string(b[:2]) != "Ed" {
			ps.add("plugins.keys."+strconv.Itoa(i), fmt.Sprintf("%.60q is no minisign public key", key),
				"write the line of the .pub file that begins with RW; postern plugin keygen makes a pair")
		}
	}
	if p.RequireSignature && len(p.Keys) == 0 {
		ps.add("plugins.keys", "is empty beside plugins.require_signature: no plugin could be signed", "name the public key that signs them")
	}
}

// maxGuards bounds what one callback can cost, and what its events can grow to.
const maxGuards = 16

// checkPlugin notes what is wrong with the name of a module and its fuel.
func checkPlugin(ps *problems, path, plugin string, fuel int) {
	if plugin == "" {
		ps.add(path+".plugin", "is missing", "name the module, without .wasm")
	} else if _, err := host.ParseRef(plugin); err != nil {
		ps.add(path+".plugin", err.Error(), "write NAME, NAME@1.2.0 or NAME@sha256: and its digest")
	}
	if fuel < 0 {
		ps.add(path+".fuel", fmt.Sprintf("%d is negative", fuel), "0 means as the plugin's manifest says, or plugins.fuel")
	}
}

func checkEndpoint(ps *problems, path string, e *Endpoint) {
	checkPlugin(ps, path, e.Plugin, e.Fuel)
	if e.Provider != "" && !name.MatchString(e.Provider) {
		ps.add(path+".provider", fmt.Sprintf("%q is not the form of a name", e.Provider), nameForm)
	}
	if len(e.Guards) > maxGuards {
		ps.add(path+".guards", fmt.Sprintf("there are %d, at most %d can stand at one endpoint", len(e.Guards), maxGuards), "make one module of several rules")
	}
	for i := range e.Guards {
		checkPlugin(ps, path+".guards."+strconv.Itoa(i), e.Guards[i].Plugin, e.Guards[i].Fuel)
	}
	ps.choice(path+".verification", e.Verification, Required, None)
	if e.Unable != "" {
		ps.choice(path+".unable", e.Unable, Retry, Keep)
	}
	if e.RejectStatus != 0 && (e.RejectStatus < 400 || e.RejectStatus > 499) {
		ps.add(path+".reject_status", fmt.Sprintf("%d is not between 400 and 499", e.RejectStatus),
			"a rejection is the provider's fault: 400, 401 or 403")
	}
	checkPublicURL(ps, path+".public_url", e.PublicURL)
	checkRate(ps, path+".rate_limit", &e.RateLimit)
	checkAck(ps, path+".ack", &e.Ack)
	for i, t := range e.Token {
		at := path + ".token"
		if len(e.Token) > 1 {
			at += "." + strconv.Itoa(i)
		}
		checkToken(ps, at, t.Reveal())
	}
}

func checkAck(ps *problems, path string, a *Ack) {
	if a.Status != 0 && (a.Status < 200 || a.Status > 299) {
		ps.add(path+".status", fmt.Sprintf("%d is not between 200 and 299", a.Status),
			"a callback that is stored is acknowledged; refuse with reject_status")
	}
	if (a.Status == 204 || a.Status == 205) && a.Body != "" {
		ps.add(path+".body", fmt.Sprintf("an answer with status %d has no body", a.Status), "use status 200, or leave out the body")
	}
	if a.Body != "" && a.ContentType == "" {
		ps.add(path+".content_type", "is missing beside a body", "for example application/json")
	}
	if a.ContentType == "" {
		return
	}
	if kind, _, err := mime.ParseMediaType(a.ContentType); err != nil || !strings.Contains(kind, "/") {
		ps.add(path+".content_type", fmt.Sprintf("%q is no media type", a.ContentType), "for example application/json")
	}
}

// minToken is how many characters make a path token hard to guess: 16 of hex
// are 64 bits.
const minToken = 16

// tokenForm is what stands in a path as it is (RFC 3986, unreserved).
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

func checkToken(ps *problems, path, token string) {
	const fix = "make one with: openssl rand -hex 16"
	if len(token) < minToken {
		ps.add(path, fmt.Sprintf("has %d characters, fewer than %d: it can be guessed", len(token), minToken), fix)
		return
	}
	if !tokenForm.MatchString(token) {
		ps.add(path, "has characters that cannot stand in a path as they are", fix)
	}
}

func checkPublicURL(ps *problems, path, s string) {
	if s == "" {
		return
	}
	u, ok := checkURL(ps, path, s)
	if !ok {
		return
	}
	if u.RawQuery != "" || u.ForceQuery {
		ps.add(path, "has a query", "leave it out; the request's own is appended")
	}
	if strings.HasSuffix(s, "/") {
		ps.add(path, "ends in a slash", "leave it out; the request's path is appended")
	}
}

// checkURL notes what is no absolute http(s) URL. It prints no URL: whoever puts
// credentials into one would find them in the log.
func checkURL(ps *problems, path, s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		ps.add(path, "is no URL", "write it like https://hooks.example.com")
	case u.Scheme != "http" && u.Scheme != "https":
		ps.add(path, "is no http or https URL", "begin it with https://")
	case u.User != nil:
		ps.add(path, "has credentials in it", "leave out what is before the @; URLs end up in logs")
	case u.Hostname() == "":
		ps.add(path, "names no host", "write it like https://hooks.example.com")
	case u.Fragment != "":
		ps.add(path, "has a fragment", "leave out # and what follows")
	default:
		return u, true
	}
	return nil, false
}

func checkPositive(ps *problems, path string, n int, why string) {
	if n <= 0 {
		ps.add(path, fmt.Sprintf("%d is not positive: %s", n, why), "set at least 1, or remove the line to have the default")
	}
}

// maxBody is the most that intake.max_body may be.
const maxBody = 64 << 20

// checkDuration notes a duration that is not positive; why is what a zero does.
func checkDuration(ps *problems, path string, d time.Duration, why string) {
	const fix = "set one, or remove the line to have the default"
	switch {
	case d < 0:
		ps.add(path, fmt.Sprintf("%s is negative", d), fix)
	case d == 0:
		ps.add(path, "a zero "+strings.ReplaceAll(path[strings.LastIndex(path, ".")+1:], "_", " ")+" "+why, fix)
	}
}
