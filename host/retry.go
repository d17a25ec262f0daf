package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The reasons of a [Rejected] that are not those of a rejection ([Reason]).
const (
	// ReasonPluginFailed: the plugin failed, so that nobody judged it.
	ReasonPluginFailed = "plugin-failed"
	// ReasonKept: it is a record of kind Kept.
	ReasonKept = "kept"
	// ReasonHeld: it is a record of kind Held.
	ReasonHeld = "held"
)

// Reprocessed is what became of a stored callback that was run again.
type Reprocessed struct {
	// Kind is that of the record which it became, Accepted, Ignored or Held; zero
	// when it stays where it is.
	Kind Kind
	// Verdict is what the plugin made of it; zero when the plugin failed. Respond
	// says that it was a challenge, for whose answer nobody waits any more.
	Verdict Verdict
	// Reason says why it stays, in the words of [Rejected]; empty when it does
	// not, or was a challenge. Detail is the plugin's or the host's remark.
	Reason string
	Detail string
	// Receipt is that of the record. All of its events are duplicates where an
	// earlier run got as far as to append it.
	Receipt Receipt
	// Events are the ids of its events, one for each of Receipt.Events: of a
	// duplicate that of the first event with its dedup key.
	Events []string
}

// Reprocess runs a callback of the quarantine, or one that was kept or is held,
// through the plugin and the guards of ep again, which must be the endpoint that
// it came to. What is accepted, ignored or held now becomes a record, as if it
// had come so (but for what was held and would be again), and r is
// dropped once that is durable; anything else leaves r where it is, and says
// why. It blocks while the plugin runs and for two commits. r is not changed,
// and nothing is observed.
//
// The plugin judges it by the secrets and settings of today and at the time of
// its receipt, so that a signature that was in time then is in time now. A token
// was compared when it came and stands masked since: if it was right, that
// evidence stands, and if it was not, nothing can make it so. One that is no
// longer bound counts for what was kept, because it was acknowledged. A signature
// is checked again, of what was kept too: it spoke for bytes that the plugin of
// then put together, and those of today may be others.
//
// It may be run any number of times, and by many at once: what an earlier run
// appended is a duplicate to the next.
//
// An error says that nothing was found out or written, and has the code of
// [PluginBusy] or of [Appender]; or that a record is durable, which the result
// then tells, and r could not be dropped.
func (h *Host) Reprocess(ctx context.Context, ep *Endpoint, r *Rejected) (Reprocessed, error) {
	if r.Tenant != ep.Tenant || r.Endpoint != ep.Name {
		return Reprocessed{}, fmt.Errorf("reprocess %s: it came to /%s/%s, not to %s", r.ID, r.Tenant, r.Endpoint, ep.Source())
	}
	// Where no evidence is asked for, nothing would be taken for something.
	if r.Callback.Method == "" {
		return Reprocessed{}, fmt.Errorf("reprocess %s: its raw callback is not there any more", r.ID)
	}
	cb := r.Callback
	cb.Headers = slices.Clone(cb.Headers)
	out, rec, err := ep.rejudge(ctx, &cb, r)
	if err != nil {
		return Reprocessed{}, fmt.Errorf("reprocess %s: %w", r.ID, err)
	}
	if rec == nil {
		h.Log.Info("callback reprocessed, it stays", "id", r.ID, "endpoint", ep.Source(),
			"plugin", ep.PluginVersion, "reason", out.Reason, "detail", out.Detail)
		return out, nil
	}
	if out.Receipt, err = h.append(ctx, rec); err != nil {
		return Reprocessed{}, fmt.Errorf("reprocess %s: %w", r.ID, err)
	}
	out.Kind = rec.Kind
	for i, d := range out.Receipt.Events {
		ev := rec.Events[i]
		ev.Conflict = d == Conflicted
		out.Events = append(out.Events, ev.ID())
	}
	h.Log.Info("callback reprocessed", "id", r.ID, "endpoint", ep.Source(),
		"plugin", ep.PluginVersion, "kind", out.Kind.String(), "seq", out.Receipt.Seq)
	return out, h.dropped(ctx, r, "reprocess")
}

// dropped drops what has become a record.
//
// Invariant 2: not before the record is durable. A crash in between leaves
// both, and the next run finds duplicates.
func (h *Host) dropped(ctx context.Context, r *Rejected, doing string) error {
	if err := h.Store.Drop(ctx, r.ID); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%s %s: its record is stored, do it again: %w", doing, r.ID, err)
	}
	return nil
}

