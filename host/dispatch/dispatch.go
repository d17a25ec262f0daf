// Package dispatch delivers stored events to sinks: it leases what is due,
// calls [host.Sink.Deliver] and settles what came of it.
//
// # What it promises
//
// At least once. Nothing is dropped here: a delivery ends as done, is due again
// at a later time, or is given up as a dead letter that waits for an operator.
// It is given up only when the sink says that no retry can mend it
// ([host.Permanent]), or when it still fails [Backoff.Over] after its first
// attempt, seven days by default.
//
// # Retries
//
// The wait before attempt n+1 is drawn evenly from nothing to
// min(Max, Base*2^(n-1)), and is never below 100 ms: full jitter, so that
// deliveries that failed together do not come back together. A wait that the
// other side asked for ([host.RetryAfter]) is kept, up to Max.
//
// # What is held back
//
// A sink that is asked too much is given a rest, and nothing is leased for it
// meanwhile: what waits stays due, with its attempts and its age as they are.
//
//   - [Breaker]: when one call after the other fails, nothing is delivered for a
//     while, then one event at a time until one is taken. Only events that never
//     failed before open it: a few that the other side chokes on, retried for
//     days, hold back nobody. A permanent no is about the event and does not
//     count.
//   - A wait that the other side asked for holds for the whole sink.
//   - [Rate]: so many deliveries a second, retries among them.
//
// # Apart from each other
//
// Every sink has a loop and slots of its own. One that is slow, hangs or
// panics uses up its own slots and nothing else. A sink that ignores its
// deadline keeps its slot until it returns, so that it is never called more
// often at a time than configured; its deliveries are settled without it.
//
// # The end
//
// When the context of [Dispatch.Run] ends nothing more is leased; what is under
// way has the rest of its timeout and is settled before Run returns. What could
// not be settled comes back when its lease ends.
package dispatch

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/postern/postern/host"
)

// Queue is the part of [host.Queue] that delivery needs; the contract of both
// methods stands there.
type Queue interface {
	Lease(ctx context.Context, sink string, n int, ttl time.Duration) (host.Leased, error)
	Settle(ctx context.Context, sink string, s ...host.Settlement) error
}

// Route is one sink under the name by which the queue knows it.
type Route struct {
	// Name must be subscribed to the queue, and stand in one route only.
	Name string
	// Sink is the caller's to close, once Run has returned.
	Sink host.Sink
	// Policy is how to deliver to it.
	Policy Policy
}

// Policy says how deliveries to one sink are made. A field that is not above
// zero means its default.
type Policy struct {
	// Concurrency is how many calls of Deliver may be under way; 4.
	Concurrency int
	// Batch is the most deliveries handed to one call of Deliver; 1.
	Batch int
	// Timeout is the deadline of one call of Deliver; 30 s.
	Timeout time.Duration
	// Retry says when to try again, and for how long.
	Retry Backoff
	// Rate is the most that is delivered; the zero Rate bounds nothing.
	Rate Rate
	// Breaker says when a sink that fails is left alone; the zero Breaker never.
	Breaker Breaker
}

// Rate bounds deliveries, every attempt being one.
type Rate struct {
	// PerSecond is how many are made on average; nothing above zero means no
	// bound.
	PerSecond float64
	// Burst is how many may be made at once, and so bounds a batch as well;
	// nothing above zero means PerSecond, rounded up.
	Burst int
}

// Breaker leaves a sink alone that fails.
type Breaker struct {
	// Failures is how many calls of Deliver in a row must fail, each with an
	// event that never failed before; nothing above zero means no breaker.
	Failures int
	// OpenFor is how long nothing is delivered then; nothing above zero means
	// 30 s.
	OpenFor time.Duration
}

// Defaults is the policy that the zero Policy stands for.
func Defaults() Policy { return Policy{}.withDefaults() }

func (p Policy) withDefaults() Policy {
	p.Concurrency = orDefault(p.Concurrency, 4)
	p.Batch = orDefault(p.Batch, 1)
	p.Timeout = orDefault(p.Timeout, 30*time.Second)
	p.Retry = p.Retry.withDefaults()
	p.Rate = p.Rate.withDefaults()
	p.Breaker = p.Breaker.withDefaults()
	return p
}

func (r Rate) withDefaults() Rate {
	if r.PerSecond <= 0 {
		return Rate{}
	}
	r.Burst = orDefault(r.Burst, int(math.Ceil(r.PerSecond)))
	return r
}

func (b Breaker) withDefaults() Breaker {
	if b.Failures <= 0 {
		return Breaker{}
	}
	b.OpenFor = orDefault(b.OpenFor, 30*time.Second)
	return b
}

func orDefault[T int | time.Duration](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}

// Observation is what one attempt at one delivery came to, for metrics. It is
// made whether or not the settlement then reached the queue.
type Observation struct {
	Sink    string
	Outcome host.Outcome
	// Attempt counts from 1.
	Attempt int
	// Took is how long the call of Deliver took, with its whole batch.
	Took time.Duration
	// Age is the time since the callback was received.
	Age time.Duration
}

// States of a breaker.
const (
	BreakerOff      = "off"       // there is none
	BreakerClosed   = "closed"    // the sink is delivered to
	BreakerOpen     = "open"      // it is left alone
	BreakerHalfOpen = "half-open" // one event at a time
)

// Condition is how a sink is doing.
type Condition struct {
	Sink string
	// Failing says that the last call of Deliver failed, other than for good.
	Failing bool
	// Breaker is one of the four states above.
	Breaker string
}

// Dispatch delivers to a fixed set of sinks. Make one with [New].
type Dispatch struct {
	lanes []*lane
}

// New makes a Dispatch that does nothing until Run. observe is called after
// each delivery, concurrently, and must not block; nil means nobody looks. log
// must not be nil.
func New(q Queue, log *slog.Logger, observe func(Observation), routes ...Route) *Dispatch {
	if observe == nil {
		observe = func(Observation) {}
	}
	d := &Dispatch{}
	for _, r := range routes {
		policy := r.Policy.withDefaults()
		log := log.With("sink", r.Name)
		d.lanes = append(d.lanes, &lane{
			name: r.Name, sink: r.Sink, policy: policy, gate: newGate(policy, log),
			queue: q, log: log, observe: observe,
			wake:  make(chan struct{}, 1),
			slots: make(chan struct{}, policy.Concurrency),
		})
	}
	return d
}

// Run delivers until ctx ends, then waits until everything under way is
// settled. That takes at most the longest timeout and a little for the
// settlement, even if a sink hangs. Call it once.
func (d *Dispatch) Run(ctx context.Context) {
	// Invariant 6: a lane waits for its own sink only.
	var lanes sync.WaitGroup
	for _, l := range d.lanes {
		lanes.Go(func() { l.run(ctx) })
	}
	lanes.Wait()
}

// Conditions says how each sink is doing, in the order of the routes. It does
// not block, and may be called at any time and from anywhere.
func (d *Dispatch) Conditions() []Condition {
	out := make([]Condition, len(d.lanes))
	for i, l := range d.lanes {
		out[i] = Condition{Sink: l.name, Failing: l.failing.Load(), Breaker: l.gate.state()}
	}
	return out
}

// Wake tells every sink's loop that there may be something due. It never
// blocks, and may be called at any time and from anywhere.
func (d *Dispatch) Wake() {
	for _, l := range d.lanes {
		l.poke()
	}
}
