package intake

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/postern/postern/host"
)

// Limit bounds how many callbacks a [Gate] lets in. The zero Limit bounds
// nothing.
type Limit struct {
	// PerSecond is how many on average; 0 means no limit.
	PerSecond float64
	// Burst is how many at once; less than 1 counts as 1.
	Burst int
}

// Gate lets some callbacks in and turns others away, by the client's address
// and by how many came already. It stands before everything that costs
// something: what it turns away is not copied, judged or stored.
//
// It counts what it lets in, forgeries included: it cannot tell. Only who lacks
// the right path token is counted apart, under the same limit, and so never uses
// up what is there for the others. A nil Gate lets everyone in. It is safe for
// concurrent use.
type Gate struct {
	above   *Gate
	allowed []netip.Prefix
	limit   Limit
	// clock is held while buckets are looked at and drawn from: those of one
	// tenant's gates are one matter.
	clock *sync.Mutex
	// buckets are nil without a limit.
	buckets map[caller]*rate.Limiter
}

// caller tells whom a limit is for.
type caller bool

const (
	known    caller = true  // has the right path token, or needs none
	stranger caller = false // lacks it
)

// NewGate makes the gate of an endpoint, or of a tenant. An empty allowed lets
// any address in. A gate above, if there is one, must let in as well; it is the
// tenant's, which all its endpoints share. Each gate begins with its whole
// burst.
func NewGate(above *Gate, allowed []netip.Prefix, l Limit) *Gate {
	g := &Gate{above: above, allowed: slices.Clone(allowed), limit: l, clock: new(sync.Mutex)}
	if above != nil {
		g.clock = above.clock
	}
	if l.PerSecond > 0 {
		g.buckets = make(map[caller]*rate.Limiter, 2)
		for _, who := range []caller{known, stranger} {
			g.buckets[who] = rate.NewLimiter(rate.Limit(l.PerSecond), max(l.Burst, 1))
		}
	}
	return g
}

// Is says that the gate was made of these, so that it can stand for a new one
// and go on counting. A nil Gate was made of nothing.
func (g *Gate) Is(above *Gate, allowed []netip.Prefix, l Limit) bool {
	return g != nil && g.above == above && slices.Equal(g.allowed, allowed) && g.limit == l
}

// allows says that an address may call. One that is not known to be anybody's is
// on no list.
func (g *Gate) allows(client netip.Addr) bool {
	for ; g != nil; g = g.above {
		on := slices.ContainsFunc(g.allowed, func(p netip.Prefix) bool { return p.Contains(client) })
		if len(g.allowed) > 0 && !on {
			return false
		}
	}
	return true
}

// longest is the longest wait that a client is told.
const longest = time.Hour

// admit takes one from each of a caller's buckets, or from none: then it returns
// how long until all of them have one.
func (g *Gate) admit(who caller) (wait time.Duration) {
	if g == nil {
		return 0
	}
	g.clock.Lock()
	defer g.clock.Unlock()
	now := time.Now()
	for at := g; at != nil; at = at.above {
		wait = max(wait, short(at.buckets[who], now))
	}
	if wait > 0 {
		return wait
	}
	for at := g; at != nil; at = at.above {
		if b := at.buckets[who]; b != nil {
			b.AllowN(now, 1)
		}
	}
	return 0
}

// short is how long until a bucket has one.
func short(b *rate.Limiter, now time.Time) time.Duration {
	if b == nil {
		return 0
	}
	missing := 1 - b.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	seconds := missing / float64(b.Limit())
	return max(time.Duration(min(seconds, longest.Seconds())*float64(time.Second)), 1)
}

// limited is the answer to a callback that came too soon.
func limited(wait time.Duration) host.Answer {
	a := host.Failure(host.RateLimited)
	a.RetryAfter = wait
	return a
}
