package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
)

const (
	providersRounds = 7
	providersTurns  = 4 // in a round
	providersCalls  = 500
)

const providersMethod = `
What is asked: what does it cost to describe a provider by settings, beside a
plugin of its own? Each callback is a usual one of its provider's goldens; each
result is compared with what the golden expects, whole. CPU time of the whole
process for a call of Endpoint.Judge: the median of %d rounds, in each of which the
rows take %d turns of %d calls in random order; garbage is collected between the
turns and is not in it. Fuel is the same wherever it is counted.

  generic    plugins/generic with the settings of providers/NAME.yaml
  dedicated  a plugin of its own. stripe is bench/testdata/stripe, written to say
             the same as generic does of every golden of Stripe's that it accepts

`

// usual are the goldens that are measured.
var usual = map[string]string{
	"coinbase-commerce": "coinbase-commerce-confirmed",
	"github":            "github-push",
	"paystack":          "paystack-charge",
	"razorpay":          "razorpay-captured",
	"shopify":           "shopify-paid",
	"square":            "square-completed",
	"standard-webhooks": "standard-webhooks-paid",
	"stripe":            "stripe-succeeded",
	"xendit":            "xendit-paid",
	"zahlwerk":          "zahlwerk-settled",

	"ottu":           "paid",
	"paymentoptions": "hmac",
}

// row is one provider's callback and what judges it.
type row struct {
	side, name string
	endpoint   host.Endpoint
	callback   *host.Callback
	fuel       int64
	times      []float64 // CPU time of a call in each round, in microseconds
}

// TestMeasureProviders prints what settings cost beside a plugin. "make
// bench-providers" runs it.
func TestMeasureProviders(t *testing.T) {
	setting := os.Getenv("POSTERN_BENCH_PROVIDERS")
	if setting == "" {
		t.Skip("measures for a minute: set POSTERN_BENCH_PROVIDERS, or make bench-providers")
	}
	rt, err := wasm.New(t.Context(), wasm.Options{Instances: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	rows := described(t, rt)
	rows = append(rows, ofItsOwn(t, rt, "stripe", buildStripe(t)))
	for _, name := range []string{"ottu", "paymentoptions"} {
		rows = append(rows, ofItsOwn(t, rt, name, filepath.Join("..", "plugins", "dist", name+".wasm")))
	}
	measureRows(t, rows)
	var out strings.Builder
	out.WriteString(providersHead(t))
	fmt.Fprintf(&out, providersMethod, providersRounds, providersTurns, providersCalls)
	printRows(&out, rows)
	t.Log(out.String())
	if filepath.IsAbs(setting) {
		if err := os.WriteFile(setting, []byte(out.String()), 0o600); err != nil {
			t.Error(err)
		}
	}
}

func providersHead(t *testing.T) string {
	t.Helper()
	revision, err := exec.CommandContext(t.Context(), "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		revision = []byte("unknown")
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	minute, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("# make bench-providers: %s, %d cores with a load of %s, revision %s\n",
		runtime.Version(), runtime.NumCPU(), minute, strings.TrimSpace(string(revision)))
}

// goldensOf are a module's.
func goldensOf(t *testing.T, file string) []wasm.Golden {
	t.Helper()
	goldens, err := wasm.ReadGoldens(file)
	if err != nil {
		t.Fatalf("%v (build it with: make plugins)", err)
	}
	return goldens
}

func loaded(t *testing.T, rt *wasm.Runtime, file string) *wasm.Module {
	t.Helper()
	m, err := rt.Load(t.Context(), file)
	if err != nil {
		t.Fatalf("%v (build it with: make plugins)", err)
	}
	return m
}

var generic = filepath.Join("..", "plugins", "dist", "generic.wasm")

// described are the providers that generic has files of settings for.
func described(t *testing.T, rt *wasm.Runtime) []*row {
	t.Helper()
	files, err := filepath.Glob("../plugins/generic/providers/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of providers, err %v", len(files), err)
	}
	m, goldens := loaded(t, rt, generic), goldensOf(t, generic)
	var rows []*row
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		i := slices.IndexFunc(goldens, func(g wasm.Golden) bool { return g.Name == usual[name] && tells(&g) })
		if i < 0 {
			t.Fatalf("generic has no golden %s that tells an event: name one of %s in usual", usual[name], name)
		}
		rows = append(rows, rowOf(t, m, "generic", name, &goldens[i]))
	}
	return rows
}

// tells reports whether the golden expects an event.
func tells(g *wasm.Golden) bool {
	return g.Verdict == host.Accept.String() && bytes.Contains(g.Expect, []byte(`"events"`))
}

// ofItsOwn is a provider's own plugin, which must say what all its goldens that
// tell events expect.
func ofItsOwn(t *testing.T, rt *wasm.Runtime, name, file string) *row {
	t.Helper()
	goldens := goldensOf(t, file)
	m := loaded(t, rt, file)
	var usualOne *row
	for i := range goldens {
		if !tells(&goldens[i]) {
			continue
		}
		if r := rowOf(t, m, "dedicated", name, &goldens[i]); goldens[i].Name == usual[name] {
			usualOne = r
		}
	}
	if usualOne == nil {
		t.Fatalf("%s has no golden %s that tells an event", name, usual[name])
	}
	return usualOne
}

// rowOf has the golden judged once: the row must say what it expects.
func rowOf(t *testing.T, m *wasm.Module, side, name string, g *wasm.Golden) *row {
	t.Helper()
	p, err := m.Bind(wasm.Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified})
	if err != nil {
		t.Fatal(err)
	}
	r := &row{side: side, name: name, endpoint: host.Endpoint{Plugin: p, Tokens: p.Tokens(), Unverified: g.Unverified}}
	if r.callback, err = g.Callback(); err != nil {
		t.Fatal(err)
	}
	cb, err := g.Callback()
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.endpoint.Judge(t.Context(), cb)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	got, err := g.Canonical(res)
	if err != nil || !bytes.Equal(got, g.Expect) {
		t.Fatalf("%s of %s does not say what its golden expects: %v\ngot  %s\nwant %s", g.Name, name, err, got, g.Expect)
	}
	r.fuel = res.Fuel
	return r
}

