package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/postern/postern/host"
)

const (
	// overdue is how long after its deadline a call of Deliver is given up
	// on: a sink that looks at its context has long returned by then.
	overdue = 2 * time.Second
	// settleTimeout is the deadline of one call of Settle.
	settleTimeout = 10 * time.Second
)

// queuePause is the wait between two calls of a queue that fails.
var queuePause = Backoff{Base: time.Second, Max: 30 * time.Second}

// lane is the loop of one sink, with everything it may use up.
type lane struct {
	name    string
	sink    host.Sink
	policy  Policy
	gate    *gate
	queue   Queue
	log     *slog.Logger
	observe func(Observation)

	// wake holds one token when the queue is to be looked at again.
	wake chan struct{}
	// slots holds one token for each call of Deliver that has not returned
	// or is not settled.
	slots chan struct{}
	// unsettled counts the calls that are not settled.
	unsettled sync.WaitGroup
	// failing says that the last call failed, so that a sink which is down
	// is logged when it goes and when it is back, not a thousand times
	// between.
	failing atomic.Bool
}

func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run leases and delivers until ctx ends and nothing is unsettled.
//
// Invariant 12: what is under way when ctx ends is waited for and settled.
func (l *lane) run(ctx context.Context) {
	defer l.unsettled.Wait()
	broken := 0
	for l.takeSlot(ctx) {
		slots := 1 + l.takeFree()
		leave := l.gate.ask(slots * l.policy.Batch)
		if leave.n == 0 {
			l.release(slots)
			wait(ctx, l.wake, leave.wait)
			continue
		}
		leased, err := l.queue.Lease(ctx, l.name, leave.n, l.ttl())
		if len(leased.Deliveries) == 0 {
			leave.ended(errUnjudged)
		}
		if err != nil {
			l.release(slots)
			if ctx.Err() != nil {
				return
			}
			broken++
			l.log.Error("cannot lease deliveries", "error", err)
			wait(ctx, nil, queuePause.wait(broken, 0, random))
			continue
		}
		broken = 0
		l.gate.took(len(leased.Deliveries))
		used := l.start(ctx, leased.Deliveries, leave.ended)
		l.release(slots - used)
		if len(leased.Deliveries) < leave.n {
			l.idle(ctx, leased.Next)
		}
	}
}

// ttl covers the call, the time until it counts as overdue and its settlement,
// so that a lease ends under way only when the queue itself is late.
func (l *lane) ttl() time.Duration { return l.policy.Timeout + overdue + settleTimeout }

func (l *lane) takeSlot(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case l.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *lane) takeFree() (n int) {
	for {
		select {
		case l.slots <- struct{}{}:
			n++
		default:
			return n
		}
	}
}

func (l *lane) release(n int) {
	for range n {
		<-l.slots
	}
}

// idle waits until the queue may have something due: when something was
// appended, settled or resumed, or at next, if that is not zero.
func (l *lane) idle(ctx context.Context, next time.Time) {
	d := time.Duration(0)
	if !next.IsZero() {
		d = time.Until(next)
		// A queue that names a time already past is not asked in a loop.
		if d <= 0 {
			d = floor
		}
	}
	wait(ctx, l.wake, d)
}

// wait returns when ctx ends, wake has a token, or after d unless d is zero.
func wait(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	var after <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-after:
	}
}

// start delivers in batches, one slot each, and returns how many it took. ended
// is told of the first.
func (l *lane) start(ctx context.Context, ds []host.Delivery, ended func(error)) (used int) {
	for batch := range slices.Chunk(ds, l.policy.Batch) {
		if used++; used > 1 {
			ended = l.gate.another()
		}
		l.unsettled.Add(1)
		go l.serve(context.WithoutCancel(ctx), batch, ended)
	}
	return used
}

// serve makes one call of Deliver, tells ended and settles it. It holds its slot
// until the call and the settlement have returned.
func (l *lane) serve(ctx context.Context, batch []host.Delivery, ended func(error)) {
	begun := time.Now()
	result := make(chan []error, 1)
	go l.deliver(ctx, batch, result)

	t := time.NewTimer(l.policy.Timeout + overdue)
	defer t.Stop()
	select {
	case errs := <-result:
		ended(verdict(batch, errs))
		l.settle(ctx, batch, errs, begun)
		l.unsettled.Done()
	case <-t.C:
		late := fmt.Errorf("sink %s has not returned %v after its deadline", l.name, overdue)
		errs := slices.Repeat([]error{late}, len(batch))
		ended(verdict(batch, errs))
		l.settle(ctx, batch, errs, begun)
		l.unsettled.Done()
		<-result
	}
	l.release(1)
	// A settlement can make something due before the time last named.
	l.poke()
}

