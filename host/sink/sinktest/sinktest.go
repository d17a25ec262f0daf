// Package sinktest is the conformance suite of [host.Sink]: every sink runs it
// against a real other side, or a stand-in that speaks its protocol.
package sinktest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// Kit is a sink to be tested.
type Kit struct {
	// New opens a sink with an empty other side of its own. Both live until
	// the test ends; the suite closes the sink.
	New func(t *testing.T) (host.Sink, Probe)
	// Secrets are the canaries in the sink's configuration: signing secrets,
	// passwords, the secret parts of a URL. None may stand in an error text.
	Secrets []string

	// A fault that the other side of this sink cannot be brought to is left
	// out of its Probe; the reason stands here. Exactly one of the two is set.
	NoRefuse, NoRefuseForGood, NoThrottle, NoHang string
}

// Probe is the other side of a sink.
type Probe struct {
	// Received returns the events that the other side has taken for good, in
	// the order of arrival, each as CloudEvents JSON.
	Received func(t *testing.T) [][]byte
	// Refuse makes it turn down everything in a way that may pass.
	Refuse func(t *testing.T)
	// Mend ends what Refuse began. Required with it.
	Mend func(t *testing.T)
	// RefuseForGood makes it turn down everything in a way that is final.
	RefuseForGood func(t *testing.T)
	// Throttle makes it turn down everything and ask for this wait, a whole
	// number of seconds.
	Throttle func(t *testing.T, wait time.Duration)
	// Hang makes it hold back its answer to the next delivery until release
	// is called. arrived is closed once the delivery is there. The suite
	// always calls release.
	Hang func(t *testing.T) (arrived <-chan struct{}, release func())
}

// Event is a complete event; i tells it from the others.
func Event(i int) host.Event {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	ev := host.Event{
		Source: "/shop/ottu", Type: "payment.succeeded", Subject: fmt.Sprintf("tx-%d", i),
		Time: at, Received: at.Add(time.Second), Tenant: "shop", Endpoint: "ottu", Provider: "ottu",
		VerifiedBy: host.HMACSHA256, Covers: host.CoversBody,
		Data: json.RawMessage(fmt.Sprintf(`{"status":"paid","note":"line\nbreak, <tag>, ü","n":%d}`, i)),
	}
	copy(ev.Key[:], fmt.Sprintf("%016d", i))
	return ev
}

// Batch is the deliveries of n events, from the first-th on.
func Batch(first, n int) []host.Delivery {
	ds := make([]host.Delivery, n)
	for i := range ds {
		ds[i] = host.Delivery{
			Token: uint64(first + i + 1), Sink: "s", Event: Event(first + i), Attempt: 1, First: Event(first).Received,
		}
	}
	return ds
}

// patience is how long the suite waits for what should come at once.
const patience = 10 * time.Second

// Run runs every check as a subtest.
func Run(t *testing.T, k Kit) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, Kit){
		"delivers CloudEvents":         delivers,
		"keeps the order of a batch":   keepsOrder,
		"keeps the id":                 keepsID,
		"takes concurrent calls":       takesConcurrentCalls,
		"reports a refusal":            reportsRefusal,
		"reports a final refusal":      reportsFinalRefusal,
		"reports the wait asked for":   reportsThrottle,
		"honours the deadline":         honoursDeadline,
		"gives up when it is told to":  honoursCancel,
		"waits at Close":               waitsAtClose,
		"does not write to deliveries": leavesBatchAlone,
		"has an error for each":        hasAnErrorForEach,
		"takes an empty batch":         takesNothing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, k)
		})
	}
}

// open makes the sink, and closes it when the test ends.
func open(t *testing.T, k Kit) (host.Sink, Probe) {
	t.Helper()
	s, p := k.New(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s, p
}

// fault skips the check if the other side cannot do it, and insists on a
// reason.
func fault(t *testing.T, can bool, reason string) {
	t.Helper()
	if can == (reason != "") {
		t.Fatalf("the kit must set either the fault or the reason why it cannot be had")
	}
	if !can {
		t.Skip(reason)
	}
}

// deliver calls Deliver and checks what holds for every call of it.
func deliver(ctx context.Context, t *testing.T, k Kit, s host.Sink, batch []host.Delivery) []error {
	t.Helper()
	result := make(chan []error, 1)
	go func() { result <- s.Deliver(ctx, batch) }()
	errs := await(t, result, "Deliver to return")
	if errs != nil && len(errs) != len(batch) {
		t.Fatalf("Deliver returned %d errors for %d deliveries", len(errs), len(batch))
	}
	for _, err := range errs {
		if err != nil {
			checkText(t, k, err)
			checkAnswer(t, k, host.AnswerOf(err))
		}
	}
	return errs
}

// await receives what must come soon.
func await[T any](t *testing.T, c <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
	return got
}

// checkText looks for canaries in all that can be printed of an error.
func checkText(t *testing.T, k Kit, err error) {
	t.Helper()
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for i, secret := range k.Secrets {
			if strings.Contains(text, secret) {
				// Invariant 8, kept here too: the test does not print it.
				t.Errorf("an error text holds secret %d of the kit", i)
			}
		}
		if strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("an error text has several lines: %q", err)
		}
	}
}

