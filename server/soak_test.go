package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

// swapper is a real server whose plugin becomes another one again and again, and
// clients that send honest callbacks meanwhile.
type swapper struct {
	t        *testing.T
	server   *Server
	file     string
	variants [2][]byte
	swapped  int
	// clients have a connection each, which stays.
	clients [4]*http.Client
	// answered counts the answers with a 2xx, refused all others.
	answered, refused atomic.Int64
}

// newSwapper serves ottu from a directory of its own.
func newSwapper(t *testing.T) (*swapper, *host.Callback) {
	t.Helper()
	const module = "../plugins/dist/ottu.wasm"
	code, err := os.ReadFile(module)
	if err != nil {
		t.Fatalf("%v (build the plugins with: make plugins)", err)
	}
	goldens, err := wasm.ReadGoldens(module)
	if err != nil {
		t.Fatal(err)
	}
	var cb *host.Callback
	cfg := config.Default()
	for i := range goldens {
		if g := &goldens[i]; g.Name == "authorized" {
			if cb, err = g.Callback(); err != nil {
				t.Fatal(err)
			}
			e := config.Endpoint{Plugin: "ottu", Verification: config.Required, Settings: g.Settings, Secrets: map[string][]config.Secret{}}
			for name, values := range g.Secrets {
				for _, v := range values {
					e.Secrets[name] = append(e.Secrets[name], config.NewSecret(v))
				}
			}
			cfg.Tenants = map[string]config.Tenant{"acme": {Endpoints: map[string]config.Endpoint{"pay": e}}}
		}
	}
	cfg.Intake.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Store.Engine, cfg.Store.Path = config.EngineMem, t.TempDir()
	cfg.Plugins.Path, cfg.Plugins.Cache = t.TempDir(), t.TempDir()
	// A slow machine is no reason to refuse.
	cfg.Plugins.Wait = cfg.Intake.DrainTimeout
	cfg.Reload.Watch = false
	w := &swapper{t: t, file: filepath.Join(cfg.Plugins.Path, "ottu.wasm")}
	for i := range w.variants {
		w.variants[i] = bytes.Replace(code, []byte(`"version":"0.1.0"`), fmt.Appendf(nil, `"version":"0.1.%d"`, i+1), 1)
		if bytes.Equal(w.variants[i], code) {
			t.Fatal("the manifest of ottu does not say its version as expected")
		}
	}
	for i := range w.clients {
		w.clients[i] = &http.Client{Transport: &http.Transport{}}
		t.Cleanup(w.clients[i].CloseIdleConnections)
	}
	w.put()
	if w.server, err = Start(context.Background(), cfg, Options{Load: func() (*config.Config, error) { return cfg, nil }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.server.Stop(within(t)) })
	return w, cb
}

// put makes the other variant the one in the directory, in one step.
func (w *swapper) put() {
	w.t.Helper()
	if err := os.WriteFile(w.file+"~", w.variants[w.swapped%2], 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(w.file+"~", w.file); err != nil {
		w.t.Fatal(err)
	}
}

// swap has the server take the other variant.
func (w *swapper) swap() {
	w.t.Helper()
	w.swapped++
	w.put()
	d, err := w.server.Reread(w.t.Context())
	if err != nil || len(d.Switched) != 1 {
		w.t.Fatalf("swap %d: %+v, %v", w.swapped, d, err)
	}
}

// under sends callbacks on several connections while f runs.
func (w *swapper) under(cb *host.Callback, f func()) {
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for _, client := range w.clients {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, err := w.send(client, cb); err != nil || status/100 != 2 {
					w.refused.Add(1)
					w.t.Errorf("an honest callback was answered %d (%v)", status, err)
					return
				}
				w.answered.Add(1)
			}
		})
	}
	f()
	close(stop)
	clients.Wait()
}

func (w *swapper) send(client *http.Client, cb *host.Callback) (int, error) {
	req, err := http.NewRequest(cb.Method, "http://"+w.server.Addr().String()+"/in/acme/pay", bytes.NewReader(cb.Body))
	if err != nil {
		return 0, err
	}
	for _, h := range cb.Headers {
		if !strings.EqualFold(h.Name, "Host") && !strings.EqualFold(h.Name, "Content-Length") {
			req.Header.Add(h.Name, h.Value)
		}
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// held is what the process holds.
type held struct {
	goroutines, descriptors, threads, mappings int
	// snapshots are those of the mappings that show a plugin's memory, code the bytes
	// in those that have its code: the kernel joins neighbours, so that their number
	// says less.
	snapshots int
	code, rss int64
	live      uint64 // bytes of Go's objects
}

// holds looks after a swap that nothing else went on at, so that the plugin has the
// instance that it began with and no other.
func (w *swapper) holds() held {
	w.t.Helper()
	w.swap()
	w.server.modules.freeing.Wait()
	// What unmaps code are finalizers: each has the next one's reason go.
	for range 3 {
		done := make(chan struct{})
		goruntime.SetFinalizer(new([16]byte), func(*[16]byte) { close(done) })
		goruntime.GC()
		<-done
	}
	debug.FreeOSMemory()
	var h held
	until(w.t, "what was begun has ended", func() bool {
		was := h.goroutines
		h.goroutines = goruntime.NumGoroutine()
		return was == h.goroutines
	})
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		w.t.Skip("there is no /proc here")
	}
	h.mappings = bytes.Count(maps, []byte("\n"))
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		w.t.Fatal(err)
	}
	// A thread has a stack and what guards it: threads come with the load, for a
	// call keeps its own, and stay.
	h.threads = len(threads)
	h.mappings -= 2 * h.threads
	h.snapshots = bytes.Count(maps, []byte("postern-snapshot"))
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		// Executable, and of no file: what plugins were compiled to.
		if _, err := fmt.Sscanf(line, "%x-%x r-xp 00000000 00:00 0", &from, &to); err == nil && !strings.Contains(line, "[") {
			h.code += to - from
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		w.t.Fatal(err)
	}
	h.descriptors = len(fds)
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		w.t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(status))[1], 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	var heap goruntime.MemStats
	goruntime.ReadMemStats(&heap)
	h.live = heap.HeapAlloc
	h.rss = pages * int64(os.Getpagesize())
	return h
}

