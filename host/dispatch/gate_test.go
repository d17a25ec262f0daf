package dispatch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// attempts are when each event was handed over, in the order of the calls.
func (k *taken) attempts() (all []time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, at := range k.at {
		all = append(all, at...)
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	asked, final := host.RetryAfter(errDown, time.Minute), host.Permanent(errDown)
	for name, tc := range map[string]struct {
		attempts []int
		errs     []error
		want     error
	}{
		"taken":                           {[]int{1}, []error{nil}, nil},
		"a new event fails":               {[]int{1}, []error{errDown}, errDown},
		"a retry fails":                   {[]int{2}, []error{errDown}, errUnjudged},
		"a final no":                      {[]int{1}, []error{final}, nil},
		"a wait was asked for":            {[]int{1}, []error{asked}, errUnjudged},
		"a batch of which one was taken":  {[]int{1, 1}, []error{errDown, nil}, nil},
		"a batch of which one was no":     {[]int{1, 1}, []error{errDown, final}, nil},
		"a batch that fails":              {[]int{2, 1}, []error{errDown, errDown}, errDown},
		"a batch of retries":              {[]int{2, 3}, []error{errDown, errDown}, errUnjudged},
		"a batch that is asked, in part":  {[]int{1, 1}, []error{asked, errDown}, errDown},
		"a batch of a retry and a waiter": {[]int{1, 2}, []error{asked, errDown}, errUnjudged},
	} {
		batch := make([]host.Delivery, len(tc.attempts))
		for i, n := range tc.attempts {
			batch[i].Attempt = n
		}
		if got := verdict(batch, tc.errs); !errors.Is(got, tc.want) || got == nil != (tc.want == nil) {
			t.Errorf("%s: verdict = %v, want %v", name, got, tc.want)
		}
	}
}

// TestBreaker_opensTriesAndCloses has a sink that is down for ten minutes under
// two new events a second.
func TestBreaker_opensTriesAndCloses(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			const openFor, down = time.Minute, 10 * time.Minute
			q := open("s")
			begun := time.Now()
			var asked, got taken
			now, most := 0, 0 // in a half-open state
			d := New(q, quiet(), nil, Route{
				Name: "s", Policy: Policy{Breaker: Breaker{Failures: 3, OpenFor: openFor}, Concurrency: 1},
				Sink: each(func(_ context.Context, dv host.Delivery) error {
					now++
					if most < now {
						most = now
					}
					defer func() { now-- }()
					asked.add(dv)
					if time.Since(begun) < down {
						return errDown
					}
					got.add(dv)
					return nil
				}),
			})
			if got := d.Conditions(); !cmp.Equal(got, []Condition{{Sink: "s", Breaker: BreakerClosed}}) {
				t.Errorf("before anything: %+v", got)
			}
			stop := start(d)
			defer stop()
			put := func(n int) {
				for range n {
					q.put(t, 1)
					d.Wake()
					pass(500 * time.Millisecond)
				}
			}
			put(20)
			if got := d.Conditions(); !cmp.Equal(got, []Condition{{Sink: "s", Breaker: BreakerOpen, Failing: true}}) {
				t.Errorf("after three failures: %+v", got)
			}
			_, before := asked.count()
			put(80) // 40 s
			if _, after := asked.count(); after != before {
				t.Errorf("%d deliveries while the breaker is open, want none", after-before)
			}
			put(1200 - 100)
			if waiting := q.open(t, "s"); waiting != 1200 {
				t.Errorf("%d open while the sink is down, want 1200: nothing is given up", waiting)
			}
			// One new event for each time that it was half open.
			if distinct, _ := asked.count(); distinct < 9 || distinct > 14 {
				t.Errorf("%d events were tried in 10 minutes, want 3 and one a minute", distinct)
			}
			pass(openFor + time.Second)
			if got := d.Conditions(); !cmp.Equal(got, []Condition{{Sink: "s", Breaker: BreakerClosed}}) {
				t.Errorf("once the sink is back: %+v", got)
			}
			pass(20 * time.Minute)
			if distinct, total := got.count(); distinct != 1200 || total != 1200 {
				t.Errorf("%d events in %d deliveries once it is back, want 1200 in 1200", distinct, total)
			}
			if most != 1 {
				t.Errorf("%d at a time, want 1", most)
			}
		})
	})
}

