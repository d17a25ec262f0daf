package dispatch

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern/postern/host"
)

var errDown = errors.New("the other side is down")

// sinkFunc is a Deliver.
type sinkFunc func(ctx context.Context, batch []host.Delivery) []error

func (f sinkFunc) Deliver(ctx context.Context, batch []host.Delivery) []error { return f(ctx, batch) }
func (f sinkFunc) Close() error                                               { return nil }

// each makes a Deliver of a function for one delivery.
func each(f func(ctx context.Context, d host.Delivery) error) sinkFunc {
	return func(ctx context.Context, batch []host.Delivery) []error {
		errs := make([]error, len(batch))
		for i := range batch {
			errs[i] = f(ctx, batch[i])
		}
		return errs
	}
}

// taken collects what a sink took, and when.
type taken struct {
	mu sync.Mutex
	at map[string][]time.Time
	n  int
}

func (k *taken) add(d host.Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at == nil {
		k.at = map[string][]time.Time{}
	}
	k.at[d.Event.ID()] = append(k.at[d.Event.ID()], time.Now())
	k.n++
}

// distinct is how many events were taken at least once, total how often any.
func (k *taken) count() (distinct, total int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.at), k.n
}

// start runs d inside a synctest bubble and returns what stops it and waits.
func start(d *Dispatch) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// pass lets virtual time go by, and then everything come to rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

const day = 24 * time.Hour

func TestInvariant4_deadSinkLosesNothing(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			const n = 5
			q := open("s")
			q.put(t, n)
			d := New(q, quiet(), nil, Route{Name: "s", Sink: each(func(context.Context, host.Delivery) error { return errDown })})
			stop := start(d)
			defer stop()
			pass(7*day - time.Minute)
			if got, dead := q.open(t, "s"), q.dead(t, "s"); got != n || len(dead) != 0 {
				t.Fatalf("a minute before the seventh day is over: %d open, %d dead, want %d and 0", got, len(dead), n)
			}
			pass(2 * time.Hour)
			dead := q.dead(t, "s")
			if got := q.open(t, "s"); got != 0 || len(dead) != n {
				t.Fatalf("after the seventh day: %d open, %d dead, want 0 and %d", got, len(dead), n)
			}
			for _, l := range dead {
				if age := l.Died.Sub(l.First); age < 7*day {
					t.Errorf("given up after %v, want at least seven days", age)
				}
				if !strings.Contains(l.Reason, "still failing 168h0m0s after the first attempt: the other side is down") {
					t.Errorf("reason = %q", l.Reason)
				}
				// Waits of half an hour on average, and a dozen short ones.
				if l.Attempts < 200 || l.Attempts > 600 {
					t.Errorf("attempts = %d", l.Attempts)
				}
			}
		})
	})
}

func TestDispatch_recoveryDeliversEverythingOnce(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			const n = 20
			q := open("s")
			q.put(t, n)
			back := time.Now().Add(3 * day)
			var got taken
			d := New(q, quiet(), nil, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
				if time.Now().Before(back) {
					return errDown
				}
				got.add(d)
				return nil
			})})
			stop := start(d)
			defer stop()
			pass(3*day + time.Hour + time.Second)
			if distinct, total := got.count(); distinct != n || total != n {
				t.Errorf("an hour after the recovery: %d events in %d deliveries, want %d in %d", distinct, total, n, n)
			}
			if open, dead := q.open(t, "s"), q.dead(t, "s"); open != 0 || len(dead) != 0 {
				t.Errorf("%d open, %d dead, want none", open, len(dead))
			}
		})
	})
}

func TestDispatch_concurrencyIsNeverExceeded(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			const n, limit, size = 60, 3, 2
			q := open("s")
			q.put(t, n)
			var mu sync.Mutex
			now, most := 0, 0
			var got taken
			sink := sinkFunc(func(_ context.Context, batch []host.Delivery) []error {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				if len(batch) > size {
					t.Errorf("batch of %d, want at most %d", len(batch), size)
				}
				<-time.After(time.Second)
				for _, d := range batch {
					got.add(d)
				}
				mu.Lock()
				now--
				mu.Unlock()
				return nil
			})
			d := New(q, quiet(), nil, Route{Name: "s", Sink: sink, Policy: Policy{Concurrency: limit, Batch: size}})
			stop := start(d)
			defer stop()
			// Wakes and settlements must not open further slots.
			for range 5 {
				pass(100 * time.Millisecond)
				d.Wake()
			}
			// n/(limit*size) rounds of one second, if all slots are used.
			pass(n / (limit * size) * time.Second)
			mu.Lock()
			defer mu.Unlock()
			if most != limit {
				t.Errorf("most at a time = %d, want %d", most, limit)
			}
			if distinct, total := got.count(); distinct != n || total != n {
				t.Errorf("%d events in %d deliveries, want %d in %d", distinct, total, n, n)
			}
		})
	})
}

