package host

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// Host takes callbacks in: it runs the plugin, completes the events, makes
// them durable and says what to answer. Make one with a literal; every field
// but Wake, Observe, Refusal and Pause is required. It is safe for concurrent use.
type Host struct {
	Store interface {
		Appender
		Put(ctx context.Context, r *Rejected) error
		Drop(ctx context.Context, id string) error
	}
	Log *slog.Logger
	// Wake is called after something new became durable; it must not block.
	Wake func()
	// Observe is told of every callback; it must not block.
	Observe func(Observation)
	// Refusal is how long after its receipt a rejection is answered at the
	// earliest, for each begun 16 KiB of the body: where a callback's verification
	// failed cannot be told from the time, as long as judging it took less. Zero
	// means at once.
	Refusal time.Duration
	// Pause waits out the rest of Refusal, or until ctx ends. Nil is a timer of
	// Go's, which does for tests: when it wakes shows, on an idle machine, when
	// the waiting began.
	Pause func(ctx context.Context, d time.Duration)
}

// Observation is what happened to one callback, for metrics.
type Observation struct {
	Endpoint *Endpoint
	// Verdict is zero when the plugin failed.
	Verdict Verdict
	// Code is the error code, meaningful when Failed.
	Failed bool
	Code   Code
	// Kept says that the callback was kept as it came, to be reprocessed.
	Kept bool
	// Lost says that the callback was refused, or could not be judged, and that
	// there was no room for it in the quarantine.
	Lost    bool
	Receipt Receipt
	// Held says that a guard holds the callback's events.
	Held bool
	// Guards are those that were asked, in their order.
	Guards []GuardSaid
	// Fuel is what the plugin and the guards burnt; see [Result].
	Fuel int64
	Took time.Duration
}

// Ingest takes one callback from the intake to its answer. It owns cb from
// here on. It blocks while the plugin runs and until the record is durable.
//
// Invariant 1: the only ways to a 2xx go through [Host.ack], which asks for a
// Receipt, and through a challenge's answer.
func (h *Host) Ingest(ctx context.Context, ep *Endpoint, cb *Callback) Answer {
	start := time.Now()
	seen := Observation{Endpoint: ep}
	answer := h.ingest(ctx, ep, cb, &seen)
	if h.Observe != nil {
		seen.Took = time.Since(start)
		h.Observe(seen)
	}
	if seen.Verdict == Reject {
		pause := h.Pause
		if pause == nil {
			pause = wait
		}
		floor := h.Refusal * time.Duration(1+len(cb.Body)/refusalUnit)
		pause(ctx, floor-time.Since(start))
	}
	return answer
}

func (h *Host) ingest(ctx context.Context, ep *Endpoint, cb *Callback, seen *Observation) Answer {
	res, err := ep.Judge(ctx, cb)
	if err != nil {
		return h.unable(ctx, ep, cb, err, seen)
	}
	seen.Verdict, seen.Fuel = res.Verdict, res.Fuel
	switch res.Verdict {
	case Reject:
		if ep.Unable == Keep && res.Reason != NotVerified && len(res.Evidence)+len(cb.Tokens) > 0 {
			return h.keep(ctx, ep, cb, &res, Errorf(res.Reason.Code(), "%s: %s", res.Reason, res.Detail), seen)
		}
		return h.reject(ctx, ep, cb, &res, seen)
	case Respond:
		return respond(&res)
	case Accept, Ignore:
	}
	rec, err := complete(ep, cb, &res)
	refused := ""
	if err == nil {
		refused, err = ep.guard(ctx, rec, seen)
	}
	switch {
	case err != nil:
		seen.Verdict = 0
		return h.unable(ctx, ep, cb, err, seen)
	case refused != "":
		seen.Verdict, res.Reason, res.Detail = Reject, ByGuard, refused
		return h.reject(ctx, ep, cb, &res, seen)
	}
	receipt, err := h.append(ctx, rec)
	if err != nil {
		// Invariant 9: this provider does not send again.
		if rec.Kind == Held && ep.Unable == Keep && CodeOf(err) == KeptFull {
			res.Reason, res.Detail = ByGuard, rec.Aside[0].Reason+" would hold it: "+rec.Detail
			h.quarantine(ctx, ep, cb, &res, seen)
		}
		return h.fail(ep, err, seen)
	}
	seen.Receipt = receipt
	if seen.Held = rec.Kind == Held; seen.Held {
		h.Log.Warn("callback held", "endpoint", ep.Source(), "guard", rec.Aside[0].Reason,
			"detail", rec.Detail, "seq", receipt.Seq)
	}
	return h.ack(ep, res.Answer, receipt)
}

