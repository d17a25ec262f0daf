package config

import (
	"slices"
	"strings"
	"testing"
)

const (
	inNATS     = "sinks: {s: {type: nats, servers: ['nats://127.0.0.1:4222'], %}}"
	inPostgres = "sinks: {s: {type: postgres, dsn: env:DSN, %}}"
)

func TestLoad_refusesOfBrokers(t *testing.T) {
	t.Parallel()
	for _, r := range []struct{ in, text, want string }{
		{"%", "sinks: {s: {type: nats}}", "sinks.s.servers: is missing"},
		{"%", "sinks: {s: {type: nats, servers: ['127.0.0.1:4222']}}", "sinks.s.servers.0: is no URL"},
		{"%", "sinks: {s: {type: nats, servers: ['https://x']}}", "sinks.s.servers.0: is no nats or tls URL"},
		{"%", "sinks: {s: {type: nats, servers: [nats://a, 'nats://u:planted@b']}}", "sinks.s.servers.1: has credentials in it"},
		{"%", "sinks: {s: {type: nats, servers: nats://x/planted}}", "sinks.s.servers.0: goes on behind the port"},
		{inNATS, "mode: both", "sinks.s.mode: \"both\" is unknown"},
		{inNATS, "format: raw", "sinks.s.format: \"raw\" is unknown"},
		{inNATS, "subject: 'a.{kind}'", "sinks.s.subject: {kind} stands for nothing"},
		{inNATS, "subject: 'a.>'", "sinks.s.subject: \"a.>\" is no subject"},
		{inNATS, "subject: ''", "sinks.s.subject: \"\" is no subject"},
		{inNATS, "subject: '{type'", "sinks.s.subject: \"{type\" is no subject"},
		{inNATS, "mode: core, stream: S", "sinks.s.stream: is of no use with mode core"},
		{inNATS, "create_stream: {subjects: [a.>]}", "sinks.s.stream: is missing beside create_stream"},
		{inNATS, "create_stream: {replicas: 0}", "sinks.s.create_stream.replicas: 0 is not between 1 and 5"},
		{inNATS, "create_stream: {max_age: -1s}", "sinks.s.create_stream.max_age: -1s is negative"},
		{inNATS, "create_stream: {max_bytes: -1}", "sinks.s.create_stream.max_bytes: -1 is negative"},
		{inNATS, "create_stream: {duplicate_window: 0s}", "sinks.s.create_stream.duplicate_window: a zero duplicate window"},
		{inNATS, "create_stream: {subject: a}", "did you mean \"subjects\"?"},
		{inNATS, "user: u", "sinks.s.password: is missing beside user"},
		{inNATS, "password: planted", "sinks.s.user: is missing beside password"},
		{inNATS, "token: planted, nkey: planted", "sinks.s: has more than one of"},
		{inNATS, "token: [planted]", "sinks.s.token: must be text"},
		{inNATS, "token: env:NONE", "sinks.s.token: environment variable \"NONE\""},
		{inNATS, "token: env:EMPTY", "sinks.s.token: is empty"},
		{inNATS, "token: ", "sinks.s.token: is empty"},
		{inNATS, "tls: {cert: c.pem}", "sinks.s.tls.key: is missing beside"},
		{inNATS, "tls: {key: c.pem}", "sinks.s.tls.cert: is missing beside"},
		{inNATS, "tls: {ca_file: c.pem}", "sinks.s.tls.ca_file: unknown key"},
		{inNATS, "dsn: planted", "sinks.s.dsn: unknown key"},
		{"%", "sinks: {s: {type: postgres}}", "sinks.s.dsn: is missing"},
		{"%", "sinks: {s: {type: postgres, dsn: ''}}", "sinks.s.dsn: is missing"},
		{"%", "sinks: {s: {type: postgres, dsn: 'postgres://u:planted@h/d'}}", "sinks.s.dsn: begins with a scheme"},
		{inPostgres, "table: ''", "sinks.s.table: \"\" is no table"},
		{inPostgres, "table: 'a;drop'", "sinks.s.table: \"a;drop\" is no table"},
		{inPostgres, "table: a.b.c", "sinks.s.table: \"a.b.c\" is no table"},
		{inPostgres, "create_table: maybe", "sinks.s.create_table: is neither"},
	} {
		t.Run(r.want, func(t *testing.T) {
			t.Parallel()
			got := mustFail(t, strings.Replace(r.in, "%", r.text, 1), "EMPTY=", "DSN=postgres://u:planted@h/d")
			if !strings.Contains(got, r.want) {
				t.Errorf("error lacks %q:\n%s", r.want, got)
			}
			if n := strings.Count(got, "\n"); n != 0 {
				t.Errorf("one fault, %d problems:\n%s", n+1, got)
			}
			if strings.Contains(got, "planted") {
				t.Errorf("a secret is among the problems:\n%s", got)
			}
		})
	}
}

func TestLoad_takesBrokers(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Replace(inNATS, "%", "", 1),
		strings.Replace(inNATS, "%", "mode: core, subject: 'x-{tenant}.{endpoint}', format: binary, token: value:t", 1),
		strings.Replace(inNATS, "%", "stream: S, create_stream: {subjects: [postern.>], replicas: 3, max_age: 7d, max_bytes: 1GiB}", 1),
		strings.Replace(inNATS, "%", "user: u, password: value:p, credentials: '', tls: {ca: ca.pem, cert: c.pem, key: k.pem}", 1),
		"sinks: {s: {type: postgres, dsn: 'value:postgres://u@h/d', table: audit.Events, create_table: false}}",
	} {
		if _, err := load(t, text); err != nil {
			t.Errorf("Load(%s) = %v", text, err)
		}
	}
	got := mustLoad(t, strings.Replace(inPostgres, "%", "", 1), "DSN=d", "POSTERN__SINKS__S__TABLE=other", "POSTERN__SINKS__S__DSN=env:DSN").Sinks["s"]
	if got.Postgres.Table != "other" || got.Postgres.DSN.Reveal() != "d" || got.Concurrency != 4 || got.Batch != 100 {
		t.Errorf("sink = %+v of %+v", got, got.Postgres)
	}
}

func TestWarnings_ofBrokers(t *testing.T) {
	t.Parallel()
	got := mustLoad(t, `
tenants: {t: {}}
sinks:
  a: {type: nats, servers: ['nats://127.0.0.1:4222', 'nats://localhost', 'nats://nats.example.com', 'tls://nats.example.com'], token: planted}
  b: {type: nats, servers: ['nats://nats.example.com:4222'], mode: core, tls: {ca: ca.pem}, user: u, password: env:P}
  c: {type: postgres, dsn: 'value:postgres://u:planted@h/d'}`, "P=planted").Warnings()
	want := []string{
		"sinks.a.servers.2: is not tls",
		"sinks.b.mode: core stores nothing",
		"sinks.a.token: is written in the configuration itself",
		"sinks.c.dsn: is written in the configuration itself",
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("Warnings = %q, want these beginnings: %q", got, want)
	}
}
