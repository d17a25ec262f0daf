package wasm

import (
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

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/manifest"
)

// Defaults and caps.
const (
	// defaultPages is 16 MiB of linear memory: Go's toolchain needs 3 to 10.
	defaultPages = 256
	defaultWait  = 250 * time.Millisecond
	// maxModule bounds a module's size: compiling costs about 0.3 s a MiB.
	maxModule = 32 << 20
)

// Options of a [Runtime]. The zero value is ready for use.
type Options struct {
	// CacheDir keeps compiled modules, so that a start costs a read and no
	// compilation. It is made with mode 0700, since what lies in it is run as
	// machine code. Empty means no cache on disk.
	CacheDir string
	// MemoryPages caps a guest's linear memory, in pages of 64 KiB; zero means
	// 256 (16 MiB). A manifest may ask for less.
	MemoryPages uint32
	// Instances bounds the instances of one module, and with it the callbacks
	// it judges at the same time; zero means GOMAXPROCS.
	Instances int
	// Wait bounds how long a callback waits for a free instance; zero means
	// 250 ms.
	Wait time.Duration
	// Log takes the plugins' own lines and failures; nil discards them.
	Log *slog.Logger
}

// Runtime loads modules. It is safe for concurrent use.
type Runtime struct {
	opts  Options
	cache wazero.CompilationCache

	mu      sync.Mutex
	modules []*Module
}

// New makes a runtime. Close it when every plugin of it is out of use.
func New(_ context.Context, o Options) (*Runtime, error) {
	if o.MemoryPages == 0 {
		o.MemoryPages = defaultPages
	}
	if o.Instances == 0 {
		o.Instances = runtime.GOMAXPROCS(0)
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Runtime{opts: o, cache: wazero.NewCompilationCache()}
	if o.CacheDir == "" {
		return r, nil
	}
	if err := os.MkdirAll(o.CacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the cache of compiled plugins: %w", err)
	}
	if err := os.Chmod(o.CacheDir, 0o700); err != nil { //nolint:gosec // a directory needs its x bits
		return nil, fmt.Errorf("close the cache of compiled plugins to others: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(o.CacheDir)
	if err != nil {
		return nil, fmt.Errorf("open the cache of compiled plugins: %w", err)
	}
	r.cache = cache
	return r, nil
}

// Close ends every module. No plugin may be running.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, m := range r.modules {
		errs = append(errs, m.runtime.Close(ctx))
	}
	r.modules = nil
	return errors.Join(append(errs, r.cache.Close(ctx))...)
}

// Module is one version of a provider's plugin, compiled and ready.
type Module struct {
	manifest *Manifest
	version  string
	signs    bool
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	pool     *pool
	opts     Options
}

// Manifest is what the module says of itself.
func (m *Module) Manifest() *Manifest { return m.manifest }

// Version names the module in records and logs: "ottu@0.1.0+sha256:" and the
// first 12 hexadecimal digits of the file's SHA-256.
func (m *Module) Version() string { return m.version }

// Load reads, checks and compiles a module, and starts one instance, so that
// what cannot start is refused here and not by the first callback. It blocks
// while compiling, about 0.3 s for each MiB that is not in the cache. The
// error names the file and the reason.
func (r *Runtime) Load(ctx context.Context, file string) (*Module, error) {
	code, err := os.ReadFile(file) //nolint:gosec // the operator names the plugin
	if err != nil {
		return nil, fmt.Errorf("load plugin: %w", err)
	}
	m, err := r.load(ctx, code)
	if err != nil {
		return nil, fmt.Errorf("load plugin %s: %w", file, err)
	}
	return m, nil
}

func (r *Runtime) load(ctx context.Context, code []byte) (*Module, error) {
	if len(code) > maxModule {
		return nil, fmt.Errorf("it has %d bytes, the limit is %d", len(code), maxModule)
	}
	manifest, err := manifest.Of(code, serves)
	if err != nil {
		return nil, err
	}
	if manifest.MemoryPages > r.opts.MemoryPages {
		return nil, fmt.Errorf("it asks for %d pages of memory, the cap is %d", manifest.MemoryPages, r.opts.MemoryPages)
	}
	sum := sha256.Sum256(code)
	m := &Module{
		manifest: manifest, opts: r.opts,
		version: fmt.Sprintf("%s@%s+sha256:%s", manifest.Name, manifest.Version, hex.EncodeToString(sum[:6])),
	}
	if err := m.start(ctx, code, r.cache); err != nil {
		if m.runtime != nil {
			err = errors.Join(err, m.runtime.Close(ctx))
		}
		return nil, err
	}
	r.mu.Lock()
	r.modules = append(r.modules, m)
	r.mu.Unlock()
	return m, nil
}

// start compiles the module in a runtime of its own, so that a version can be
// freed whole, and proves that an instance comes up.
func (m *Module) start(ctx context.Context, code []byte, cache wazero.CompilationCache) error {
	pages := m.opts.MemoryPages
	if m.manifest.MemoryPages != 0 {
		pages = m.manifest.MemoryPages
	}
	// The guest's time is not bounded here: closing on a context's end costs 6
	// to 10 times the call. See RATIONALE: Why is there no deadline on a plugin?
	m.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithCompilationCache(cache).
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(pages).
		WithDebugInfoEnabled(false))
	// The metering pass goes here: validated code in, metered code out.
	var err error
	if m.compiled, err = m.runtime.CompileModule(ctx, code); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	if err := checkModule(m.compiled); err != nil {
		return err
	}
	_, m.signs = m.compiled.ExportedFunctions()[exportSign]
	if err := linkABI(ctx, m.runtime); err != nil {
		return err
	}
	if err := linkWASI(ctx, m.runtime, m.compiled); err != nil {
		return err
	}
	first, err := m.instantiate(ctx)
	if err != nil {
		return err
	}
	m.pool = newPool(m.opts.Instances, m.opts.Wait, m.instantiate)
	m.pool.idle = append(m.pool.idle, first)
	return nil
}
