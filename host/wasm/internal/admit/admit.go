// Package admit says which calls of plugins may run now: so many at a time, and
// none of a plugin that trapped again and again.
package admit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/postern/postern/host"
)

// Slots bound how many calls run at the same time. Nil bounds nothing.
type Slots chan struct{}

// Take waits a bounded time for a slot; what names who is at work. The error has
// the code [host.PluginBusy].
func (s Slots) Take(ctx context.Context, wait time.Duration, what string) error {
	if s == nil {
		return nil
	}
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return host.Errorf(host.PluginBusy, "wait for %s: %w", what, ctx.Err())
	case <-timer.C:
		return host.Errorf(host.PluginBusy, "none of %d %s became free within %v", cap(s), what, wait)
	}
}

// Give returns a slot that was taken.
func (s Slots) Give() {
	if s != nil {
		<-s
	}
}

// The bounds of a breaker: a plugin is out when MaxTraps of its calls within a
// minute, and half of them all, ended in a trap; after Rest one call shows whether
// it is well again.
const (
	MaxTraps = 5
	Rest     = 30 * time.Second

	window = time.Minute
)

// Breaker takes one plugin out of service, at one endpoint: what somebody sends to
// one endpoint must not take the others' out. It is safe for concurrent use.
type Breaker struct {
	name string
	last atomic.Pointer[string]
	b    *gobreaker.CircuitBreaker[host.Result]
}

// NewBreaker makes the breaker of the plugin of that name. changed is called when
// it goes out of service and when it comes back, and must not block.
func NewBreaker(name string, changed func(out bool, lastTrap string)) *Breaker {
	b := &Breaker{name: name}
	b.b = gobreaker.NewCircuitBreaker[host.Result](gobreaker.Settings{
		MaxRequests: 1,
		Interval:    window,
		Timeout:     Rest,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.TotalFailures >= MaxTraps && 2*c.TotalFailures >= c.Requests
		},
		// A call that found no instance free says nothing of the plugin.
		IsExcluded: func(err error) bool { return err != nil && host.CodeOf(err) == host.PluginBusy },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
				changed(true, b.lastTrap())
			case to == gobreaker.StateClosed:
				changed(false, b.lastTrap())
			}
		},
	})
	return b
}

// Run runs a call, unless the plugin is out of service: then the error says so,
// with the code [host.PluginFailed].
func (b *Breaker) Run(call func() (host.Result, error)) (host.Result, error) {
	res, err := b.b.Execute(call)
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return host.Result{}, host.Errorf(host.PluginFailed, "%w", b.why())
	}
	return res, err
}

// Trapped notes why a call failed. Call it within [Breaker.Run].
func (b *Breaker) Trapped(err error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	b.last.Store(&text)
}

// Out says why the plugin is out of service; nil if it is not.
func (b *Breaker) Out() error {
	if b.b.State() == gobreaker.StateClosed {
		return nil
	}
	return b.why()
}

func (b *Breaker) why() error {
	return fmt.Errorf("plugin %s is out of service after repeated traps, the last: %s", b.name, b.lastTrap())
}

func (b *Breaker) lastTrap() string {
	if text := b.last.Load(); text != nil {
		return *text
	}
	return "unknown"
}