// What Go itself has now more of and now less: mappings of its heap, and neighbours
// that the kernel joins, where a plugin that stays has five each time, and goroutines
// that run cleanups.
const (
	moreMappings   = 20
	moreGoroutines = 2
)

// leaks says what the process holds more of.
func leaks(before, after held) []string {
	var all []string
	for _, c := range []struct {
		what      string
		more, may int64
	}{
		{"goroutines", int64(after.goroutines - before.goroutines), moreGoroutines},
		{"descriptors", int64(after.descriptors - before.descriptors), 0},
		{"mappings", int64(after.mappings - before.mappings), moreMappings},
		{"mappings of snapshots", int64(after.snapshots - before.snapshots), 0},
		{"bytes of code", after.code - before.code, 0},
		{"bytes of RSS", after.rss - before.rss, 5 << 20},
	} {
		if c.more > c.may {
			all = append(all, fmt.Sprintf("%d %s more, may be %d", c.more, c.what, c.may))
		}
	}
	return all
}

// A plugin is switched again and again under load: no honest callback notices, and
// the process holds no more at the end. The same look at a server that does not free
// its modules finds that.
func TestSoakSwaps(t *testing.T) {
	swaps, baseline := 50, 20
	if text := os.Getenv("POSTERN_SWAPS"); text != "" {
		var err error
		if swaps, err = strconv.Atoi(text); err != nil || swaps <= 100 {
			t.Fatalf("POSTERN_SWAPS is %q, must be a number above 100, at which it is looked at first", text)
		}
		baseline = 100
	}
	// What is held shall show, not how far behind the garbage collector is.
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	w, cb := newSwapper(t)
	to := func(n int) func() {
		return func() {
			for w.swapped < n-1 { // the last is that of holds
				w.swap()
			}
		}
	}
	w.under(cb, to(baseline))
	before := w.holds()
	w.under(cb, to(swaps))
	after := w.holds()
	t.Logf("%d callbacks answered 2xx, %d others, during %d swaps", w.answered.Load(), w.refused.Load(), w.swapped)
	t.Logf("after swap %d: %+v", baseline, before)
	t.Logf("after swap %d: %+v", swaps, after)
	for _, leak := range leaks(before, after) {
		t.Error(leak)
	}
	if w.answered.Load() < int64(swaps) {
		t.Errorf("only %d callbacks came", w.answered.Load())
	}
	if all := w.server.Plugins(); len(all) != 1 {
		t.Errorf("%d plugins are loaded, want 1: %+v", len(all), all)
	}

	w.server.modules.leak = true
	w.under(cb, to(swaps+10))
	left := leaks(after, w.holds())
	t.Logf("without freeing, %d swaps later: %s", w.swapped-swaps, strings.Join(left, "; "))
	if len(left) == 0 {
		t.Error("a server that frees nothing passes the same look")
	}
}

// A plugin of which only a part is there yet is refused, and the old one goes on
// until it is there whole.
func TestSoakHalfCopied(t *testing.T) {
	w, cb := newSwapper(t)
	w.swapped++
	whole := w.variants[w.swapped%2]
	for _, n := range []int{0, 4, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(w.file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := w.server.Reread(t.Context()); err == nil || len(d.Problems) != 1 || !strings.Contains(d.Problems[0], w.file) {
			t.Errorf("%d of %d bytes: %v, %q, want that the file is refused", n, len(whole), err, d.Problems)
		}
		if status, err := w.send(w.clients[0], cb); err != nil || status/100 != 2 {
			t.Errorf("with %d of %d bytes a callback was answered %d (%v)", n, len(whole), status, err)
		}
	}
	w.put()
	if d, err := w.server.Reread(t.Context()); err != nil || len(d.Switched) != 1 || !strings.HasPrefix(d.Switched[0].To, "ottu@0.1.2+") {
		t.Errorf("whole: %+v, %v", d, err)
	}
}
