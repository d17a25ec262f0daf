package wasm

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/abi"
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
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	// state is what every call finds; nil until the first instance has started,
	// and where instances are used again as they are.
	state *state
	pool  *pool
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
	goldens, err := golden.Of(code)
	if err != nil {
		return nil, abi.At(abi.Goldens, err)
	}
	metered, err := r.meter(ctx, code)
	if err != nil {
		return nil, abi.At(abi.Metering, err)
	}
	m, err := up(ctx, like, metered, wazero.NewRuntimeConfig().WithCompilationCache(r.cache), goldens)
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
	m.pool = newPool(m.opts.Instances, m.opts.Wait, m.instantiate)
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
	_, m.signs = m.compiled.ExportedFunctions()[abi.ExportSign]
	if err := linkABI(ctx, m.runtime); err != nil {
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
	m.pool.idle = append(m.pool.idle, first)
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

// close frees everything of the module. None of its plugins may be running.
func (m *Module) close(ctx context.Context) error {
	var err error
	if m.state != nil {
		err = m.state.memory.Close()
	}
	return errors.Join(err, m.runtime.Close(ctx))
}
