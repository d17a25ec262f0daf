package host

import "context"

// Sink is where events go.
//
// Deliver hands over a batch in order and returns one error for each delivery,
// or nil when the other side has them all. It returns when the other side has
// said so (or has not within ctx's deadline); what it cannot hand over it
// reports, it never drops. It says what kind an error is: [Permanent] when no
// retry can mend it, [RetryAfter] when the other side named a time, anything
// else is transient. An error's text holds no secret.
//
// Deliver is called concurrently, as the configured concurrency says. After
// Close it is not called again; Close waits for what is under way.
type Sink interface {
	Deliver(ctx context.Context, batch []Delivery) []error
	Close() error
}
