// Package commit brings together requests that are to be committed at once.
package commit

import (
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of one commit: requests, what they hold, and how long it waits for
// more of them.
const (
	MaxBatch  = 512
	MaxBytes  = 4 << 20
	maxGather = time.Millisecond
)

// Loop is a group committer: many callers hand in requests, one goroutine
// commits all that have come together in one transaction. At a low rate a
// request waits for nothing but its own commit. It is safe for concurrent use.
type Loop[T any] struct {
	// commit commits a batch and answers every request in it.
	commit func([]T)
	// size is how many bytes a request holds in the queue.
	size func(T) int
	// maxBytes bounds the queue beside its capacity. One request is always
	// let in.
	maxBytes int64

	queue chan T
	bytes atomic.Int64
	ended chan struct{}

	mu     sync.RWMutex // held for writing to close
	closed bool

	// The last batch, for the next one to wait for its like.
	last int
	took time.Duration
}

// New begins a loop. Commit commits a batch and answers every request in it; it
// is called by one goroutine. Size is how many bytes a request holds in the
// queue, which has room for so many requests and bytes.
func New[T any](requests int, maxBytes int64, size func(T) int, commit func([]T)) *Loop[T] {
	l := &Loop[T]{
		commit: commit, size: size, maxBytes: maxBytes,
		queue: make(chan T, requests), ended: make(chan struct{}),
	}
	go l.run()
	return l
}

// Offer puts r into the queue, or reports that there is no room or no queue any
// more. It does not block.
func (l *Loop[T]) Offer(r T) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := int64(l.size(r))
	if total := l.bytes.Add(n); l.closed || (total > l.maxBytes && total > n) {
		l.bytes.Add(-n)
		return false
	}
	select {
	case l.queue <- r:
		return true
	default:
		l.bytes.Add(-n)
		return false
	}
}

// Submit is [Loop.Offer], but waits for room in the queue.
func (l *Loop[T]) Submit(r T) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return false
	}
	l.bytes.Add(int64(l.size(r)))
	l.queue <- r
	return true
}

// Waiting is how many requests are in the queue, and how many bytes they hold.
func (l *Loop[T]) Waiting() (requests int, bytes int64) { return len(l.queue), l.bytes.Load() }

// Close commits what is in the queue and ends the goroutine. It may be called
// more than once.
func (l *Loop[T]) Close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	<-l.ended
}

func (l *Loop[T]) run() {
	defer close(l.ended)
	for r := range l.queue {
		batch := l.gather(r)
		began := time.Now()
		l.commit(batch)
		l.took, l.last = time.Since(began), len(batch)
	}
}

// gather waits until the batch is as large as the last one was, but at most a
// quarter of the time a commit takes: clients that wait for an answer before
// they send again would otherwise settle into two half batches that alternate.
func (l *Loop[T]) gather(first T) []T {
	batch, held := []T{first}, l.size(first)
	l.bytes.Add(-int64(held))
	add := func(r T) {
		batch = append(batch, r)
		held += l.size(r)
		l.bytes.Add(-int64(l.size(r)))
	}
	var late <-chan time.Time
	for len(batch) < MaxBatch && held < MaxBytes {
		select {
		case r, ok := <-l.queue:
			if !ok {
				return batch
			}
			add(r)
			continue
		default:
		}
		if len(batch) >= l.last {
			return batch
		}
		if late == nil {
			late = time.After(min(maxGather, l.took/4))
		}
		select {
		case r, ok := <-l.queue:
			if !ok {
				return batch
			}
			add(r)
		case <-late:
			return batch
		}
	}
	return batch
}
