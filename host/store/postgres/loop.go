package postgres

import (
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of one commit.
const (
	maxBatch      = 512
	maxBatchBytes = 4 << 20
	maxGather     = time.Millisecond
)

// loop is a group committer: many callers hand in requests, one goroutine
// commits all that have come together. At a low rate a request waits for nothing
// but its own commit.
type loop[T any] struct {
	// commit commits a batch and answers every request in it.
	commit func([]T)
	// size is how many bytes a request holds in the queue.
	size func(T) int64
	// maxBytes bounds the queue beside its capacity. One request is always let
	// in.
	maxBytes int64
	// gather is the longest wait for a batch as large as the last one.
	gather time.Duration

	queue chan T
	bytes atomic.Int64
	ended chan struct{}

	mu     sync.RWMutex // held for writing to close
	closed bool
}

func (l *loop[T]) start(requests int) {
	l.queue, l.ended = make(chan T, requests), make(chan struct{})
	go l.run()
}

// offer puts r into the queue, or reports that there is no room or no queue any
// more. It does not block.
func (l *loop[T]) offer(r T) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n := l.size(r)
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

// close commits what is in the queue and ends the goroutine.
func (l *loop[T]) close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	<-l.ended
}

func (l *loop[T]) run() {
	defer close(l.ended)
	last, took := 0, time.Duration(0)
	for r := range l.queue {
		batch := l.collect(r, last, min(l.gather, took/4))
		began := time.Now()
		l.commit(batch)
		last, took = len(batch), time.Since(began)
	}
}

// collect takes what is in the queue, and waits until the batch is as large as
// the last one was, but not longer than wait: clients that wait for an answer
// before they send again would otherwise settle into two half batches that
// alternate.
func (l *loop[T]) collect(first T, last int, wait time.Duration) []T {
	batch, held := []T{first}, l.size(first)
	defer func() { l.bytes.Add(-held) }()
	var late <-chan time.Time
	for len(batch) < maxBatch && held < maxBatchBytes {
		var r T
		var ok bool
		select {
		case r, ok = <-l.queue:
		default:
			if len(batch) >= last || wait <= 0 {
				return batch
			}
			if late == nil {
				late = time.After(wait)
			}
			select {
			case r, ok = <-l.queue:
			case <-late:
				return batch
			}
		}
		if !ok {
			return batch
		}
		batch, held = append(batch, r), held+l.size(r)
	}
	return batch
}
