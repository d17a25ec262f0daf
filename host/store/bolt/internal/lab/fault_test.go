//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/host/store/bolt/internal/crashfs"
)

// TestLab_invariant13_everyOperationFailsOnce has each operation of two loads fail
// with EIO: what follows a failed write or sync is not acknowledged, and the next
// process finds all that was.
func TestLab_invariant13_everyOperationFailsOnce(t *testing.T) {
	c := newVisits(t)
	n := eachSite(t, 24, func(sc *scene, at site) bool { return c.visit(sc, at, syscall.EIO) })
	c.jury.close()
	tally.add("operations that failed with EIO, each once", n)
}

// TestLab_everyOperationFindsTheDiskFull has each operation fail with ENOSPC that
// needs room, writes or syncs. Of those that need room only a sync that fails is the
// end of a store that is open. What overwrites may find the disk full on file
// systems that copy on write: the store may go on or not.
func TestLab_everyOperationFindsTheDiskFull(t *testing.T) {
	c := newVisits(t)
	n := eachSite(t, 48, func(sc *scene, at site) bool {
		needs := at.room || at.kind == crashfs.Write || at.kind == crashfs.Sync || at.kind == crashfs.SyncDir
		return needs && c.visit(sc, at, syscall.ENOSPC)
	})
	c.jury.close()
	tally.add("operations that write failed with ENOSPC, each once", n)
}

// kills, instead of an error, kills the process.
const kills = syscall.Errno(0)

// visits is a campaign of operations at which something happens.
type visits struct {
	t    *testing.T
	jury *jury
}

func newVisits(t *testing.T) *visits {
	return &visits{t: t, jury: newJury(t, 1, func(s *state, found []finding) { report(t, s, found) })}
}

// visit runs a scene in which one operation fails, or the process is killed before
// it; then another process, which sees what a failed sync has dropped while the
// disk has it not; and then has the power fail. It reports false when the site
// did not come.
func (c *visits) visit(sc *scene, at site, errno syscall.Errno) bool {
	d := newDisk(c.t, sc.tree, sc.notes)
	defer d.close()
	var all ordinals
	came := -1
	d.watch(func(op crashfs.Op) crashfs.Fault {
		// A timer may have put another operation in its place.
		if now := all.next(op); now.String() != at.String() || op.Room != at.room {
			return crashfs.Fault{}
		}
		came = len(d.notes)
		if errno == kills {
			_ = d.cmd.Process.Kill()
			d.fs.Halt(true)
			return crashfs.Fault{Errno: syscall.EINTR}
		}
		return crashfs.Fault{Errno: errno}
	})
	d.fs.Do(func() { d.start(sc.load) })
	exit := d.wait()
	if came < 0 {
		return false // a timer came too late for it
	}
	d.fs.Do(func() { d.fs.Halt(false) })
	s := state{seed: sc.load.Seed, cut: sc.load.Seed, again: sc.again(c.t, at)}
	s.story = fmt.Sprintf("in scene %s at %s: %v", sc.name, at, errno)
	if errno == kills {
		s.story = fmt.Sprintf("killed in scene %s before %s", sc.name, at)
	}
	if wrong := ended(at, errno, exit, bytes.Count(d.notes[came:], []byte("ack "))); wrong != "" {
		report(c.t, d.image(&s), []finding{{stuck, wrong + "\n" + short(d.said.String())}})
	}
	c.goOn(d, sc, s)
	return true
}

// goOn has another process go on with the disk, and the power fail: at its first
// acknowledgements, which may be in memory alone, and after its end.
func (c *visits) goOn(d *disk, sc *scene, s state) {
	l, err := parseLedger(d.notes)
	if err != nil {
		c.t.Error(err)
		return
	}
	next := sc.load
	next.First, next.Count = max(sc.load.First, l.highest-4), 10
	const most = 3
	some := 0
	d.fs.Do(func() {
		d.noted = func() {
			if some < most && bytes.Count(d.notes, []byte("ack ")) > len(l.acks) {
				some++
				cut := s
				cut.how = crashfs.None
				cut.story += ", then a process more, and the power failed at its first acknowledgements"
				c.jury.queue <- d.taken(&cut)
			}
		}
	})
	d.start(next)
	if exit := d.wait(); exit != 0 {
		report(c.t, d.image(&s), []finding{{stuck, fmt.Sprintf("the process after it ended with %d\n%s", exit, short(d.said.String()))}})
	}
	s.story += ", then a process more, and the power failed"
	for _, how := range []crashfs.Cut{crashfs.None, crashfs.Subset} {
		cut := s
		cut.how = how
		c.jury.queue <- d.image(&cut)
	}
}

