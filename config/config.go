package config

import (
	_ "embed" // the two files below
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/postern/postern/host"
)

//go:embed example.yaml
var example []byte

//go:embed demo.yaml
var demo []byte

// Example is the reference: every key with what it means and its default, or an
// invented value where it has none. The caller owns the bytes.
func Example() []byte { return slices.Clone(example) }

// Demo is a configuration that runs as it is, with secrets that protect
// nothing. The caller owns the bytes.
func Demo() []byte { return slices.Clone(demo) }

// Config is everything an operator decides. It is made by [Load], is complete
// and consistent, and nobody writes to it afterwards; it is safe for concurrent
// use. Relative paths in it are relative to the working directory.
type Config struct {
	Intake  Intake  `json:"intake"`
	Admin   Admin   `json:"admin"`
	Log     Log     `json:"log"`
	Store   Store   `json:"store"`
	Plugins Plugins `json:"plugins"`
	Reload  Reload  `json:"reload"`
	// Tenants by name. None is legal: nothing is taken in then.
	Tenants map[string]Tenant `json:"tenants"`
	// Sinks by name. None is legal: events are stored and wait.
	Sinks map[string]Sink `json:"sinks"`

	warnings, files []string
}

// Intake is the listener that providers call.
type Intake struct {
	// Listen is host:port. Default 127.0.0.1:8080; an empty host means every
	// address of the machine, port 0 a free one.
	Listen string `json:"listen"`
	// PublicURL is how providers reach Listen: scheme, authority and perhaps a
	// path, without a slash at the end. The request's target is appended to it,
	// for schemes that sign the URL. Empty, the default, means unknown: such
	// schemes then verify nothing.
	PublicURL string `json:"public_url"`
	// MaxBody is the largest body taken, in bytes. Default 1MiB, never 0,
	// at most 64MiB.
	MaxBody Size `json:"max_body"`
	// ReadTimeout bounds reading one request, from its first byte. Default 5s,
	// never 0.
	ReadTimeout time.Duration `json:"read_timeout"`
	// WriteTimeout bounds writing one answer. Default 10s, never 0.
	WriteTimeout time.Duration `json:"write_timeout"`
	// IdleTimeout bounds how long a connection may wait for its next request.
	// Default 30s, never 0.
	IdleTimeout time.Duration `json:"idle_timeout"`
	// MaxConnections is how many connections are served at once; more are
	// refused. Default 4096, never 0.
	MaxConnections int `json:"max_connections"`
	// DrainTimeout is how long a stopping server waits for what is under way.
	// Default 20s, never 0.
	DrainTimeout time.Duration `json:"drain_timeout"`
	// TLS, if its files are named, makes the listener speak TLS and nothing
	// else. Default none: a proxy in front does.
	TLS TLS `json:"tls"`
	// TrustedProxies are the machines whose X-Forwarded-For is believed. None,
	// the default, means that the connection's own address is the client's.
	TrustedProxies []netip.Prefix `json:"trusted_proxies"`
}

// TLS names the files of a listener's identity, PEM each. They are read by
// whoever listens, not by Load.
type TLS struct {
	// Cert is the certificate and what leads to its root, Key its private key.
	// Both are set or neither is.
	Cert string `json:"cert"`
	Key  string `json:"key"`
	// ClientCA, if set, holds the roots of the certificates that clients must
	// show.
	ClientCA string `json:"client_ca"`
}

// On says that the listener speaks TLS.
func (t TLS) On() bool { return t.Cert != "" }

// Admin is the listener of operators.
type Admin struct {
	// Listen is host:port on a loopback address. Default 127.0.0.1:8081.
	Listen string `json:"listen"`
}

// Log says what is logged, and how. Logs go to standard error.
type Log struct {
	// Level is the lowest level written: debug, info, warn or error. Default
	// (and zero) info.
	Level slog.Level `json:"level"`
	// Format is "json", the default, or "text".
	Format string `json:"format"`
}

// Engines of a store.
const (
	EngineBolt     = "bolt"     // bbolt files under Store.Path
	EngineMem      = "mem"      // memory: gone with the process, for trying things out
	EnginePostgres = "postgres" // a PostgreSQL database that several nodes share
)

