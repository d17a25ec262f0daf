package wasm

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/abi"
	"github.com/postern/postern/host/wasm/internal/admit"
	"github.com/postern/postern/host/wasm/internal/cache"
	"github.com/postern/postern/host/wasm/internal/golden"
	"github.com/postern/postern/host/wasm/internal/pristine"
	"github.com/postern/postern/host/wasm/internal/proof"
)

// Module is one version of a provider's plugin, compiled and ready.
type Module struct {
	manifest *Manifest
	version  string
	signs    bool
	opts     Options
	finder   *pristine.Finder // nil where instances are used again as they are
	metered  *proof.Metered
	entry    *cache.Entry // nil in the interpreter
	of       *Runtime
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	// state is what every call finds; nil until the first instance has started,
	// and where instances are used again as they are.
	state *state
	pool  *admit.Pool[*instance]
}

// state is all that an instance can change: its memory and its globals, as they
// were after its start.
type state struct {
	memory  *pristine.Snapshot
	globals []uint64
}

// Manifest is what the module says of itself.
func (m *Module) Manifest() *Manifest { return m.manifest }

// Version names the module in records and logs: "ottu@0.1.0+sha256:" and the
// first 12 hexadecimal digits of the file's SHA-256.
func (m *Module) Version() string { return m.version }

// start brings a module up: metered, compiled, an instance started, and proven.
func (r *Runtime) start(ctx context.Context, like Module, code []byte) (*Module, error) {
	kept, key := r.cache, proof.Key(code, offered())
	if r.opts.off.metering {
		kept = new(cache.Cache) // the other has metered modules
	}
	entry, err := kept.Take(key)
	if err != nil {
		return nil, err
	}
	like.entry, like.of = entry, r
	m, err := r.bring(ctx, like, code)
	if err != nil {
		return nil, errors.Join(err, entry.Close(ctx))
	}
	if err := kept.Trim(); err != nil {
		r.opts.Log.Warn("the cache of compiled plugins may be larger than it should", "err", err)
	}
	return m, nil
}

func (r *Runtime) bring(ctx context.Context, like Module, code []byte) (*Module, error) {
	goldens, err := golden.Of(code)
	if err != nil {
		return nil, abi.At(abi.Goldens, err)
	}
	metered, err := r.meter(ctx, like.entry.Dir, code)
	if err != nil {
		return nil, abi.At(abi.Metering, err)
	}
	m, err := up(ctx, like, metered, wazero.NewRuntimeConfig().WithCompilationCache(like.entry.Code), goldens)
	if err != nil {
		return nil, err
	}
	if !metered.Proven {
		if err := r.prove(ctx, m, goldens); err != nil {
			return nil, errors.Join(abi.At(abi.Goldens, err), m.close(ctx))
		}
	}
	return m, nil
}

// up compiles a metered module in a runtime of its own, so that a version can be
// freed whole, and starts the first instance.
func up(ctx context.Context, like Module, of *proof.Metered, config wazero.RuntimeConfig, goldens []Golden) (*Module, error) {
	m := &like
	m.metered = of
	// The guest's time is bounded by its fuel: closing on a context's end costs 6
	// to 10 times the call. See RATIONALE: Why is there no deadline on a plugin?
	m.runtime = wazero.NewRuntimeWithConfig(ctx, engine(config).WithMemoryLimitPages(m.pages()))
	m.pool = admit.NewPool(m.opts.Instances, m.opts.Wait, m.instantiate,
		func(ctx context.Context, in *instance) { in.close(ctx) })
	if err := m.up(ctx, goldens); err != nil {
		return nil, errors.Join(err, m.close(ctx))
	}
	return m, nil
}

// engine is what every module is compiled with.
func engine(config wazero.RuntimeConfig) wazero.RuntimeConfig {
	return config.WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
}

func (m *Module) up(ctx context.Context, goldens []Golden) error {
	var err error
	if m.compiled, err = m.runtime.CompileModule(ctx, m.metered.Code); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	if _, err := m.judges(); err != nil {
		return err
	}
	_, m.signs = m.compiled.ExportedFunctions()[abi.ExportSign]
	if err := linkABI(ctx, m.runtime, m.manifest.Guard); err != nil {
		return err
	}
	if err := linkWASI(ctx, m.runtime, m.compiled); err != nil {
		return err
	}
	if err := linkMeter(ctx, m.runtime); err != nil {
		return err
	}
	first, err := m.instantiate(ctx)
	if err != nil {
		return err
	}
	if err := m.freeze(first, goldens); err != nil {
		first.close(ctx)
		return err
	}
	m.pool.Put(first)
	return nil
}

// freeze makes what the first instance holds now the state of all: after some
// calls, so that what a toolchain sets up at its first use is part of it.
func (m *Module) freeze(in *instance, goldens []Golden) error {
	if m.finder == nil {
		return nil
	}
	if err := m.warm(in, goldens); err != nil {
		return err
	}
	memory, err := in.memory.Freeze()
	if err != nil {
		return err
	}
	m.state = &state{memory: memory}
	for _, g := range in.globals {
		m.state.globals = append(m.state.globals, g.Get())
	}
	return nil
}

// Close frees everything of the module: its instances, their memory, its compiled
// code (which is unmapped by the garbage collector, once it has been round). It
// waits for the calls that are under way; no other may begin. If ctx ends first,
// the error says so and nothing is closed.
func (m *Module) Close(ctx context.Context) error {
	if err := m.pool.Drain(ctx); err != nil {
		return fmt.Errorf("close %s: %w", m.version, err)
	}
	m.of.mu.Lock()
	delete(m.of.modules, m)
	m.of.mu.Unlock()
	return m.close(ctx)
}

// Instances is how many instances it has.
func (m *Module) Instances() int { return m.pool.Made() }

// close is [Module.Close] where none of its plugins is running.
func (m *Module) close(ctx context.Context) error {
	var err error
	if m.state != nil {
		err = m.state.memory.Close()
	}
	return errors.Join(err, m.runtime.Close(ctx), m.entry.Close(ctx))
}
