package wasm

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host"
)

// instance is one running module. One call at a time owns it. It is the
// context of its calls, so that a host function finds it without allocating.
type instance struct {
	context.Context
	module *Module
	guest  guest
	api    api.Module
	handle api.Function
	sign   api.Function
	stack  [1]uint64
}

// Value finds the instance itself.
func (in *instance) Value(key any) any {
	if key == (instanceKey{}) {
		return in
	}
	return in.Context.Value(key)
}

// instantiate starts an instance: its memory, its start function and
// _initialize, and asks it for the ABI it speaks.
func (m *Module) instantiate(_ context.Context) (*instance, error) {
	in := &instance{Context: context.Background(), module: m}
	in.guest.call = newCall(m)
	var err error
	in.api, err = m.runtime.InstantiateModule(in, m.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, host.Errorf(host.PluginFailed, "start an instance: %w", in.trap(err))
	}
	if err := in.begin(); err != nil {
		err = in.trap(err)
		in.close(in)
		return nil, host.Errorf(host.PluginFailed, "start an instance: %w", err)
	}
	return in, nil
}

// trap is the end of a call that did not return: what the engine says, without
// its trace of the stack, and what the guest said last.
type trap struct {
	error
	said string
}

func (t trap) Error() string {
	first, _, _ := strings.Cut(t.error.Error(), "\n")
	if t.said == "" {
		return first
	}
	return first + ": " + t.said
}

func (t trap) Unwrap() error { return t.error }

func (in *instance) trap(err error) error {
	said := strings.Join(strings.Fields(string(in.guest.said)), " ")
	return trap{err, cut([]byte(said), maxLine)}
}

func (in *instance) begin() error {
	if initialize := in.api.ExportedFunction(exportInitialize); initialize != nil {
		if _, err := in.run(initialize); err != nil {
			return fmt.Errorf("%s: %w", exportInitialize, err)
		}
	}
	speaks, err := in.run(in.api.ExportedFunction(exportABI))
	if err != nil {
		return err
	}
	if speaks != abiVersion {
		return fmt.Errorf("%s returned %d, must be %d", exportABI, speaks, abiVersion)
	}
	in.handle = in.api.ExportedFunction(exportHandle)
	in.sign = in.api.ExportedFunction(exportSign)
	return nil
}

// run calls an export and returns its i32. A panic of the engine itself counts
// as a trap.
func (in *instance) run(f api.Function) (result int32, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the engine panicked: %v", r)
		}
	}()
	if err := f.CallWithStack(in, in.stack[:]); err != nil {
		return 0, err
	}
	return api.DecodeI32(in.stack[0]), nil
}

func (in *instance) close(ctx context.Context) {
	if err := in.api.Close(ctx); err != nil {
		in.module.opts.Log.Error("close an instance", "plugin", in.module.version, "err", err)
	}
}

// Handle judges one callback in an instance of its own for the time of the
// call; see [host.Plugin].
func (p *Plugin) Handle(ctx context.Context, cb *host.Callback) (host.Result, error) {
	var res host.Result
	err := p.enter(ctx, cb, func(in *instance) error {
		verdict, err := in.run(in.handle)
		if err != nil {
			return err
		}
		res, err = in.guest.finish(verdict)
		return err
	})
	return res, err
}

// enter runs one call on an instance and sees to what becomes of it.
func (p *Plugin) enter(ctx context.Context, cb *host.Callback, run func(*instance) error) error {
	m := p.module
	in, err := m.pool.take(ctx)
	if err != nil {
		return err
	}
	in.guest.start(p, cb)
	err = run(in)
	switch said := in.guest.said; {
	case err != nil:
		err = in.trap(err)
	case len(said) > 0:
		in.guest.line(slog.LevelWarn, said)
	}
	in.guest.end()
	m.pool.give(ctx, in, err != nil)
	if err != nil {
		return host.Errorf(host.PluginFailed, "plugin %s: %w", m.version, err)
	}
	return nil
}