// checkAnswer looks at what the other side said: it goes to the store and to
// whoever looks at a dead letter.
func checkAnswer(t *testing.T, k Kit, answer string) {
	t.Helper()
	for i, secret := range k.Secrets {
		if strings.Contains(answer, secret) {
			// Invariant 8, here too.
			t.Errorf("an answer holds secret %d of the kit", i)
		}
	}
	if len(answer) > host.MaxReason || !utf8.ValidString(answer) {
		t.Errorf("an answer has %d bytes or is no UTF-8, want at most %d", len(answer), host.MaxReason)
	}
	if strings.ContainsFunc(answer, unicode.IsControl) {
		t.Errorf("an answer has control characters: %q", answer)
	}
}

func mustDeliver(t *testing.T, k Kit, s host.Sink, batch []host.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i, err := range deliver(ctx, t, k, s, batch) {
		if err != nil {
			t.Fatalf("Deliver: delivery %d: %v", i, err)
		}
	}
}

// mustFail delivers and returns the errors, none of which is nil.
func mustFail(ctx context.Context, t *testing.T, k Kit, s host.Sink, batch []host.Delivery) []error {
	t.Helper()
	errs := deliver(ctx, t, k, s, batch)
	if len(errs) == 0 {
		t.Fatal("Deliver reports success, want an error for each delivery")
	}
	for i, err := range errs {
		if err == nil {
			t.Fatalf("Deliver reports success for delivery %d, want an error", i)
		}
	}
	return errs
}

// ids are the ids of what was received.
func ids(t *testing.T, p Probe) (out []string) {
	t.Helper()
	for _, body := range p.Received(t) {
		var ev struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(body, &ev); err != nil {
			t.Fatalf("received %q: %v", body, err)
		}
		out = append(out, ev.ID)
	}
	return out
}

func wantIDs(batches ...[]host.Delivery) (out []string) {
	for _, b := range batches {
		for i := range b {
			out = append(out, b[i].Event.ID())
		}
	}
	return out
}

func delivers(t *testing.T, k Kit) {
	s, p := open(t, k)
	batch := Batch(0, 1)
	mustDeliver(t, k, s, batch)
	got := p.Received(t)
	if len(got) != 1 {
		t.Fatalf("the other side has %d events, want 1", len(got))
	}
	want, err := batch[0].Event.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var gotEvent, wantEvent map[string]any
	if err := json.Unmarshal(got[0], &gotEvent); err != nil {
		t.Fatalf("received %q: %v", got[0], err)
	}
	if err := json.Unmarshal(want, &wantEvent); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantEvent, gotEvent); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for _, required := range []string{"specversion", "id", "source", "type"} {
		if v, ok := gotEvent[required].(string); !ok || v == "" {
			t.Errorf("attribute %q = %v, want a text: CloudEvents requires it", required, gotEvent[required])
		}
	}
}

