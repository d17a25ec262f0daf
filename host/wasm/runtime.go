package wasm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/postern/postern/host/wasm/internal/cache"
	"github.com/postern/postern/host/wasm/internal/pristine"
)

// Defaults and caps.
const (
	// defaultPages is 16 MiB of linear memory: Go's toolchain needs 3 to 10.
	defaultPages = 256
	defaultWait  = 250 * time.Millisecond
	defaultCache = 512 << 20
)

// Options of a [Runtime]. The zero value is ready for use.
type Options struct {
	// CacheDir keeps compiled modules, so that a start costs a read and no
	// compilation. It is made with mode 0700, since what lies in it is run as
	// machine code, and refused where others can write. Empty means no cache on disk.
	CacheDir string
	// CacheSize is how many bytes may lie there; those of modules that were not
	// loaded for longest make room. Zero means 512 MiB.
	CacheSize int64
	// MemoryPages caps a guest's linear memory, in pages of 64 KiB; zero means
	// 256 (16 MiB). A manifest may ask for less.
	MemoryPages uint32
	// Fuel is what a plugin may burn on one callback, in units of about one simple
	// instruction, beside 512 for each byte of the body; zero means 2,000,000, less
	// than a millisecond. A manifest or an endpoint may say otherwise, up to
	// MaxFuel; zero means 20,000,000, or Fuel if that is more.
	Fuel, MaxFuel int64
	// Reuse leaves an instance as a call left it for the next one, which may be
	// another tenant's. By default every call finds its instance as it was after
	// its start.
	Reuse bool
	// Instances bounds the instances of one module, and with it the callbacks
	// it judges at the same time; zero means GOMAXPROCS.
	Instances int
	// Wait bounds how long a callback waits for a free instance; zero means
	// 250 ms.
	Wait time.Duration
	// Log takes the plugins' own lines and failures; nil discards them.
	Log *slog.Logger

	off defences // for tests and measurements
}

// defences are those that are switched off, for tests to show that each is
// needed, and for measurements of what it costs.
type defences struct {
	metering, charges, slices, globals, proof bool
}

// Runtime loads modules. It is safe for concurrent use.
type Runtime struct {
	opts   Options
	cache  *cache.Cache
	finder *pristine.Finder // nil with Reuse

	mu      sync.Mutex
	modules map[*Module]struct{}
}

// New makes a runtime. Close it when every plugin of it is out of use.
func New(_ context.Context, o Options) (*Runtime, error) {
	o.CacheSize = cmp.Or(o.CacheSize, defaultCache)
	o.MemoryPages = cmp.Or(o.MemoryPages, defaultPages)
	o.Fuel = cmp.Or(o.Fuel, defaultFuel)
	o.MaxFuel = cmp.Or(o.MaxFuel, max(defaultMaxFuel, o.Fuel))
	o.Instances = cmp.Or(o.Instances, runtime.GOMAXPROCS(0))
	o.Wait = cmp.Or(o.Wait, defaultWait)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	kept, err := cache.Open(o.CacheDir, o.CacheSize)
	if err != nil {
		return nil, err
	}
	r := &Runtime{opts: o, cache: kept, modules: make(map[*Module]struct{})}
	if !o.Reuse {
		if r.finder, err = pristine.NewFinder(); err != nil {
			return nil, fmt.Errorf("isolate calls: %w", err)
		}
		if way, why := r.finder.Way(); why != nil {
			o.Log.Warn("plugins' instances are made as new by a slower way", "way", way, "err", why)
		}
	}
	return r, nil
}

// Close ends every module. No plugin may be running.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for m := range r.modules {
		errs = append(errs, m.close(ctx))
	}
	clear(r.modules)
	if r.finder != nil {
		errs = append(errs, r.finder.Close())
	}
	return errors.Join(errs...)
}

// Load reads, checks, meters and compiles a module, starts one instance, and has
// it prove itself on the goldens that it carries, so that what cannot start is
// refused here and not by the first callback. It blocks meanwhile, about 0.5 s for
// each MiB that is not in the cache. The error names the file and the reason.
func (r *Runtime) Load(ctx context.Context, file string) (*Module, error) {
	code, err := os.ReadFile(file) //nolint:gosec // the operator names the plugin
	if err != nil {
		return nil, fmt.Errorf("load plugin: %w", err)
	}
	m, err := r.LoadCode(ctx, code)
	if err != nil {
		return nil, fmt.Errorf("load plugin %s: %w", file, err)
	}
	return m, nil
}

// LoadCode is Load of a module that has been read. The error is a [*Fault] where it
// is the module's own, and the code stays the caller's.
func (r *Runtime) LoadCode(ctx context.Context, code []byte) (*Module, error) {
	manifest, err := Inspect(code)
	if err != nil {
		return nil, err
	}
	if manifest.MemoryPages > r.opts.MemoryPages {
		return nil, fmt.Errorf("it asks for %d pages of memory, the cap is %d", manifest.MemoryPages, r.opts.MemoryPages)
	}
	if manifest.Fuel > uint64(r.opts.MaxFuel) { //nolint:gosec // never negative
		return nil, fmt.Errorf("it asks for %d units of fuel, the cap is %d", manifest.Fuel, r.opts.MaxFuel)
	}
	sum := sha256.Sum256(code)
	m, err := r.start(ctx, Module{
		manifest: manifest, opts: r.opts, finder: r.finder,
		version: fmt.Sprintf("%s@%s+sha256:%s", manifest.Name, manifest.Version, hex.EncodeToString(sum[:6])),
	}, code)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.modules[m] = struct{}{}
	r.mu.Unlock()
	return m, nil
}