// TestBreaker_halfOpenTriesOne has slots for many more, and a sink that hangs.
func TestBreaker_halfOpenTriesOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const openFor, n = time.Minute, 40
		q := newFake("s")
		q.put(t, 2)
		var calls, under atomic.Int32
		var back atomic.Bool
		var asked taken
		d := New(q, quiet(), nil, Route{
			Name: "s", Policy: Policy{Concurrency: 8, Batch: 4, Timeout: 10 * time.Second, Breaker: Breaker{Failures: 1, OpenFor: openFor}},
			Sink: sinkFunc(func(ctx context.Context, batch []host.Delivery) []error {
				for _, d := range batch {
					asked.add(d)
				}
				calls.Add(1)
				if back.Load() {
					return nil
				}
				defer under.Add(int32(-len(batch)))
				under.Add(int32(len(batch)))
				<-ctx.Done()
				return slices.Repeat([]error{ctx.Err()}, len(batch))
			}),
		})
		stop := start(d)
		defer stop()
		state := func() string { return d.Conditions()[0].Breaker }
		pass(11 * time.Second)
		q.put(t, n)
		for range 58 {
			d.Wake()
			pass(time.Second)
			if got := calls.Load(); got != 1 || state() != BreakerOpen {
				t.Fatalf("%d calls and breaker is %s, want only the call that opened it", got, state())
			}
		}
		pass(2 * time.Second)
		for range 200 {
			d.Wake()
			pass(time.Second)
			if state() == BreakerOpen {
				break
			}
			if got := under.Load(); got > 1 {
				t.Fatalf("%d events under way while it is half open, want one", got)
			}
		}
		if distinct, _ := asked.count(); distinct != 3 || state() != BreakerOpen {
			t.Errorf("%d events tried and breaker is %s, want it open after the first new one", distinct, state())
		}
		back.Store(true)
		pass(2 * time.Minute)
		if got := q.open(t, "s"); got != 0 || state() != BreakerClosed {
			t.Errorf("%d open and breaker is %s once the sink is back, want none and closed", got, state())
		}
	})
}

// TestBreaker_choking has events that the sink always fails on, more than would
// open the breaker, and good ones every ten seconds between them.
func TestBreaker_chokingEventsShutOutNobody(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			const choking, good = 10, 300
			q := open("s")
			var got taken
			var worst time.Duration
			d := New(q, quiet(), nil, Route{
				Name: "s", Policy: Policy{Concurrency: 1, Breaker: Breaker{Failures: 5, OpenFor: 30 * time.Second}},
				Sink: each(func(_ context.Context, d host.Delivery) error {
					if len(d.Event.Subject) == 1 {
						return errDown
					}
					worst = max(worst, time.Since(d.Event.Received))
					got.add(d)
					return nil
				}),
			})
			stop := start(d)
			defer stop()
			q.put(t, choking) // they open it: none of them failed before
			for range good {
				q.put(t, 1)
				d.Wake()
				pass(10 * time.Second)
			}
			if distinct, _ := got.count(); distinct != good {
				t.Errorf("%d of %d good events delivered", distinct, good)
			}
			// Each of the five that it never tried opens it again.
			if limit := (choking - 5 + 1) * 31 * time.Second; worst > limit {
				t.Errorf("a good event waited for %v, want at most %v", worst, limit)
			}
			if got := d.Conditions()[0].Breaker; got != BreakerClosed {
				t.Errorf("breaker is %s in the end, want closed", got)
			}
		})
	})
}

func TestBreaker_finalNoDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newFake("s")
		q.put(t, 50)
		d := New(q, quiet(), nil, Route{
			Name: "s", Policy: Policy{Breaker: Breaker{Failures: 1}},
			Sink: each(func(context.Context, host.Delivery) error { return host.Permanent(errDown) }),
		})
		stop := start(d)
		defer stop()
		synctest.Wait()
		if dead := q.dead(t, "s"); len(dead) != 50 {
			t.Errorf("%d dead at once, want 50", len(dead))
		}
	})
}

func TestGate_askedWaitRestsTheSink(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ asked, want time.Duration }{
		{20 * time.Minute, 20 * time.Minute},
		{5 * time.Hour, time.Hour}, // retry.max
	} {
		t.Run(tc.asked.String(), func(t *testing.T) {
			t.Parallel()
			onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
				synctest.Test(t, func(t *testing.T) {
					q := open("asks", "other")
					begun := time.Now()
					var asked, other taken
					full := true
					d := New(q, quiet(), nil,
						Route{
							Name: "asks", Policy: Policy{Concurrency: 1, Breaker: Breaker{Failures: 1}},
							Sink: each(func(_ context.Context, d host.Delivery) error {
								asked.add(d)
								if full {
									full = false
									return host.RetryAfter(errDown, tc.asked)
								}
								return nil
							}),
						},
						Route{Name: "other", Sink: each(func(_ context.Context, d host.Delivery) error {
							other.add(d)
							return nil
						})})
					stop := start(d)
					defer stop()
					for range 10 {
						q.put(t, 1)
						d.Wake()
						pass(time.Second)
					}
					pass(2 * time.Hour)
					at := asked.attempts()
					if len(at) != 11 || at[0] != begun || at[1].Sub(begun) != tc.want {
						t.Errorf("attempts at %v, want one at once and the others from %v on", at, tc.want)
					}
					for i, at := range other.attempts() {
						if want := begun.Add(time.Duration(i) * time.Second); at != want {
							t.Errorf("the other sink got event %d at %v, want %v", i, at, want)
						}
					}
				})
			})
		})
	}
}

