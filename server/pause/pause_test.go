package pause

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// TestFor_neverTooSoon waits at the same time in many goroutines, several times
// each, so that timers are used again.
func TestFor_neverTooSoon(t *testing.T) {
	var wait sync.WaitGroup
	for i := range 64 {
		d := time.Duration(i) * 50 * time.Microsecond
		wait.Go(func() {
			for range 8 {
				start := time.Now()
				For(t.Context(), d)
				if took := time.Since(start); took < d {
					t.Errorf("returned after %v, want %v at least", took, d)
				}
			}
		})
	}
	wait.Wait()
}

// TestFor_endsWithItsContext would not end in the time of a test otherwise, and
// goes on to see that a timer given up wakes nobody later.
func TestFor_endsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("ended")
	done := make(chan struct{})
	go func() {
		defer close(done)
		For(ctx, time.Hour)
	}()
	cancel(ended)
	<-done
	For(ctx, time.Hour)
	start := time.Now()
	For(t.Context(), time.Millisecond)
	if took := time.Since(start); took < time.Millisecond {
		t.Errorf("returned after %v, want a millisecond at least", took)
	}
}

func TestFor_nothing(t *testing.T) {
	For(t.Context(), 0)
	For(t.Context(), -time.Hour)
}

// TestFor_withoutDescriptors: what cannot be had exactly is waited for by a
// timer of Go's.
func TestFor_withoutDescriptors(t *testing.T) {
	none(t)
	start := time.Now()
	For(t.Context(), time.Millisecond)
	if took := time.Since(start); took < time.Millisecond {
		t.Errorf("returned after %v, want a millisecond at least", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	For(ctx, time.Hour)
}