// Store is where events live.
type Store struct {
	// Engine is EngineBolt, the default, EnginePostgres or EngineMem.
	Engine string `json:"engine"`
	// DSN names the server and the database of EnginePostgres, a URL or libpq's
	// key=value text. Empty, the default, for the other engines; no flag sets it.
	DSN Secret `json:"dsn"`
	// Path is the data directory. Default ./data, never empty.
	Path string `json:"path"`
	// MaxKept is how many callbacks may be kept unjudged before the answer is
	// 503. Default 10000, never 0.
	MaxKept int `json:"max_kept"`
	// SegmentSize and SegmentAge are when a segment of the log is closed and the
	// next one begun: when it has this many bytes, or was begun so long ago.
	// Defaults 1GiB (from 1MiB to 16GiB) and 24h, never 0.
	SegmentSize Size          `json:"segment_size"`
	SegmentAge  time.Duration `json:"segment_age"`
	// Retention is how long a closed segment stays. What is not delivered yet
	// stays however old it is. Default 7d, never 0.
	Retention time.Duration `json:"retention"`
	// DedupWindow is how long a dedup key is remembered, and never shorter than the
	// log is kept. Default 45d, never 0.
	DedupWindow time.Duration `json:"dedup_window"`
	// Reserve is how many bytes of the file system stay free: with less nothing
	// is taken in. 0, the default, means 256MiB or 2 %, whichever is more.
	Reserve Size `json:"reserve"`
	// QueueRequests and QueueBytes bound what waits for a commit: more is
	// answered 503. Defaults 4096 and 64MiB, never 0.
	QueueRequests int  `json:"queue_requests"`
	QueueBytes    Size `json:"queue_bytes"`
	// Quarantine holds what was refused.
	Quarantine Quarantine `json:"quarantine"`
}

// Quarantine bounds each of its rings; there is one for each endpoint and reason
// of refusal. What is too much for one pushes out its oldest.
type Quarantine struct {
	// RingEntries is how many callbacks a ring holds. Default 1000, never 0.
	RingEntries int `json:"ring_entries"`
	// RingBytes is how many bytes they have together. Default 16MiB, never 0.
	RingBytes Size `json:"ring_bytes"`
}

// Plugins is where the providers' modules are and what they may use.
type Plugins struct {
	// Path is the directory of the modules, <plugin>.wasm each, and of the versions
	// that were installed. Default ./plugins/dist, never empty.
	Path string `json:"path"`
	// Keys are the minisign public keys whose signatures of plugins count. None,
	// the default, means that no signature is judged.
	Keys []string `json:"keys"`
	// RequireSignature refuses plugins that none of Keys has signed; there is one
	// then. Default false: a signature that is there must be right all the same.
	RequireSignature bool `json:"require_signature"`
	// Cache is the directory of compiled modules. Empty, the default, means
	// "cache" in Store.Path; Load fills it in.
	Cache string `json:"cache"`
	// CacheSize is how many bytes Cache may have; the modules that were not loaded
	// for longest make room. Default 512MiB, at least 1MiB.
	CacheSize Size `json:"cache_size"`
	// MaxMemory is the most linear memory that one instance may have, in bytes,
	// a multiple of 64KiB. Default 16MiB, at most 64MiB, never 0.
	MaxMemory Size `json:"max_memory"`
	// Fuel is what judging one callback may burn, in units of about one simple
	// instruction, beside 512 for each byte of the body; a plugin's manifest or an
	// endpoint may say otherwise. Default 2,000,000, never 0.
	Fuel int `json:"fuel"`
	// MaxFuel is the most that one of them may ask for. Default 20,000,000, never
	// less than Fuel.
	MaxFuel int `json:"max_fuel"`
	// Isolation is Pristine, the default, or Reuse.
	Isolation string `json:"isolation"`
	// Pool is how many instances a plugin may have at once. 0, the default,
	// means GOMAXPROCS.
	Pool int `json:"pool"`
	// Wait is how long a callback waits for a free instance before its
	// endpoint's Unable applies. Default 250ms, never 0.
	Wait time.Duration `json:"wait"`
}

// Reload says when a running server reads its configuration again.
type Reload struct {
	// Watch is whether it does so by itself when one of [Config.Files] or a file in
	// Plugins.Path changes. Default true.
	Watch bool `json:"watch"`
}

// How a plugin's instance is found by the next callback.
const (
	Pristine = "pristine" // as it was after its start
	Reuse    = "reuse"    // as the last callback, of whatever tenant, left it
)

// Linear memory is counted in pages; no plugin gets more than maxPages.
const (
	wasmPage = 64 << 10
	maxPages = 1024
)

