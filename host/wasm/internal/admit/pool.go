package admit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Pool hands out instances of one module, the latest used first, never more than
// its size at a time. It makes them when they are first needed. It is safe for
// concurrent use.
type Pool[T any] struct {
	// Slots holds one token for each instance in use.
	Slots Slots
	// Make starts an instance, Free ends one.
	Make func(context.Context) (T, error)
	Free func(context.Context, T)
	// Idle are the instances not in use, the latest used last.
	Idle []T

	wait time.Duration
	made atomic.Int64
	mu   sync.Mutex
}

// NewPool makes a pool of so many instances at the most, for which calls wait so
// long.
func NewPool[T any](size int, wait time.Duration, instantiate func(context.Context) (T, error), free func(context.Context, T)) *Pool[T] {
	return &Pool[T]{Slots: make(Slots, size), wait: wait, Make: instantiate, Free: free}
}

// Put adds an instance that was made elsewhere.
func (p *Pool[T]) Put(in T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Idle = append(p.Idle, in)
	p.made.Add(1)
}

// Made is how many instances there are.
func (p *Pool[T]) Made() int { return int(p.made.Load()) }

// Take returns an instance for one call. It waits a bounded time for one to
// become free.
func (p *Pool[T]) Take(ctx context.Context) (T, error) {
	var none T
	if err := p.Slots.Take(ctx, p.wait, "instances"); err != nil {
		return none, err
	}
	p.mu.Lock()
	if n := len(p.Idle); n > 0 {
		in := p.Idle[n-1]
		p.Idle = p.Idle[:n-1]
		p.mu.Unlock()
		return in, nil
	}
	p.mu.Unlock()
	in, err := p.Make(ctx)
	if err != nil {
		p.Slots.Give()
		return none, err
	}
	p.made.Add(1)
	return in, nil
}

// Give returns an instance that is as good as new. One that is not is freed and
// forgotten.
func (p *Pool[T]) Give(ctx context.Context, in T, good bool) {
	if good {
		p.mu.Lock()
		p.Idle = append(p.Idle, in)
		p.mu.Unlock()
	} else {
		p.Free(ctx, in)
		p.made.Add(-1)
	}
	p.Slots.Give()
}

// Drain waits for the calls under way and lets no other begin: those wait, and
// find none free. If ctx ends first the error says so, and calls begin as before.
func (p *Pool[T]) Drain(ctx context.Context) error {
	for n := range cap(p.Slots) {
		select {
		case p.Slots <- struct{}{}:
		case <-ctx.Done():
			for range n {
				p.Slots.Give()
			}
			return fmt.Errorf("its calls are under way still: %w", ctx.Err())
		}
	}
	return nil
}