// refusalUnit is how many bytes of a body Refusal is for.
const refusalUnit = 16 << 10

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Judge masks and compares the tokens, runs the plugin and checks what it
// claims: that it verified the callback, and that its events can be events. It
// changes cb only by masking. The error is that of [Plugin].
func (e *Endpoint) Judge(ctx context.Context, cb *Callback) (Result, error) {
	if !e.maskTokens(cb) {
		return refusedToken(wrongToken), nil
	}
	return e.judge(ctx, cb)
}

const wrongToken = "a static token is missing or wrong"

// refusedToken is the result for a callback whose tokens are not right.
func refusedToken(detail string) Result {
	return Result{Verdict: Reject, Reason: NotVerified, Detail: detail}
}

// judge is Judge for a callback whose tokens are masked and right.
func (e *Endpoint) judge(ctx context.Context, cb *Callback) (Result, error) {
	res, err := e.Plugin.Handle(ctx, cb)
	if err != nil {
		return Result{}, err
	}
	if !e.Unverified && !proven(&res) {
		return Result{
			Verdict: Reject, Reason: NotVerified,
			Detail: "the plugin said " + res.Verdict.String() + " without evidence",
		}, nil
	}
	for i := range res.Events {
		if err := res.checkEvent(i); err != nil {
			return Result{}, Errorf(PluginFailed, "plugin %s: event %d: %w", e.PluginVersion, i, err)
		}
	}
	return res, nil
}

// proven reports whether the host saw evidence for everything that res wants
// acknowledged. What a plugin says about itself counts for nothing.
func proven(res *Result) bool {
	if res.Verdict != Accept && res.Verdict != Ignore {
		return true
	}
	for i := range res.Events {
		if res.Events[i].Evidence < 0 {
			return false
		}
	}
	return len(res.Evidence) > 0
}

// reject answers that the callback was refused, in the same words whatever the
// cause, and puts it into quarantine.
func (h *Host) reject(ctx context.Context, ep *Endpoint, cb *Callback, res *Result, seen *Observation) Answer {
	code := res.Reason.Code()
	seen.Failed, seen.Code = true, code
	h.quarantine(ctx, ep, cb, res, seen)
	h.Log.Warn("callback rejected", "endpoint", ep.Source(), "plugin", ep.PluginVersion,
		"reason", res.Reason.String(), "detail", res.Detail, "bytes", len(cb.Body), "remote", cb.Remote)
	answer := Failure(code)
	if ep.RejectStatus != 0 {
		answer.Status = ep.RejectStatus
	}
	return answer
}

// quarantine hands a callback to the store that was refused or, with a result
// that has no reason, could not be judged. A store without a quarantine is no
// failure.
//
// Invariant 9: it can be run again once the plugin, the secret or the setting is
// mended.
func (h *Host) quarantine(ctx context.Context, ep *Endpoint, cb *Callback, res *Result, seen *Observation) {
	r := &Rejected{
		Reason: res.Reason.String(), Detail: res.Detail, Tenant: ep.Tenant, Endpoint: ep.Name,
		Provider: ep.Provider, Plugin: ep.PluginVersion, Callback: *cb,
	}
	if r.Reason == "" {
		r.Reason = ReasonPluginFailed
	}
	if res.Reason != NotVerified {
		r.Evidence = allEvidence(cb, res)
	}
	if err := h.Store.Put(ctx, r); err != nil && !errors.Is(err, ErrUnsupported) {
		seen.Lost = true
		h.Log.Error("callback not quarantined", "endpoint", ep.Source(), "reason", r.Reason, "err", err)
	}
}

// respond answers a challenge, which needs no record.
func respond(res *Result) Answer {
	if res.Answer == nil {
		return Answer{Status: 200}
	}
	return *res.Answer
}

// complete makes the record: the callback, its evidence, its events and what
// was set aside, each with its identity.
func complete(ep *Endpoint, cb *Callback, res *Result) (*Record, error) {
	rec := newRecord(ep, cb)
	rec.Detail, rec.Evidence, rec.Aside = res.Detail, allEvidence(cb, res), res.Aside
	rec.Kind = Accepted
	if res.Verdict == Ignore || len(res.Events)+len(res.Aside) == 0 {
		rec.Kind = Ignored
		return rec, nil
	}
	rec.Events = make([]Event, 0, len(res.Events))
	for i := range res.Events {
		ev, err := ep.complete(cb, res, i)
		if err != nil {
			return nil, Errorf(PluginFailed, "complete %s: %w", ep.PluginVersion, err)
		}
		rec.Events = append(rec.Events, ev)
	}
	for i := range rec.Aside {
		h := ep.scope("aside", strongest(res.Evidence))
		put(h, string(rec.Aside[i].Item))
		rec.Aside[i].Key = Hash(h.Sum(nil)[:16])
	}
	return rec, nil
}