// MemoryPages is MaxMemory in WebAssembly pages of 64 KiB, at most 1024.
func (p Plugins) MemoryPages() uint32 {
	return uint32(min(max(p.MaxMemory/wasmPage, 0), maxPages))
}

// Tenant is on whose behalf callbacks are taken.
type Tenant struct {
	// AllowFrom are the addresses that may call any of the tenant's endpoints.
	// None, the default, means everybody.
	AllowFrom []netip.Prefix `json:"allow_from"`
	// RateLimit is for all endpoints of the tenant together.
	RateLimit RateLimit `json:"rate_limit"`
	// Concurrency is how many of the tenant's callbacks plugins judge at the same
	// time. 0, the default, means all but one of the processors where there are
	// other tenants, and no bound where there are none.
	Concurrency int `json:"concurrency"`
	// Endpoints by name; one is served under /in/{tenant}/{endpoint}.
	Endpoints map[string]Endpoint `json:"endpoints"`
}

// RateLimit bounds how many callbacks are let in, or events delivered. The zero
// RateLimit bounds nothing.
type RateLimit struct {
	// PerSecond is how many there may be on average, a whole number or a fraction.
	// 0, the default, means no limit.
	PerSecond float64 `json:"per_second"`
	// Burst is how many there may be at once. 0, the default, means PerSecond,
	// rounded up, which Load fills in.
	Burst int `json:"burst"`
}

// Values of Endpoint.Verification.
const (
	Required = "required" // no event without evidence
	None     = "none"     // events without evidence, marked as such
)

// Values of Endpoint.Unable.
const (
	Retry = "retry" // answer 503: the provider sends it again
	Keep  = "keep"  // store the raw callback, acknowledge, judge it later
)

// Endpoint is one intake URL of a tenant.
type Endpoint struct {
	// Plugin is a reference that [host.ParseRef] reads: the module's name, without
	// ".wasm", and perhaps which version of it. It has no default.
	Plugin string `json:"plugin"`
	// Provider is the events' provider; empty, the default, means as the plugin's
	// manifest says. A tenant's own module speaks for a provider by it.
	Provider string `json:"provider"`
	// Guards judge what the plugin accepted, in this order. None by default.
	Guards []Guard `json:"guards"`
	// Verification is Required, the default, or None.
	Verification string `json:"verification"`
	// Secrets are the values bound to the names that the plugin's manifest
	// declares, newest first; as written, not yet decoded to keys. No value is
	// empty.
	Secrets map[string][]Secret `json:"secrets"`
	// Token are the accepted values of the last path segment, newest first.
	// None, the default, means that the path has no such segment.
	Token []Secret `json:"token"`
	// Fuel is what judging one callback may burn, see Plugins.Fuel. 0, the default,
	// means as the manifest says, or else Plugins.Fuel.
	Fuel int `json:"fuel"`
	// Settings are handed to the plugin; its manifest says which there are.
	// Values are strings, bools, ints, floats, []any and map[string]any.
	Settings map[string]any `json:"settings"`
	// Ack is the answer to what was accepted, where the plugin gives none.
	Ack Ack `json:"ack"`
	// Unable is Retry or Keep; empty, the default, means as the manifest says.
	Unable string `json:"unable"`
	// RejectStatus is the status (400 to 499) of a rejection. 0, the default,
	// means by its reason.
	RejectStatus int `json:"reject_status"`
	// PublicURL overrides Intake.PublicURL, which Load fills in where this is
	// empty.
	PublicURL string `json:"public_url"`
	// AllowFrom are the addresses that may call; Tenant.AllowFrom holds as well.
	// None, the default, means everybody.
	AllowFrom []netip.Prefix `json:"allow_from"`
	// RateLimit is for this endpoint; Tenant.RateLimit holds as well.
	RateLimit RateLimit `json:"rate_limit"`
}

// Guard is a module that judges the events of an endpoint's callbacks.
type Guard struct {
	// Plugin is the module's name, without ".wasm". It has no default.
	Plugin string `json:"plugin"`
	// Fuel and Settings are as the [Endpoint]'s.
	Fuel     int            `json:"fuel"`
	Settings map[string]any `json:"settings"`
}

// Ack is an answer to a provider.
type Ack struct {
	// Status is 200 to 299; 0, the default, means 200.
	Status int `json:"status"`
	// ContentType of Body; empty only with an empty Body.
	ContentType string `json:"content_type"`
	// Body is sent as it is. Default empty.
	Body string `json:"body"`
}

