package wasm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/fuel"
	"github.com/postern/postern/host/wasm/internal/meter"
	"github.com/postern/postern/host/wasm/internal/proof"
)

// meter meters a module and validates what its author made. One that has been
// through this and has proved itself is read from the cache.
func (r *Runtime) meter(ctx context.Context, dir string, code []byte) (*proof.Metered, error) {
	out, err := proof.In(dir)
	if err == nil {
		return out, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		r.opts.Log.Warn("a metered plugin in the cache is not used", "err", err)
	}
	// The meter first: the engine makes room for as many things as a module says
	// that it has, and a hundred bytes can say that they have four billion.
	if r.opts.off.metering {
		out.Module = &meter.Module{Code: code}
	} else if out.Module, err = meter.Rewrite(code, meter.Options{Slice: fuel.Slice}); err != nil {
		return nil, err
	}
	if err := validate(ctx, code); err != nil {
		return nil, err
	}
	return out, nil
}

// validate has the engine check the module as its author made it, before anything
// is added to it: what it names then is its own. The interpreter does, which
// compiles in a tenth of the time.
func validate(ctx context.Context, code []byte) error {
	r := wazero.NewRuntimeWithConfig(ctx, engine(wazero.NewRuntimeConfigInterpreter()))
	_, err := r.CompileModule(ctx, code)
	if err != nil {
		err = fmt.Errorf("compile: %w", err)
	}
	return errors.Join(err, r.Close(ctx))
}

// offered names the functions that the ABI has.
func offered() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		fmt.Fprintln(&b, name, functions[name].signature)
	}
	return b.String()
}

// prove runs the goldens that the module carries, in the compiler and in the
// interpreter. They must agree in every word and in the fuel, and with what the
// golden expects: the compiler is known to have mistaken a digit.
func (r *Runtime) prove(ctx context.Context, m *Module, goldens []Golden) error {
	if r.opts.off.proof {
		return nil
	}
	if err := m.compare(ctx, goldens); err != nil {
		return err
	}
	if err := m.metered.Keep(); err != nil {
		r.opts.Log.Warn("the proof of a plugin is not kept; it will be asked for again", "plugin", m.version, "err", err)
	}
	return nil
}

// compare runs the goldens here and in the interpreter.
func (m *Module) compare(ctx context.Context, goldens []Golden) (err error) {
	if len(goldens) == 0 {
		return nil
	}
	like := Module{manifest: m.manifest, version: m.version, opts: m.opts, finder: m.finder}
	like.opts.Instances, like.opts.Log = 1, slog.New(slog.DiscardHandler)
	twin, err := up(ctx, like, m.metered, wazero.NewRuntimeConfigInterpreter(), goldens)
	if err != nil {
		return fmt.Errorf("in the interpreter: %w", err)
	}
	defer func() { err = errors.Join(err, twin.close(ctx)) }()
	for i := range goldens {
		if err := agree(ctx, m, twin, &goldens[i]); err != nil {
			return fmt.Errorf("golden %s: %w", goldens[i].Name, err)
		}
	}
	return nil
}

func agree(ctx context.Context, compiled, interpreted *Module, g *Golden) error {
	got, err := compiled.judge(ctx, g, nil)
	other, otherErr := interpreted.judge(ctx, g, nil)
	switch {
	case (err == nil) != (otherErr == nil):
		return fmt.Errorf("the compiler and the interpreter disagree: %v, and %v", err, otherErr) //nolint:errorlint // one of them is nil
	case err != nil:
		return err
	case !reflect.DeepEqual(got, other):
		return fmt.Errorf("the compiler and the interpreter disagree: %+v, and %+v", got, other)
	}
	verdict, detail := got.result.Verdict.String(), got.result.Detail
	if compiled.manifest.Guard {
		verdict, detail = got.ruling.Verdict.String(), got.ruling.Detail
	}
	if verdict != g.Verdict {
		return fmt.Errorf("it says %s (%s), the golden expects %s", verdict, detail, g.Verdict)
	}
	return nil
}

// Rekeyed names those of the live version's goldens that both accept, and for whose
// events m has other dedup keys: with m, what was taken in before is no duplicate
// when it comes again. A golden that m does not accept says nothing here.
func (m *Module) Rekeyed(ctx context.Context, live *Module, goldens []Golden) []string {
	var names []string
	for i := range goldens {
		was, wasErr := live.judge(ctx, &goldens[i], nil)
		is, isErr := m.judge(ctx, &goldens[i], nil)
		if wasErr != nil || isErr != nil || was.result.Verdict != host.Accept || is.result.Verdict != host.Accept {
			continue
		}
		if !slices.EqualFunc(was.result.Events, is.result.Events, func(a, b host.Draft) bool { return slices.Equal(a.Key, b.Key) }) {
			names = append(names, goldens[i].Name)
		}
	}
	return names
}

// judged is what a module makes of a golden: a plugin's result or a guard's ruling.
type judged struct {
	result host.Result
	ruling host.Ruling
}

// judge runs a golden with its own secrets and settings; on one instance, if one
// is given.
func (m *Module) judge(ctx context.Context, g *Golden, on *instance) (out judged, err error) {
	cb, err := g.Callback()
	if err != nil {
		return out, err
	}
	p, err := m.Bind(Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified})
	if err != nil {
		return out, err
	}
	p.mute = true
	if m.manifest.Guard {
		out.ruling, err = p.ruleOn(ctx, cb, g.Events, on)
		return out, err
	}
	ep := host.Endpoint{Plugin: p, PluginVersion: m.version, Tokens: p.Tokens(), Unverified: g.Unverified}
	if on != nil {
		ep.Plugin = single{p, on}
	}
	out.result, err = ep.Judge(ctx, cb)
	return out, err
}

// RuleOn has a guard judge the events that a golden has, as [Plugin.Guard] does.
func (p *Plugin) RuleOn(ctx context.Context, g *Golden) (host.Ruling, error) {
	cb, err := g.Callback()
	if err != nil {
		return host.Ruling{}, err
	}
	return p.ruleOn(ctx, cb, g.Events, nil)
}

// ruleOn is judge for a guard and the texts of events.
func (p *Plugin) ruleOn(ctx context.Context, cb *host.Callback, events [][]byte, on *instance) (out host.Ruling, err error) {
	if on != nil {
		on.begins(p, cb)
		defer on.guest.end()
		return on.rule(events)
	}
	err = p.enter(ctx, cb, func(in *instance) (err error) {
		out, err = in.rule(events)
		return err
	})
	return out, err
}

// single is a plugin on one instance that is not in the pool yet, and is left as
// the call leaves it.
type single struct {
	*Plugin
	in *instance
}

// Handle implements [host.Plugin].
func (s single) Handle(_ context.Context, cb *host.Callback) (host.Result, error) {
	s.in.begins(s.Plugin, cb)
	defer s.in.guest.end()
	return s.in.judge()
}

// warmUp is how many accepted goldens an instance has judged before it is frozen.
const warmUp = 3

func (m *Module) warm(in *instance, goldens []Golden) error {
	in.find()
	for i, n := 0, 0; i < len(goldens) && n < warmUp; i++ {
		if v := goldens[i].Verdict; v != host.Accept.String() && v != host.Pass.String() {
			continue
		}
		n++
		if _, err := m.judge(in, &goldens[i], in); err != nil {
			return fmt.Errorf("golden %s: %w", goldens[i].Name, err)
		}
	}
	return nil
}
