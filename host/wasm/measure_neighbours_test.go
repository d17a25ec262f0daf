//go:build linux

package wasm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/host/wasm/internal/fuel"
)

// What one tenant's burning may cost another.
const (
	mostDelay   = time.Millisecond // or a tenth of the p99 alone, whichever is more
	mostRateOff = 0.05
)

const (
	neighbourRounds = 9
	neighbourTime   = 3 * time.Second
	honestRate      = 500 // calls a second
	burners         = 4   // callers of the burning plugin, one of which runs
)

const neighboursMethod = `
One tenant's plugin burns 99%% of its budget on every call, and ends well, so that
nothing takes it out. %d callers call it without a pause, all of a tenant that may
make one call at a time. Meanwhile another tenant's honest callbacks (ottu) come at
%d/s on the average, at random, whether the last one is done or not. A latency
is from when a callback was due to when its result was there. Something allocates
64 MB/s, 8 MB of them live, as a server under load does: running WebAssembly holds
up the garbage collector. %d rounds of %v; in each the variants take turns in random
order and get the callbacks at the same moments.

  alone       nobody burns
  2M, 20M     a budget of 2,000,000 (the default) and of 20,000,000 units (the cap)
  slices      the guest lets the scheduler have the thread each %d units, as served
  no slices   it keeps the thread until its call ends

p50 to max are of all rounds together, in milliseconds; the last p99 is the median
of the rounds' own, which one bad moment of the machine does not decide: it may rise
by %v or a tenth. done/s are the honest calls that were done when the round was
over, without those that found no instance free; it may fall by %.0f%%.
`

// neighbourhood is a variant: who burns how, beside the honest tenant.
type neighbourhood struct {
	name   string
	fuel   int64 // zero burns nothing
	slices bool

	honest *variant
	burner *variant
	rounds []neighbourRound
}

// neighbourRound is what was seen in one round.
type neighbourRound struct {
	latencies []time.Duration
	done      float64 // a second
	burnt     float64 // units
	gcs       uint32
}

