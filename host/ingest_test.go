package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakePlugin says what it is told to.
type fakePlugin struct {
	res  Result
	err  error
	seen *Callback
	// takes is how long it works on a callback.
	takes time.Duration
}

func (p *fakePlugin) Handle(_ context.Context, cb *Callback) (Result, error) {
	p.seen = cb
	<-time.After(p.takes)
	return p.res, p.err
}

// fakeStore notes what it is asked to keep and fails when told to.
type fakeStore struct {
	err      error
	receipt  Receipt
	records  []*Record
	rejected []*Rejected
	putErr   error
	dropped  []string
	dropErr  error
}

func (s *fakeStore) Append(_ context.Context, rec *Record) (Receipt, error) {
	s.records = append(s.records, rec)
	return s.receipt, s.err
}

func (s *fakeStore) Put(_ context.Context, r *Rejected) error {
	s.rejected = append(s.rejected, r)
	return s.putErr
}

func (s *fakeStore) Drop(_ context.Context, id string) error {
	s.dropped = append(s.dropped, id)
	return s.dropErr
}

type pipeline struct {
	host   *Host
	store  *fakeStore
	plugin *fakePlugin
	ep     *Endpoint
	log    bytes.Buffer
	woken  int
	seen   []Observation
}

var proof = Evidence{Secret: "key", Algorithm: HMACSHA256, Covers: CoversBody}

// newPipeline is a host whose plugin accepts one event with evidence.
func newPipeline() *pipeline {
	p := &pipeline{
		store: &fakeStore{receipt: Receipt{Seq: 7, Events: []Disposition{Stored}}},
		plugin: &fakePlugin{res: Result{
			Verdict: Accept, Evidence: []Evidence{proof},
			Events: []Draft{{Type: "payment.succeeded", Status: "succeeded", Key: []string{"r1"}}},
		}},
	}
	p.host = &Host{
		Store: p.store, Log: slog.New(slog.NewTextHandler(&p.log, nil)),
		Wake: func() { p.woken++ }, Observe: func(o Observation) { p.seen = append(p.seen, o) },
	}
	p.ep = &Endpoint{Tenant: "acme", Name: "pay", Provider: "ottu", Plugin: p.plugin, PluginVersion: "ottu@1"}
	return p
}

func (p *pipeline) ingest() Answer {
	return p.host.Ingest(context.Background(), p.ep, &Callback{
		Method: "POST", Target: "/in/acme/pay", Body: []byte("body"), Received: time.Unix(1700000000, 0),
	})
}

func TestIngest_acceptsOnceDurable(t *testing.T) {
	p := newPipeline()
	p.ep.Ack = Answer{Status: 201, ContentType: "text/plain", Body: []byte("thanks")}
	if diff := cmp.Diff(p.ep.Ack, p.ingest()); diff != "" {
		t.Error(diff)
	}
	if len(p.store.records) != 1 || p.woken != 1 {
		t.Fatalf("%d records, woken %d times; want 1 and 1", len(p.store.records), p.woken)
	}
	rec := p.store.records[0]
	if rec.Kind != Accepted || len(rec.Events) != 1 || rec.Plugin != "ottu@1" || string(rec.Callback.Body) != "body" {
		t.Errorf("record = %+v", rec)
	}
	ev := rec.Events[0]
	if ev.VerifiedBy != HMACSHA256 || ev.Covers != CoversBody || ev.Tenant != "acme" || ev.Source != "/acme/pay" {
		t.Errorf("event = %+v: identity and evidence are the host's to say", ev)
	}
	if len(p.seen) != 1 || p.seen[0].Failed || p.seen[0].Receipt.Seq != 7 {
		t.Errorf("observed %+v", p.seen)
	}
}

func TestIngest_thePluginsAckGoesFirst(t *testing.T) {
	p := newPipeline()
	p.plugin.res.Answer = &Answer{Status: 201, Body: []byte("x")}
	p.ep.Ack = Answer{Status: 200}
	if got := p.ingest(); got.Status != 201 || string(got.Body) != "x" {
		t.Errorf("answer = %+v, want the plugin's", got)
	}
}