// ended says what is wrong with the end of a load whose operation failed.
func ended(at site, errno syscall.Errno, exit, acks int) string {
	fatal := at.kind == crashfs.Sync || at.kind == crashfs.SyncDir || errno == syscall.EIO && at.kind == crashfs.Write
	if errno == syscall.ENOSPC && strings.HasSuffix(at.like, ".tmp") || at.aside {
		fatal = false // a file that is not complete is thrown away
	}
	switch {
	case errno == kills && exit == -1:
		return ""
	case exit != 0 && exit != exitFailed && exit != exitOpen:
		return fmt.Sprintf("the process ended with %d", exit)
	case fatal && acks > inFlight(at):
		return fmt.Sprintf("%d acknowledged after it", acks)
	case errno == syscall.ENOSPC && at.room && exit == exitFailed && !fatal:
		return "the store failed, and only the disk was full"
	}
	return ""
}

// inFlight is how many acknowledgements may have been on their way when an
// operation failed: one, and some more where it was not the committer's, which
// may be in the midst of a commit that goes well.
func inFlight(at site) int {
	if strings.Contains(at.like, "seg/") {
		return 1
	}
	return 5
}

// TestLab_diskIsFullForAWhile fills the disk under load: appends are refused and
// deliveries go on, and both go on when there is room again.
func TestLab_diskIsFullForAWhile(t *testing.T) {
	times := 1
	if whole(t) > 0 {
		times = 20
	}
	y := newJury(t, 1, func(s *state, found []finding) { report(t, s, found) })
	for n := range times {
		y.queue <- fullForAWhile(t, firstSeed()+uint64(n))
	}
	y.close()
	tally.add("times the disk was full under load", times)
}

func fullForAWhile(t *testing.T, n uint64) *state {
	t.Helper()
	r := rand.New(rand.NewPCG(n, 6))
	d := newDisk(t, nil, nil)
	defer d.close()
	d.start(load{Seed: n, Count: 1 << 20, Writers: 4, Reopen: 1 << 20, DoneOnly: true, Segment: 64 << 10})
	var began, ended ledger
	d.await("some acknowledgements", func(l *ledger) bool { return len(l.acks) > 30+r.IntN(200) })
	d.fs.Do(func() { d.fs.Fill(true) })
	d.await("refusals, and deliveries of all that is stored", func(l *ledger) bool {
		began = *l
		return l.full > 20 && delivered(n, l)
	})
	d.fs.Do(func() { d.fs.Fill(false) })
	d.await("acknowledgements, and deliveries of them", func(l *ledger) bool {
		ended = *l
		return len(l.acks) > len(began.acks)+30 && l.dones > began.dones
	})
	if len(ended.acks) == 0 || began.full == 0 {
		t.Errorf("seed %d: nothing was refused", n)
	}
	d.kill()
	return d.image(&state{
		seed: n, how: crashfs.None, story: "the disk was full for a while, then the power failed", again: again(t, n, ""),
	})
}

// delivered reports whether every event that was acknowledged is done in sink b.
func delivered(seed uint64, l *ledger) bool {
	for _, a := range l.acks {
		for _, ev := range callback(seed, a.n).Events {
			f, _ := factOf(&ev)
			if h := l.sinks["b"][f]; h == nil || !h.done {
				return false
			}
		}
	}
	return true
}

// await looks at the notes until something is so; the time is only a bound on a
// store that hangs.
func (d *disk) await(what string, so func(*ledger) bool) {
	d.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for {
		var notes []byte
		d.fs.Do(func() { notes = d.notes[:len(d.notes):len(d.notes)] })
		l, err := parseLedger(notes)
		if err != nil {
			d.t.Fatal(err)
		}
		if so(l) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			_ = d.cmd.Process.Signal(syscall.SIGQUIT) // its stacks say where it hangs
			d.wait()
			d.t.Fatalf("waited in vain for %s: %d acknowledged, %d refused, %d done, failed with %s; %s", what, len(l.acks), l.full, l.dones, l.failed, d.said)
		}
	}
}
