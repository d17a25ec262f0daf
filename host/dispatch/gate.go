package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/postern/postern/host"
)

// errUnjudged is the outcome of a call that says nothing about the sink.
var errUnjudged = errors.New("says nothing about the sink")

// gate says how much may be leased for a sink at the moment. It is asked before
// the lease, so that whatever waits here is neither leased nor attempted: it
// stays due.
type gate struct {
	log     *slog.Logger
	rate    Rate
	limit   *rate.Limiter                              // nil for no rate
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}] // nil for no breaker

	mu sync.Mutex
	// until is the end of a pause: of the breaker's, or of one that the other
	// side asked for.
	until time.Time
}

func newGate(p Policy, log *slog.Logger) *gate {
	g := &gate{log: log, rate: p.Rate}
	if p.Rate.PerSecond > 0 {
		g.limit = rate.NewLimiter(rate.Limit(p.Rate.PerSecond), p.Rate.Burst)
	}
	if b := p.Breaker; b.Failures > 0 {
		g.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			MaxRequests: 1,
			Timeout:     b.OpenFor,
			ReadyToTrip: func(c gobreaker.Counts) bool { return int64(c.ConsecutiveFailures) >= int64(b.Failures) },
			IsExcluded:  func(err error) bool { return errors.Is(err, errUnjudged) },
			OnStateChange: func(_ string, from, to gobreaker.State) {
				g.changed(from, to, b.OpenFor)
			},
		})
	}
	return g
}

// changed is called by the breaker, under its lock.
func (g *gate) changed(from, to gobreaker.State, openFor time.Duration) {
	level := slog.LevelDebug // of the probes of a sink that stays down
	switch to {
	case gobreaker.StateOpen:
		// The breaker lets nothing through at the very end of its time.
		g.pause(openFor + 1)
		if from == gobreaker.StateClosed {
			level = slog.LevelWarn
		}
	case gobreaker.StateClosed:
		level = slog.LevelInfo
	case gobreaker.StateHalfOpen:
	}
	g.log.Log(context.Background(), level, "breaker is "+to.String(), "was", from.String())
}

// pause lets nothing through for d from now on, or longer if that was said
// before.
func (g *gate) pause(d time.Duration) {
	until := time.Now().Add(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.until) {
		g.until = until
	}
}

// leave is a gate's answer.
type leave struct {
	// n is how many deliveries may be leased.
	n int
	// wait is when to ask again if n is zero; zero itself means at the next
	// wake.
	wait time.Duration
	// ended takes what came of the first call, see verdict; to be called once if
	// n is not zero.
	ended func(error)
}

// ask answers for up to n deliveries. Only one lane asks, and one at a time.
func (g *gate) ask(n int) leave {
	now := time.Now()
	g.mu.Lock()
	until := g.until
	g.mu.Unlock()
	if d := until.Sub(now); d > 0 {
		return leave{wait: d}
	}
	n, d := g.left(now, n)
	if n == 0 {
		return leave{wait: d}
	}
	if g.breaker == nil {
		return leave{n: n, ended: func(error) {}}
	}
	ended, err := g.breaker.Allow()
	switch {
	case errors.Is(err, gobreaker.ErrTooManyRequests):
		return leave{} // whoever tries the sink wakes the lane
	case err != nil:
		return leave{wait: floor} // it opened a moment ago
	case g.breaker.State() == gobreaker.StateHalfOpen:
		n = 1
	}
	return leave{n: n, ended: ended}
}

// another is for a further call with what was leased at once.
func (g *gate) another() (ended func(error)) {
	if g.breaker != nil {
		if ended, err := g.breaker.Allow(); err == nil {
			return ended
		}
	}
	// The breaker opened since: what is leased is delivered all the same, for
	// the attempt counts already.
	return func(error) {}
}

func (g *gate) state() string {
	if g.breaker == nil {
		return BreakerOff
	}
	switch g.breaker.State() {
	case gobreaker.StateOpen:
		return BreakerOpen
	case gobreaker.StateHalfOpen:
		return BreakerHalfOpen
	default:
		return BreakerClosed
	}
}

// left is how many of n the rate allows now, and if none, when one.
func (g *gate) left(now time.Time, n int) (int, time.Duration) {
	if g.limit == nil {
		return n, 0
	}
	// Tokens are a fraction: what is a whole one but for the rounding is one.
	const nearly = 1e-6
	tokens := g.limit.TokensAt(now) + nearly
	if tokens >= 1 {
		return min(n, int(tokens)), 0
	}
	return 0, time.Duration(math.Ceil((1 - tokens) / g.rate.PerSecond * float64(time.Second)))
}

// took charges n deliveries, no more than left allowed, to the rate.
func (g *gate) took(n int) {
	if g.limit != nil {
		g.limit.ReserveN(time.Now(), n)
	}
}

// verdict is what a call tells about its sink: nil that the sink is there,
// errUnjudged nothing, anything else that it is not.
//
// A permanent no is about the event, and a wait that was asked for is an answer.
// A failed retry counts as nothing: the event itself may be what the other side
// chokes on, and a few of those must not shut out all others. So it takes events
// that never failed before to open a breaker.
func verdict(batch []host.Delivery, errs []error) error {
	judged := errUnjudged
	for i, err := range errs {
		switch {
		case err == nil, host.IsPermanent(err):
			return nil
		case host.AskedWait(err) == 0 && batch[i].Attempt == 1:
			judged = err
		}
	}
	return judged
}
