package wasm

import (
	"context"
	"sync"
	"time"

	"github.com/postern/postern/host/wasm/internal/admit"
)

// pool hands out instances of one module, the latest used first, never more
// than its size at a time. It makes them when they are first needed.
type pool struct {
	// slots holds one token for each instance in use.
	slots admit.Slots
	wait  time.Duration
	make  func(context.Context) (*instance, error)

	mu   sync.Mutex
	idle []*instance
}

func newPool(size int, wait time.Duration, instantiate func(context.Context) (*instance, error)) *pool {
	return &pool{slots: make(admit.Slots, size), wait: wait, make: instantiate}
}

// take returns an instance for one call. It waits a bounded time for one to
// become free.
func (p *pool) take(ctx context.Context) (*instance, error) {
	if err := p.slots.Take(ctx, p.wait, "instances"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		in := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return in, nil
	}
	p.mu.Unlock()
	in, err := p.make(ctx)
	if err != nil {
		p.slots.Give()
		return nil, err
	}
	return in, nil
}

// give returns an instance that is as good as new. One that is not is closed and
// forgotten.
func (p *pool) give(ctx context.Context, in *instance, good bool) {
	if good {
		p.mu.Lock()
		p.idle = append(p.idle, in)
		p.mu.Unlock()
	} else {
		in.close(ctx)
	}
	p.slots.Give()
}

// Limit bounds how many calls of the plugins that share it run at the same time,
// whatever modules they are of: a tenant's. A nil Limit bounds nothing.
type Limit = admit.Slots

// NewLimit makes a limit of n calls; n is at least 1.
func NewLimit(n int) Limit { return make(Limit, n) }
