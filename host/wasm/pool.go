package wasm

import (
	"context"
	"sync"
	"time"

	"github.com/postern/postern/host"
)

// pool hands out instances of one module, the latest used first, never more
// than its size at a time. It makes them when they are first needed.
type pool struct {
	// slots holds one token for each instance in use.
	slots chan struct{}
	wait  time.Duration
	make  func(context.Context) (*instance, error)

	mu   sync.Mutex
	idle []*instance
}

func newPool(size int, wait time.Duration, instantiate func(context.Context) (*instance, error)) *pool {
	return &pool{slots: make(chan struct{}, size), wait: wait, make: instantiate}
}

// take returns an instance for one call. It waits a bounded time for one to
// become free.
func (p *pool) take(ctx context.Context) (*instance, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		if err := p.queue(ctx); err != nil {
			return nil, err
		}
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
		<-p.slots
		return nil, err
	}
	return in, nil
}

func (p *pool) queue(ctx context.Context) error {
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return host.Errorf(host.PluginBusy, "wait for an instance: %w", ctx.Err())
	case <-timer.C:
		return host.Errorf(host.PluginBusy, "no instance became free within %v", p.wait)
	}
}

// give returns an instance that did its work. One that failed is closed and
// forgotten: after a trap its memory may hold anything.
func (p *pool) give(ctx context.Context, in *instance, failed bool) {
	if failed {
		in.close(ctx)
	} else {
		p.mu.Lock()
		p.idle = append(p.idle, in)
		p.mu.Unlock()
	}
	<-p.slots
}
