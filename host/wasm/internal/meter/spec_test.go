package meter_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/meter"
)

var update = flag.Bool("update", false, "write the golden files")

// classes are what a module may be refused for.
var classes = []meter.Class{
	meter.Threads, meter.Exceptions, meter.Memory64, meter.TailCalls, meter.RelaxedSIMD, meter.References,
	meter.SeveralMemories, meter.Reserved, meter.ImportedState, meter.TableMutation, meter.DroppedData, meter.ReferenceGlobal,
	meter.VectorGlobal, meter.Unknown, meter.Oversize, meter.CompileBomb,
}

// TestSpec runs the core spec tests of wazero's module twice, as they are and
// metered: every action gives the same bits or the same trap, and afterwards
// memories and globals are the same. The modules that the meter refuses stand
// in the golden file by class and are run in neither.
func TestSpec(t *testing.T) {
	dir := specDir(t)
	for engine, config := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			tally := &specTally{counts: make(map[string]int)}
			t.Run("files", func(t *testing.T) {
				for _, version := range []string{"v1", "v2"} {
					files, err := filepath.Glob(filepath.Join(dir, version, "testdata", "*.json"))
					if err != nil || len(files) == 0 {
						t.Fatalf("%d files of %s, err %v", len(files), version, err)
					}
					for _, file := range files {
						name := version + "/" + strings.TrimSuffix(filepath.Base(file), ".json")
						t.Run(name, func(t *testing.T) {
							t.Parallel()
							runSpec(t, config, file, name, tally)
						})
					}
				}
			})
			tally.golden(t)
		})
	}
}

// specDir is where wazero keeps the spec tests; its module has them.
func specDir(t testing.TB) string {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("find wazero: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
}

// specTally counts over all files.
type specTally struct {
	mu                               sync.Mutex
	metered, actions, passed, yields int
	counts                           map[string]int // by file and class
}

// golden compares what was refused with the golden file, and what was run too,
// so that a runner which passes everything over is seen.
func (s *specTally) golden(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "# What the meter refuses of the core spec tests: file, class, number of modules.\n")
	fmt.Fprintf(&b, "# Metered: %d modules. Equal before and after: %d actions. Not run: %d actions, on what was refused.\n",
		s.metered, s.actions, s.passed)
	for _, key := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(&b, "%s: %d\n", key, s.counts[key])
	}
	t.Logf("%d modules metered, %d actions, %d yields", s.metered, s.actions, s.yields)
	if s.yields == 0 {
		t.Error("no metered module ever yielded")
	}
	const file = "testdata/spec-refused.txt"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("refused:\n%s\nwant (-update writes it anew):\n%s", got, want)
	}
}

// specRun is one file, run twice.
type specRun struct {
	*testing.T
	dir            string
	plain, metered wazero.Runtime
	tank           tank
	named          map[string]*specPair // by the script's own name, "" is the last one
	all            []*specPair

	counts           map[string]int // by class
	actions, skipped int
}

// specPair is a module as it is and metered; both nil if it was refused.
type specPair struct{ plain, metered api.Module }

