//go:build linux

package wasm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/host"
)

// What the sandbox may cost.
const (
	mostForFuel  = 1.2 // times the call without
	mostPristine = 10. // microseconds, the Go guest
	mostMemory   = 1.0 // MiB for another instance of it
)

const (
	measureRounds = 7
	measureTurns  = 12 // in a round
	measureCalls  = 500
	// gaugeCalls are what the machine is judged by before and after a turn, and
	// patience is how long all turns together wait for it.
	gaugeCalls = 50
	patience   = 5 * time.Minute
)

const sandboxMethod = `
CPU time of the whole process for a call: the median of %d rounds, in each of
which the variants take %d turns of %d calls in random order. Garbage is collected
between the turns and is not in it: how much a call makes stands below. A ratio is
the median of the rounds' ratios. The callback is a JSON body of 500 bytes with an
HMAC over it; it becomes one event with ten fields and an ack.

The machine is shared, and at times everything on it takes up to twice as long.
A turn waits until %d calls of the library's take at most 1.4 times what they took at
their fastest, and is taken again if they take longer after it: %d turns count, %d
more did not, %d count although the machine was slow, for lack of patience.

  go, c       testdata/bench: the same plugin by the SDK for Go, and in C
  library     the same in Go with encoding/json and crypto/hmac
  primitives  the same in Go with the host's own parser and keyed MAC
  unmetered   without fuel, slices and charges; instances used again as they are
  metered     with them; instances used again as they are
  pristine    metered, and every call on an instance as new: as it is served
`

// variant is one way to judge a callback.
type variant struct {
	name  string
	run   host.Plugin
	on    *host.Callback
	times []float64 // CPU time of a call in each round, in microseconds
}

// waysToRun are the three ways to run a guest.
var waysToRun = []struct {
	name string
	opts Options
}{
	{"unmetered", Options{Reuse: true, off: defences{metering: true, charges: true, slices: true, globals: true, proof: true}}},
	{"metered", Options{Reuse: true, off: defences{proof: true}}},
	{"pristine", Options{off: defences{proof: true}}},
}

// TestMeasureSandbox prints what the sandbox costs, and fails where that is more
// than it may. "make bench-sandbox" runs it.
func TestMeasureSandbox(t *testing.T) {
	setting := os.Getenv("POSTERN_BENCH_SANDBOX")
	if setting == "" {
		t.Skip("measures for some minutes: set POSTERN_BENCH_SANDBOX, or make bench-sandbox")
	}
	guests := map[string][]byte{"go": goGuest(t), "c": smallGuest(t)}
	variants := []*variant{
		{name: "library", run: library{}, on: measured()},
		{name: "primitives", run: newPrimitives(), on: measured()},
	}
	cache := t.TempDir()
	for _, way := range waysToRun {
		r := newRuntime(t, measuring(way.opts, cache))
		for _, name := range []string{"go", "c"} {
			variants = append(variants, &variant{name: name + " " + way.name, run: bound(t, r, guests[name]), on: measured()})
		}
	}
	for _, v := range variants {
		v.mustJudge(t)
	}
	providers, fuel := providersOf(t, cache)
	var out strings.Builder
	out.WriteString(by(t, "make bench-sandbox"))
	g := takeTurns(t, append(variants, providers...))
	fmt.Fprintf(&out, sandboxMethod, measureRounds, measureTurns, measureCalls, gaugeCalls, g.turns, g.again, g.anyway)
	reportTimes(&out, variants)
	missed := reportFuel(&out, variants, providers, fuel)
	missed = append(missed, reportAllocations(t, &out, variants)...)
	missed = append(missed, reportMemory(t, &out, guests["go"], cache)...)
	if us := median(named(variants, "go pristine").times); us > mostPristine {
		missed = append(missed, fmt.Sprintf("a call of the Go guest takes %.1f µs, may take %.0f (%d of %d turns were taken while the machine was slow)",
			us, mostPristine, g.anyway, g.turns))
	}
	fmt.Fprintf(&out, "\n%d targets missed\n", len(missed))
	for _, m := range missed {
		fmt.Fprintln(&out, "  "+m)
		t.Error(m)
	}
	report(t, setting, out.String())
}

