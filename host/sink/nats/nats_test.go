package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

// shared is the address of the server to test against.
func shared(t *testing.T) string {
	t.Helper()
	text := os.Getenv("POSTERN_TEST_NATS")
	if text == "" {
		t.Skip("set POSTERN_TEST_NATS to a server with JetStream, like nats://127.0.0.1:4222, to have this test run")
	}
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// TestMain keeps one stream on the shared server for as long as the tests run: a
// server of 2.9 that deletes its last stream removes the directory of all, and
// answers 10049 (error creating store for stream) to who makes one meanwhile.
func TestMain(m *testing.M) {
	code := 1
	if done, err := keepStream(os.Getenv("POSTERN_TEST_NATS")); err != nil {
		fmt.Fprintln(os.Stderr, "POSTERN_TEST_NATS:", err)
	} else {
		code = m.Run()
		done()
	}
	os.Exit(code)
}

func keepStream(server string) (done func(), err error) {
	if server == "" {
		return func() {}, nil
	}
	nc, err := nats.Connect(server)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	name := "KEPT-" + nuid.Next()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
		return nil, err
	}
	return func() {
		_, _ = nc.Request("$JS.API.STREAM.DELETE."+name, nil, time.Second)
		nc.Close()
	}, nil
}

// ground is a place of its own on a server: a prefix of subjects, a stream, and
// a connection past the sink.
type ground struct {
	prefix, stream string
	nc             *nats.Conn
	js             jetstream.JetStream
}

func newGround(t *testing.T, address string) *ground {
	t.Helper()
	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	id := nuid.Next()
	g := &ground{prefix: "test-" + id, stream: "TEST-" + id, nc: nc, js: js}
	t.Cleanup(func() {
		// The test's own context has ended.
		_, _ = nc.Request("$JS.API.STREAM.DELETE."+g.stream, nil, time.Second)
		nc.Close()
	})
	return g
}

func (g *ground) subject() string { return g.prefix + ".{tenant}.{provider}.{type}" }

func (g *ground) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: g.stream, Subjects: []string{g.prefix + ".>"}, Storage: jetstream.FileStorage}
}

func (g *ground) makeStream(t *testing.T) {
	t.Helper()
	if _, err := g.js.CreateStream(t.Context(), g.config()); err != nil {
		t.Fatal(err)
	}
}

// stored is what the stream has, in its order.
func (g *ground) stored(t *testing.T) (out [][]byte) {
	t.Helper()
	s, err := g.js.Stream(t.Context(), g.stream)
	if err != nil {
		return nil
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && seq > 0; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, event(t, m.Header, m.Data))
	}
	return out
}

// heard subscribes and returns what came so far.
func (g *ground) heard(t *testing.T) func(*testing.T) [][]byte {
	t.Helper()
	sub, err := g.nc.SubscribeSync(g.prefix + ".>")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	return func(t *testing.T) [][]byte {
		t.Helper()
		// What a server passed on before this PONG is there.
		if err := g.nc.Flush(); err != nil {
			t.Fatal(err)
		}
		for n, _, _ := sub.Pending(); n > 0; n-- {
			m, err := sub.NextMsg(time.Second)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, event(t, m.Header, m.Data))
		}
		return out
	}
}

// event is the CloudEvents JSON of either format, as a reader would put it
// together again.
func event(t *testing.T, h nats.Header, data []byte) []byte {
	t.Helper()
	if strings.HasPrefix(h.Get("Content-Type"), "application/cloudevents") {
		return data
	}
	attributes := map[string]any{"data": json.RawMessage(data)}
	for name := range h {
		if attribute, ok := strings.CutPrefix(name, "ce-"); ok {
			text, err := url.PathUnescape(h.Get(name))
			if err != nil {
				t.Fatal(err)
			}
			attributes[attribute] = text
		}
	}
	out, err := json.Marshal(attributes)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t *testing.T, c Config) *Sink {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	canaryPassword = "canary-password-77aa"
	noThrottle     = "NATS has no way to ask for a wait"
)

// hold keeps back what the server says, once it has said its INFO: it speaks
// first, and a delivery would not arrive without.
func hold(t *testing.T, s *Sink, relay *sinktest.Relay) (<-chan struct{}, func()) {
	t.Helper()
	if _, err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return relay.Hold()
}

// streamKit is the conformance suite's, over JetStream.
func streamKit(format Format) sinktest.Kit {
	return sinktest.Kit{
		Secrets:    []string{canaryPassword},
		NoThrottle: noThrottle,
		New: func(t *testing.T) (host.Sink, sinktest.Probe) {
			g, relay := newGround(t, shared(t)), sinktest.NewRelay(t, shared(t))
			g.makeStream(t)
			s := open(t, Config{
				Servers: []string{"nats://" + relay.Address}, Subject: g.subject(), Stream: g.stream, Format: format,
				User: "nobody", Password: canaryPassword,
			})
			return s, sinktest.Probe{
				Received: g.stored,
				Refuse: func(t *testing.T) {
					if err := g.js.DeleteStream(t.Context(), g.stream); err != nil {
						t.Fatal(err)
					}
				},
				Mend: g.makeStream,
				RefuseForGood: func(t *testing.T) {
					c := g.config()
					c.MaxMsgSize = 10
					if _, err := g.js.UpdateStream(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				},
				Hang: func(t *testing.T) (<-chan struct{}, func()) { return hold(t, s, relay) },
			}
		},
	}
}

func TestSink_jetstream(t *testing.T) {
	for _, format := range []Format{Structured, Binary} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			sinktest.Run(t, streamKit(format))
		})
	}
}

