// Package pause waits to the microsecond, where the system lets it.
//
// A timer of Go's does not: on Linux the runtime sleeps in whole milliseconds,
// counted from when it had nothing left to do. What a goroutine did before it
// waited then shows in when it wakes, to the microsecond, and a floor under the
// time of an answer hides nothing.
package pause

import (
	"context"
	"time"
)

// For returns after d, or when ctx ends if that is sooner. Zero and less
// return at once. It blocks no thread of the system. Where an exact timer is
// not to be had (another system than Linux, no file descriptor left), it waits
// by one of Go's.
func For(ctx context.Context, d time.Duration) {
	if d <= 0 || ctx.Err() != nil || exact(ctx, d) {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