// deliver sends exactly one error for each delivery, whatever the sink does.
func (l *lane) deliver(ctx context.Context, batch []host.Delivery, result chan<- []error) {
	ctx, cancel := context.WithTimeout(ctx, l.policy.Timeout)
	defer cancel()
	// It stands until Deliver has returned: leaving in any other way is
	// never taken for done.
	failed := fmt.Errorf("sink %s ended its goroutine", l.name)
	var errs []error
	defer func() {
		if r := recover(); r != nil {
			failed = l.panicked(r)
		}
		if failed != nil {
			errs = slices.Repeat([]error{failed}, len(batch))
		}
		result <- errs
	}()
	errs = l.sink.Deliver(ctx, batch)
	failed = nil
	switch len(errs) {
	case len(batch):
	case 0:
		errs = make([]error, len(batch))
	default:
		failed = fmt.Errorf("sink %s returned %d errors for %d deliveries", l.name, len(errs), len(batch))
	}
}

// panicked is the error of a sink that panicked with r. The text of r stays
// out of it, and out of the log, unless it is the runtime's own: it may hold
// anything (invariant 8).
func (l *lane) panicked(r any) error {
	what := fmt.Errorf("sink %s panicked with a %T", l.name, r)
	var re runtime.Error
	if err, ok := r.(error); ok && errors.As(err, &re) {
		what = fmt.Errorf("sink %s panicked: %w", l.name, re)
	}
	l.log.Error("sink panicked", "error", what, "stack", string(debug.Stack()))
	return what
}

// settle ends the leases of a batch. When that fails they are left to end by
// themselves.
//
// Invariant 5: what is not settled comes back.
func (l *lane) settle(ctx context.Context, batch []host.Delivery, errs []error, begun time.Time) {
	now := time.Now()
	ended := make([]host.Settlement, len(batch))
	for i := range batch {
		ended[i] = l.judge(&batch[i], errs[i], now)
	}
	l.noteHealth(errs)

	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if err := l.queue.Settle(ctx, l.name, ended...); err != nil {
		l.log.Error("cannot settle deliveries; they come back", "deliveries", len(batch), "error", err)
	}
	for i := range batch {
		l.observe(Observation{
			Sink: l.name, Outcome: ended[i].Outcome, Attempt: batch[i].Attempt,
			Took: now.Sub(begun), Age: now.Sub(batch[i].Event.Received),
		})
	}
}

// judge says what becomes of a delivery that ended with err.
//
// Invariant 4: done, dead or due again; there is no fourth way.
func (l *lane) judge(d *host.Delivery, err error, now time.Time) host.Settlement {
	if err == nil {
		return host.Settlement{Token: d.Token, Outcome: host.Done}
	}
	if host.IsPermanent(err) {
		return l.giveUp(d, err.Error(), err)
	}
	retry, asked := l.policy.Retry, host.AskedWait(err)
	if asked > 0 {
		// It is the other side that has no time, not for this event alone.
		l.gate.pause(min(asked, retry.Max))
	}
	if now.Sub(d.First) >= retry.Over && !d.First.IsZero() {
		return l.giveUp(d, fmt.Sprintf("still failing %v after the first attempt: %v", retry.Over, err), err)
	}
	l.log.Debug("delivery is to be retried", "event", d.Event.ID(), "attempt", d.Attempt, "error", err)
	return host.Settlement{
		Token: d.Token, Outcome: host.Again, Reason: bounded(err.Error()), Answer: bounded(host.AnswerOf(err)),
		At: now.Add(retry.wait(d.Attempt, asked, random)),
	}
}

func (l *lane) giveUp(d *host.Delivery, reason string, err error) host.Settlement {
	reason = bounded(reason)
	l.log.Warn("delivery given up", "event", d.Event.ID(), "attempts", d.Attempt, "reason", reason)
	return host.Settlement{Token: d.Token, Outcome: host.Dead, Reason: reason, Answer: bounded(host.AnswerOf(err))}
}

// bounded cuts text to what a store keeps of it, between two characters.
func bounded(s string) string {
	if len(s) <= host.MaxReason {
		return s
	}
	n := host.MaxReason
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (l *lane) noteHealth(errs []error) {
	for _, err := range errs {
		// A final no is about the event: the sink is in order.
		if err == nil || host.IsPermanent(err) {
			continue
		}
		if !l.failing.Swap(true) {
			l.log.Warn("sink fails", "error", err)
		}
		return
	}
	if l.failing.Swap(false) {
		l.log.Info("sink takes deliveries again")
	}
}
