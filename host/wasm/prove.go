package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/tetratelabs/wazero"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/meter"
)

// metered is a module as it is compiled.
type metered struct {
	*meter.Module
	// proven says that it has proved itself here before.
	proven bool
	// file is where that is noted; empty without a cache.
	file string
}

// meteredSection is a custom section of a metered module in the cache: the rest
// of [meter.Module].
const meteredSection = "postern.metered"

// meter meters a module, validates what its author made, and compares it with the
// ABI. One that has
// been through this and has proved itself is read from the cache.
func (r *Runtime) meter(ctx context.Context, code []byte) (*metered, error) {
	out := &metered{}
	if r.opts.CacheDir != "" {
		out.file = filepath.Join(r.opts.CacheDir, "metered", cacheKey(code)+".wasm")
		cached, err := readMetered(out.file)
		if err == nil {
			out.Module, out.proven = cached, true
			return out, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			r.opts.Log.Warn("a metered plugin in the cache is not used", "file", out.file, "err", err)
		}
	}
	// The meter first: the engine makes room for as many things as a module says
	// that it has, and a hundred bytes can say that they have four billion.
	var err error
	if out.Module, err = meter.Rewrite(code, meter.Options{Slice: slice}); err != nil {
		return nil, err
	}
	if err := validate(ctx, code); err != nil {
		return nil, err
	}
	if r.opts.off.metering {
		out.Module = &meter.Module{Code: code}
	}
	return out, nil
}

// validate has the engine check the module as its author made it, before anything
// is added to it: what it names then is its own. The interpreter does, which
// compiles in a tenth of the time.
func validate(ctx context.Context, code []byte) error {
	r := wazero.NewRuntimeWithConfig(ctx, engine(wazero.NewRuntimeConfigInterpreter()))
	m, err := r.CompileModule(ctx, code)
	if err != nil {
		err = fmt.Errorf("compile: %w", err)
	} else {
		err = checkModule(m)
	}
	return errors.Join(err, r.Close(ctx))
}

// cacheKey names all that a proof is of: the module, the meter, the engine, the
// machine's kind and the functions that it is offered.
func cacheKey(code []byte) string {
	h := sha256.New()
	h.Write(code)
	fmt.Fprintln(h, meter.Version, wazeroVersion(), runtime.GOOS, runtime.GOARCH)
	for _, name := range slices.Sorted(maps.Keys(functions)) {
		fmt.Fprintln(h, name, functions[name].signature, functions[name].call != nil)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func readMetered(file string) (*meter.Module, error) {
	code, err := os.ReadFile(file) //nolint:gosec // in our own cache
	if err != nil {
		return nil, err
	}
	m := &meter.Module{}
	section, err := manifest.Section(code, meteredSection)
	if err == nil {
		err = json.Unmarshal(section, m)
	}
	m.Code = code
	return m, err
}

// note keeps the metered module, for a start to skip all this.
func (m *metered) note() error {
	if m.file == "" {
		return nil
	}
	about, err := json.Marshal(&meter.Module{Fuel: m.Fuel, Globals: m.Globals})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(m.file), "new-")
	if err != nil {
		return err
	}
	_, err = f.Write(manifest.AppendSection(slices.Clip(m.Code), meteredSection, about))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), m.file)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// prove runs the goldens that the module carries, in the compiler and in the
// interpreter. They must agree in every word and in the fuel, and with what the
// golden expects: the compiler is known to have mistaken a digit.
func (r *Runtime) prove(ctx context.Context, m *Module, goldens []Golden) (err error) {
	if r.opts.off.proof {
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
	if err := m.metered.note(); err != nil {
		r.opts.Log.Warn("the proof of a plugin is not kept; it will be asked for again", "plugin", m.version, "err", err)
	}
	return nil
}

func agree(ctx context.Context, compiled, interpreted *Module, g *Golden) error {
	got, err := compiled.judge(ctx, g, nil)
	other, otherErr := interpreted.judge(ctx, g, nil)
	switch {
	case (err == nil) != (otherErr == nil):
		return fmt.Errorf("the compiler and the interpreter disagree: %v, and %v", outcome(err), outcome(otherErr))
	case err != nil:
		return err
	case !reflect.DeepEqual(got, other):
		return fmt.Errorf("the compiler and the interpreter disagree: %+v, and %+v", got, other)
	case got.Verdict.String() != g.Verdict:
		return fmt.Errorf("it says %s (%s), the golden expects %s", got.Verdict, got.Detail, g.Verdict)
	}
	return nil
}

func outcome(err error) string {
	if err == nil {
		return "it ends well"
	}
	return err.Error()
}

// judge runs a golden with its own secrets and settings; on one instance, if one
// is given.
func (m *Module) judge(ctx context.Context, g *Golden, on *instance) (host.Result, error) {
	cb, err := g.Callback()
	if err != nil {
		return host.Result{}, err
	}
	p, err := m.Bind(Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified})
	if err != nil {
		return host.Result{}, err
	}
	ep := host.Endpoint{Plugin: p, PluginVersion: m.version, Tokens: p.Tokens(), Unverified: g.Unverified}
	if on != nil {
		ep.Plugin = single{p, on}
	}
	return ep.Judge(ctx, cb)
}

// single is a plugin on one instance that is not in the pool yet, and is left as
// the call leaves it.
type single struct {
	*Plugin
	in *instance
}

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
		if goldens[i].Verdict != host.Accept.String() {
			continue
		}
		n++
		if _, err := m.judge(in, &goldens[i], in); err != nil {
			return fmt.Errorf("golden %s: %w", goldens[i].Name, err)
		}
	}
	return nil
}

// wazeroVersion is the engine's, as this program was built.
func wazeroVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				return dep.Version
			}
		}
	}
	return "unknown"
}
