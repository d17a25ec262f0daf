package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
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
		build := exec.Command("go", "run", "./cmd/pack", "-o", built.dir, "../plugins/ottu", "../plugins/wibmo")
		build.Dir = filepath.Join("..", "..", "sdk")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = err
			t.Logf("%s", out)
			return
		}
		// Compiled once for all tests that name it as plugins.cache.
		built.err = os.Mkdir(filepath.Join(built.dir, "cache"), 0o700)
	})
	if built.err != nil {
		t.Fatalf("build the plugins: %v", built.err)
	}
	return built.dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}
