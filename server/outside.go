package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/file"
	"github.com/postern/postern/host/sink/nats"
	"github.com/postern/postern/host/sink/postgres"
	"github.com/postern/postern/host/sink/stdout"
	"github.com/postern/postern/host/sink/webhook"
	"github.com/postern/postern/host/store/bolt"
	"github.com/postern/postern/host/store/mem"
	ledger "github.com/postern/postern/host/store/postgres"
	"github.com/postern/postern/host/wasm"
)

// parts make what has an outside: files, sandboxes, other machines.
type parts struct {
	runtime func(context.Context, *config.Config, *slog.Logger) (runtime, error)
	read    func(*config.Config) read
	store   func(context.Context, *config.Config, *slog.Logger) (host.Store, error)
	sink    func(config.Sink) (host.Sink, error)
}

// runtime is the sandbox.
type runtime interface {
	load(ctx context.Context, code []byte) (*loaded, error)
	close(ctx context.Context) error
}

// outside are the parts of production.
func outside(o Options) parts {
	return parts{
		runtime: openRuntime,
		read:    func(c *config.Config) read { return onShelf(&c.Plugins) },
		store: func(ctx context.Context, c *config.Config, log *slog.Logger) (host.Store, error) {
			return openStore(ctx, &c.Store, o.Cursors, log)
		},
		sink: func(c config.Sink) (host.Sink, error) { return makeSink(c, o) },
	}
}

// openStore opens the store and, whatever the engine, makes the data directory:
// the admin socket is there.
func openStore(ctx context.Context, c *config.Store, cursors host.From, log *slog.Logger) (host.Store, error) {
	switch c.Engine {
	case config.EngineBolt:
		o := boltOptions(c, log)
		o.Cursors = cursors
		return bolt.Open(c.Path, o)
	case config.EngineMem:
		if err := os.MkdirAll(c.Path, 0o700); err != nil {
			return nil, fmt.Errorf("make the data directory: %w", err)
		}
		return mem.New(mem.Options{MaxKept: c.MaxKept}), nil
	case config.EnginePostgres:
		if err := os.MkdirAll(c.Path, 0o700); err != nil {
			return nil, fmt.Errorf("make the data directory: %w", err)
		}
		return ledger.Open(ctx, c.DSN.Reveal(), ledger.Options{Log: log, MaxKept: c.MaxKept})
	}
	return nil, &config.Problem{Path: "store.engine", Text: fmt.Sprintf("%q is unknown", c.Engine)}
}

func boltOptions(c *config.Store, log *slog.Logger) bolt.Options {
	return bolt.Options{
		Log: log, MaxKept: c.MaxKept,
		SegmentSize: int64(c.SegmentSize), SegmentAge: c.SegmentAge, Retention: c.Retention, Window: c.DedupWindow,
		Reserve: int64(c.Reserve), QueueRequests: c.QueueRequests, QueueBytes: int64(c.QueueBytes),
		RingEntries: c.Quarantine.RingEntries, RingBytes: int64(c.Quarantine.RingBytes),
	}
}

// makeSinks makes every sink; the error joins what is wrong with any of them.
func (s *Server) makeSinks(p parts) error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Sinks)) {
		cfg := s.cfg.Sinks[name]
		sink, err := p.sink(cfg)
		if err != nil {
			wrong = append(wrong, under("sinks."+name, err))
			continue
		}
		s.sinks = append(s.sinks, namedSink{name, cfg, sink})
	}
	return errors.Join(wrong...)
}

