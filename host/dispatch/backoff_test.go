package dispatch

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	want := Policy{
		Concurrency: 4, Batch: 1, Timeout: 30 * time.Second,
		Retry: Backoff{Base: time.Second, Max: time.Hour, Over: 168 * time.Hour},
	}
	if diff := cmp.Diff(want, Defaults()); diff != "" {
		t.Errorf("Defaults (-want +got):\n%s", diff)
	}
	negative := Policy{Concurrency: -1, Batch: -1, Timeout: -1, Retry: Backoff{Base: -1, Max: -1, Over: -1}}
	if diff := cmp.Diff(want, negative.withDefaults()); diff != "" {
		t.Errorf("of a negative policy (-want +got):\n%s", diff)
	}
	set := Policy{Concurrency: 1, Batch: 2, Timeout: 3, Retry: Backoff{Base: 4, Max: 5, Over: 6}}
	if diff := cmp.Diff(set, set.withDefaults()); diff != "" {
		t.Errorf("of a set policy (-want +got):\n%s", diff)
	}
}

func lowest(int64) int64    { return 0 }
func highest(n int64) int64 { return n - 1 }

func TestBackoff_drawsBetweenFloorAndCeiling(t *testing.T) {
	t.Parallel()
	b := Backoff{}.withDefaults()
	for attempt := 1; attempt <= 2000; attempt++ {
		ceiling := time.Hour
		if attempt <= 12 {
			ceiling = time.Second << (attempt - 1)
		}
		if got := b.wait(attempt, 0, lowest); got != floor {
			t.Fatalf("shortest wait after attempt %d = %v, want %v", attempt, got, floor)
		}
		if got := b.wait(attempt, 0, highest); got != ceiling {
			t.Fatalf("longest wait after attempt %d = %v, want %v", attempt, got, ceiling)
		}
	}
}

func TestBackoff_randomStaysInRange(t *testing.T) {
	t.Parallel()
	b := Backoff{}.withDefaults()
	var sum time.Duration
	const n = 10000
	for range n {
		got := b.wait(20, 0, random)
		if got < floor || got > time.Hour {
			t.Fatalf("wait = %v, want %v to %v", got, floor, time.Hour)
		}
		sum += got
	}
	// An even draw has its mean in the middle; 10,000 of them miss it by
	// two minutes about once in 10^11 runs.
	if mean := sum / n; mean < 28*time.Minute || mean > 32*time.Minute {
		t.Errorf("mean wait = %v, want about 30m", mean)
	}
}

func TestBackoff_extremes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		b       Backoff
		attempt int
		asked   time.Duration
		want    time.Duration
	}{
		"no overflow":     {Backoff{Base: math.MaxInt64 / 2, Max: math.MaxInt64 - 1}, 9, 0, math.MaxInt64 - 1},
		"base over max":   {Backoff{Base: time.Hour, Max: time.Minute}, 1, 0, time.Minute},
		"max under floor": {Backoff{Base: 1, Max: 2}, 1, 0, floor},
		"attempt zero":    {Backoff{Base: time.Second, Max: time.Hour}, 0, 0, time.Second},
		"asked for more":  {Backoff{Base: time.Second, Max: time.Hour}, 1, time.Minute, time.Minute},
		"asked too much":  {Backoff{Base: time.Second, Max: time.Hour}, 1, math.MaxInt64, time.Hour},
		"asked for less":  {Backoff{Base: time.Minute, Max: time.Hour}, 1, time.Second, time.Minute},
		"asked backwards": {Backoff{Base: time.Minute, Max: time.Hour}, 1, -time.Hour, time.Minute},
	} {
		if got := tc.b.wait(tc.attempt, tc.asked, highest); got != tc.want {
			t.Errorf("%s: wait = %v, want %v", name, got, tc.want)
		}
	}
}
