//go:build linux

package lab

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/host/store/bolt/internal/crashfs"
)

// power is a campaign of power losses.
type power struct {
	t    *testing.T
	jury *jury
	// lie is one in how many syncs does nothing; zero for none.
	lie int
	// left is how many states are still wanted, until when.
	left  int
	until time.Time
	test  string
}

func (p *power) over() bool { return p.left <= 0 || time.Now().After(p.until) }

// round runs loads on one disk after another, each of which begins with a state
// the power left of the one before.
func (p *power) round(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	var tree *crashfs.Tree
	var notes []byte
	expires := r.IntN(3) == 0
	for life := range 1 + r.IntN(3) {
		l := load{Seed: seed, First: life * 100, Count: 20 + r.IntN(80), Writers: r.IntN(9), Reopen: 20 + r.IntN(80)}
		l.Segment, l.Expire = 32<<10<<r.IntN(4), expires
		// Dense where a store is opened, thin in the middle of the load.
		dense := 0.2 + 0.8*r.Float64()
		d := newDisk(p.t, tree, notes)
		rough := rand.New(rand.NewPCG(seed, uint64(life)+3))
		ops := 0
		var last *state
		d.watch(func(op crashfs.Op) crashfs.Fault {
			ops++
			chance := dense
			if ops > 60 {
				chance = dense / 10
			}
			if rough.Float64() < chance && !p.over() {
				if s := p.cut(d, rough, &l, life, ops); s != nil {
					last = s
				}
			}
			lies := p.lie > 0 && (op.Kind == crashfs.Sync || op.Kind == crashfs.SyncDir) && rough.IntN(p.lie) == 0
			return crashfs.Fault{Lie: lies}
		})
		d.start(l)
		if exit := d.wait(); exit != 0 && p.lie == 0 {
			p.t.Errorf("seed %d: the load of life %d ended with %d: %s\n%s", seed, life, exit, d.said, p.again(seed))
			last = nil
		}
		d.close()
		if last == nil || p.over() || p.lie > 0 {
			return
		}
		tree, notes = last.files(), last.notes
	}
}

// cut has the power fail at an operation, in some of the ways it can. It returns
// one state. Nothing happens on the disk meanwhile.
func (p *power) cut(d *disk, r *rand.Rand, l *load, life, op int) *state {
	im := d.fs.Image()
	ways := []crashfs.Cut{crashfs.None, crashfs.Prefix, crashfs.Subset, crashfs.Torn}
	if im.Pending() == 0 {
		ways = ways[:1]
	}
	var kept *state
	for _, how := range ways {
		s := &state{
			seed: l.Seed, image: im, how: how, cut: r.Uint64(), expires: l.Expire, notes: d.notes[:len(d.notes):len(d.notes)],
			story: fmt.Sprintf("the power failed in life %d before operation %d, %s of %d unsynced left", life, op, how, im.Pending()),
			again: p.again(l.Seed),
		}
		p.jury.queue <- s
		p.left--
		if kept == nil || r.IntN(2) == 0 {
			kept = s
		}
	}
	return kept
}

func (p *power) again(seed uint64) string {
	return fmt.Sprintf("POSTERN_LAB_SEED=%d go test -count=1 -run '^%s$' ./host/store/bolt/internal/lab", seed, p.test)
}

// TestLab_powerLoss fails the power under load at many operations: nothing that
// was acknowledged is lost, wrong or there twice.
func TestLab_powerLoss(t *testing.T) {
	p := &power{t: t, left: 300, until: time.Now().Add(10 * time.Second), test: t.Name()}
	if d := whole(t); d > 0 {
		// What the others leave, the control apart.
		p.left, p.until = 1<<40, begun.Add(d*96/100)
	}
	states := 0
	p.jury = newJury(t, runtime.GOMAXPROCS(0), func(s *state, found []finding) {
		states++
		report(t, s, found)
	})
	for n := firstSeed(); !p.over() && !t.Failed(); n++ {
		p.round(n)
	}
	p.jury.close()
	tally.add("power-loss states judged", states)
}

// TestLab_lyingSync is the control: a laboratory that finds nothing when syncs
// do nothing would find nothing at all.
func TestLab_lyingSync(t *testing.T) {
	p := &power{t: t, left: 2000, until: time.Now().Add(20 * time.Second), lie: 7, test: t.Name()}
	if d := whole(t); d > 0 {
		p.until = time.Now().Add(d * 4 / 100)
	}
	states := 0
	var caught atomic.Int64
	p.jury = newJury(t, runtime.GOMAXPROCS(0), func(_ *state, found []finding) {
		states++
		for _, f := range found {
			if f.Class == lost {
				caught.Add(1)
				break
			}
		}
	})
	for n := firstSeed(); !p.over() && (whole(t) > 0 || caught.Load() == 0); n++ {
		p.round(n)
	}
	p.jury.close()
	if caught.Load() == 0 {
		t.Errorf("syncs lied in %d states, and no loss was found", states)
	}
	tally.add("control: states with 1 in 7 syncs lying", states)
	tally.add("control: of them found to have lost something", int(caught.Load()))
}
