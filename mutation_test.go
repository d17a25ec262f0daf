package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// mutations is the part of a plan for callbacks whose bytes are signed: those
// of one scheme.
type mutations struct {
	Scheme string `json:"scheme"`
	// Goldens are accepted callbacks to be spoilt byte by byte.
	Goldens []string `json:"goldens"`
	// Uncovered are the members of the body, as JSON Pointers, for which the
	// signature does not speak, each with the reason. Below one, nothing is
	// signed.
	Uncovered map[string]string `json:"uncovered"`
}

// perProvider is how many mutations of a provider's callbacks are judged at
// least.
const perProvider = 50_000

// mutation is one byte of a body made another one.
type mutation struct {
	at    int
	value byte
}

// facts are what an event says that someone may act on.
type facts struct {
	Type, Subject, Status, Amount, Currency string
	Key                                     []string
	References                              host.References
	Minor                                   *int64
	Confirm                                 bool
}

// judged is what became of one callback.
type judged struct {
	Verdict host.Verdict
	Events  []facts
}

func judge(t *testing.T, ep *host.Endpoint, cb *host.Callback) (judged, error) {
	res, err := ep.Judge(t.Context(), cb)
	if err != nil {
		return judged{}, err
	}
	out := judged{Verdict: res.Verdict}
	for i := range res.Events {
		d := &res.Events[i]
		out.Events = append(out.Events, facts{
			d.Type, d.Subject, d.Status, d.Amount, d.Currency, d.Key, d.References, d.Minor, d.Confirm,
		})
	}
	return out, nil
}

// target is a golden to be mutated and what it says unspoilt.
type target struct {
	golden  golden
	ep      *host.Endpoint
	members []member
	whole   judged
	scheme  *mutations
	places  []credential
}

func (p *provider) target(t *testing.T, scheme *mutations, name string) *target {
	t.Helper()
	g, err := p.golden(name)
	if err != nil {
		t.Fatal(err)
	}
	if g.Unverified {
		t.Fatalf("%s: the golden asks for no evidence", name)
	}
	out := &target{golden: g, scheme: scheme, places: p.plan.Credentials}
	if out.ep, err = p.endpoint(&g, g.Secrets); err != nil {
		t.Fatal(err)
	}
	if out.members, err = members(g.body); err != nil {
		t.Fatal(err)
	}
	if out.whole, err = judge(t, out.ep, g.callback()); err != nil || out.whole.Verdict != host.Accept {
		t.Fatalf("%s unspoilt: %v, err %v", name, out.whole.Verdict, err)
	}
	return out
}

// field is the innermost member that a byte stands in.
func (x *target) field(at int) string {
	path := "(between the members)"
	for _, m := range x.members {
		if m.name <= at && at < m.end {
			path = m.path
		}
	}
	return path
}

// excuse says why a mutation may be accepted: it stands in a member that the
// signature does not cover, or it says the same in another spelling. Empty
// means that there is no excuse.
func (x *target) excuse(m mutation, spoilt []byte) (field, why string) {
	field = x.field(m.at)
	for pointer, why := range x.scheme.Uncovered {
		if field == pointer || strings.HasPrefix(field, pointer+"/") {
			return pointer, why
		}
	}
	if reflect.DeepEqual(x.reading(x.golden.body), x.reading(spoilt)) {
		return field, "the same in another spelling"
	}
	return field, ""
}

// reading is what a body says: numbers as text, and the signature in lower
// case, since hexadecimal digits have two.
func (x *target) reading(body []byte) any {
	g := golden{body: body}
	for _, c := range x.places {
		if strings.HasPrefix(string(c), "body:") && isHex(&x.golden, c) {
			if err := c.alter(&g, strings.ToLower); err != nil {
				return err
			}
		}
	}
	dec := json.NewDecoder(bytes.NewReader(g.body))
	dec.UseNumber()
	var out any
	if err := dec.Decode(&out); err != nil {
		return err
	}
	return out
}

// isHex reports whether a credential is hexadecimal in the unspoilt callback.
func isHex(g *golden, c credential) bool {
	found := false
	copied := *g
	err := c.alter(&copied, func(s string) string {
		found = len(s) > 0 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
		return s
	})
	return err == nil && found
}

// pick takes n other values of every byte of the body.
func (x *target) pick(rnd *rand.Rand, n int) []mutation {
	var out []mutation
	for at, was := range x.golden.body {
		for _, v := range rnd.Perm(256)[:min(n+1, 256)] {
			if byte(v) != was && len(out) < (at+1)*n {
				out = append(out, mutation{at, byte(v)})
			}
		}
	}
	return out
}

