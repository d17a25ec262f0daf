package postgres

import (
	"math"
	"time"
)

// Times are stored in nanoseconds since 1970; what is farther away than they can
// say is as far as they can. never is when what is parked falls due.
const (
	never    = math.MaxInt64
	earliest = math.MinInt64
	latest   = never - 1
)

func nanos(t time.Time) int64 {
	switch sec := t.Unix(); {
	case sec < earliest/int64(time.Second)+1:
		return earliest
	case sec > latest/int64(time.Second)-1:
		return latest
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time { return time.Unix(0, n).UTC() }

// clock is what time it is for leases and retries, in one transaction.
type clock struct {
	now int64
	// shift is how far this machine's clock is ahead of the server's: times that
	// come in are turned back by it, those that go out are moved on.
	shift int64
}

// serverClock is what every transaction of the queue selects for [Store.clock].
const serverClock = `(extract(epoch from clock_timestamp()) * 1000000000)::bigint`

// clock takes the server's time, unless there is another clock.
func (s *Store) clock(server int64) clock {
	if s.o.Now != nil {
		return clock{now: nanos(s.o.Now())}
	}
	return clock{now: server, shift: time.Now().UnixNano() - server}
}

func (c clock) in(t time.Time) int64 {
	n := nanos(t)
	if n == earliest || n == latest {
		return n
	}
	return n - c.shift
}

func (c clock) out(n int64) time.Time { return fromNanos(n + c.shift) }
