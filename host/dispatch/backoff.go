package dispatch

import (
	"math/rand/v2"
	"time"
)

// floor is the shortest wait before a retry. Full jitter alone would draw
// waits of nothing, and a sink that fails at once would be called in a loop.
const floor = 100 * time.Millisecond

// Backoff says when a failed delivery is tried again. A field that is not above
// zero means its default.
type Backoff struct {
	// Base is the longest wait after the first attempt; it doubles with each
	// further one; 1 s.
	Base time.Duration
	// Max is the longest wait after any attempt; 1 h.
	Max time.Duration
	// Over is how long after the first attempt a delivery that still fails is
	// given up; 7 days.
	Over time.Duration
}

func (b Backoff) withDefaults() Backoff {
	return Backoff{
		Base: orDefault(b.Base, time.Second),
		Max:  orDefault(b.Max, time.Hour),
		Over: orDefault(b.Over, 7*24*time.Hour),
	}
}

// wait is the time to let pass after the attempt-th attempt failed. asked is
// what the other side asked for, zero for nothing; draw returns a number in
// [0, n).
func (b Backoff) wait(attempt int, asked time.Duration, draw func(n int64) int64) time.Duration {
	drawn := time.Duration(draw(int64(b.ceiling(attempt)) + 1))
	return min(max(drawn, asked, floor), max(b.Max, floor))
}

// ceiling is min(Max, Base*2^(attempt-1)), without overflow.
func (b Backoff) ceiling(attempt int) time.Duration {
	c := b.Base
	for i := 1; i < attempt && c < b.Max; i++ {
		c *= 2
		if c <= 0 {
			return b.Max
		}
	}
	return min(c, b.Max)
}

// random draws for production; which of many clients retries when guards
// nothing, so it need not be hard to guess.
func random(n int64) int64 {
	return rand.Int64N(n) //nolint:gosec // jitter is no secret
}
