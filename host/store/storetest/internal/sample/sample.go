// Package sample makes records for the tests of stores.
package sample

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/postern/postern/host"
)

// Time is when the sample callbacks arrive; each a second after the one
// before.
var Time = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)

// Event returns event n with the content numbered content: the same n is
// the same dedup key, and another content is a conflict with it. It passes an
// empty [host.Filter] unless it is a conflict.
func Event(n, content int) host.Event {
	received := Time.Add(time.Duration(n) * time.Second)
	return host.Event{
		Key:         Hash("key %d", n),
		ConflictKey: Hash("key %d content %d", n, content),
		Content:     host.Content(sum("content %d", content)),
		Source:      "/acme/till",
		Type:        "payment.succeeded",
		Subject:     fmt.Sprintf("txn-%06d", n),
		Time:        received.Add(-time.Minute),
		Received:    received,
		Tenant:      "acme",
		Endpoint:    "till",
		Provider:    "samplepay",
		VerifiedBy:  host.HMACSHA256,
		Covers:      host.CoversBody,
		Data: json.RawMessage(fmt.Sprintf(
			`{"status":"succeeded","amount":{"value":"%d.50","currency":"EUR"},"references":{"provider":"txn-%06d"}}`,
			content, n)),
	}
}

// ID is the id of Event(n, 0).
func ID(n int) string { return Hash("key %d", n).ID() }

// Number is the n of a [Event].
func Number(ev *host.Event) int { return int(ev.Received.Sub(Time) / time.Second) }

// Record returns an accepted callback, the n-th, with the given events;
// without any, with Event(n, 0). Its callback has everything that is hard
// to keep: repeated headers, bytes that are no text, an address.
func Record(n int, events ...host.Event) *host.Record {
	if len(events) == 0 {
		events = []host.Event{Event(n, 0)}
	}
	evidence := host.Evidence{Secret: "key", Value: 1, Algorithm: host.HMACSHA256, Covers: host.CoversBody}
	return &host.Record{
		Kind:     host.Accepted,
		Tenant:   "acme",
		Endpoint: "till",
		Provider: "samplepay",
		Plugin:   "samplepay@1.0.0",
		Callback: host.Callback{
			Method:    "POST",
			Target:    "/in/acme/till?a=1&a=2",
			PublicURL: "https://hooks.example.com/in/acme/till?a=1&a=2",
			Headers: []host.Header{
				{Name: "Content-Type", Value: "application/json"},
				{Name: "X-Repeat", Value: "first"},
				{Name: "x-repeat", Value: "second"},
				{Name: "X-Empty"},
				{Name: "Authorization", Value: "[token:basic]"},
			},
			Body:     fmt.Appendf(nil, "{\"n\":%d}\x00\xff\xfe\r\n", n),
			Received: Time.Add(time.Duration(n) * time.Second),
			Remote:   netip.MustParseAddr("203.0.113.7"),
			Tokens:   []host.Evidence{{Secret: "basic", Algorithm: host.StaticToken}},
		},
		Evidence: []host.Evidence{evidence},
		Events:   events,
	}
}

// Aside returns an item set aside; the same n is the same item.
func Aside(n int) host.Aside {
	return host.Aside{
		Reason: "amount is missing",
		Item:   json.RawMessage(fmt.Sprintf(`{"item":%d}`, n)),
		Key:    Hash("aside %d", n),
	}
}

// Ignored returns an ignored callback.
func Ignored(n int) *host.Record {
	rec := Record(n)
	rec.Kind, rec.Events, rec.Detail = host.Ignored, nil, "a ping"
	return rec
}

// Kept returns a callback kept unjudged.
func Kept(n int) *host.Record {
	rec := Record(n)
	rec.Kind, rec.Events, rec.Detail = host.Kept, nil, "the plugin trapped"
	return rec
}

// Rejected returns callback n, refused by an endpoint for a reason; the
// same n has the same body.
func Rejected(n int, endpoint, reason string) *host.Rejected {
	rec := Record(n)
	return &host.Rejected{
		Reason: reason, Detail: "the signature does not fit",
		Tenant: rec.Tenant, Endpoint: endpoint, Provider: rec.Provider, Plugin: rec.Plugin,
		Evidence: rec.Evidence, Callback: rec.Callback,
	}
}

// Hash is one of a text.
func Hash(format string, args ...any) host.Hash {
	s := sha256.Sum256(fmt.Appendf(nil, format, args...))
	return host.Hash(s[:16])
}

func sum(format string, args ...any) []byte {
	s := sha256.Sum256(fmt.Appendf(nil, format, args...))
	return s[:8]
}

// Held returns a callback that a guard holds, with an annotated Event(n, 0).
func Held(n int) *host.Record {
	ev := Event(n, 0)
	ev.Annotations = []host.Annotation{{Name: "limitover", Value: "über 10"}, {Name: "limitrule", Value: "b"}}
	rec := Record(n, ev)
	rec.Kind, rec.Detail = host.Held, "1.50 EUR is above the limit"
	rec.Aside = []host.Aside{{Reason: "limit", Key: Hash("hold of %d", n)}}
	return rec
}

// Released is what [host.Host.Release] appends.
func Released(r *host.Rejected) *host.Record {
	return &host.Record{
		Kind: host.Accepted, Tenant: r.Tenant, Endpoint: r.Endpoint, Provider: r.Provider, Plugin: r.Plugin,
		Detail: "released", Callback: r.Callback, Evidence: r.Evidence, Events: r.Held.Events, Aside: r.Held.Aside,
	}
}
