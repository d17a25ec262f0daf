package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Values of NATSSink.Mode.
const (
	ModeJetStream = "jetstream" // done when a stream has stored it
	ModeCore      = "core"      // done when a server has it; nothing stores it
)

// NATSSink are the settings of a sink that publishes events to NATS.
type NATSSink struct {
	// Servers are URLs of one cluster, nats:// or tls://, without credentials in
	// them. It has no default.
	Servers []string `json:"servers"`
	// Mode is ModeJetStream, the default, or ModeCore.
	Mode string `json:"mode"`
	// Subject is a template of {tenant}, {endpoint}, {provider} and {type}.
	// Default postern.{tenant}.{provider}.{type}.
	Subject string `json:"subject"`
	// Format is "structured", the default: whole in the body, as CloudEvents
	// JSON; or "binary": data in the body, the attributes in headers "ce-…".
	Format string `json:"format"`
	// Stream is the stream that must take the events. Empty, the default, means
	// whichever takes the subject.
	Stream string `json:"stream"`
	// CreateStream makes Stream if it is not there.
	CreateStream NATSStream `json:"create_stream"`
	// At most one of Credentials (the text of a credentials file), User with
	// Password, Token and NKey (a seed) is set. Default none.
	Credentials Secret `json:"credentials"`
	User        string `json:"user"`
	Password    Secret `json:"password"`
	Token       Secret `json:"token"`
	NKey        Secret `json:"nkey"`
	// TLS is used for tls:// and where a server asks for it.
	TLS BrokerTLS `json:"tls"`
}

// NATSStream is a stream to be made; one that exists is left as it is.
type NATSStream struct {
	// Subjects are what it takes. None, the default, means that no stream is
	// made: it must exist.
	Subjects []string `json:"subjects"`
	// Replicas is 1 to 5. Default 1.
	Replicas int `json:"replicas"`
	// MaxAge and MaxBytes are when it drops its oldest. 0, the default, means
	// never.
	MaxAge   time.Duration `json:"max_age"`
	MaxBytes Size          `json:"max_bytes"`
	// DuplicateWindow is how long an id is remembered. Default 2m, never 0.
	DuplicateWindow time.Duration `json:"duplicate_window"`
}

// BrokerTLS names the files by which a sink and a broker know each other, PEM
// each. They are read by the sink, not by Load, and again for each connection.
type BrokerTLS struct {
	// CA, if set, holds the only roots that are trusted.
	CA string `json:"ca"`
	// Cert is the certificate that is shown, Key its private key. Both are set or
	// neither is.
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// PostgresSink are the settings of a sink that inserts events into a table.
type PostgresSink struct {
	// DSN says where and as whom, as libpq takes it. It has no default.
	DSN Secret `json:"dsn"`
	// Table is a name or schema.name; case counts. Default postern_events.
	Table string `json:"table"`
	// CreateTable makes the table if it is not there. Default true.
	CreateTable bool `json:"create_table"`
}

func defaultNATS() *NATSSink {
	return &NATSSink{
		Mode: ModeJetStream, Subject: "postern.{tenant}.{provider}.{type}", Format: "structured",
		CreateStream: NATSStream{Replicas: 1, DuplicateWindow: 2 * time.Minute},
	}
}

// keyed is a secret and its key among a sink's settings.
type keyed struct {
	name  string
	value *Secret
}

// brokerSecrets are those of a sink that has one value for each.
func (s Sink) brokerSecrets() []keyed {
	switch {
	case s.NATS != nil:
		n := s.NATS
		return []keyed{{"credentials", &n.Credentials}, {"password", &n.Password}, {"token", &n.Token}, {"nkey", &n.NKey}}
	case s.Postgres != nil:
		return []keyed{{"dsn", &s.Postgres.DSN}}
	}
	return nil
}

func checkNATS(ps *problems, at string, n *NATSSink) {
	const form = "write it like nats://nats.example.com:4222"
	if len(n.Servers) == 0 && !ps.below(at+".servers") {
		ps.add(at+".servers", "is missing", form)
	}
	for i, text := range n.Servers {
		p := at + ".servers." + strconv.Itoa(i)
		// It prints no URL: there may be a password in it.
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Hostname() == "":
			ps.add(p, "is no URL with a host", form)
		case u.Scheme != "nats" && u.Scheme != "tls":
			ps.add(p, "is no nats or tls URL", "begin it with nats:// or tls://")
		case u.User != nil:
			ps.add(p, "has credentials in it", "leave out what is before the @, and set user and password, or token")
		case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			ps.add(p, "goes on behind the port", form)
		}
	}
	ps.choice(at+".mode", n.Mode, ModeJetStream, ModeCore)
	ps.choice(at+".format", n.Format, "structured", "binary")
	checkSubject(ps, at+".subject", n.Subject)
	checkStream(ps, at, n)
	checkLogin(ps, at, n)
	checkBrokerTLS(ps, at+".tls", &n.TLS)
}