// Types of a sink.
const (
	TypeFile     = "file"
	TypeNATS     = "nats"
	TypePostgres = "postgres"
	TypeStdout   = "stdout"
	TypeWebhook  = "webhook"
)

// Sink is where events go. Its own settings stand beside the common ones in the
// file; of the pointers exactly the one for its type is set.
type Sink struct {
	// Type is TypeFile, TypeNATS, TypePostgres, TypeStdout or TypeWebhook. It has
	// no default.
	Type string `json:"type"`
	// Concurrency is how many batches are under way at once. Default 1 for a
	// file and stdout, else 4; never 0.
	Concurrency int `json:"concurrency"`
	// Batch is the most events in one delivery. Default 1 for a webhook, else
	// 100; never 0.
	Batch int `json:"batch"`
	// Timeout bounds one delivery. Default 30s, never 0.
	Timeout time.Duration `json:"timeout"`
	// Order is host.OrderNone, the default, or host.OrderSubject: an event then
	// waits until the earlier ones of its subject are delivered or dead.
	Order host.Order `json:"order"`
	Retry Backoff    `json:"retry"`
	// Rate bounds deliveries, every attempt being one; a batch is no larger than
	// its Burst. The default bounds nothing.
	Rate    RateLimit `json:"rate"`
	Breaker Breaker   `json:"breaker"`
	// From is where the sink starts when the store first sees it. Default
	// host.FromNow. It changes nothing for a sink already known.
	From host.From `json:"from"`
	// Filter is which events it wants; the zero Filter wants every event that
	// is verified and no conflict. An event that its expression does not fit is
	// wanted: see [Sink.Want].
	Filter host.Filter `json:"filter"`

	File     *FileSink     `json:"file,omitempty"`
	NATS     *NATSSink     `json:"nats,omitempty"`
	Postgres *PostgresSink `json:"postgres,omitempty"`
	Stdout   *StdoutSink   `json:"stdout,omitempty"`
	Webhook  *WebhookSink  `json:"webhook,omitempty"`

	// condition is what Filter.Where was compiled to, nil for none.
	condition func(*host.Event) (bool, error)
}

// Want is Filter, with failed being told of each event that the expression does
// not fit, and why: a member is not there, or of another type. Such an event is
// wanted, for one too many can be thrown away by whoever gets it. The error's
// text holds nothing of the event. failed is called concurrently and must not
// block.
func (s *Sink) Want(failed func(error)) host.Filter {
	want := s.Filter
	if s.condition == nil {
		return want
	}
	want.Test = func(ev *host.Event) bool {
		holds, err := s.condition(ev)
		if err != nil {
			failed(err)
			return true
		}
		return holds
	}
	return want
}

// Backoff says when a failed delivery is tried again: after a random time below
// a bound that starts at Base and doubles up to Max.
type Backoff struct {
	// Base is the first bound. Default 1s, never 0.
	Base time.Duration `json:"base"`
	// Max is the last bound. Default 1h, never below Base.
	Max time.Duration `json:"max"`
	// Over is how long it is tried, from the first attempt, before the delivery
	// is dead. Default 7d, never below Base.
	Over time.Duration `json:"over"`
}

// Breaker leaves a sink alone that fails, until one event at a time gets through
// again.
type Breaker struct {
	// Failures is how many deliveries in a row must fail, each with an event that
	// never failed before. Default 5; 0 means never.
	Failures int `json:"failures"`
	// OpenFor is how long nothing is delivered then. Default 30s, never 0.
	OpenFor time.Duration `json:"open_for"`
}

// FileSink are the settings of a sink that appends events to a file, one a line.
type FileSink struct {
	// Path of the file. It has no default.
	Path string `json:"path"`
	// Rotate says when the file is renamed and another begun.
	Rotate Rotation `json:"rotate"`
}

// Rotation says when a file is renamed, and how many of those stay. The zero
// Rotation leaves it all in one file.
type Rotation struct {
	// Size is how large the file may become. 0, the default, means any size.
	Size Size `json:"size"`
	// Age cuts the time into periods, counted in UTC (24h: days), of which each
	// has files of its own. 0, the default, means one for ever.
	Age time.Duration `json:"age"`
	// Keep is how many renamed files stay; older ones are removed. 0, the
	// default, means all.
	Keep int `json:"keep"`
}

// StdoutSink are the settings of a sink that writes events to the standard
// output, one a line: there are none.
type StdoutSink struct{}