func TestIngest_aDuplicateIsAnsweredLikeTheFirstAndWakesNobody(t *testing.T) {
	p := newPipeline()
	p.store.receipt = Receipt{Events: []Disposition{Duplicate}}
	if got := p.ingest(); got.Status != 200 || p.woken != 0 {
		t.Errorf("status %d, woken %d; want 200 and 0", got.Status, p.woken)
	}
}

func TestIngest_ignoreIsARecordWithoutEvents(t *testing.T) {
	p := newPipeline()
	p.plugin.res.Verdict, p.plugin.res.Detail = Ignore, "a test ping"
	if got := p.ingest(); got.Status != 200 {
		t.Errorf("status = %d, want 200", got.Status)
	}
	if rec := p.store.records[0]; rec.Kind != Ignored || len(rec.Events) != 0 || rec.Detail != "a test ping" {
		t.Errorf("record = %+v", rec)
	}
}

func TestIngest_aChallengeIsAnsweredWithoutARecord(t *testing.T) {
	p := newPipeline()
	p.plugin.res = Result{Verdict: Respond, Answer: &Answer{Status: 200, Body: []byte("challenge")}}
	if got := p.ingest(); string(got.Body) != "challenge" || len(p.store.records) != 0 {
		t.Errorf("answer = %+v with %d records", got, len(p.store.records))
	}
}

// TestInvariant1_no2xxWithoutARecord fails the plugin and the store in every
// way: nothing but a durable record makes a 2xx, and no failure of ours is a
// 4xx.
func TestInvariant1_no2xxWithoutARecord(t *testing.T) {
	storeDown := Errorf(StoreUnavailable, "append: input/output error")
	trapped := Errorf(PluginFailed, "plugin ottu@1: unreachable")
	for name, tt := range map[string]struct {
		plugin, store error
		unable        Unable
		draft         Draft
		status        int
		kept          int
	}{
		"store failed":                 {store: storeDown, status: 503},
		"store failed, unable keep":    {store: storeDown, unable: Keep, status: 503},
		"store full":                   {store: Errorf(StoreFull, "full"), status: 503},
		"error without a code":         {store: errors.New("boom"), status: 503},
		"plugin trapped":               {plugin: trapped, status: 503},
		"plugin busy":                  {plugin: Errorf(PluginBusy, "busy"), status: 503},
		"plugin trapped, kept":         {plugin: trapped, unable: Keep, status: 200, kept: 1},
		"plugin trapped, kept in vain": {plugin: trapped, store: Errorf(KeptFull, "10000 kept"), unable: Keep, status: 503, kept: 1},
		"draft of no event":            {draft: Draft{Type: "Payment"}, status: 503},
		"draft of no event, kept":      {draft: Draft{Type: "x.y", Amount: "1e3", Currency: "EUR"}, unable: Keep, status: 200, kept: 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipeline()
			p.plugin.err, p.store.err, p.ep.Unable = tt.plugin, tt.store, tt.unable
			if tt.draft.Type != "" {
				p.plugin.res.Events = []Draft{tt.draft}
			}
			got := p.ingest()
			if got.Status != tt.status {
				t.Errorf("status = %d, want %d", got.Status, tt.status)
			}
			if got.Status == 503 && got.RetryAfter <= 0 {
				t.Error("503 without Retry-After")
			}
			kept := 0
			for _, rec := range p.store.records {
				if rec.Kind == Kept && string(rec.Callback.Body) == "body" {
					kept++
				}
			}
			if kept != tt.kept {
				t.Errorf("%d kept, want %d", kept, tt.kept)
			}
			if o := p.seen[0]; !o.Failed {
				t.Errorf("observed %+v, want a failure", o)
			}
		})
	}
}

