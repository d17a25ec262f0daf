package postgres_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres"
	"github.com/postern/postern/host/store/storetest"
)

// pair is one store by two nodes that take turns with every call. A subscription
// goes to both: each compiles its own expressions.
type pair struct {
	*postgres.Store // whatever does not take turns

	both  [2]*postgres.Store
	calls atomic.Uint64
}

func (p *pair) next() *postgres.Store { return p.both[p.calls.Add(1)%2] }

func (p *pair) Close() error { return errors.Join(p.both[0].Close(), p.both[1].Close()) }

func (p *pair) Append(ctx context.Context, rec *host.Record) (host.Receipt, error) {
	return p.next().Append(ctx, rec)
}

func (p *pair) Subscribe(ctx context.Context, sink string, want host.Subscription) error {
	return errors.Join(p.both[0].Subscribe(ctx, sink, want), p.both[1].Subscribe(ctx, sink, want))
}

func (p *pair) Lease(ctx context.Context, sink string, n int, ttl time.Duration) (host.Leased, error) {
	return p.next().Lease(ctx, sink, n, ttl)
}

func (p *pair) Settle(ctx context.Context, sink string, s ...host.Settlement) error {
	return p.next().Settle(ctx, sink, s...)
}

func (p *pair) Pause(ctx context.Context, sink string) error { return p.next().Pause(ctx, sink) }

func (p *pair) Resume(ctx context.Context, sink string) error { return p.next().Resume(ctx, sink) }

func (p *pair) DeadLetters(ctx context.Context, sink string, after host.Cursor, n int) ([]host.DeadLetter, host.Cursor, error) {
	return p.next().DeadLetters(ctx, sink, after, n)
}

func (p *pair) Redrive(ctx context.Context, sink string, ids ...string) (int, error) {
	return p.next().Redrive(ctx, sink, ids...)
}

func (p *pair) Discard(ctx context.Context, sink string, ids ...string) (int, error) {
	return p.next().Discard(ctx, sink, ids...)
}

func (p *pair) Replay(ctx context.Context, sink string, from, to host.Cursor) error {
	return p.next().Replay(ctx, sink, from, to)
}

func (p *pair) StopReplay(ctx context.Context, sink string) error {
	return p.next().StopReplay(ctx, sink)
}

func (p *pair) Lag(ctx context.Context, sink string) (host.Lag, error) {
	return p.next().Lag(ctx, sink)
}

func (p *pair) Event(ctx context.Context, id string) (host.StoredEvent, error) {
	return p.next().Event(ctx, id)
}

func (p *pair) Range(ctx context.Context, page host.Page) ([]host.StoredEvent, host.Cursor, error) {
	return p.next().Range(ctx, page)
}

// TestSimulate_twoNodes: two nodes are together what one is.
func TestSimulate_twoNodes(t *testing.T) {
	server(t)
	e := engine()
	e.Open = func(t *testing.T, dir string, now func() time.Time) host.Store {
		p := &pair{}
		for i, node := range []string{"one", "two"} {
			p.both[i] = open(t, postgres.Options{
				Schema: schema(t, dir), Node: node, Now: now, Poll: -1, MaxKept: storetest.KeptBound, MaxRing: storetest.RingBound,
			})
		}
		p.Store = p.both[0]
		return p
	}
	e.Kill = func(_ *testing.T, s host.Store) {
		for _, node := range s.(*pair).both {
			node.Abandon()
		}
	}
	storetest.SimulateSeeds(t, e, 2, 4000)
}