func TestRate_isExact(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		rate  Rate
		burst int // in effect
		batch int
	}{
		"whole":       {Rate{PerSecond: 10, Burst: 25}, 25, 1},
		"a fraction":  {Rate{PerSecond: 0.3, Burst: 2}, 2, 1},
		"no burst":    {Rate{PerSecond: 2.5}, 3, 1},
		"batches":     {Rate{PerSecond: 7, Burst: 10}, 10, 4},
		"wide batch":  {Rate{PerSecond: 7, Burst: 3}, 3, 100},
		"an odd rate": {Rate{PerSecond: 1.0 / 3, Burst: 1}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n = 300
				q := newFake("s")
				q.put(t, n)
				begun := time.Now()
				var got taken
				d := New(q, quiet(), nil, Route{
					Name: "s", Policy: Policy{Rate: tc.rate, Batch: tc.batch, Timeout: time.Second},
					Sink: each(func(ctx context.Context, d host.Delivery) error {
						if end, _ := ctx.Deadline(); time.Until(end) != time.Second {
							t.Errorf("%v left of the timeout of 1s", time.Until(end))
						}
						got.add(d)
						return nil
					}),
				})
				stop := start(d)
				defer stop()
				pass(time.Duration(float64(n) / tc.rate.PerSecond * float64(time.Second)))
				at := got.attempts()
				if len(at) != n {
					t.Fatalf("%d deliveries, want %d", len(at), n)
				}
				for i, at := range at {
					// The i-th waits for the tokens that the burst does not have.
					want := time.Duration(float64(max(i+1-tc.burst, 0)) / tc.rate.PerSecond * float64(time.Second))
					if off := at.Sub(begun) - want; off.Abs() > 10*time.Microsecond {
						t.Fatalf("delivery %d after %v, want %v", i, at.Sub(begun), want)
					}
				}
			})
		})
	}
}

// TestRate_waitHoldsNoLease looks at the queue while the rate lets nothing
// through: what waits is not leased, and its attempts stand still.
func TestRate_waitHoldsNoLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newModel(t, "s")
		q.put(t, 10)
		var got taken
		d := New(q, quiet(), nil, Route{
			Name: "s", Policy: Policy{Rate: Rate{PerSecond: 1.0 / 3600, Burst: 1}, Timeout: time.Second},
			Sink: each(func(_ context.Context, d host.Delivery) error {
				if d.Attempt != 1 {
					t.Errorf("attempt %d, want 1", d.Attempt)
				}
				got.add(d)
				return nil
			}),
		})
		stop := start(d)
		defer stop()
		for range 9 {
			pass(time.Hour)
			lag, err := q.Lag(t.Context(), "s")
			if err != nil || lag.Leased != 0 || lag.Retrying != 0 {
				t.Errorf("lag = %+v, %v, want nothing leased", lag, err)
			}
		}
		if distinct, total := got.count(); distinct != 10 || total != 10 {
			t.Errorf("%d events in %d deliveries, want 10 in 10", distinct, total)
		}
	})
}

func TestDispatch_reasonAndAnswerAreBounded(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			q := open("s")
			q.put(t, 1)
			long := "x" + strings.Repeat("é", host.MaxReason)
			d := New(recording{q, t}, quiet(), nil, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
				err := host.WithAnswer(errors.New("reason "+long), "answer "+long)
				if d.Attempt == 1 {
					return err
				}
				return host.Permanent(err)
			})})
			stop := start(d)
			defer stop()
			pass(time.Minute)
			dead := q.dead(t, "s")
			if len(dead) != 1 || dead[0].Attempts != 2 {
				t.Fatalf("dead letters = %+v, want one after two attempts", dead)
			}
			bounds(t, "a dead letter", dead[0].Reason, dead[0].Answer)
		})
	})
}

// recording looks at each settlement.
type recording struct {
	Queue
	t *testing.T
}

func (q recording) Settle(ctx context.Context, sink string, s ...host.Settlement) error {
	for _, s := range s {
		bounds(q.t, "a settlement as "+s.Outcome.String(), s.Reason, s.Answer)
	}
	return q.Queue.Settle(ctx, sink, s...)
}

func bounds(t *testing.T, of, reason, answer string) {
	t.Helper()
	for what, got := range map[string]string{"reason": reason, "answer": answer} {
		if n := len(got); n > host.MaxReason || n < host.MaxReason-1 || !utf8.ValidString(got) || !strings.HasPrefix(got, what) {
			t.Errorf("%s of %s has %d bytes, valid UTF-8 %t, want up to %d: %.20q", what, of, n, utf8.ValidString(got), host.MaxReason, got)
		}
	}
}
