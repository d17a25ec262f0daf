package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// ledger is a store of the first event of each dedup key, of refused callbacks
// and of kept ones, as far as these tests need one.
type ledger struct {
	records  []*Record
	seen     map[Hash]Content
	rejected map[string]*Rejected
	appendOf error
	dropOf   error
}

func newLedger() *ledger {
	return &ledger{seen: make(map[Hash]Content), rejected: make(map[string]*Rejected)}
}

func (l *ledger) Append(_ context.Context, rec *Record) (Receipt, error) {
	if l.appendOf != nil {
		return Receipt{}, l.appendOf
	}
	anew, receipt := rec.Kind != Accepted, Receipt{}
	for i := range rec.Events {
		ev, d := &rec.Events[i], Stored
		if content, ok := l.seen[ev.Key]; ok && content == ev.Content {
			d = Duplicate
		} else if ok {
			d = Conflicted
		}
		anew = anew || d != Duplicate
		l.seen[ev.Key] = ev.Content
		receipt.Events = append(receipt.Events, d)
	}
	if !anew {
		return receipt, nil
	}
	l.records = append(l.records, rec)
	receipt.Seq = uint64(len(l.records))
	if rec.Kind == Kept {
		id := fmt.Sprintf("kept-%d", receipt.Seq)
		l.rejected[id] = &Rejected{
			ID: id, Kept: true, Reason: ReasonKept, Detail: rec.Detail, Tenant: rec.Tenant, Endpoint: rec.Endpoint,
			Plugin: rec.Plugin, Evidence: rec.Evidence, Callback: stored(rec.Callback),
		}
	}
	return receipt, nil
}

func (l *ledger) Put(_ context.Context, r *Rejected) error {
	put := *r
	put.ID, put.Callback = fmt.Sprintf("q-%d", len(l.rejected)+1), stored(r.Callback)
	l.rejected[put.ID] = &put
	return nil
}

// stored is a callback as it comes back from a store.
func stored(cb Callback) Callback {
	cb.TokenTexts = nil
	return cb
}

func (l *ledger) Drop(_ context.Context, id string) error {
	if l.dropOf != nil {
		return l.dropOf
	}
	if l.rejected[id] == nil {
		return ErrNotFound
	}
	delete(l.rejected, id)
	return nil
}

// only returns the one rejected callback.
func (l *ledger) only(t *testing.T) *Rejected {
	t.Helper()
	if len(l.rejected) != 1 {
		t.Fatalf("%d are quarantined or kept, want one", len(l.rejected))
	}
	for _, r := range l.rejected {
		return r
	}
	return nil
}

// signer is a plugin that checks a signature over the time and the body, within
// a minute of the receipt, and asks for the tokens it is told to.
type signer struct {
	secret string
	tokens []string
	// unsigned has it do without a signature.
	unsigned bool
	fails    error
	// verdict, if set, is what it says of what is right.
	verdict Verdict
	reason  Reason
	seen    []Callback
}

func sign(secret, at, body string) string { return SignToken([]byte(secret), at+"."+body) }

func (p *signer) Handle(_ context.Context, cb *Callback) (Result, error) {
	p.seen = append(p.seen, *cb)
	if p.fails != nil {
		return Result{}, p.fails
	}
	var res Result
	for _, name := range p.tokens {
		i := slices.IndexFunc(cb.Tokens, func(e Evidence) bool { return e.Secret == name })
		if i < 0 {
			return Result{Verdict: Reject, Reason: NotVerified, Detail: "no token " + name}, nil
		}
		res.Evidence = append(res.Evidence, cb.Tokens[i])
	}
	if !p.unsigned {
		at, _ := cb.Header("X-At", 0)
		signature, _ := cb.Header("X-Sig", 0)
		when, err := time.Parse(time.RFC3339, at)
		if off := cb.Received.Sub(when).Abs(); err != nil || off > time.Minute || signature != sign(p.secret, at, string(cb.Body)) {
			return Result{Verdict: Reject, Reason: NotVerified, Detail: "the signature is wrong or late"}, nil
		}
		res.Evidence = append(res.Evidence, proof)
	}
	res.Verdict, res.Reason = Accept, p.reason
	if p.verdict != 0 {
		res.Verdict = p.verdict
	}
	if res.Verdict == Accept {
		res.Events = []Draft{{Type: "payment.succeeded", Status: "succeeded", Subject: "s", Key: []string{string(cb.Body)}}}
	}
	return res, nil
}

// received is when the test's callback came, a year before the test's now.
var received = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

