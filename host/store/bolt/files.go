package bolt

import (
	"errors"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/queue"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// sinkFiles implements [queue.Files] for one sink.
type sinkFiles struct {
	s    *Store
	sink string
}

// Last implements [queue.Files].
func (f *sinkFiles) Last() uint64 { return f.s.last.Load() }

// Token implements [queue.Files].
func (f *sinkFiles) Token() uint64 { return f.s.token.Add(1) }

// Flush implements [queue.Files].
func (f *sinkFiles) Flush() error { return f.s.change(&change{}) }

// FlushSoon implements [queue.Files].
func (f *sinkFiles) FlushSoon() { f.s.flushSoon() }

// Lost implements [queue.Files]: it waits for what is damaged to be mended, once.
func (f *sinkFiles) Lost(err error, again bool) bool {
	lost := errors.Is(err, host.ErrNotFound) || again && disk.IsDamage(err)
	if lost {
		f.s.pass(err)
	}
	return lost
}

// Event implements [queue.Files].
func (f *sinkFiles) Event(at pos) (*host.Event, error) { return f.s.event(at) }

// Copy implements [queue.Files].
func (f *sinkFiles) Copy(key []byte) (ev *host.Event, err error) {
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

// Scan implements [queue.Files].
func (f *sinkFiles) Scan(at pos, n int, want *host.Filter) (queue.Found, error) {
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
