//go:build linux

package wasm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

// What a soak may leave more of at its end than there was at its baseline. An
// instance that is not freed is three mappings or more, and a Go guest's half a
// MiB; 24 bytes a call that are kept are 24 MB in the end.
const (
	// Go's heap grows by mappings that the kernel does not always join.
	moreMappings = 8
	// A call keeps its thread, and Go makes another where one is wanted meanwhile.
	moreThreads = 8
	moreLive    = 1 << 20
	// What Go's runtime holds beside live objects goes up and down with the moment
	// that a collection falls on.
	moreRSS = 8 << 20
)

// soaker is one tenant's plugin with what it is sent in turn. Every third of it
// traps: more often, and the breaker would take the plugin out.
type soaker struct {
	plugin *Plugin
	calls  []*host.Callback
}

// TestSoak makes many calls of several modules for several tenants from several
// goroutines, a third of which trap, and some of which grow the memory, for which
// the instance is closed. At the end the process must hold what it held after the
// first ones. POSTERN_SOAK is how many calls.
func TestSoak(t *testing.T) {
	calls, baseline := 10_000, 2_000
	if text := os.Getenv("POSTERN_SOAK"); text != "" {
		var err error
		if calls, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		baseline = 10_000
	}
	if calls <= baseline {
		t.Fatalf("%d calls, of which %d are for the baseline", calls, baseline)
	}
	const callers = 4
	r := newRuntime(t, Options{Instances: 3, Wait: time.Minute, off: defences{proof: true}})
	modules, made := soakModules(t, r)
	tenants := make([][]*soaker, callers)
	for i := range tenants {
		tenants[i] = soakTenant(t, modules)
	}
	soak := func(from, to int) {
		var wait sync.WaitGroup
		for i, plugins := range tenants {
			wait.Go(func() {
				for n := from + i; n < to; n += callers {
					turn := n / callers
					s, at := plugins[turn%len(plugins)], turn/len(plugins)
					_, err := s.plugin.Handle(context.Background(), s.calls[at%len(s.calls)])
					if traps := at%3 == 2; (err != nil) != traps {
						t.Errorf("call %d, of %s: %v, want a trap: %t", n, s.plugin.module.version, err, traps)
						return
					}
				}
			})
		}
		wait.Wait()
	}
	soak(0, baseline)
	before := footprintOf(t, modules)
	soak(baseline, calls)
	after := footprintOf(t, modules)
	runtime.KeepAlive(tenants) // their callbacks are there at both times
	t.Logf("after %d calls: %+v", baseline, before)
	t.Logf("after %d calls: %+v", calls, after)
	for i, m := range modules {
		n := made[i].Load()
		t.Logf("%s: %d instances were made", m.version, n)
		if grows := m != modules[2]; grows && n <= int64(cap(m.pool.Slots)) {
			t.Errorf("%s: %d instances were made: its memory did not grow", m.version, n)
		}
	}
	for _, c := range []struct {
		what      string
		more, may int64
	}{
		{"goroutines", after.goroutines - before.goroutines, 0},
		{"file descriptors", after.descriptors - before.descriptors, 0},
		{"threads", after.threads - before.threads, moreThreads},
		{"mappings beside those of threads", after.mappings - before.mappings, moreMappings},
		{"bytes of live objects", after.live - before.live, moreLive},
		{"bytes of RSS", after.rss - before.rss, moreRSS},
	} {
		if c.more > c.may {
			t.Errorf("%d %s more after %d calls than after %d, may be %d", c.more, c.what, calls, baseline, c.may)
		}
	}
}

// soakModules are a guest of each kind: tiny, in C, in Go. made counts the
// instances of each.
func soakModules(t *testing.T, r *Runtime) (modules []*Module, made []*atomic.Int64) {
	t.Helper()
	for _, file := range []string{
		write(t, packed(t, "counter", tokenManifest)),
		write(t, packed(t, "bench/work", tokenManifest)),
		write(t, smallGuest(t)),
		ottuModule,
	} {
		m, err := r.Load(t.Context(), file)
		if err != nil {
			t.Fatalf("%v (build the plugins with: make plugins)", err)
		}
		instantiate, n := m.pool.Make, new(atomic.Int64)
		m.pool.Make = func(ctx context.Context) (*instance, error) {
			n.Add(1)
			return instantiate(ctx)
		}
		modules, made = append(modules, m), append(made, n)
	}
	return modules, made
}

const ottuModule = "../../plugins/dist/ottu.wasm"

// soakTenant binds every module for a tenant, and says what each is sent.
func soakTenant(t *testing.T, modules []*Module) []*soaker {
	t.Helper()
	says := func(body string) *host.Callback { return callback(body) }
	golden, secrets := soakGolden(t)
	forged, large := *golden, *golden
	forged.Body = bytes.Replace(golden.Body, []byte(`"signature":"`), []byte(`"signature":"0`), 1)
	large.Body = fmt.Appendf(nil, `{"signature":"%s"}`, strings.Repeat("x", 1<<20))
	var out []*soaker
	for i, s := range []struct {
		fuel    int64
		secrets map[string][]string
		calls   []*host.Callback
	}{
		{calls: []*host.Callback{
			says(""), says("a"), says("t"), says(""), says(""), says("x"),
			says("a"), says(""), says("v"), says(""), says("a"), says("m"),
		}},
		// A memory that has grown, and a call that spends its fuel.
		{fuel: 50_000, calls: []*host.Callback{
			says("g"), says("1000"), says("999999999"), says("0"), says("1000"), says("t"),
		}},
		// An empty body is worth no fuel.
		{fuel: 1, secrets: map[string][]string{"key": {measureKey}}, calls: []*host.Callback{measured(), measured(), says("")}},
		{fuel: 1, secrets: secrets, calls: slices.Concat(
			slices.Repeat([]*host.Callback{golden, &forged, says("")}, 20),
			// It has the guest's memory grow.
			[]*host.Callback{golden, &large, says("")},
		)},
	} {
		p, err := modules[i].Bind(Binding{Secrets: s.secrets, Fuel: s.fuel, Limit: NewLimit(2)})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &soaker{p, s.calls})
	}
	return out
}

// soakGolden is a callback that ottu accepts.
func soakGolden(t *testing.T) (*host.Callback, map[string][]string) {
	t.Helper()
	goldens, err := ReadGoldens(ottuModule)
	if err != nil {
		t.Fatal(err)
	}
	for i := range goldens {
		if g := &goldens[i]; g.Name == "authorized" {
			cb, err := g.Callback()
			if err != nil {
				t.Fatal(err)
			}
			return cb, g.Secrets
		}
	}
	t.Fatal("ottu has no golden authorized")
	return nil, nil
}

// footprint is what a process holds.
type footprint struct{ goroutines, descriptors, threads, mappings, live, rss int64 }

// footprintOf reads it, with every pool of instances full.
func footprintOf(t *testing.T, modules []*Module) footprint {
	t.Helper()
	for _, m := range modules {
		var all []*instance
		for range cap(m.pool.Slots) {
			in, err := m.pool.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, in)
		}
		for _, in := range all {
			m.pool.Give(t.Context(), in, true)
		}
	}
	rss := memoryOf(t).rss
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	// A thread has a stack and what guards it, and in a process that links the C
	// library, as a test's does, an arena and the rest of it.
	const ofThread = 4
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	return footprint{
		goroutines: int64(runtime.NumGoroutine()), descriptors: int64(len(descriptors)), threads: int64(len(threads)),
		mappings: int64(bytes.Count(maps, []byte("\n")) - ofThread*len(threads)), live: int64(heap.HeapAlloc), rss: rss,
	}
}
