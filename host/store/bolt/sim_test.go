package bolt

import (
	"os"
	"testing"

	"github.com/postern/postern/host/store/storetest"
)

// TestInvariant4_simulation puts the store to 10^5 operations beside a model of
// what it promises, with reopens and kills.
func TestInvariant4_simulation(t *testing.T) {
	// Where a sync costs nothing: what the kernel and the disk do is for the
	// tests of crashes.
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm")
	}
	// A small window, so that it is full now and then, and small segments.
	o := Options{Reserve: -1, maxWindow: 24, SegmentSize: 128 << 10}
	storetest.SimulateSeeds(t, engine(o), 10, 100_000)
}
