package server

import (
	"strings"
	"testing"

	"github.com/postern/postern/config"
)

// Sinks to brokers are made without a broker: the server starts when they are
// down.
func TestMakeSink_brokers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{type: nats, servers: ['nats://127.0.0.1:1'], stream: S, create_stream: {subjects: [postern.>]}, user: u, password: value:p}": "",
		"{type: nats, servers: ['nats://127.0.0.1:1'], mode: core, format: binary, token: value:t}":                                    "",
		"{type: nats, servers: ['nats://127.0.0.1:1'], nkey: value:planted}":                                                           "nkey: is not the seed",
		"{type: nats, servers: ['nats://127.0.0.1:1'], tls: {ca: /nowhere.pem}}":                                                       "tls: nats: error loading",
		"{type: postgres, dsn: 'value:postgres://u:planted@127.0.0.1:1/d', table: audit.events}":                                       "",
		"{type: postgres, dsn: 'value:postgres://u:planted@127.0.0.1:port/d'}":                                                         "dsn: cannot be parsed",
	} {
		cfg, err := config.Load(config.Options{Text: []byte("sinks: {s: " + text + "}"), Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		sink, err := makeSink(cfg.Sinks["s"], Options{})
		if err == nil {
			err = sink.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("makeSink(%s) = %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("a secret is in the error of %s", text)
		}
	}
}