func makeSink(c config.Sink, o Options) (host.Sink, error) {
	switch c.Type {
	case config.TypeFile:
		r := c.File.Rotate
		return file.New(file.Config{Path: c.File.Path, MaxSize: int64(r.Size), MaxAge: r.Age, Keep: r.Keep, Log: o.Log})
	case config.TypeStdout:
		if o.Stdout == nil {
			return stdout.New(os.Stdout), nil
		}
		return stdout.New(o.Stdout), nil
	case config.TypeNATS:
		return makeNATS(c)
	case config.TypePostgres:
		return postgres.New(postgres.Config{
			DSN: c.Postgres.DSN.Reveal(), Table: c.Postgres.Table, Create: c.Postgres.CreateTable,
			Concurrency: c.Concurrency, Timeout: c.Timeout,
		})
	case config.TypeWebhook:
		w := c.Webhook
		headers := make(map[string]string, len(w.Headers))
		for name, value := range w.Headers {
			headers[name] = value.Reveal()
		}
		return webhook.New(webhook.Config{
			URL: w.URL, Secrets: reveal(w.Secrets), Headers: headers, TLS: webhook.TLS(w.TLS), Format: webhook.Format(w.Format),
			Timeout: c.Timeout, AllowPrivate: w.AllowPrivate, Version: o.Version, Log: o.Log,
		})
	}
	return nil, fmt.Errorf("type: %q is unknown", c.Type)
}

// checkSinks makes those sinks that touch nothing in being made but the files of
// their certificates. The error joins what is wrong with any of them.
func checkSinks(cfg *config.Config) error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Sinks)) {
		if cfg.Sinks[name].Type != config.TypeWebhook {
			continue
		}
		sink, err := makeSink(cfg.Sinks[name], Options{})
		if err != nil {
			wrong = append(wrong, under("sinks."+name, err))
			continue
		}
		wrong = append(wrong, sink.Close())
	}
	return errors.Join(wrong...)
}

func makeNATS(c config.Sink) (host.Sink, error) {
	n, create := c.NATS, &c.NATS.CreateStream
	return nats.New(nats.Config{
		Servers: n.Servers, Mode: nats.Mode(n.Mode), Subject: n.Subject, Format: nats.Format(n.Format), Stream: n.Stream,
		Create: nats.Create{
			Subjects: create.Subjects, Replicas: create.Replicas, MaxAge: create.MaxAge,
			MaxBytes: int64(create.MaxBytes), DuplicateWindow: create.DuplicateWindow,
		},
		Credentials: n.Credentials.Reveal(), User: n.User, Password: n.Password.Reveal(), Token: n.Token.Reveal(), NKey: n.NKey.Reveal(),
		TLS: nats.TLS(n.TLS), Timeout: c.Timeout,
	})
}

// onShelf finds plugins where the configuration has them.
func onShelf(c *config.Plugins) read {
	return func(ref string) (string, []byte, error) {
		p, err := ReadPlugin(c, ref)
		if err != nil {
			return "", nil, err
		}
		return p.Path, p.Code, nil
	}
}

// sandbox is wasm's runtime behind the interface.
type sandbox struct{ *wasm.Runtime }

func openRuntime(ctx context.Context, cfg *config.Config, log *slog.Logger) (runtime, error) {
	c := &cfg.Plugins
	r, err := wasm.New(ctx, wasm.Options{
		CacheDir: c.Cache, CacheSize: int64(c.CacheSize), MemoryPages: c.MemoryPages(), Instances: c.Pool, Log: log,
		Fuel: int64(c.Fuel), MaxFuel: int64(c.MaxFuel), Reuse: c.Isolation == config.Reuse,
		Wait: max(c.Wait, 1), // zero is wasm's default, and "not at all" in the configuration
	})
	if err != nil {
		return nil, fmt.Errorf("start the plugins' runtime: %w", err)
	}
	return sandbox{r}, nil
}

func (r sandbox) close(ctx context.Context) error { return r.Close(ctx) }

func (r sandbox) load(ctx context.Context, code []byte) (*loaded, error) {
	m, err := r.LoadCode(ctx, code)
	if err != nil {
		return nil, err
	}
	return &loaded{
		manifest: m.Manifest(), version: m.Version(), instances: m.Instances, close: m.Close,
		bind: func(b wasm.Binding) (host.Plugin, []host.Token, error) {
			p, err := m.Bind(b)
			if err != nil {
				return nil, nil, err
			}
			return p, p.Tokens(), nil
		},
	}, nil
}