// buildStripe builds the dedicated plugin with generic's goldens of Stripe, and
// holds it to those that generic accepts.
func buildStripe(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "stripe")
	if err := os.CopyFS(folder, os.DirFS("testdata/stripe")); err != nil {
		t.Fatal(err)
	}
	sdk, err := filepath.Abs("../sdk")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte) {
		t.Helper()
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", []byte("module example.com/stripe\n\ngo 1.26.0\n\nrequire github.com/postern/postern/sdk v0.0.0\n\nreplace github.com/postern/postern/sdk => "+sdk+"\n"))
	n := 0
	for _, g := range goldensOf(t, generic) {
		if !strings.HasPrefix(g.Name, "stripe-") || !tells(&g) {
			continue
		}
		n++
		text := fmt.Sprintf(`{"about": %q, "received": %q, "secrets": {"hmac-key": ["%s"]}, "expect": %s}`,
			g.About, g.Received.Format(time.RFC3339), strings.Join(g.Secrets["hmac-key"], `", "`), g.Expect)
		write("testdata/"+g.Name+".http", g.Request)
		write("testdata/"+g.Name+".golden.json", []byte(text))
	}
	if n < 10 {
		t.Fatalf("%d goldens of Stripe's are accepted, want more", n)
	}
	pack := exec.CommandContext(t.Context(), "go", "run", "./cmd/pack", "-o", filepath.Join(folder, "dist"), folder)
	pack.Dir = "../sdk"
	if text, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return filepath.Join(folder, "dist", "stripe.wasm")
}

// measureRows has the rows take turns.
func measureRows(t *testing.T, rows []*row) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for round := range providersRounds {
		used := make([]time.Duration, len(rows))
		for range providersTurns {
			runtime.GC()
			for _, i := range rand.Perm(len(rows)) {
				used[i] += rows[i].turn(t)
			}
		}
		for i, r := range rows {
			r.times = append(r.times, used[i].Seconds()*1e6/(providersTurns*providersCalls))
		}
		t.Logf("round %d of %d", round+1, providersRounds)
	}
}

func (r *row) turn(t *testing.T) time.Duration {
	before := processTime(t)
	for range providersCalls {
		cb := *r.callback
		cb.Headers = slices.Clone(cb.Headers) // tokens are masked in place
		if res, err := r.endpoint.Judge(context.Background(), &cb); err != nil || res.Verdict != host.Accept {
			t.Fatalf("%s: %s, %v", r.name, res.Verdict, err)
		}
	}
	return processTime(t) - before
}

func processTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func middle(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func printRows(out *strings.Builder, rows []*row) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "by\tprovider\tbody\tfuel\tCPU µs\t")
	var apart [2]*row
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.1f\t\n", r.side, r.name, len(r.callback.Body), r.fuel, middle(r.times))
		if r.name == "stripe" && r.side == "generic" {
			apart[0] = r
		} else if r.name == "stripe" {
			apart[1] = r
		}
	}
	_ = w.Flush()
	ratios := make([]float64, len(apart[0].times))
	for i := range ratios {
		ratios[i] = apart[0].times[i] / apart[1].times[i]
	}
	fmt.Fprintf(out, "\nstripe, by settings over its own plugin: fuel %.2f, CPU time %.2f (the median of the rounds' ratios)\n",
		float64(apart[0].fuel)/float64(apart[1].fuel), middle(ratios))
}