func keepsOrder(t *testing.T, k Kit) {
	s, p := open(t, k)
	a, b := Batch(0, 20), Batch(20, 1)
	mustDeliver(t, k, s, a)
	mustDeliver(t, k, s, b)
	if diff := cmp.Diff(wantIDs(a, b), ids(t, p)); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func keepsID(t *testing.T, k Kit) {
	s, p := open(t, k)
	first := Batch(7, 1)
	again := Batch(7, 1)
	again[0].Attempt, again[0].Token = 2, 99
	mustDeliver(t, k, s, first)
	mustDeliver(t, k, s, again)
	// A sink may drop the second one, if its other side knows the id.
	for _, id := range ids(t, p) {
		if want := first[0].Event.ID(); id != want {
			t.Errorf("id = %q, want %q at each delivery", id, want)
		}
	}
}

func takesConcurrentCalls(t *testing.T, k Kit) {
	s, p := open(t, k)
	const callers, calls, size = 8, 5, 3
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				batch := Batch((c*calls+i)*size, size)
				for _, err := range s.Deliver(t.Context(), batch) {
					if err != nil {
						t.Errorf("Deliver: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, id := range ids(t, p) {
		seen[id] = true
	}
	if want := callers * calls * size; len(seen) != want {
		t.Errorf("the other side has %d events, want %d", len(seen), want)
	}
}

func reportsRefusal(t *testing.T, k Kit) {
	s, p := open(t, k)
	fault(t, p.Refuse != nil, k.NoRefuse)
	p.Refuse(t)
	for _, err := range mustFail(t.Context(), t, k, s, Batch(0, 2)) {
		if host.IsPermanent(err) {
			t.Errorf("a refusal that may pass is permanent: %v", err)
		}
	}
	if got := len(p.Received(t)); got != 0 {
		t.Errorf("the other side has %d events that it refused", got)
	}
	p.Mend(t)
	batch := Batch(0, 2)
	mustDeliver(t, k, s, batch)
	if diff := cmp.Diff(wantIDs(batch), ids(t, p)); diff != "" {
		t.Errorf("ids once it is mended (-want +got):\n%s", diff)
	}
}

func reportsFinalRefusal(t *testing.T, k Kit) {
	s, p := open(t, k)
	fault(t, p.RefuseForGood != nil, k.NoRefuseForGood)
	p.RefuseForGood(t)
	for _, err := range mustFail(t.Context(), t, k, s, Batch(0, 1)) {
		if !host.IsPermanent(err) {
			t.Errorf("a final refusal is not permanent: %v", err)
		}
	}
}

func reportsThrottle(t *testing.T, k Kit) {
	s, p := open(t, k)
	fault(t, p.Throttle != nil, k.NoThrottle)
	const want = 77 * time.Second
	p.Throttle(t, want)
	for _, err := range mustFail(t.Context(), t, k, s, Batch(0, 1)) {
		if got := host.AskedWait(err); got != want {
			t.Errorf("AskedWait = %v, want %v", got, want)
		}
		if host.IsPermanent(err) {
			t.Errorf("throttling is permanent: %v", err)
		}
	}
}

func honoursDeadline(t *testing.T, k Kit) {
	s, p := open(t, k)
	fault(t, p.Hang != nil, k.NoHang)
	_, release := p.Hang(t)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	errs := mustFail(ctx, t, k, s, Batch(0, 1))
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("Deliver took %v past a deadline of 100ms", took)
	}
	if host.IsPermanent(errs[0]) {
		t.Errorf("a deadline is permanent: %v", errs[0])
	}
}

func honoursCancel(t *testing.T, k Kit) {
	s, p := open(t, k)
	fault(t, p.Hang != nil, k.NoHang)
	arrived, release := p.Hang(t)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		select {
		case <-arrived:
		case <-ctx.Done():
		}
		cancel()
	}()
	if err := mustFail(ctx, t, k, s, Batch(0, 1))[0]; host.IsPermanent(err) {
		t.Errorf("a cancelled delivery is permanent: %v", err)
	}
}

func waitsAtClose(t *testing.T, k Kit) {
	s, p := k.New(t)
	fault(t, p.Hang != nil, k.NoHang)
	arrived, release := p.Hang(t)
	defer release()
	result := make(chan []error, 1)
	go func() {
		result <- s.Deliver(t.Context(), Batch(0, 1))
	}()
	await(t, arrived, "the delivery to arrive")
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case <-closed:
		t.Fatal("Close returned while a delivery was under way")
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if err := await(t, closed, "Close, with nothing under way any more"); err != nil {
		t.Errorf("Close = %v", err)
	}
	for _, err := range await(t, result, "the delivery under way at Close") {
		if err != nil {
			t.Errorf("the delivery under way at Close: %v", err)
		}
	}
}

func leavesBatchAlone(t *testing.T, k Kit) {
	s, _ := open(t, k)
	batch := Batch(0, 3)
	mustDeliver(t, k, s, batch)
	if diff := cmp.Diff(Batch(0, 3), batch); diff != "" {
		t.Errorf("the batch after Deliver (-want +got):\n%s", diff)
	}
}

// hasAnErrorForEach has an event among good ones that can be sent to nobody.
func hasAnErrorForEach(t *testing.T, k Kit) {
	s, p := open(t, k)
	batch := Batch(0, 3)
	batch[1].Event.Data = json.RawMessage("{")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs := deliver(ctx, t, k, s, batch)
	if len(errs) != 3 || errs[0] != nil || errs[2] != nil {
		t.Fatalf("errors = %v, want one for the second of three", errs)
	}
	if !host.IsPermanent(errs[1]) {
		t.Errorf("error of an event that is no JSON = %v, want a permanent one", errs[1])
	}
	if diff := cmp.Diff(wantIDs(batch[:1], batch[2:]), ids(t, p)); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func takesNothing(t *testing.T, k Kit) {
	s, p := open(t, k)
	mustDeliver(t, k, s, nil)
	if got := len(p.Received(t)); got != 0 {
		t.Errorf("the other side has %d events of none", got)
	}
}
