package bolt

import (
	"errors"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/queue"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// source implements [queue.Source] for one sink.
type source struct {
	s    *Store
	sink string
}

func (f *source) Last() uint64  { return f.s.last.Load() }
func (f *source) Token() uint64 { return f.s.token.Add(1) }
func (f *source) Flush() error  { return f.s.change(&change{}) }
func (f *source) FlushSoon()    { f.s.flushSoon() }

// Lost waits for what is damaged to be mended, once.
func (f *source) Lost(err error, again bool) bool {
	lost := errors.Is(err, host.ErrNotFound) || again && isDamage(err)
	if lost {
		f.s.pass(err)
	}
	return lost
}

func (f *source) Event(at pos) (*host.Event, error) { return f.s.event(at) }

func (f *source) Copy(key []byte) (ev *host.Event, err error) {
	err = f.s.viewState(func(tx *bbolt.Tx) error {
		b := sinkBucket(tx, f.sink)
		if b == nil {
			return host.ErrNotFound
		}
		row, err := record.ParseRow(b.Bucket(bucketRetries).Get(key))
		if err != nil {
			return err
		}
		if ev = row.Event; ev == nil {
			return host.ErrNotFound
		}
		return nil
	})
	return ev, err
}

func (f *source) Scan(at pos, n int, want *host.Filter) (queue.Found, error) {
	c, err := f.s.scan(at, n, want)
	if err != nil {
		return queue.Found{}, err
	}
	f.s.pass(c.damage)
	found := queue.Found{Next: c.next, End: c.end, Events: make([]queue.Located, len(c.events))}
	for i := range c.events {
		found.Events[i] = queue.Located{At: c.events[i].at, Event: &c.events[i].event}
	}
	return found, nil
}
