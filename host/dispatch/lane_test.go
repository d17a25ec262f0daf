package dispatch

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

func TestDispatch_observes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newFake("s")
		q.put(t, 1)
		var mu sync.Mutex
		var got []Observation
		observe := func(o Observation) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, o)
		}
		pass(time.Minute)
		d := New(q, quiet(), observe, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
			<-time.After(2 * time.Second)
			if d.Attempt == 1 {
				return host.RetryAfter(errDown, 10*time.Second)
			}
			return host.Permanent(errDown)
		})})
		stop := start(d)
		pass(time.Hour)
		stop()
		want := []Observation{
			{Sink: "s", Outcome: host.Again, Attempt: 1, Took: 2 * time.Second, Age: 62 * time.Second},
			{Sink: "s", Outcome: host.Dead, Attempt: 2, Took: 2 * time.Second, Age: 74 * time.Second},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("observations (-want +got):\n%s", diff)
		}
	})
}

func TestDispatch_failingQueueIsNotAskedInALoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newFake("s")
		q.put(t, 1)
		var calls atomic.Int32
		var mended atomic.Bool
		q.onLease = func() error {
			calls.Add(1)
			if !mended.Load() {
				return errDown
			}
			return nil
		}
		var got taken
		d := New(q, quiet(), nil, Route{Name: "s", Sink: each(func(_ context.Context, d host.Delivery) error {
			got.add(d)
			return nil
		})})
		stop := start(d)
		defer stop()
		for range 600 {
			d.Wake()
			pass(time.Second)
		}
		// 600 s of waits that are drawn from up to 30 s.
		if got := calls.Load(); got > 150 {
			t.Errorf("asked %d times in 10 minutes", got)
		}
		mended.Store(true)
		pass(31 * time.Second)
		if distinct, _ := got.count(); distinct != 1 {
			t.Errorf("%d delivered once the queue is back, want 1", distinct)
		}
	})
}

// pastQueue names a time already past as the next one due.
type pastQueue struct{ *fake }

func (q pastQueue) Lease(ctx context.Context, sink string, n int, ttl time.Duration) (host.Leased, error) {
	l, err := q.fake.Lease(ctx, sink, n, ttl)
	l.Next = time.Now().Add(-time.Second)
	return l, err
}

func TestDispatch_pastDueTimeIsNotAskedInALoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newFake("s")
		d := New(pastQueue{q}, quiet(), nil, Route{Name: "s", Sink: each(func(context.Context, host.Delivery) error { return nil })})
		stop := start(d)
		pass(time.Second)
		stop()
		if most := int(time.Second/floor) + 2; q.leases > most {
			t.Errorf("asked %d times in a second, want at most %d", q.leases, most)
		}
	})
}

func TestDispatch_logsWhenASinkFailsAndIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := newFake("s")
		q.put(t, 3)
		var log bytes.Buffer
		d := New(q, slog.New(slog.NewTextHandler(&log, nil)), nil, Route{
			Name: "s", Policy: Policy{Concurrency: 1},
			Sink: each(func(_ context.Context, d host.Delivery) error {
				if d.Attempt < 5 {
					return errDown
				}
				return nil
			}),
		})
		stop := start(d)
		pass(time.Hour)
		stop()
		if got := strings.Count(log.String(), "\n"); got < 2 || got > 6 {
			t.Errorf("%d lines for 12 failures and one recovery:\n%s", got, log.String())
		}
		for _, want := range []string{"sink fails", "sink takes deliveries again", "sink=s", "the other side is down"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("no %q in the log:\n%s", want, log.String())
			}
		}
	})
}