func TestInvariant6_hangingSinkDelaysNobody(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			const n, limit = 10, 2
			q := open("hangs", "well")
			q.put(t, n)
			heal := make(chan struct{})
			var calls atomic.Int32
			var hung, well taken
			d := New(
				q, quiet(), nil,
				Route{Name: "hangs", Policy: Policy{Concurrency: limit}, Sink: each(func(_ context.Context, d host.Delivery) error {
					calls.Add(1)
					<-heal // without a look at its context
					hung.add(d)
					return nil
				})},
				Route{Name: "well", Sink: each(func(_ context.Context, d host.Delivery) error {
					well.add(d)
					return nil
				})},
			)
			stop := start(d)
			defer stop()
			begun := time.Now()
			synctest.Wait()
			if distinct, _ := well.count(); distinct != n || time.Since(begun) != 0 {
				t.Errorf("the sink that is well took %d of %d events in %v", distinct, n, time.Since(begun))
			}
			pass(day)
			if got := calls.Load(); got != limit {
				t.Errorf("the hanging sink is called %d times at once, want %d", got, limit)
			}
			if got := q.open(t, "hangs"); got != n {
				t.Errorf("%d open at the hanging sink, want %d", got, n)
			}
			close(heal)
			pass(2 * time.Hour)
			if distinct, _ := hung.count(); distinct != n {
				t.Errorf("the sink that hung took %d of %d events once it was healed", distinct, n)
			}
			if got := q.open(t, "hangs"); got != 0 {
				t.Errorf("%d open after it was healed, want 0", got)
			}
		})
	})
}

func TestInvariant12_drainSettlesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			q := open("s")
			q.put(t, 10)
			d := New(q, quiet(), nil, Route{Name: "s", Policy: Policy{Concurrency: 3}, Sink: each(func(ctx context.Context, _ host.Delivery) error {
				select {
				case <-time.After(20 * time.Second):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})})
			stop := start(d)
			pass(time.Second)
			begun := time.Now()
			stop()
			if took := time.Since(begun); took != 19*time.Second {
				t.Errorf("drained in %v, want the 19s that were left of the deliveries", took)
			}
			if got := q.open(t, "s"); got != 7 {
				t.Errorf("%d open after the drain, want 7: 3 under way were settled, none begun", got)
			}
		})
	})
}

func TestInvariant12_drainEndsThoughSinkHangs(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			q := open("s")
			q.put(t, 1)
			heal := make(chan struct{})
			defer close(heal)
			d := New(q, quiet(), nil, Route{Name: "s", Sink: each(func(context.Context, host.Delivery) error {
				<-heal
				return nil
			})})
			stop := start(d)
			synctest.Wait()
			begun := time.Now()
			stop()
			if took, want := time.Since(begun), Defaults().Timeout+overdue; took != want {
				t.Errorf("drained in %v, want %v", took, want)
			}
			if got := q.open(t, "s"); got != 1 {
				t.Errorf("%d open, want 1", got)
			}
		})
	})
}

func TestDispatch_brokenSinkIsRetried(t *testing.T) {
	t.Parallel()
	const canary = "canary-6b1f"
	for name, tc := range map[string]struct {
		broken func(batch []host.Delivery) []error
		want   string
	}{
		"panic":         {func([]host.Delivery) []error { panic("token " + canary) }, "sink s panicked with a string"},
		"runtime panic": {func(b []host.Delivery) []error { _ = b[len(b)]; return nil }, "sink s panicked: runtime error: index out of range"},
		"goexit":        {func([]host.Delivery) []error { runtime.Goexit(); return nil }, "sink s ended its goroutine"},
		"wrong count":   {func([]host.Delivery) []error { return []error{errDown} }, "sink s returned 1 errors for 2 deliveries"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newFake("s")
				q.put(t, 2)
				var log bytes.Buffer
				broken := true
				var got taken
				sink := sinkFunc(func(_ context.Context, batch []host.Delivery) []error {
					if broken {
						broken = false
						return tc.broken(batch)
					}
					for _, d := range batch {
						got.add(d)
					}
					return nil
				})
				d := New(q, slog.New(slog.NewTextHandler(&log, nil)), nil,
					Route{Name: "s", Sink: sink, Policy: Policy{Batch: 2, Concurrency: 1}})
				stop := start(d)
				synctest.Wait()
				for _, got := range q.reasons("s") {
					if want := "retry: " + tc.want; !strings.HasPrefix(got, want) {
						t.Errorf("settled as %q, want %q", got, want)
					}
				}
				pass(10 * time.Second)
				stop()
				if distinct, _ := got.count(); distinct != 2 {
					t.Errorf("took %d of 2 events once it was mended", distinct)
				}
				if strings.Contains(log.String(), canary) {
					t.Errorf("the text of a panic is in the log:\n%s", log.String())
				}
			})
		})
	}
}