// TestMeasureNeighbours prints how long honest calls take beside a plugin that
// burns all it may, and fails if that is longer than it may be.
func TestMeasureNeighbours(t *testing.T) {
	setting := os.Getenv("POSTERN_BENCH_NEIGHBOURS")
	if setting == "" {
		t.Skip("measures for three minutes: set POSTERN_BENCH_NEIGHBOURS, or make bench-neighbours")
	}
	all := []*neighbourhood{
		{name: "alone", slices: true},
		{name: "2M, slices", fuel: defaultFuel, slices: true},
		{name: "2M, no slices", fuel: defaultFuel},
		{name: "20M, slices", fuel: defaultMaxFuel, slices: true},
		{name: "20M, no slices", fuel: defaultMaxFuel},
	}
	honest, burning := make(map[bool]*variant), make(map[bool]*Module)
	for _, slices := range []bool{true, false} {
		r := newRuntime(t, Options{off: defences{slices: !slices, proof: true}})
		honest[slices], _ = accepting(t, r, "../../plugins/dist/ottu.wasm")
		var err error
		if burning[slices], err = r.Load(t.Context(), write(t, packed(t, "bench/work", tokenManifest))); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range all {
		n.honest = honest[n.slices]
		if n.fuel > 0 {
			n.burner = burningAll(t, burning[n.slices], n.fuel)
		}
	}
	var out strings.Builder
	out.WriteString(by(t, "make bench-neighbours"))
	for round := range neighbourRounds {
		for _, i := range rand.Perm(len(all)) {
			all[i].live(t, uint64(round))
		}
		t.Logf("round %d of %d", round+1, neighbourRounds)
	}
	fmt.Fprintf(&out, neighboursMethod, burners, honestRate, neighbourRounds, neighbourTime, fuel.Slice, mostDelay, 100*mostRateOff)
	missed := reportNeighbours(&out, all)
	for _, m := range missed {
		t.Error(m)
	}
	report(t, setting, out.String())
}

// burningAll is the working guest with a body that has it burn 99% of the budget.
func burningAll(t *testing.T, m *Module, fuel int64) *variant {
	t.Helper()
	p, err := m.Bind(Binding{Fuel: fuel, Limit: NewLimit(1)})
	if err != nil {
		t.Fatal(err)
	}
	burns := func(rounds int64) (*variant, int64) {
		cb := callback(strconv.FormatInt(rounds, 10))
		res, err := p.Handle(t.Context(), cb)
		if err != nil {
			t.Fatal(err)
		}
		return &variant{run: p, on: cb}, res.Fuel
	}
	const some = 10_000
	_, none := burns(0)
	_, few := burns(some)
	v, burnt := burns((fuel*99/100 - none) * some / (few - none))
	if burnt < fuel*98/100 || burnt > fuel {
		t.Fatalf("it burns %d of %d units", burnt, fuel)
	}
	return v
}

// live runs one round of the variant.
func (n *neighbourhood) live(t *testing.T, round uint64) {
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { allocate(ctx) })
	var burnt atomic.Int64
	if n.burner != nil {
		for range burners {
			wait.Go(func() {
				for ctx.Err() == nil {
					// That none of the tenant's calls became free in time is its own affair.
					if res, err := n.burner.run.Handle(ctx, n.burner.on); err == nil {
						burnt.Add(res.Fuel)
					}
				}
			})
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := n.call(round)
	runtime.ReadMemStats(&after)
	stop()
	wait.Wait()
	got.gcs = after.NumGC - before.NumGC
	got.burnt = float64(burnt.Load())
	n.rounds = append(n.rounds, got)
}

// call makes the honest calls of one round, each when it is due, and returns when
// the last one is done.
func (n *neighbourhood) call(round uint64) neighbourRound {
	chance := rand.New(rand.NewPCG(round, 0))
	var due []time.Duration
	for at := time.Duration(0); ; {
		at += time.Duration(chance.ExpFloat64() / honestRate * float64(time.Second))
		if at >= neighbourTime {
			break
		}
		due = append(due, at)
	}
	latencies := make([]time.Duration, len(due))
	ends := make([]time.Duration, len(due))
	var wait sync.WaitGroup
	var refused atomic.Int64
	start := time.Now()
	timer := time.NewTimer(0)
	for i, at := range due {
		timer.Reset(at - time.Since(start))
		<-timer.C
		wait.Go(func() {
			if _, err := n.honest.run.Handle(context.Background(), n.honest.on); err != nil {
				refused.Add(1) // it waited in vain, and its latency counts like the others'
			}
			ends[i] = time.Since(start)
			latencies[i] = ends[i] - at
		})
	}
	timer.Reset(neighbourTime - time.Since(start))
	<-timer.C
	wait.Wait()
	done := -refused.Load()
	for _, end := range ends {
		if end <= neighbourTime {
			done++
		}
	}
	return neighbourRound{latencies: latencies, done: float64(done) / neighbourTime.Seconds()}
}

// allocate makes garbage as a server under load does, until ctx ends.
func allocate(ctx context.Context) {
	const piece, pieces, kept = 4 << 10, 16, 2048
	var live [kept][]byte
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for range pieces {
			live[i%kept] = make([]byte, piece)
			i++
		}
	}
}

// at is a quantile of sorted latencies, in milliseconds.
func at(sorted []time.Duration, q float64) float64 {
	return sorted[int(q*float64(len(sorted)-1))].Seconds() * 1e3
}

// p99 is the median of the rounds' own.
func (n *neighbourhood) p99() float64 {
	var all []float64
	for _, r := range n.rounds {
		all = append(all, at(slices.Sorted(slices.Values(r.latencies)), 0.99))
	}
	return median(all)
}

// each is the median of something of the rounds.
func (n *neighbourhood) each(of func(neighbourRound) float64) float64 {
	var all []float64
	for _, r := range n.rounds {
		all = append(all, of(r))
	}
	return median(all)
}

func (n *neighbourhood) rate() float64 {
	return n.each(func(r neighbourRound) float64 { return r.done })
}

// reportNeighbours prints the distributions. What it returns is about the variants
// with slices: those without are there to be compared with.
func reportNeighbours(out *strings.Builder, all []*neighbourhood) (missed []string) {
	w := table(out, "Honest calls", "variant\tcalls\tp50\tp90\tp99\tp99.9\tmax\tp99, median\tdone/s\tburnt, units/s\tcollections/s\t")
	alone := all[0]
	most := max(1.1*alone.p99(), alone.p99()+mostDelay.Seconds()*1e3)
	for _, n := range all {
		var together []time.Duration
		for _, r := range n.rounds {
			together = append(together, r.latencies...)
		}
		slices.Sort(together)
		fmt.Fprintf(w, "%s\t%d\t", n.name, len(together))
		for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
			fmt.Fprintf(w, "%.2f\t", at(together, q))
		}
		fmt.Fprintf(w, "%.2f\t%.1f\t%.0fM\t%.1f\t\n", n.p99(), n.rate(),
			n.each(func(r neighbourRound) float64 { return r.burnt })/neighbourTime.Seconds()/1e6,
			n.each(func(r neighbourRound) float64 { return float64(r.gcs) })/neighbourTime.Seconds())
		if !n.slices {
			continue
		}
		if got := n.p99(); got > most {
			missed = append(missed, fmt.Sprintf("%s: p99 is %.2f ms, alone %.2f, may be %.2f", n.name, got, alone.p99(), most))
		}
		if got := n.rate(); got < (1-mostRateOff)*alone.rate() {
			missed = append(missed, fmt.Sprintf("%s: %.1f calls/s, alone %.1f", n.name, got, alone.rate()))
		}
	}
	w.Flush()
	fmt.Fprintf(out, "\n%d targets missed\n", len(missed))
	for _, m := range missed {
		fmt.Fprintln(out, "  "+m)
	}
	return missed
}
