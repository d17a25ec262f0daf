package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/postern/postern/host"
)

// slots bound how many calls run at the same time. Nil bounds nothing.
type slots chan struct{}

// take waits a bounded time for a slot; what names who is at work.
func (s slots) take(ctx context.Context, wait time.Duration, what string) error {
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

func (s slots) give() {
	if s != nil {
		<-s
	}
}

// Limit bounds how many calls of the plugins that share it run at the same time,
// whatever modules they are of: a tenant's. A nil Limit bounds nothing.
type Limit struct{ slots slots }

// NewLimit makes a limit of n calls; n is at least 1.
func NewLimit(n int) *Limit { return &Limit{make(slots, n)} }

func (l *Limit) take(ctx context.Context, wait time.Duration) error {
	if l == nil {
		return nil
	}
	return l.slots.take(ctx, wait, "calls that the tenant may make at a time")
}

func (l *Limit) give() {
	if l != nil {
		l.slots.give()
	}
}

// The breaker of a plugin.
const (
	// A plugin is taken out when maxTraps of its calls within trapWindow, and
	// half of them all, ended in a trap; after restFor one call shows whether it
	// is well again.
	maxTraps   = 5
	trapWindow = time.Minute
	restFor    = 30 * time.Second
)

// newBreaker makes the breaker of one plugin at one endpoint: what somebody sends
// to one endpoint must not take the others' out.
func (p *Plugin) newBreaker() *gobreaker.CircuitBreaker[host.Result] {
	return gobreaker.NewCircuitBreaker[host.Result](gobreaker.Settings{
		MaxRequests: 1,
		Interval:    trapWindow,
		Timeout:     restFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.TotalFailures >= maxTraps && 2*c.TotalFailures >= c.Requests
		},
		// A call that found no instance free says nothing of the plugin.
		IsExcluded: func(err error) bool { return host.CodeOf(err) == host.PluginBusy },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			log := p.module.opts.Log
			switch {
			case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
				log.Error("plugin taken out after repeated traps", "plugin", p.module.version, "endpoint", p.where, "err", p.last())
			case to == gobreaker.StateClosed:
				log.Info("plugin is back", "plugin", p.module.version, "endpoint", p.where)
			}
		},
	})
}

// Out says why the plugin is out of service: it trapped too often. Nil means that
// it is in service. It comes back by itself when a later call goes well.
func (p *Plugin) Out() error {
	if p.breaker.State() == gobreaker.StateClosed {
		return nil
	}
	return p.out()
}

func (p *Plugin) out() error {
	return fmt.Errorf("plugin %s is out of service after repeated traps, the last: %s", p.module.version, p.last())
}

// trapped notes why a call failed, for [Plugin.Out].
func (p *Plugin) trapped(err error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	p.lastTrap.Store(&text)
}

func (p *Plugin) last() string {
	if text := p.lastTrap.Load(); text != nil {
		return *text
	}
	return "unknown"
}

// admitted runs a call unless the plugin is out of service.
func (p *Plugin) admitted(run func() (host.Result, error)) (host.Result, error) {
	res, err := p.breaker.Execute(run)
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return host.Result{}, host.Errorf(host.PluginFailed, "%w", p.out())
	}
	return res, err
}