func TestInvariant5_lateSettleIsDeliveredAgain(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(ctx context.Context) error{
		"late":  func(context.Context) error { <-time.After(time.Hour); return nil },
		"fails": func(context.Context) error { return errDown },
		"hangs": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newFake("s")
				q.put(t, 1)
				var calls atomic.Int32
				q.onSettle = func(ctx context.Context) error {
					if calls.Add(1) > 1 {
						return nil
					}
					return settle(ctx)
				}
				var got taken
				d := New(q, quiet(), nil, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
					got.add(d)
					return nil
				})})
				stop := start(d)
				defer stop()
				pass(d.lanes[0].ttl() - time.Second)
				if _, total := got.count(); total != 1 {
					t.Errorf("%d deliveries while the lease runs, want 1", total)
				}
				pass(2 * time.Second)
				if _, total := got.count(); total != 2 {
					t.Errorf("%d deliveries after the lease, want 2", total)
				}
				if got := q.open(t, "s"); got != 0 {
					t.Errorf("%d open, want 0", got)
				}
				pass(time.Hour)
			})
		})
	}
}

func TestDispatch_askedWaitIsKept(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ asked, least, most time.Duration }{
		{90 * time.Second, 90 * time.Second, 90 * time.Second},
		{5 * time.Hour, time.Hour, time.Hour},
		{time.Nanosecond, floor, time.Second},
	} {
		t.Run(tc.asked.String(), func(t *testing.T) {
			t.Parallel()
			onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
				synctest.Test(t, func(t *testing.T) {
					q := open("s")
					q.put(t, 1)
					var got taken
					d := New(q, quiet(), nil, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
						got.add(d)
						if d.Attempt == 1 {
							return host.RetryAfter(errDown, tc.asked)
						}
						return nil
					})})
					stop := start(d)
					pass(6 * time.Hour)
					stop()
					got.mu.Lock()
					defer got.mu.Unlock()
					for _, at := range got.at {
						if len(at) != 2 {
							t.Fatalf("%d attempts, want 2", len(at))
						}
						if wait := at[1].Sub(at[0]); wait < tc.least || wait > tc.most {
							t.Errorf("waited %v, want %v to %v", wait, tc.least, tc.most)
						}
					}
				})
			})
		})
	}
}

func TestDispatch_permanentIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			q := open("s")
			q.put(t, 2)
			d := New(q, quiet(), nil, Route{Name: "s", Policy: Policy{Batch: 2}, Sink: each(func(_ context.Context, d host.Delivery) error {
				if d.Event.Subject == "0" {
					return host.Permanent(errDown)
				}
				return nil
			})})
			stop := start(d)
			defer stop()
			synctest.Wait()
			dead := q.dead(t, "s")
			if len(dead) != 1 || dead[0].Attempts != 1 || dead[0].Reason != errDown.Error() || dead[0].Event.Subject != "0" {
				t.Errorf("dead letters = %+v, want event 0 after one attempt", dead)
			}
			if got := q.open(t, "s"); got != 0 {
				t.Errorf("%d open, want 0", got)
			}
		})
	})
}

func TestDispatch_wakeDeliversAtOnceAndNeverBlocks(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, open func(...string) engine) {
		synctest.Test(t, func(t *testing.T) {
			q := open("s")
			var got taken
			d := New(q, quiet(), nil, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
				got.add(d)
				return nil
			})})
			for range 3 {
				d.Wake()
			}
			stop := start(d)
			pass(day)
			q.put(t, 1)
			begun := time.Now()
			d.Wake()
			synctest.Wait()
			if distinct, _ := got.count(); distinct != 1 || time.Since(begun) != 0 {
				t.Errorf("%d delivered %v after the wake, want 1 at once", distinct, time.Since(begun))
			}
			stop()
			for range 3 {
				d.Wake()
			}
		})
	})
}