// Values of WebhookSink.Format.
const (
	Structured = "structured" // whole in the body, as CloudEvents JSON
	Binary     = "binary"     // data in the body, the attributes in headers "ce-…"
	DataOnly   = "data"       // data in the body, and no more
)

// WebhookSink are the settings of a sink that posts events to a URL.
type WebhookSink struct {
	// URL is absolute, http or https, without credentials in it. It has no
	// default.
	URL string `json:"url"`
	// Secrets sign each request by Standard Webhooks: "whsec_" and base64 of 24
	// to 64 bytes for HMAC-SHA256, "whsk_" and base64 of a private key (its seed
	// of 32 bytes, or 64 with the public key) for Ed25519. Newest first, at least
	// one.
	Secrets []Secret `json:"secrets"`
	// Format is how an event stands in a request: Structured, the default, Binary
	// or DataOnly.
	Format string `json:"format"`
	// Headers are sent with each request, by their names. Default none. Which
	// names and values may not be, the sink says.
	Headers map[string]Secret `json:"headers"`
	// TLS is for an https URL. Default: no certificate is shown, and the system's
	// roots are trusted.
	TLS ClientTLS `json:"tls"`
	// AllowPrivate permits loopback, private and link-local addresses. Default
	// false.
	AllowPrivate bool `json:"allow_private"`
}

// ClientTLS names the files by which a sink and its other side know each other,
// PEM each. They are read by the sink, not by Load, and again when they change.
type ClientTLS struct {
	// Cert is the certificate that is shown, with what leads to its root, Key its
	// private key. Both are set or neither is.
	Cert string `json:"cert"`
	Key  string `json:"key"`
	// CA, if set, holds the only roots that are trusted.
	CA string `json:"ca"`
	// ServerName is the name that the other side's certificate must be for. Empty,
	// the default, means the URL's host.
	ServerName string `json:"server_name"`
}

const day = 24 * time.Hour

// Default is the configuration without a file, environment and flags. Every
// call makes a new one.
func Default() *Config {
	return &Config{
		Intake: Intake{
			Listen:         "127.0.0.1:8080",
			MaxBody:        1 << 20,
			ReadTimeout:    5 * time.Second,
			WriteTimeout:   10 * time.Second,
			IdleTimeout:    30 * time.Second,
			MaxConnections: 4096,
			DrainTimeout:   20 * time.Second,
		},
		Admin: Admin{Listen: "127.0.0.1:8081"},
		Log:   Log{Level: slog.LevelInfo, Format: "json"},
		Store: Store{
			Engine: EngineBolt, Path: "./data", MaxKept: 10000,
			SegmentSize: 1 << 30, SegmentAge: day, Retention: 7 * day, DedupWindow: 45 * day,
			QueueRequests: 4096, QueueBytes: 64 << 20,
			Quarantine: Quarantine{RingEntries: 1000, RingBytes: 16 << 20},
		},
		Plugins: Plugins{
			Path:      "./plugins/dist",
			CacheSize: 512 << 20,
			MaxMemory: 16 << 20,
			Fuel:      2_000_000,
			MaxFuel:   20_000_000,
			Isolation: Pristine,
			Wait:      250 * time.Millisecond,
		},
		Reload: Reload{Watch: true},
	}
}

func defaultEndpoint() Endpoint { return Endpoint{Verification: Required} }

func defaultSink(kind string) Sink {
	s := Sink{
		Concurrency: 1,
		Batch:       100,
		Timeout:     30 * time.Second,
		Order:       host.OrderNone,
		Retry:       Backoff{Base: time.Second, Max: time.Hour, Over: 7 * day},
		Breaker:     Breaker{Failures: 5, OpenFor: 30 * time.Second},
		From:        host.FromNow,
	}
	switch kind {
	case TypeFile:
		s.File = &FileSink{}
	case TypeStdout:
		s.Stdout = &StdoutSink{}
	case TypeNATS:
		s.NATS = defaultNATS()
		s.Concurrency = 4
	case TypePostgres:
		s.Postgres = &PostgresSink{Table: "postern_events", CreateTable: true}
		s.Concurrency = 4
	case TypeWebhook:
		s.Webhook = &WebhookSink{Format: Structured}
		s.Concurrency, s.Batch = 4, 1
	}
	return s
}

// Warnings are things that are legal and that an operator should know, a line
// each, in a stable order. The caller must not change them.
func (c *Config) Warnings() []string { return c.warnings }

// Files are the paths of the files that it was read from, its own and those of
// its secrets, in order. The caller must not change them.
func (c *Config) Files() []string { return c.files }