func TestSink_core(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Kit{
		Secrets:         []string{canaryPassword},
		NoThrottle:      noThrottle,
		NoRefuseForGood: "a server refuses for good only what is above its max_payload, which stands when it starts; TestSink_tooLarge",
		New: func(t *testing.T) (host.Sink, sinktest.Probe) {
			g, relay := newGround(t, shared(t)), sinktest.NewRelay(t, shared(t))
			s := open(t, Config{
				Servers: []string{"nats://" + relay.Address}, Mode: Core, Subject: g.subject(),
				User: "nobody", Password: canaryPassword,
			})
			return s, sinktest.Probe{
				Received: g.heard(t),
				Refuse:   func(*testing.T) { relay.Cut() },
				Mend:     func(*testing.T) { relay.Restore() },
				Hang:     func(t *testing.T) (<-chan struct{}, func()) { return hold(t, s, relay) },
			}
		},
	})
}

// The id is what JetStream takes for the same.
func TestSink_storesAnIDOnce(t *testing.T) {
	t.Parallel()
	g := newGround(t, shared(t))
	g.makeStream(t)
	s := open(t, Config{Servers: []string{"nats://" + shared(t)}, Subject: g.subject(), Stream: g.stream})
	defer s.Close()
	for range 3 {
		if errs := s.Deliver(t.Context(), sinktest.Batch(0, 2)); errs != nil {
			t.Fatal(errs)
		}
	}
	if got := len(g.stored(t)); got != 2 {
		t.Errorf("%d events stored, want 2", got)
	}
}

func TestSink_makesTheStream(t *testing.T) {
	t.Parallel()
	g := newGround(t, shared(t))
	s := open(t, Config{
		Servers: []string{"nats://" + shared(t)}, Subject: g.subject(), Stream: g.stream,
		Create: Create{Subjects: []string{g.prefix + ".>"}, MaxAge: time.Hour, DuplicateWindow: time.Minute},
	})
	defer s.Close()
	deliver := func() {
		t.Helper()
		if errs := s.Deliver(t.Context(), sinktest.Batch(0, 2)); errs != nil {
			t.Fatal(errs)
		}
	}
	deliver()
	stream, err := g.js.Stream(t.Context(), g.stream)
	if err != nil {
		t.Fatal(err)
	}
	got := stream.CachedInfo().Config
	want := []any{jetstream.FileStorage, time.Hour, time.Minute, 1, int64(-1)}
	if diff := cmp.Diff(want, []any{got.Storage, got.MaxAge, got.Duplicates, got.Replicas, got.MaxBytes}); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
	// One that exists is left as it is.
	got.MaxAge = 2 * time.Hour
	if _, err := g.js.UpdateStream(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	second := open(t, Config{Servers: []string{"nats://" + shared(t)}, Subject: g.subject(), Stream: g.stream, Create: Create{Subjects: []string{g.prefix + ".>"}}})
	defer second.Close()
	if errs := second.Deliver(t.Context(), sinktest.Batch(9, 1)); errs != nil {
		t.Fatal(errs)
	}
	if stream, err = g.js.Stream(t.Context(), g.stream); err != nil || stream.CachedInfo().Config.MaxAge != 2*time.Hour {
		t.Errorf("max age %v, err %v; want what the operator set", stream.CachedInfo().Config.MaxAge, err)
	}
	// One that goes is made again, at the delivery after the one that misses it.
	if err := g.js.DeleteStream(t.Context(), g.stream); err != nil {
		t.Fatal(err)
	}
	if errs := s.Deliver(t.Context(), sinktest.Batch(0, 2)); errs == nil || host.IsPermanent(errs[0]) {
		t.Errorf("without the stream: %v, want what may pass", errs)
	}
	deliver()
}

func TestSink_wantsItsStream(t *testing.T) {
	t.Parallel()
	g := newGround(t, shared(t))
	g.makeStream(t)
	s := open(t, Config{Servers: []string{"nats://" + shared(t)}, Subject: g.subject(), Stream: "OTHER"})
	defer s.Close()
	errs := s.Deliver(t.Context(), sinktest.Batch(0, 1))
	if len(errs) != 1 || errs[0] == nil || host.IsPermanent(errs[0]) || !strings.Contains(errs[0].Error(), "expected stream does not match") {
		t.Errorf("another stream took it: %v", errs)
	}
	if got := len(g.stored(t)); got != 0 {
		t.Errorf("%d events stored", got)
	}
}

// A PONG of another connection says nothing about what was published on the
// first.
func TestSink_coreIsNotDoneByAnotherConnection(t *testing.T) {
	t.Parallel()
	relay := sinktest.NewRelay(t, shared(t))
	s := open(t, Config{Servers: []string{"nats://" + relay.Address}, Mode: Core})
	defer s.Close()
	l, err := s.ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begun := l.mark()
	if err := l.nc.Publish("lost."+nuid.Next(), nil); err != nil {
		t.Fatal(err)
	}
	again := l.nc.StatusChanged(nats.RECONNECTING)
	relay.Cut()
	<-again
	relay.Restore()
	if _, err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.confirm(ctx, begun); !errors.Is(err, nats.ErrDisconnected) {
		t.Errorf("confirm over two connections = %v, want %v", err, nats.ErrDisconnected)
	}
	if err := l.confirm(ctx, l.mark()); err != nil {
		t.Errorf("confirm on the new one = %v", err)
	}
}
