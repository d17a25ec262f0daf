package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/postern/postern/host/wasm"
)

// built holds the modules that a test of this package asked for.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// plugins builds the plugins of this repository, once, and returns their
// directory.
func plugins(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "cli-plugins"); built.err != nil {
			return
		}
		build := exec.Command("go", "run", "./cmd/pack", "-o", built.dir,
			"../plugins/ottu", "../plugins/paymentoptions", "../plugins/singleview", "../plugins/wibmo", "../plugins/wowpe",
			"../plugins/hold-amount", "../plugins/require-header", "../plugins/wibmo-acme")
		build.Dir = filepath.Join("..", "..", "sdk")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = err
			t.Logf("%s", out)
			return
		}
		built.err = compile(built.dir)
	})
	if built.err != nil {
		t.Fatalf("build the plugins: %v", built.err)
	}
	return built.dir
}

// cacheFor names the directory of plugins that a child process compiles.
const cacheFor = "POSTERN_TEST_COMPILE"

// compile fills the cache that all tests name as plugins.cache. Another process
// does it, these same tests without the race detector: under it compiling takes
// ten times as long.
func compile(dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "cache"), 0o700); err != nil {
		return err
	}
	child := exec.Command("go", "test", "-count=1", "-run", "^$", ".")
	child.Env = append(os.Environ(), cacheFor+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// compileAll is what the child does.
func compileAll(dir string) error {
	ctx := context.Background()
	rt, err := wasm.New(ctx, wasm.Options{CacheDir: filepath.Join(dir, "cache"), Instances: 1})
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.wasm"))
	for _, file := range files {
		_, one := rt.Load(ctx, file)
		err = errors.Join(err, one)
	}
	return errors.Join(err, rt.Close(ctx))
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(cacheFor); dir != "" {
		if err := compileAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}