func runSpec(t *testing.T, config wazero.RuntimeConfig, file, name string, tally *specTally) {
	script, err := readScript(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	s := &specRun{
		T: t, dir: filepath.Dir(file),
		plain: wazero.NewRuntimeWithConfig(ctx, config), metered: wazero.NewRuntimeWithConfig(ctx, config),
		tank:  tank{slice: slice, left: math.MaxInt64},
		named: make(map[string]*specPair), counts: make(map[string]int),
	}
	defer s.plain.Close(ctx)
	defer s.metered.Close(ctx)
	if err := linkMeter(s.metered); err != nil {
		t.Fatal(err)
	}
	s.linkSpectest()
	for i := range script.Commands {
		s.command(&script.Commands[i], script.Commands[i+1:])
	}
	for _, p := range s.all {
		if d := differ(p.plain, p.metered); d != "" {
			t.Errorf("at the end: %s", d)
		}
	}
	tally.mu.Lock()
	defer tally.mu.Unlock()
	tally.metered += len(s.all) - 1
	tally.actions += s.actions
	tally.passed += s.skipped
	tally.yields += s.tank.yields
	for class, n := range s.counts {
		tally.counts[name+": "+class] += n
	}
}

// slice is what a yield gives: so little that the tests yield all the time.
const slice = 1000

// linkSpectest instantiates the module that the tests import from. It is the
// host's and not metered.
func (s *specRun) linkSpectest() {
	code, err := os.ReadFile(filepath.Join(s.dir, "..", "..", "testdata", "spectest.wasm"))
	if err != nil {
		s.Fatal(err)
	}
	var p specPair
	for r, mod := range map[wazero.Runtime]*api.Module{s.plain: &p.plain, s.metered: &p.metered} {
		if *mod, err = r.Instantiate(context.Background(), code); err != nil {
			s.Fatal(err)
		}
	}
	s.all = append(s.all, &p)
}

func (s *specRun) command(c *specCommand, rest []specCommand) {
	switch c.Type {
	case "module":
		p := s.module(c, registered(c, rest))
		s.named[""] = p
		if c.Name != "" {
			s.named[c.Name] = p
		}
	case "register":
		if s.named[c.Name] != s.named[""] {
			s.Fatalf("line %d registers another module than the last", c.Line)
		}
	case "assert_uninstantiable", "assert_unlinkable":
		s.module(c, "")
	case "assert_invalid", "assert_malformed":
		if c.ModuleType == "binary" {
			// Whatever it says of one, it does not fall over.
			_, _ = meter.Rewrite(s.read(c), meter.Options{Slice: slice})
		}
	case "assert_return", "assert_trap", "assert_exhaustion", "action":
		s.action(c)
	default:
		s.Fatalf("line %d: a command %q", c.Line, c.Type)
	}
}

// registered is the name that a module is to be imported by: the engine wants
// it at once, the script gives it in a later command.
func registered(c *specCommand, rest []specCommand) string {
	for _, next := range rest {
		if next.Type == "register" && next.Name == c.Name {
			return next.As
		}
		if next.Type == "module" {
			break
		}
	}
	return ""
}

func (s *specRun) read(c *specCommand) []byte {
	code, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
	if err != nil {
		s.Fatal(err)
	}
	return code
}

// module instantiates a module on both sides, with one result; nil if it could
// be on neither.
func (s *specRun) module(c *specCommand, name string) *specPair {
	code := s.read(c)
	original, err := s.plain.CompileModule(context.Background(), code)
	if err != nil && c.Type == "module" {
		s.Fatalf("line %d: %v", c.Line, err)
	}
	if err != nil {
		return nil // invalid, and never metered
	}
	m, err := meter.Rewrite(code, meter.Options{Slice: slice})
	if err != nil {
		s.refuse(c, err)
		return nil
	}
	if !slices.Contains(s.tank.names, m.Fuel) {
		s.tank.names = append(s.tank.names, m.Fuel)
	}
	config := wazero.NewModuleConfig().WithName(name)
	var p specPair
	var plain, metered error
	p.plain, plain = s.plain.InstantiateModule(context.Background(), original, config)
	p.metered, metered = s.metered.InstantiateWithConfig(s.tank.context(), m.Code, config)
	if want, got := outcomeOf(nil, plain, nil), outcomeOf(nil, metered, nil); !got.equal(want) {
		s.Errorf("line %d: metered it starts with %q, want %q", c.Line, got, want)
	}
	if c.Type == "module" && plain != nil {
		s.Errorf("line %d: %v", c.Line, plain)
	}
	if plain != nil || metered != nil {
		return nil
	}
	s.all = append(s.all, &p)
	return &p
}

// refuse counts a module that the engine takes and the meter does not.
func (s *specRun) refuse(c *specCommand, err error) {
	var r *meter.Refused
	if !errors.As(err, &r) || !slices.Contains(classes, r.Class) {
		s.Errorf("line %d, %s: %v, want metered or refused for a known class", c.Line, c.Filename, err)
		return
	}
	s.counts[string(r.Class)]++
}

// action runs an action on both sides. The stack may be exhausted, since the
// fuel never is: both sides must end by it.
func (s *specRun) action(c *specCommand) {
	p := s.named[c.Action.Module]
	if p == nil {
		s.skipped++
		return
	}
	s.actions++
	args, err := words(c.Action.Args)
	if err != nil {
		s.Fatalf("line %d: %v", c.Line, err)
	}
	want := act(context.Background(), p.plain, &c.Action, args)
	got := act(s.tank.context(), p.metered, &c.Action, args)
	if !got.equal(want) {
		s.Errorf("line %d: %s = %v metered, want %v", c.Line, c.Action.Field, got, want)
	}
	if len(s.counts) > 0 {
		return // a module that is not there may have changed what the script expects
	}
	if traps := c.Type == "assert_trap" || c.Type == "assert_exhaustion"; traps != (want.err != "") {
		s.Errorf("line %d: %s = %v, is it to trap: %v", c.Line, c.Action.Field, want, traps)
	}
	if c.Type == "assert_return" {
		expected, err := words(c.Expected)
		if err != nil || !slices.EqualFunc(expected, want.results, word.holds) {
			s.Errorf("line %d: %s = %v, want %v %v", c.Line, c.Action.Field, want, expected, err)
		}
	}
}

func act(ctx context.Context, mod api.Module, a *specAction, args []word) outcome {
	if a.Type == "get" {
		g := mod.ExportedGlobal(a.Field)
		return outcomeOf([]uint64{g.Get()}, nil, []api.ValueType{g.Type()})
	}
	in := make([]uint64, len(args))
	for i, w := range args {
		in[i] = w.bits
	}
	f := mod.ExportedFunction(a.Field)
	results, err := f.Call(ctx, in...)
	return outcomeOf(results, err, f.Definition().ResultTypes())
}