// TestIngest_keepsWhatIsItsProviders: a callback that came from its provider
// without doubt and is not understood is not lost where the provider does not
// send again.
func TestIngest_keepsWhatIsItsProviders(t *testing.T) {
	token := Token{Name: "t", In: InHeader, Key: "X-T", Values: [][]byte{[]byte("right")}}
	for name, tt := range map[string]struct {
		unable   Unable
		reason   Reason
		evidence []Evidence
		tokens   []Token
		status   int
		kept     bool
	}{
		"not understood":               {Keep, NotUnderstood, []Evidence{proof}, nil, 200, true},
		"malformed":                    {Keep, Malformed, []Evidence{proof}, nil, 200, true},
		"malformed, a token right":     {Keep, Malformed, nil, []Token{token}, 200, true},
		"malformed, from anybody":      {Keep, Malformed, nil, nil, 400, false},
		"not understood, from anybody": {Keep, NotUnderstood, nil, nil, 400, false},
		"not verified":                 {Keep, NotVerified, []Evidence{proof}, []Token{token}, 401, false},
		"the provider sends again":     {Retry, NotUnderstood, []Evidence{proof}, nil, 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipeline()
			p.ep.Unable, p.ep.Tokens = tt.unable, tt.tokens
			p.plugin.res = Result{Verdict: Reject, Reason: tt.reason, Evidence: tt.evidence, Detail: "the detail"}
			got := p.host.Ingest(t.Context(), p.ep, &Callback{Headers: []Header{{Name: "X-T", Value: "right"}}, Body: []byte("body")})
			if got.Status != tt.status || (len(p.store.records) == 1) != tt.kept {
				t.Fatalf("status %d with %d records, want %d and kept %v", got.Status, len(p.store.records), tt.status, tt.kept)
			}
			if o := p.seen[0]; o.Verdict != Reject || o.Code != tt.reason.Code() || o.Kept != tt.kept {
				t.Errorf("observed %+v", o)
			}
			if !tt.kept {
				return
			}
			rec := p.store.records[0]
			if want := tt.reason.String() + ": the detail"; rec.Kind != Kept || rec.Detail != want || len(rec.Evidence) != 1 {
				t.Errorf("record %v %q with %v, want kept, %q and one evidence", rec.Kind, rec.Detail, rec.Evidence, want)
			}
		})
	}
}

// TestNoEvidenceNoAck: what a plugin says of itself counts for nothing.
func TestNoEvidenceNoAck(t *testing.T) {
	for name, res := range map[string]Result{
		"accept without":                {Verdict: Accept, Events: []Draft{{Evidence: -1, Type: "a.b"}}},
		"accept with one event without": {Verdict: Accept, Evidence: []Evidence{proof}, Events: []Draft{{Type: "a.b"}, {Evidence: -1, Type: "a.b"}}},
		"accept of nothing":             {Verdict: Accept},
		"ignore without":                {Verdict: Ignore},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipeline()
			p.plugin.res = res
			if got := p.ingest(); got.Status != 401 || len(p.store.records) != 0 {
				t.Errorf("status %d with %d records, want 401 and none", got.Status, len(p.store.records))
			}
			p = newPipeline()
			p.plugin.res, p.ep.Unverified = res, true
			if got := p.ingest(); got.Status != 200 || len(p.store.records) != 1 {
				t.Errorf("verification none: status %d with %d records, want 200 and one", got.Status, len(p.store.records))
			}
			for _, ev := range p.store.records[0].Events {
				if want := ev.VerifiedBy == None; !want && len(res.Evidence) == 0 {
					t.Errorf("verifiedby = %q, want none", ev.VerifiedBy)
				}
			}
		})
	}
}

