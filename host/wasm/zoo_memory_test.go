package wasm

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// gluttons are after the host's memory. The linear memory of a guest is capped at
// 16 MiB; the most that a process may grow is that and a tenth, and beside it
//   - for what recurses, the engine's stack, which grows by doubling;
//   - for what the host keeps, maxHeld and as much again until it is collected;
//   - for what it throws away at once, what lies there until it is collected.
var gluttons = []struct {
	guest, body string
	off         defence
	mebibytes   int
}{
	{guest: "loop", body: "a", mebibytes: 17},
	{guest: "grow", body: "a", mebibytes: 17},
	{guest: "random", body: "a", mebibytes: 17},
	{guest: "table", mebibytes: 17},
	{guest: "recursion", body: "a", mebibytes: 17 + 32},
	{guest: "frames", body: "a", mebibytes: 17 + 32},
	{guest: "operands", body: "a", mebibytes: 17 + 32},
	{guest: "held", body: "a", mebibytes: 17 + 3*maxHeld>>20},
	{guest: "parse", body: "a", mebibytes: 17 + 2*maxHeld>>20},
	{guest: "refused", body: "a", mebibytes: 17 + 2*maxHeld>>20},
	// What stops it is metering, and the test would see it.
	{guest: "operands", body: "4", off: metering, mebibytes: -(17 + 32)},
}

// zooGlutton is the number of the glutton that a child process runs.
const zooGlutton = "POSTERN_ZOO_GLUTTON"

// TestZooMemory runs each in a process of its own, and bounds by how much that
// grew at its highest.
func TestZooMemory(t *testing.T) {
	if i, err := strconv.Atoi(os.Getenv(zooGlutton)); err == nil {
		devour(t, i)
		return
	}
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("skipped: only Linux tells the highest use of memory")
	}
	for i, g := range gluttons {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestZooMemory$", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", zooGlutton, i))
		out, err := cmd.CombinedOutput()
		var grew int
		_, after, _ := strings.Cut(string(out), "grew by ")
		if _, scanned := fmt.Sscan(after, &grew); err != nil || scanned != nil {
			t.Errorf("%s: the process ended: %v, %v\n%s", g.guest, err, scanned, out)
			continue
		}
		t.Logf("%s %s%s: %d MiB", g.guest, g.body, g.off, grew)
		if g.mebibytes > 0 && grew > g.mebibytes || g.mebibytes < 0 && grew < -g.mebibytes {
			t.Errorf("%s %s%s: the process grew by %d MiB, the bound is %d", g.guest, g.body, g.off, grew, g.mebibytes)
		}
	}
}

// devour runs a glutton four times and prints by how many MiB the process grew.
func devour(t *testing.T, i int) {
	g := gluttons[i]
	o := g.off.switchedOff()
	o.Fuel, o.CacheDir = 0, t.TempDir()
	z := newZoo(t, o)
	honest(t, z.other)
	m, err := z.runtime.LoadCode(t.Context(), z.code(t, g.guest))
	before := highest(t)
	if err != nil {
		// The one that is refused does its harm, if any, in being loaded.
		_, err = z.runtime.LoadCode(t.Context(), z.code(t, g.guest))
		t.Logf("grew by %d: %v", (status(t, "VmHWM")-before)>>10, err)
		return
	}
	p, err := m.Bind(zooBinding)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // the breaker would spare it more
		res, err := p.Handle(t.Context(), zooCallback(g.body))
		t.Log(res.Verdict, err)
		for _, in := range m.pool.Idle {
			if in.api.Memory().Size() > defaultPages*wasmPage {
				t.Errorf("the guest has %d bytes", in.api.Memory().Size())
			}
		}
	}
	t.Logf("grew by %d", (status(t, "VmHWM")-before)>>10)
	honest(t, z.other)
}

// highest begins to count the highest use anew, and is the present one in KiB.
func highest(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	return status(t, "VmRSS")
}

// status is a line of /proc/self/status, in KiB.
func status(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), name+":")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