// rejudge judges cb, a copy of the callback of r, and makes its record where
// there is to be one. The error is one that says nothing of the callback.
func (e *Endpoint) rejudge(ctx context.Context, cb *Callback, r *Rejected) (Reprocessed, *Record, error) {
	var res Result
	var err error
	if why := e.retoken(cb, r.Kept || r.Held != nil); why != "" {
		res = refusedToken(why)
	} else {
		res, err = e.judge(ctx, cb)
	}
	out := Reprocessed{Verdict: res.Verdict, Detail: res.Detail}
	var rec *Record
	refused := ""
	if err == nil && (res.Verdict == Accept || res.Verdict == Ignore) {
		if rec, err = complete(e, cb, &res); err == nil {
			refused, err = e.guard(ctx, rec, &Observation{})
		}
	}
	switch {
	case err != nil && CodeOf(err) != PluginFailed:
		return Reprocessed{}, nil, err
	case err != nil:
		return Reprocessed{Reason: ReasonPluginFailed, Detail: err.Error()}, nil, nil
	case refused != "":
		return Reprocessed{Verdict: Reject, Reason: ByGuard.String(), Detail: refused}, nil, nil
	case rec != nil && rec.Kind == Held && r.Held != nil:
		return Reprocessed{Verdict: Accept, Reason: ReasonHeld, Detail: rec.Aside[0].Reason + ": " + rec.Detail}, nil, nil
	case res.Verdict == Reject:
		out.Reason = res.Reason.String()
		if was := signature(r.Evidence); was != "" && res.Reason == NotVerified {
			out.Detail += "; its secret " + was + " was right when it came: bind the value of then beside that of today, and run it again"
		}
	case res.Verdict == Respond:
		out.Detail = "a challenge, for whose answer nobody waits any more"
	}
	return out, rec, nil
}

// signature names the secret of the first evidence of a signature or cipher,
// empty for none.
func signature(proofs []Evidence) string {
	for _, e := range proofs {
		if e.Algorithm.Strength() == Cryptographic {
			return e.Secret
		}
	}
	return ""
}

// retoken restores the evidence of a stored callback's tokens, and says why it
// is refused if they are not all right.
//
// Invariant 8: what stands in a token's place and is not its mask, because the
// token was declared later, is compared and masked before the plugin runs.
//
// No mask is evidence: what was sent may look like one. Only what the host
// recorded when it compared the token is.
func (e *Endpoint) retoken(cb *Callback, kept bool) (why string) {
	recorded := cb.Tokens
	var proofs []Evidence
	texts := make(map[string]string)
	var rest Endpoint
	for i := range e.Tokens {
		t := &e.Tokens[i]
		text, masked := t.masked(cb)
		at := slices.IndexFunc(recorded, func(p Evidence) bool {
			return p.Secret == t.Name && p.Algorithm == t.algorithm()
		})
		bound := len(t.Values) > 0
		switch {
		case !masked:
			rest.Tokens = append(rest.Tokens, *t)
		case at >= 0 && (bound || kept) && t.Signed == (text != ""):
			proofs = append(proofs, recorded[at])
			if t.Signed {
				texts[t.Name] = text
			}
		case bound:
			return fmt.Sprintf("its token %s was not found right when it came, and stands masked: it cannot be compared again", t.Name)
		}
	}
	if !rest.maskTokens(cb) {
		return wrongToken
	}
	cb.Tokens = append(proofs, cb.Tokens...)
	for _, p := range recorded {
		if kept && !slices.ContainsFunc(e.Tokens, func(t Token) bool { return t.Name == p.Secret }) {
			cb.Tokens = append(cb.Tokens, p)
		}
	}
	for name, text := range cb.TokenTexts {
		texts[name] = text
	}
	cb.TokenTexts = texts
	return ""
}

// masked reports whether the token's place has its mask in it, and what stands
// before that of a signed one.
func (t *Token) masked(cb *Callback) (text string, masked bool) {
	t.take(cb, func(raw, got string) string {
		before, cut := strings.CutSuffix(got, "."+t.mask())
		switch {
		case got == t.mask():
			masked = true
		case t.Signed && cut && IsTokenText(before):
			text, masked = before, true
		}
		return raw
	})
	return text, masked
}
