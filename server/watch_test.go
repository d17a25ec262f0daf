package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postern/postern/config"
)

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// A changed file is read by itself; a broken one is told once and changes nothing;
// one that says the same changes nothing and is not told.
func TestServer_watches(t *testing.T) {
	t.Parallel()
	w := newWorld()
	dir, data := t.TempDir(), t.TempDir()
	file, key := filepath.Join(dir, "postern.yaml"), filepath.Join(dir, "key")
	put := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file+"~", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
	}
	configured := func(ack string) string {
		return fmt.Sprintf(`
intake: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
store: {engine: mem, path: %s}
plugins: {path: %s}
tenants: {acme: {endpoints: {pay: {plugin: ottu, secrets: {hmac-key: "file:%s"}, ack: {body: %s, content_type: text/plain}}}}}
`, data, filepath.Join(dir, "plugins"), key, ack)
	}
	reads := make(chan struct{}, 100)
	load := func() (*config.Config, error) {
		select {
		case reads <- struct{}{}:
		default:
		}
		return config.Load(config.Options{File: file, Environ: []string{}})
	}
	put(key, "test-key-1")
	put(file, configured("one"))
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	s, err := start(context.Background(), cfg, Options{Log: slog.New(slog.NewTextHandler(log, nil)), Load: load}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(within(t)) })
	answers := func(want string) func() bool {
		return func() bool {
			_, got, err := post(s, "/in/acme/pay", "accept 1")
			return err == nil && got == want
		}
	}
	put(file, configured("two"))
	until(t, "the new answer is given", answers("two"))

	const refused = "configuration not reloaded"
	put(file, "tenants: [")
	until(t, "the broken file is told of", func() bool { return log.count(refused) == 1 })
	again := func() {
		t.Helper()
		for len(reads) > 0 {
			<-reads
		}
		put(file, "tenants: [")
		<-reads
	}
	again()
	again()
	put(file, configured("three"))
	until(t, "the mended file is taken", answers("three"))
	if n := log.count(refused); n != 1 {
		t.Errorf("the broken file was told of %d times", n)
	}

	taken := log.count("configuration reloaded")
	for len(reads) > 0 {
		<-reads
	}
	put(file, configured("three"))
	<-reads
	put(key, "test-key-2")
	until(t, "the secret's file is read", func() bool { return log.count("secrets.hmac-key") == 1 })
	if got := log.count("configuration reloaded"); got != taken+1 {
		t.Errorf("%d reloads, want that of the secret alone", got-taken)
	}

	// A plugin is another one.
	if err := os.Mkdir(filepath.Join(dir, "plugins"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.replace("0.2.0")
	put(filepath.Join(dir, "plugins", "ottu.wasm"), "")
	until(t, "the plugin is switched", func() bool { return log.count("-> ottu@0.2.0") == 1 })
	if log.count("test-key") != 0 {
		t.Error("the log shows a secret")
	}
}

// Whoever says so is left alone.
func TestServer_watchesNot(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	if s := newWorld().rereading(t, &cfg); s.watcher != nil {
		t.Error("it watches")
	}
}