// signed is a callback signed with the secret that long before its receipt.
func signed(secret string, before time.Duration) *Callback {
	at := received.Add(-before).Format(time.RFC3339)
	return &Callback{
		Method: "POST", Target: "/in/acme/pay", Body: []byte("body"), Received: received,
		Headers: []Header{{"X-At", at}, {"X-Sig", sign(secret, at, "body")}},
	}
}

type counter struct {
	*Host
	store  *ledger
	plugin *signer
	ep     *Endpoint
	log    strings.Builder
	woken  int
}

func newCounter() *counter {
	c := &counter{store: newLedger(), plugin: &signer{secret: "right"}}
	c.Host = &Host{Store: c.store, Log: slog.New(slog.NewTextHandler(&c.log, nil)), Wake: func() { c.woken++ }}
	c.ep = &Endpoint{Tenant: "acme", Name: "pay", Provider: "p", Plugin: c.plugin, PluginVersion: "p@1"}
	return c
}

// run reprocesses the one callback there is.
func (c *counter) run(t *testing.T) Reprocessed {
	t.Helper()
	got, err := c.Reprocess(t.Context(), c.ep, c.store.only(t))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantStays wants it where it is, for a reason, and nothing of it stored.
func (c *counter) wantStays(t *testing.T, got Reprocessed, reason, detail string) {
	t.Helper()
	if got.Kind != 0 || got.Reason != reason || !strings.Contains(got.Detail, detail) || got.Events != nil {
		t.Errorf("reprocessed %+v, want that it stays, %s: %s", got, reason, detail)
	}
	c.store.only(t)
	for _, rec := range c.store.records {
		if rec.Kind != Kept {
			t.Errorf("a record %+v", rec)
		}
	}
}

// TestInvariant9_aMendedSecretIsEnough: what was refused for a wrong secret is
// taken once the secret is right, as it would have been, and not before.
func TestInvariant9_aMendedSecretIsEnough(t *testing.T) {
	live := newCounter()
	live.Ingest(t.Context(), live.ep, signed("right", 0))

	c := newCounter()
	c.plugin.secret = "mistyped"
	if got := c.Ingest(t.Context(), c.ep, signed("right", 0)); got.Status != 401 {
		t.Fatalf("status %d, want 401", got.Status)
	}
	if got := c.run(t); strings.Contains(got.Detail, "when it came") {
		t.Errorf("of what was never verified: %q", got.Detail)
	}
	c.wantStays(t, c.run(t), "not-verified", "signature is wrong")
	before := *c.store.only(t)
	c.plugin.secret = "right"
	got := c.run(t)
	want := Reprocessed{
		Kind: Accepted, Verdict: Accept, Receipt: Receipt{Seq: 1, Events: []Disposition{Stored}},
		Events: []string{live.store.records[0].Events[0].ID()},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("reprocessed (-want +got):\n%s", d)
	}
	// As if it had come so.
	if d := cmp.Diff(live.store.records[0], c.store.records[0], cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Errorf("record (-live +reprocessed):\n%s", d)
	}
	if len(c.store.rejected) != 0 || c.woken != 1 {
		t.Errorf("%d are left, woken %d times; want none and once", len(c.store.rejected), c.woken)
	}
	if len(before.Callback.Headers) != 2 || before.Callback.Tokens != nil {
		t.Errorf("the stored callback changed: %+v", before.Callback)
	}
}

// TestReprocess_toleranceIsThatOfItsReceipt: a year later a signature that was
// in time is in time, and one that was late is late.
func TestReprocess_toleranceIsThatOfItsReceipt(t *testing.T) {
	for before, ok := range map[time.Duration]bool{0: true, time.Minute: true, 61 * time.Second: false, -61 * time.Second: false} {
		c := newCounter()
		c.plugin.secret = "mistyped"
		c.Ingest(t.Context(), c.ep, signed("right", before))
		c.plugin.secret = "right"
		got := c.run(t)
		if (got.Kind == Accepted) != ok {
			t.Errorf("signed %v before its receipt: %+v", before, got)
		}
		if seen := c.plugin.seen[len(c.plugin.seen)-1]; !seen.Received.Equal(received) {
			t.Errorf("the plugin's clock is %v, want that of the receipt", seen.Received)
		}
	}
}

// TestInvariant9_whatThePluginFailedOn: where the provider retries, too, it can
// be run again; with no instance free, there is nothing to mend.
func TestInvariant9_whatThePluginFailedOn(t *testing.T) {
	for _, unable := range []Unable{Retry, Keep} {
		c := newCounter()
		c.ep.Unable = unable
		c.plugin.fails = Errorf(PluginFailed, "trapped")
		answer := c.Ingest(t.Context(), c.ep, signed("right", 0))
		if want := map[Unable]int{Retry: 503, Keep: 200}[unable]; answer.Status != want {
			t.Errorf("unable %v: status %d, want %d", unable, answer.Status, want)
		}
		r := c.store.only(t)
		if want := map[Unable]string{Retry: ReasonPluginFailed, Keep: ReasonKept}[unable]; r.Reason != want || r.Detail != "trapped" {
			t.Errorf("unable %v: %q, %q, want %q", unable, r.Reason, r.Detail, want)
		}
		c.wantStays(t, c.run(t), "plugin-failed", "trapped")
		c.plugin.fails = nil
		if got := c.run(t); got.Kind != Accepted || len(c.store.rejected) != 0 {
			t.Errorf("unable %v, mended: %+v, %d left", unable, got, len(c.store.rejected))
		}
	}
	c := newCounter()
	c.plugin.fails = Errorf(PluginBusy, "none free")
	c.Ingest(t.Context(), c.ep, signed("right", 0))
	if len(c.store.rejected) != 0 {
		t.Error("a callback that found no instance free is quarantined")
	}
}

// TestInvariant9_keptInVain: a provider that does not send again has lost what
// is neither kept nor quarantined.
func TestInvariant9_keptInVain(t *testing.T) {
	for name, tt := range map[string]struct {
		cause error
		want  int
	}{
		"kept full":    {Errorf(KeptFull, "10000 are kept"), 1},
		"store failed": {Errorf(StoreUnavailable, "input/output error"), 0},
	} {
		c := newCounter()
		c.ep.Unable, c.plugin.fails, c.store.appendOf = Keep, Errorf(PluginFailed, "trapped"), tt.cause
		if got := c.Ingest(t.Context(), c.ep, signed("right", 0)); got.Status != 503 || len(c.store.rejected) != tt.want {
			t.Errorf("%s: status %d with %d quarantined, want 503 and %d", name, got.Status, len(c.store.rejected), tt.want)
		}
	}
}

// TestInvariant1_whatWasKeptIsTakenOnceThePluginIsMended: not understood and
// acknowledged, it becomes an event when the plugin knows it.
func TestInvariant1_whatWasKeptIsTakenOnceThePluginIsMended(t *testing.T) {
	c := newCounter()
	c.ep.Unable, c.plugin.verdict, c.plugin.reason = Keep, Reject, NotUnderstood
	if got := c.Ingest(t.Context(), c.ep, signed("right", 0)); got.Status != 200 {
		t.Fatalf("status %d, want 200", got.Status)
	}
	if r := c.store.only(t); !r.Kept || len(r.Evidence) != 1 {
		t.Errorf("kept %+v, want it with its evidence", r)
	}
	c.wantStays(t, c.run(t), "not-understood", "")
	// The secret was rotated meanwhile: what stays says which one is missing.
	c.plugin.verdict, c.plugin.reason, c.plugin.secret = 0, 0, "rotated"
	c.wantStays(t, c.run(t), "not-verified", "its secret key was right when it came")
	c.plugin.secret = "right"
	if got := c.run(t); got.Kind != Accepted || len(c.store.rejected) != 0 || len(c.store.records) != 2 {
		t.Errorf("mended: %+v, %d left, %d records", got, len(c.store.rejected), len(c.store.records))
	}
}

// TestInvariant2_reprocessIsIdempotent ends between the append and the drop.
func TestInvariant2_reprocessIsIdempotent(t *testing.T) {
	c := newCounter()
	c.plugin.secret = "mistyped"
	c.Ingest(t.Context(), c.ep, signed("right", 0))
	c.plugin.secret = "right"
	r := c.store.only(t)

	c.store.appendOf = Errorf(StoreFull, "full")
	if got, err := c.Reprocess(t.Context(), c.ep, r); CodeOf(err) != StoreFull || got.Kind != 0 {
		t.Errorf("append failed: %+v, %v", got, err)
	}
	c.store.only(t)
	c.store.appendOf, c.store.dropOf = nil, errors.New("killed")
	first, err := c.Reprocess(t.Context(), c.ep, r)
	if !errors.Is(err, c.store.dropOf) || first.Receipt.Events[0] != Stored {
		t.Errorf("drop failed: %+v, %v", first, err)
	}
	c.store.dropOf = nil
	again := c.run(t)
	if want := []Disposition{Duplicate}; !slices.Equal(again.Receipt.Events, want) || !slices.Equal(again.Events, first.Events) {
		t.Errorf("again: %+v, want the duplicate of %v", again, first.Events)
	}
	if len(c.store.records) != 1 || len(c.store.rejected) != 0 {
		t.Errorf("%d records, %d left; want one and none", len(c.store.records), len(c.store.rejected))
	}
	// Somebody else was faster.
	if _, err := c.Reprocess(t.Context(), c.ep, r); err != nil {
		t.Errorf("of what is dropped already: %v", err)
	}
}

func TestReprocess_conflictHasItsOwnID(t *testing.T) {
	c := newCounter()
	c.plugin.secret = "mistyped"
	c.Ingest(t.Context(), c.ep, signed("right", 0))
	c.plugin.secret = "right"
	r := c.store.only(t)
	rec, err := complete(c.ep, &r.Callback, &Result{
		Verdict: Accept, Evidence: []Evidence{proof},
		Events: []Draft{{Type: "payment.failed", Status: "failed", Subject: "s", Key: []string{"body"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.store.Append(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	got := c.run(t)
	stored := c.store.records[1].Events[0]
	if got.Receipt.Events[0] != Conflicted || got.Events[0] != stored.ConflictKey.ID() || !strings.Contains(c.log.String(), "conflict") {
		t.Errorf("%+v, want a conflict with the id of one, told in the log", got)
	}
}

func TestReprocess_otherVerdicts(t *testing.T) {
	for name, tt := range map[string]struct {
		verdict Verdict
		reason  Reason
		fails   error
		kind    Kind
		why     string
		code    Code // of an error
	}{
		"ignore":         {verdict: Ignore, kind: Ignored},
		"respond":        {verdict: Respond, why: ""},
		"malformed":      {verdict: Reject, reason: Malformed, why: "malformed"},
		"not understood": {verdict: Reject, reason: NotUnderstood, why: "not-understood"},
		"plugin fails":   {fails: Errorf(PluginFailed, "trapped"), why: "plugin-failed"},
		"plugin busy":    {fails: Errorf(PluginBusy, "none free"), code: PluginBusy},
	} {
		c := newCounter()
		c.plugin.secret = "mistyped"
		c.Ingest(t.Context(), c.ep, signed("right", 0))
		c.plugin.secret, c.plugin.verdict, c.plugin.reason, c.plugin.fails = "right", tt.verdict, tt.reason, tt.fails
		got, err := c.Reprocess(t.Context(), c.ep, c.store.only(t))
		if (err != nil) != (tt.code != 0) || err != nil && CodeOf(err) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
		left := len(c.store.rejected)
		if got.Kind != tt.kind || got.Reason != tt.why || (tt.kind == 0) != (left == 1) || len(c.store.records) != 1-left {
			t.Errorf("%s: %+v, %d left, %d records", name, got, left, len(c.store.records))
		}
	}
}

// TestReprocess_givesNoEvidence: a plugin that says so without any, at an
// endpoint that asks for it, is not believed the second time either.
func TestReprocess_givesNoEvidence(t *testing.T) {
	c := newCounter()
	c.Ingest(t.Context(), c.ep, signed("forged", 0))
	c.ep.Plugin = &fakePlugin{res: Result{Verdict: Accept, Events: []Draft{{Evidence: -1, Type: "a.b"}}}}
	c.wantStays(t, c.run(t), "not-verified", "without evidence")
	// verification: none is the operator's word, and the event says so.
	c.ep.Unverified = true
	if got := c.run(t); got.Kind != Accepted || c.store.records[0].Events[0].VerifiedBy != None {
		t.Errorf("verification none: %+v", got)
	}
}

func TestReprocess_refusesWhatIsNotItsEndpoints(t *testing.T) {
	c := newCounter()
	c.Ingest(t.Context(), c.ep, signed("forged", 0))
	r := c.store.only(t)
	c.ep.Unverified, c.plugin.unsigned = true, true
	for name, other := range map[string]Endpoint{
		"tenant":   {Tenant: "other", Name: "pay", Plugin: c.plugin, Unverified: true},
		"endpoint": {Tenant: "acme", Name: "other", Plugin: c.plugin, Unverified: true},
	} {
		if got, err := c.Reprocess(t.Context(), &other, r); err == nil {
			t.Errorf("another %s: %+v", name, got)
		}
	}
	// Without its raw callback there is nothing to judge.
	gone := *r
	gone.Callback = Callback{Received: received}
	if got, err := c.Reprocess(t.Context(), c.ep, &gone); err == nil {
		t.Errorf("without its raw callback: %+v", got)
	}
	if len(c.store.records) != 0 {
		t.Errorf("%d records", len(c.store.records))
	}
}