// measuring are the options of a way with fuel enough: on an instance used again
// the garbage collector of a Go guest runs now and then, which takes more than a
// call may. The cache has compiled code alone, which goes by what was compiled:
// without a proof nothing of the meter's is kept.
func measuring(o Options, cache string) Options {
	o.CacheDir, o.Instances, o.Fuel = cache, 1, 1<<30
	return o
}

// bound is a guest of the measurements, ready to judge the callback.
func bound(t testing.TB, r *Runtime, code []byte) *Plugin {
	t.Helper()
	m, err := r.Load(t.Context(), write(t, code))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Bind(Binding{Secrets: map[string][]string{"key": {measureKey}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustJudge fails unless the variant makes of the callback what all must.
func (v *variant) mustJudge(t *testing.T) {
	t.Helper()
	got, err := v.run.Handle(t.Context(), v.on)
	if err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	if diff := cmp.Diff(payWant(), got, cmpopts.IgnoreFields(host.Result{}, "Fuel", "Memory")); diff != "" {
		t.Fatalf("%s: the result differs:\n%s", v.name, diff)
	}
}

// takeTurns measures every variant.
func takeTurns(t *testing.T, variants []*variant) *gauge {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	g := newGauge(t)
	for round := range measureRounds {
		used := make([]time.Duration, len(variants))
		for range measureTurns {
			runtime.GC()
			for _, i := range rand.Perm(len(variants)) {
				used[i] += g.calmly(func() time.Duration { return variants[i].turn(t, measureCalls) })
			}
		}
		for i, v := range variants {
			v.times = append(v.times, used[i].Seconds()*1e6/(measureTurns*measureCalls))
		}
		t.Logf("round %d of %d", round+1, measureRounds)
	}
	return g
}

// gauge tells whether the machine is calm, by work that does not change.
type gauge struct {
	work    func() time.Duration
	fastest time.Duration
	until   time.Time // it waits for calm
	// turns count, again did not, and anyway do though the machine was slow.
	turns, again, anyway int
}

func newGauge(t *testing.T) *gauge {
	v := &variant{name: "library", run: library{}, on: measured()}
	g := &gauge{work: func() time.Duration { return v.turn(t, gaugeCalls) }, until: time.Now().Add(patience)}
	g.fastest = g.work()
	for range 2000 {
		g.fastest = min(g.fastest, g.work())
	}
	return g
}

func (g *gauge) calm() bool { return g.work() <= g.fastest*14/10 }

// calmly takes a turn while the machine is calm.
func (g *gauge) calmly(turn func() time.Duration) time.Duration {
	g.turns++
	for {
		for !g.calm() && time.Now().Before(g.until) {
		}
		used := turn()
		switch {
		case g.calm():
			return used
		case time.Now().After(g.until):
			g.anyway++
			return used
		}
		g.again++
	}
}

func (v *variant) turn(t *testing.T, calls int) time.Duration {
	before := cpuTime()
	for range calls {
		if _, err := v.run.Handle(context.Background(), v.on); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
	}
	return cpuTime() - before
}

// providersOf are the plugins of this repository with a callback that each
// accepts, metered and not, and the fuel that it burns.
func providersOf(t *testing.T, cache string) (all []*variant, fuel map[string]int64) {
	t.Helper()
	modules, err := filepath.Glob("../../plugins/dist/*.wasm")
	if err != nil || len(modules) == 0 {
		t.Fatalf("%d modules, err %v (build them with: make plugins)", len(modules), err)
	}
	fuel = make(map[string]int64)
	for _, way := range waysToRun {
		r := newRuntime(t, measuring(way.opts, cache))
		for _, file := range modules {
			name := strings.TrimSuffix(filepath.Base(file), ".wasm")
			code, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if about, err := Inspect(code); err == nil && about.Guard {
				continue
			}
			v, burnt := accepting(t, r, file)
			v.name = name + " " + way.name
			all, fuel[name] = append(all, v), burnt
		}
	}
	return all, fuel
}

// accepting is a module with the first of its goldens that it accepts, bound as
// that asks for.
func accepting(t *testing.T, r *Runtime, file string) (*variant, int64) {
	t.Helper()
	m, err := r.Load(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	goldens, err := ReadGoldens(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range goldens {
		g := &goldens[i]
		if g.Verdict != host.Accept.String() || g.Unverified {
			continue
		}
		p, err := m.Bind(Binding{Secrets: g.Secrets, Settings: g.Settings})
		if err != nil {
			t.Fatal(err)
		}
		cb, err := g.Callback()
		if err != nil {
			t.Fatal(err)
		}
		ep := &host.Endpoint{Plugin: p, Tokens: p.Tokens()}
		// It masks the tokens, and fills in what they prove.
		res, err := ep.Judge(t.Context(), cb)
		if err != nil || res.Verdict != host.Accept {
			t.Fatalf("%s, golden %s: %v, %v", file, g.Name, res.Verdict, err)
		}
		return &variant{run: p, on: cb}, res.Fuel
	}
	t.Fatalf("%s accepts none of its goldens", file)
	return nil, 0
}

func named(variants []*variant, name string) *variant {
	for _, v := range variants {
		if v.name == name {
			return v
		}
	}
	panic(name)
}

// ratio is the median of the rounds' ratios.
func ratio(a, b *variant) float64 {
	all := make([]float64, len(a.times))
	for i := range all {
		all[i] = a.times[i] / b.times[i]
	}
	return median(all)
}

func table(out *strings.Builder, title, head string) *tabwriter.Writer {
	fmt.Fprintf(out, "\n%s\n", title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, head)
	return w
}

func reportTimes(out *strings.Builder, variants []*variant) {
	w := table(out, "CPU time of a call", "variant\tµs\tby library\tby primitives\tby unmetered\t")
	for _, v := range variants {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t", v.name, median(v.times),
			ratio(v, named(variants, "library")), ratio(v, named(variants, "primitives")))
		if guest, _, isGuest := strings.Cut(v.name, " "); isGuest {
			fmt.Fprintf(w, "%.2f", ratio(v, named(variants, guest+" unmetered")))
		}
		fmt.Fprintln(w, "\t")
	}
	w.Flush()
}

// reportFuel compares metered with unmetered calls, of the guests and of the
// providers' plugins. The guests have the target; a plugin's one golden swings by
// more than it misses.
func reportFuel(out *strings.Builder, variants, providers []*variant, fuel map[string]int64) (missed []string) {
	w := table(out, "Fuel: both on instances used again, so that it alone is between them",
		"plugin\tunits a call\tµs unmetered\tµs metered\tratio\tµs pristine\tratio\t")
	all := append(variants[2:len(variants):len(variants)], providers...)
	for _, v := range all {
		name, way, _ := strings.Cut(v.name, " ")
		if way != "metered" {
			continue
		}
		units := fuel[name]
		if units == 0 {
			res, _ := v.run.Handle(context.Background(), v.on)
			units = res.Fuel
		}
		without, pristine := named(all, name+" unmetered"), named(all, name+" pristine")
		by := ratio(v, without)
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t\n", name, units,
			median(without.times), median(v.times), by, median(pristine.times), ratio(pristine, v))
		if by > mostForFuel && slices.Contains(variants, v) {
			missed = append(missed, fmt.Sprintf("fuel makes a call of %s %.2f times as long, may %.1f", name, by, mostForFuel))
		}
	}
	w.Flush()
	return missed
}

// reportAllocations compares what a call allocates with what the work does: the
// view of the body with the check of its signature, and the parts of the result.
func reportAllocations(t *testing.T, out *strings.Builder, variants []*variant) (missed []string) {
	native := newPrimitives()
	cb := measured()
	res, err := native.Handle(context.Background(), cb)
	if err != nil {
		t.Fatal(err)
	}
	parts := testing.AllocsPerRun(1000, func() { copied = copyOf(&res) })
	// The view is read too: it builds its index only then.
	parsed := testing.AllocsPerRun(1000, func() { _, _ = native.Handle(context.Background(), cb) }) - parts
	silent, empty := silentGuest(t), &host.Callback{Method: "POST", Target: "/in/bench/work"}
	nothing := testing.AllocsPerRun(1000, func() { _, _ = silent.Handle(context.Background(), empty) })
	w := table(out, "Allocations of a call: all, the parts of the result (a guest's share some), the view's and the MAC's, and what is beyond them",
		"variant\tbytes\tall\tresult\tview, MAC\tbeyond\t")
	for _, name := range []string{"library", "primitives"} {
		p := named(variants, name)
		fmt.Fprintf(w, "%s\t%d\t%.0f\t\t\t\t\n", name, p.bytes(), testing.AllocsPerRun(1000, p.handle))
	}
	fmt.Fprintf(w, "a guest that says nothing\t\t%.0f\t0\t0\t%.0f\t\n", nothing, nothing)
	if nothing > 0 {
		missed = append(missed, fmt.Sprintf("a call of a guest that says nothing allocates %.0f times", nothing))
	}
	for _, name := range []string{"go pristine", "c pristine"} {
		p := named(variants, name)
		all := testing.AllocsPerRun(1000, p.handle)
		own := all - parts - parsed
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t\n", name, p.bytes(), all, parts, parsed, own)
		if own > 0 {
			missed = append(missed, fmt.Sprintf("a call of %s allocates %.0f times beyond the result", name, own))
		}
	}
	w.Flush()
	return missed
}

func (v *variant) handle() { _, _ = v.run.Handle(context.Background(), v.on) }

// bytes is how many a call allocates.
func (v *variant) bytes() uint64 {
	const calls = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		v.handle()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / calls
}

// copied keeps the compiler from leaving the copies on the stack.
var copied host.Result

// copyOf is a result with all its parts in memory of their own: what it must
// allocate to be.
func copyOf(r *host.Result) host.Result {
	out := *r
	out.Evidence, out.Events = slices.Clone(r.Evidence), slices.Clone(r.Events)
	for i := range out.Events {
		d := &out.Events[i]
		for _, text := range []*string{
			&d.Type, &d.Subject, &d.Status, &d.ProviderStatus, &d.Amount, &d.Currency, &d.References.Merchant, &d.Method,
		} {
			*text = strings.Clone(*text)
		}
		d.Key = slices.Clone(d.Key)
		for k := range d.Key {
			d.Key[k] = strings.Clone(d.Key[k])
		}
	}
	answer := *r.Answer
	answer.ContentType, answer.Body = strings.Clone(answer.ContentType), slices.Clone(answer.Body)
	out.Answer = &answer
	return out
}

// silentGuest is a guest that says nothing, and of an empty body ends at once.
func silentGuest(t *testing.T) *Plugin {
	m, err := newRuntime(t, Options{Instances: 1}).Load(t.Context(), write(t, packed(t, "bench/work", tokenManifest)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Bind(Binding{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reportMemory starts instances of the Go guest and looks what each takes once it
// has judged some callbacks.
func reportMemory(t *testing.T, out *strings.Builder, code []byte, cache string) (missed []string) {
	const further = 20
	o := measuring(Options{off: defences{proof: true}}, cache)
	o.Instances = 1 + further
	p := bound(t, newRuntime(t, o), code)
	var all []*instance
	use := func(n int) memoryUse {
		for range n {
			in, err := p.module.pool.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, in)
		}
		for range 100 {
			for _, in := range all {
				if _, err := (single{p, in}).Handle(t.Context(), measured()); err != nil {
					t.Fatal(err)
				}
				if !in.renew(nil) {
					t.Fatal("an instance is not as it was")
				}
			}
		}
		return memoryOf(t)
	}
	first := use(1)
	last := use(further)
	for _, in := range all {
		p.module.pool.Give(t.Context(), in, true)
	}
	w := table(out, fmt.Sprintf("Memory of a further instance of the Go guest, MiB, by %d of them", further), "rss\tpss\tprivate dirty\t")
	per := func(a, b int64) float64 { return float64(b-a) / further / (1 << 20) }
	rss := per(first.rss, last.rss)
	fmt.Fprintf(w, "%.2f\t%.2f\t%.2f\t\n", rss, per(first.pss, last.pss), per(first.dirty, last.dirty))
	w.Flush()
	if rss > mostMemory {
		missed = append(missed, fmt.Sprintf("a further instance takes %.2f MiB, may take %.0f", rss, mostMemory))
	}
	return missed
}

// memoryUse is what this process takes, in bytes.
type memoryUse struct{ rss, pss, dirty int64 }

func memoryOf(t testing.TB) memoryUse {
	t.Helper()
	// What pools and finalizers hold goes with the second collection.
	runtime.GC()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) int64 {
		_, rest, _ := strings.Cut(string(text), "\n"+name+":")
		kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kib << 10
	}
	return memoryUse{rss: field("Rss"), pss: field("Pss"), dirty: field("Private_Dirty")}
}
