//go:build linux

package lab

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/host/store/bolt/internal/crashfs"
)

// again is the command that runs a test from a seed on.
func again(t *testing.T, seed uint64, env string) string {
	t.Helper()
	return fmt.Sprintf("POSTERN_LAB_SEED=%d %sgo test -count=1 -run '^%s$' ./host/store/bolt/internal/lab", seed, env, t.Name())
}

// TestLab_killUnderLoad kills the process at random moments, and has the next
// one go on with what it left, providers sending again what was not acknowledged.
func TestLab_killUnderLoad(t *testing.T) {
	left, until := 10, time.Now().Add(10*time.Second)
	if d := whole(t); d > 0 {
		left, until = 300, time.Now().Add(d*10/100)
	}
	killed := 0
	y := newJury(t, runtime.GOMAXPROCS(0), func(s *state, found []finding) { report(t, s, found) })
	for n := firstSeed(); left > 0 && time.Now().Before(until) && !t.Failed(); n++ {
		r := rand.New(rand.NewPCG(n, 4))
		d := newDisk(t, nil, nil)
		first := 0
		for life := 0; life < 6 && left > 0; life++ {
			d.fs.Do(func() { d.fs.Halt(false) })
			at, ops := 1+r.IntN(600), 0
			d.watch(func(crashfs.Op) crashfs.Fault {
				if ops++; ops == at {
					_ = d.cmd.Process.Kill()
				}
				return crashfs.Fault{}
			})
			d.fs.Do(func() {
				d.start(load{Seed: n, First: first, Count: 1 << 20, Writers: 1 + r.IntN(8), Reopen: 50 + r.IntN(300), Segment: 32 << 10})
			})
			if exit := d.wait(); exit != -1 {
				t.Errorf("seed %d: the load of life %d ended with %d before it was killed: %s", n, life, exit, d.said)
			}
			left--
			killed++
			y.queue <- d.image(&state{
				seed: n, how: crashfs.All, again: again(t, n, ""),
				story: fmt.Sprintf("killed in life %d at operation %d", life, at),
			})
			l, err := parseLedger(d.notes)
			if err != nil {
				t.Fatal(err)
			}
			first = max(0, l.highest-20)
		}
		d.close()
	}
	y.close()
	tally.add("kills at random moments", killed)
}

// site is an operation of a load: the n-th of its kind on files like this one.
type site struct {
	kind crashfs.Kind
	like string
	n    int
	room bool // see crashfs.Op
	// aside says that it is of the quarantine. Nothing is acknowledged for what
	// that holds, and its failure is not the store's.
	aside bool
}

func (s site) String() string { return fmt.Sprintf("%s %s %d", s.kind, s.like, s.n) }

var digits = regexp.MustCompile(`\d+`)

// ordinals number the operations as they come.
type ordinals struct {
	seen map[string]int
	// aside is whether the last one was of the quarantine: the sync of a directory
	// is for what came before it.
	aside bool
}

func (o *ordinals) next(op crashfs.Op) site {
	if o.seen == nil {
		o.seen = make(map[string]int)
	}
	like := digits.ReplaceAllString(op.Path, "N")
	o.seen[string(op.Kind)+like]++
	o.aside = strings.Contains(like, "quarantine") || o.aside && op.Kind == crashfs.SyncDir
	return site{kind: op.Kind, like: like, n: o.seen[string(op.Kind)+like], room: op.Room, aside: o.aside}
}

// scene is a load whose operations come in one order, on a disk that begins in
// one state.
type scene struct {
	name  string
	load  load
	tree  *crashfs.Tree
	notes []byte
}

// scenes are a first open with what follows, and an open after a kill.
func scenes(t *testing.T, seed uint64) []scene {
	t.Helper()
	fresh := scene{name: "fresh", load: load{Seed: seed, Count: 16, Reopen: 10, Segment: 64 << 10}}
	d := newDisk(t, nil, nil)
	defer d.close()
	d.start(load{Seed: seed, Count: 60, Reopen: 40, Segment: 64 << 10})
	d.wait()
	ops := 0
	d.watch(func(crashfs.Op) crashfs.Fault {
		if ops++; ops == 100 {
			_ = d.cmd.Process.Kill()
			d.fs.Halt(true)
		}
		return crashfs.Fault{}
	})
	d.fs.Do(func() { d.start(load{Seed: seed, First: 60, Count: 60, Reopen: 60, Segment: 64 << 10}) })
	d.wait()
	s := d.image(&state{how: crashfs.All})
	killed := scene{
		name: "killed", load: load{Seed: seed, First: 120, Count: 12, Reopen: 8, Segment: 64 << 10},
		tree: s.files(), notes: s.notes,
	}
	return []scene{fresh, killed}
}

// sites runs the scene undisturbed and lists its operations.
func (sc *scene) sites(t *testing.T) []site {
	t.Helper()
	var found []site
	var all ordinals
	d := newDisk(t, sc.tree, sc.notes)
	defer d.close()
	d.watch(func(op crashfs.Op) crashfs.Fault {
		found = append(found, all.next(op))
		return crashfs.Fault{}
	})
	d.start(sc.load)
	if exit := d.wait(); exit != 0 {
		t.Fatalf("the load ended with %d: %s", exit, d.said)
	}
	return found
}

// chosen are the sites to visit: all of them, the one that the environment names,
// or a share that the seed picks, of every kind of operation and file at least
// one.
func (sc *scene) chosen(t *testing.T, share int) []site {
	t.Helper()
	all := sc.sites(t)
	if text := os.Getenv("POSTERN_LAB_SITE"); text != "" {
		return slices.DeleteFunc(all, func(s site) bool { return sc.name+" "+s.String() != text })
	}
	if whole(t) > 0 || len(all) <= share {
		return all
	}
	r := rand.New(rand.NewPCG(firstSeed(), 5))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	seen := make(map[string]bool)
	var first, rest []site
	for _, s := range all {
		if like := string(s.kind) + s.like; !seen[like] {
			seen[like] = true
			first = append(first, s)
		} else {
			rest = append(rest, s)
		}
	}
	return append(first, rest...)[:max(share, len(first))]
}

// TestLab_killAtEverySite kills the process before each operation of two loads,
// which is after the one before it.
func TestLab_killAtEverySite(t *testing.T) {
	c := newVisits(t)
	killed := eachSite(t, 24, func(sc *scene, at site) bool { return c.visit(sc, at, kills) })
	c.jury.close()
	tally.add("kills at a site, each once", killed)
}

// eachSite calls fn for the sites of all scenes, two at a time, and returns for
// how many it said yes. The small share of the laboratory visits a few of each.
func eachSite(t *testing.T, share int, fn func(*scene, site) bool) int {
	t.Helper()
	var visited atomic.Int64
	for _, sc := range scenes(t, firstSeed()) {
		var all sync.WaitGroup
		queue := make(chan site)
		for range 2 {
			all.Go(func() {
				for at := range queue {
					if fn(&sc, at) {
						visited.Add(1)
					}
				}
			})
		}
		for _, at := range sc.chosen(t, share/2) {
			queue <- at
		}
		close(queue)
		all.Wait()
	}
	return int(visited.Load())
}

// again is the command that visits one site.
func (sc *scene) again(t *testing.T, at site) string {
	return again(t, sc.load.Seed, fmt.Sprintf("POSTERN_LAB_SITE='%s %s' ", sc.name, at))
}