var (
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
	tokens      = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// maxSubject is the longest template that the sink takes.
const maxSubject = 255

func checkSubject(ps *problems, at, template string) {
	const fix = "write tokens of A-Z, a-z, 0-9, - and _ with dots between them, and {tenant}, {endpoint}, {provider} and {type} where they are to stand"
	for _, p := range placeholder.FindAllString(template, -1) {
		switch p {
		case "{tenant}", "{endpoint}", "{provider}", "{type}":
		default:
			ps.add(at, fmt.Sprintf("%s stands for nothing", p), fix)
		}
	}
	if len(template) > maxSubject || !tokens.MatchString(placeholder.ReplaceAllString(template, "x")) {
		ps.add(at, fmt.Sprintf("%q is no subject to publish to", template), fix)
	}
}

func checkStream(ps *problems, at string, n *NATSSink) {
	c := &n.CreateStream
	made := len(c.Subjects) > 0
	switch {
	case n.Mode == ModeCore && (made || n.Stream != ""):
		ps.add(at+".stream", "is of no use with mode core, which has no streams", "set mode: jetstream, or leave out stream and create_stream")
	case made && n.Stream == "":
		ps.add(at+".stream", "is missing beside create_stream", "name the stream to be made")
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		ps.add(at+".create_stream.replicas", fmt.Sprintf("%d is not between 1 and 5", c.Replicas), "3 survive the loss of a server")
	}
	if c.MaxAge < 0 {
		ps.add(at+".create_stream.max_age", fmt.Sprintf("%s is negative", c.MaxAge), "0s means for ever")
	}
	if c.MaxBytes < 0 {
		ps.add(at+".create_stream.max_bytes", fmt.Sprintf("%d is negative", int64(c.MaxBytes)), "0 means without a limit")
	}
	checkDuration(ps, at+".create_stream.duplicate_window", c.DuplicateWindow, "stores an event twice whose acknowledgement was lost")
}

func checkLogin(ps *problems, at string, n *NATSSink) {
	ways := 0
	for _, set := range []bool{n.Credentials.Reveal() != "", n.User != "" || n.Password.Reveal() != "", n.Token.Reveal() != "", n.NKey.Reveal() != ""} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		ps.add(at, "has more than one of credentials, user, token and nkey", "leave one")
	}
	if n.User == "" && n.Password.Reveal() != "" {
		ps.add(at+".user", "is missing beside password", "name the user")
	}
	if n.User != "" && n.Password.Reveal() == "" && !ps.below(at+".password") {
		ps.add(at+".password", "is missing beside user", "write env:NAME or file:/path")
	}
}

func checkBrokerTLS(ps *problems, at string, t *BrokerTLS) {
	switch {
	case t.Cert != "" && t.Key == "":
		ps.add(at+".key", "is missing beside "+at+".cert", "name the file of the certificate's private key")
	case t.Cert == "" && t.Key != "":
		ps.add(at+".cert", "is missing beside "+at+".key", "name the file of the certificate")
	}
}

// table is what PostgreSQL takes for a name, with its schema or without.
var table = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}$`)

func checkPostgres(ps *problems, at string, p *PostgresSink) {
	if p.DSN.Reveal() == "" && !ps.below(at+".dsn") {
		ps.add(at+".dsn", "is missing", "write env:NAME or file:/path, which holds postgres://user:password@host:5432/database?sslmode=verify-full")
	}
	if !table.MatchString(p.Table) {
		ps.add(at+".table", fmt.Sprintf("%q is no table", p.Table), "write a name or schema.name of A-Z, a-z, 0-9 and _, not beginning with a digit")
	}
}

func warnNATS(say func(path, text string), path string, n *NATSSink) {
	for i, s := range n.Servers {
		u, err := url.Parse(s)
		if err == nil && strings.EqualFold(u.Scheme, "nats") && n.TLS == (BrokerTLS{}) && !loopback(u.Host) && !loopback(u.Host+":0") {
			say(path+".servers."+strconv.Itoa(i), "is not tls: events and credentials can be read on the way")
		}
	}
	if n.Mode == ModeCore {
		say(path+".mode", "core stores nothing: an event that nobody listens to at that moment is gone")
	}
}