func TestReject_isUniformAndQuarantined(t *testing.T) {
	for reason, want := range map[Reason]int{NotVerified: 401, Malformed: 400, NotUnderstood: 400} {
		p := newPipeline()
		p.plugin.res = Result{Verdict: Reject, Reason: reason, Detail: "the detail", Evidence: []Evidence{proof}}
		got := p.ingest()
		if got.Status != want || strings.Contains(string(got.Body), "the detail") {
			t.Errorf("%v: answer %d %s, want %d without the detail", reason, got.Status, got.Body, want)
		}
		if len(p.store.rejected) != 1 || p.store.rejected[0].Reason != reason.String() || len(p.store.records) != 0 {
			t.Errorf("%v: quarantined %+v", reason, p.store.rejected)
		}
		if r := p.store.rejected[0]; (len(r.Evidence) == 1) != (reason != NotVerified) || r.Detail != "the detail" || r.Plugin != "ottu@1" {
			t.Errorf("%v: quarantined %+v", reason, r)
		}
		if log := p.log.String(); strings.Contains(log, "body=") || !strings.Contains(log, "the detail") {
			t.Errorf("%v: log %q, want the detail and no body", reason, log)
		}
		p.ep.RejectStatus = 422
		if got := p.ingest(); got.Status != 422 {
			t.Errorf("%v: status = %d, want the endpoint's 422", reason, got.Status)
		}
	}
}

// TestReject_withoutRoomIsTold: the answer is the same, and what is lost is
// counted; an engine without a quarantine has lost nothing that it promised.
func TestReject_withoutRoomIsTold(t *testing.T) {
	for err, lost := range map[error]bool{Errorf(StoreFull, "4096 wait"): true, ErrUnsupported: false, nil: false} {
		for _, fails := range []error{nil, Errorf(PluginFailed, "trapped")} {
			p := newPipeline()
			p.plugin.res, p.plugin.err, p.store.putErr = Result{Verdict: Reject, Reason: Malformed}, fails, err
			want := 400
			if fails != nil {
				want = 503
			}
			if got := p.ingest(); got.Status != want || p.seen[0].Lost != lost {
				t.Errorf("put: %v: status %d, lost %v; want %d and %v", err, got.Status, p.seen[0].Lost, want, lost)
			}
		}
	}
}

func TestIngest_asideItemsHaveIdentities(t *testing.T) {
	p := newPipeline()
	p.plugin.res.Events = nil
	p.plugin.res.Aside = []Aside{{Reason: "r", Item: json.RawMessage(`{"a":1}`)}, {Reason: "r", Item: json.RawMessage(`{"a":2}`)}}
	p.ingest()
	rec := p.store.records[0]
	if rec.Kind != Accepted || len(rec.Aside) != 2 || rec.Aside[0].Key == rec.Aside[1].Key || rec.Aside[0].Key == (Hash{}) {
		t.Errorf("record = %+v, want two items with keys of their own", rec)
	}
}

// TestIngest_rejectionsTakeTheSameTime: however long the judgement took, the
// answer goes out at the same moment; an acceptance does not wait.
func TestIngest_rejectionsTakeTheSameTime(t *testing.T) {
	const floor = 2 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline()
		p.host.Refusal = floor
		p.plugin.res.Verdict = Reject
		start := time.Now()
		p.host.Ingest(t.Context(), p.ep, &Callback{Body: make([]byte, 3*refusalUnit)})
		if got, want := time.Since(start), 4*floor; got != want {
			t.Errorf("48 KiB: answered after %v, want %v", got, want)
		}
	})
	for _, judging := range []time.Duration{0, time.Microsecond, time.Millisecond, floor, 3 * floor} {
		for _, verdict := range []Verdict{Reject, Accept} {
			synctest.Test(t, func(t *testing.T) {
				p := newPipeline()
				p.host.Refusal = floor
				p.plugin.res.Verdict, p.plugin.takes = verdict, judging
				start := time.Now()
				p.ingest()
				want := judging
				if verdict == Reject {
					want = max(floor, judging)
				}
				if got := time.Since(start); got != want {
					t.Errorf("%s after %v of judging: answered after %v, want %v", verdict, judging, got, want)
				}
				if got := p.seen[0].Took; got != judging {
					t.Errorf("observed %v, want %v: the wait is no work", got, judging)
				}
			})
		}
	}
}

func TestIngest_rejectionDoesNotOutlastItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipeline()
		p.host.Refusal = time.Hour
		p.plugin.res.Verdict = Reject
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		p.host.Ingest(ctx, p.ep, &Callback{Method: "POST", Target: "/in/acme/pay"})
		if got, want := time.Since(start), time.Second; got != want {
			t.Errorf("answered after %v, want %v", got, want)
		}
	})
}