// tally counts what was accepted, by scheme, field and excuse.
type tally struct {
	mu       sync.Mutex
	judged   int
	accepted map[[3]string]int
	problems []string
}

// run judges the mutations on every core.
func (x *target) run(t *testing.T, all []mutation, sum *tally) {
	var wait sync.WaitGroup
	for part := range slices.Chunk(all, len(all)/runtime.GOMAXPROCS(0)+1) {
		wait.Go(func() {
			for _, m := range part {
				x.try(t, m, sum)
			}
		})
	}
	wait.Wait()
	sum.judged += len(all)
}

func (x *target) try(t *testing.T, m mutation, sum *tally) {
	cb := x.golden.callback()
	cb.Body[m.at] = m.value
	spoilt := cb.Body
	got, err := judge(t, x.ep, cb)
	if err == nil && got.Verdict == host.Reject {
		return
	}
	sum.mu.Lock()
	defer sum.mu.Unlock()
	where := fmt.Sprintf("%s: byte %d %q made %q", x.golden.Name, m.at, x.golden.body[m.at], m.value)
	if err != nil {
		sum.problems = append(sum.problems, fmt.Sprintf("%s: %v", where, err))
		return
	}
	field, why := x.excuse(m, spoilt)
	sum.accepted[[3]string{x.scheme.Scheme, field, why}]++
	if why == "" {
		sum.problems = append(sum.problems, fmt.Sprintf("%s: accepted, and it stands in %s, which no excuse names", where, field))
	}
	if diff := cmp.Diff(x.whole, got); diff != "" {
		sum.problems = append(sum.problems, fmt.Sprintf("%s: accepted with other facts:\n%s", where, diff))
	}
}

// seed is POSTERN_SEED, or one of its own for each run.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("POSTERN_SEED")
	if text == "" {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("POSTERN_SEED: %v", err)
	}
	return n
}

// mutate judges mutations of every golden that the plan names.
func (p *provider) mutate(t *testing.T, seed uint64, atLeast int) *tally {
	t.Helper()
	var targets []*target
	size := 0
	for i := range p.plan.Mutations {
		for _, name := range p.plan.Mutations[i].Goldens {
			x := p.target(t, &p.plan.Mutations[i], name)
			targets = append(targets, x)
			size += len(x.golden.body)
		}
	}
	sum := &tally{accepted: make(map[[3]string]int)}
	for i, x := range targets {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		x.run(t, x.pick(rnd, (atLeast+size-1)/size), sum)
	}
	// A member that is never accepted otherwise than it was is covered after
	// all, and the plan is wrong.
	for _, m := range p.plan.Mutations {
		for pointer, why := range m.Uncovered {
			if sum.accepted[[3]string{m.Scheme, pointer, why}] == 0 {
				sum.problems = append(sum.problems, m.Scheme+": no mutation of "+pointer+" was accepted: it is not uncovered")
			}
		}
	}
	return sum
}

// TestMutations changes accepted signed callbacks by one byte, at every place
// to several other values, and judges each in the real sandbox with evidence
// required. None is accepted but where the signature does not speak for the
// byte, and then with the facts unchanged. POSTERN_SEED repeats a run.
func TestMutations(t *testing.T) {
	from := seed(t)
	out := t.Output()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "single-byte mutations of accepted signed callbacks, POSTERN_SEED=%d\n", from)
	fmt.Fprintln(w, "provider\tjudged\taccepted\tscheme\tfield\twhy a mutation of it is accepted")
	for _, name := range providerNames(t) {
		t.Run(name, func(t *testing.T) {
			p := loadProvider(t, name)
			if len(p.plan.Mutations) == 0 {
				return // its callbacks are not signed
			}
			sum := p.mutate(t, from, perProvider)
			if sum.judged < perProvider {
				t.Errorf("%d mutations judged, want %d", sum.judged, perProvider)
			}
			for _, problem := range sum.problems[:min(20, len(sum.problems))] {
				t.Error(problem)
			}
			total := 0
			for _, n := range sum.accepted {
				total += n
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t\t\t\n", name, sum.judged, total)
			for _, key := range slices.SortedFunc(maps.Keys(sum.accepted), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) }) {
				fmt.Fprintf(w, "\t\t%d\t%s\n", sum.accepted[key], strings.Join(key[:], "\t"))
			}
		})
	}
	w.Flush()
}