// allEvidence is what the plugin asked for and the tokens that it did not ask
// for: an endpoint may bind one that its plugin does not know.
func allEvidence(cb *Callback, res *Result) []Evidence {
	all := slices.Clone(res.Evidence)
	for _, e := range cb.Tokens {
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

func strongest(proofs []Evidence) Strength {
	s := Unproven
	for _, e := range proofs {
		s = max(s, e.Algorithm.Strength())
	}
	return s
}

func newRecord(ep *Endpoint, cb *Callback) *Record {
	return &Record{
		Tenant: ep.Tenant, Endpoint: ep.Name, Provider: ep.Provider,
		Plugin: ep.PluginVersion, Callback: *cb,
	}
}

// append makes the record durable and wakes the delivery.
func (h *Host) append(ctx context.Context, rec *Record) (Receipt, error) {
	receipt, err := h.Store.Append(ctx, rec)
	if err != nil {
		return Receipt{}, err
	}
	if rec.Kind == Held {
		receipt.Aside = receipt.Aside[1:] // the hold itself is no item
	}
	for i, d := range receipt.Events {
		// Invariant 3: a conflict is answered like the first, marked and told.
		if d == Conflicted {
			h.Log.Warn("conflict: an event's content changed under the same dedup key",
				"endpoint", "/"+rec.Tenant+"/"+rec.Endpoint, "seq", receipt.Seq, "index", i)
		}
	}
	if receipt.Seq != 0 && h.Wake != nil {
		h.Wake()
	}
	return receipt, nil
}

// ack is the answer to a callback that is durable: the plugin's, or the
// endpoint's. Who has no receipt cannot ask for it.
func (h *Host) ack(ep *Endpoint, answer *Answer, _ Receipt) Answer {
	if answer == nil {
		answer = &ep.Ack
	}
	out := *answer
	if out.Status == 0 {
		out.Status = 200
	}
	return out
}

// unable deals with a callback that Postern itself could not judge.
//
// Invariant 1: a failure of ours is 503 where the provider retries; where it
// does not, the callback itself is made durable and acknowledged.
//
// Invariant 9: where the plugin failed the provider may give up before it is
// mended, and its retries take one place in quarantine. One that found no
// instance free is well when it comes again.
func (h *Host) unable(ctx context.Context, ep *Endpoint, cb *Callback, cause error, seen *Observation) Answer {
	if ep.Unable == Retry {
		if CodeOf(cause) == PluginFailed {
			h.quarantine(ctx, ep, cb, &Result{Detail: cause.Error()}, seen)
		}
		return h.fail(ep, cause, seen)
	}
	return h.keep(ctx, ep, cb, &Result{}, cause, seen)
}

// keep makes a callback durable as it came, to be reprocessed, and acknowledges
// it: one that could not be judged, and one that is its provider's without doubt
// and was not understood. A provider that does not send again would have lost
// either.
func (h *Host) keep(ctx context.Context, ep *Endpoint, cb *Callback, res *Result, cause error, seen *Observation) Answer {
	rec := newRecord(ep, cb)
	rec.Kind, rec.Evidence, rec.Detail = Kept, allEvidence(cb, res), cause.Error()
	receipt, err := h.append(ctx, rec)
	if err != nil {
		// Invariant 9: this provider does not send again.
		if CodeOf(err) == KeptFull {
			h.quarantine(ctx, ep, cb, &Result{Reason: res.Reason, Detail: cause.Error(), Evidence: res.Evidence}, seen)
		}
		return h.fail(ep, errors.Join(err, cause), seen)
	}
	h.Log.Error("callback kept", "endpoint", ep.Source(), "plugin", ep.PluginVersion,
		"seq", receipt.Seq, "err", cause)
	seen.Kept, seen.Failed, seen.Code, seen.Receipt = true, true, CodeOf(cause), receipt
	return h.ack(ep, nil, receipt)
}

func (h *Host) fail(ep *Endpoint, err error, seen *Observation) Answer {
	seen.Failed, seen.Code = true, CodeOf(err)
	h.Log.Error("callback not taken", "endpoint", ep.Source(), "code", seen.Code.String(), "err", err)
	return Failure(seen.Code)
}

// retryAfter is what a provider is asked to wait after a 503.
const retryAfter = 5 * time.Second

// Failure is the uniform answer for an error code: its name and nothing else.
func Failure(c Code) Answer {
	a := Answer{
		Status: c.Status(), ContentType: "application/json",
		Body: []byte(`{"error":` + strconv.Quote(c.String()) + `}`),
	}
	if a.Status == 503 {
		a.RetryAfter = retryAfter
	}
	return a
}
