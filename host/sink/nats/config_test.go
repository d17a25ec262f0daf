package nats

import (
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

func TestNew_refuses(t *testing.T) {
	t.Parallel()
	at := []string{"nats://127.0.0.1:4222"}
	for _, row := range []struct {
		config Config
		want   string
	}{
		{Config{}, "servers: at least one"},
		{Config{Servers: []string{"127.0.0.1:4222"}}, "servers[0]: "},
		{Config{Servers: []string{at[0], "http://x"}}, "servers[1]: must begin with nats:// or tls://"},
		{Config{Servers: []string{"nats://u:canary@x"}}, "servers[0]: must not hold a user"},
		{Config{Servers: []string{"nats://canary@x"}}, "servers[0]: must not hold a user"},
		{Config{Servers: []string{"nats://x:4222/canary"}}, "servers[0]: must end with the port"},
		{Config{Servers: []string{"nats://"}}, "servers[0]: is not a URL"},
		{Config{Servers: at, Mode: "both"}, `mode: "both" is unknown`},
		{Config{Servers: at, Format: "raw"}, `format: "raw" is unknown`},
		{Config{Servers: at, Mode: Core, Stream: "S"}, "stream: core NATS has no streams"},
		{Config{Servers: at, Create: Create{Subjects: []string{"a.>"}}}, "stream: is missing"},
		{Config{Servers: at, Subject: "a.{kind}"}, "subject: {kind} is unknown"},
		{Config{Servers: at, Subject: "a..b"}, "subject: must be tokens"},
		{Config{Servers: at, Subject: "a.*"}, "subject: must be tokens"},
		{Config{Servers: at, Subject: "a.>"}, "subject: must be tokens"},
		{Config{Servers: at, Subject: "a b"}, "subject: must be tokens"},
		{Config{Servers: at, Subject: "$SYS.{type}"}, "subject: must be tokens"},
		{Config{Servers: at, Subject: "{type"}, "subject: must be tokens"},
		{Config{Servers: at, Subject: strings.Repeat("a", 256)}, "subject: has 256 characters"},
		{Config{Servers: at, Password: "canary"}, "user: is missing"},
		{Config{Servers: at, NKey: "canary"}, "nkey: is not the seed"},
		{Config{Servers: at, Credentials: "canary"}, "credentials: is not the text"},
		{Config{Servers: at, TLS: TLS{Cert: "c.pem"}}, "tls: cert and key belong together"},
		{Config{Servers: at, TLS: TLS{CA: "/nowhere.pem"}}, "tls: nats: error loading or parsing rootCA file: open /nowhere.pem"},
		{Config{Servers: at, TLS: TLS{Cert: "/nowhere.pem", Key: "/nowhere.pem"}}, "tls: nats: error loading client certificate: open /nowhere.pem"},
		{Config{Servers: at, Token: "canary", User: "u", Password: "canary"}, "set one of them"},
	} {
		_, err := New(row.config)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("New = %v, want %q in it", err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("an error text holds a secret, where %q is wanted", row.want)
		}
	}
}

func TestNew_takesACredentialsFile(t *testing.T) {
	t.Parallel()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text := "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n" +
		"-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"
	if _, err := New(Config{Servers: []string{"nats://127.0.0.1:4222"}, Credentials: text}); err != nil {
		t.Error(err)
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	ev := sinktest.Event(1)
	for _, row := range []struct {
		template             string
		tenant, kind, wanted string
	}{
		{"", "acme", "payment.succeeded", "postern.acme.ottu.payment.succeeded"},
		{"evt-{tenant}.{endpoint}.{type}.x", "acme", "github.push", "evt-acme.ottu.github.push.x"},
		{"{tenant}", "a.b", "", "a%2Eb"},
		{"{tenant}", "*", "", "%2A"},
		{"{tenant}", ">", "", "%3E"},
		{"{tenant}", "a b\r\n\t", "", "a%20b%0D%0A%09"},
		{"{tenant}", "", "", "%"},
		{"{tenant}", "%", "", "%25"},
		{"{tenant}", "%2E", "", "%252E"},
		{"{tenant}", "ü{type}", "", "%C3%BC%7Btype%7D"},
		{"{type}", "", "a.*.>", "a.%2A.%3E"},
		{"{type}", "", "a..b", "a.%.b"},
		{"{type}", "", "", "%"},
	} {
		parsed, err := parseTemplate(row.template)
		if err != nil {
			t.Fatal(err)
		}
		ev.Tenant, ev.Type = row.tenant, row.kind
		if got := parsed.of(&ev); got != row.wanted {
			t.Errorf("%q of tenant %q, type %q = %q, want %q", row.template, row.tenant, row.kind, got, row.wanted)
		}
	}
}

// Two texts are never one token, and no text is more than one.
func FuzzToken(f *testing.F) {
	f.Add("a.b", "a%2Eb")
	f.Add("", "%")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := token(a), token(b)
		if a != b && x == y {
			t.Errorf("%q and %q are both %q", a, b, x)
		}
		if strings.ContainsAny(x, ".*> \t\r\n") || x == "" {
			t.Errorf("%q becomes %q", a, x)
		}
	})
}

// An attribute that is not printable ASCII cannot end its header.
func TestEncode_binaryHeaders(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Servers: []string{"nats://127.0.0.1:4222"}, Format: Binary})
	ev := sinktest.Event(1)
	ev.Subject, ev.Confirm, ev.Sandbox = "a\r\nX: y \"%ü", true, true
	m, err := s.encode(&ev)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ce-subject": "a%0D%0AX:%20y%20%22%25%C3%BC", "ce-id": ev.ID(), "ce-specversion": "1.0", "ce-sandbox": "true",
		"ce-confirm": "required", "ce-verifiedby": string(host.HMACSHA256), "Content-Type": "application/json",
		"ce-datacontenttype": "application/json",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if string(m.Data) != string(ev.Data) {
		t.Errorf("body = %s, want %s", m.Data, ev.Data)
	}
}
