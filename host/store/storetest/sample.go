package storetest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/postern/postern/host"
)

// sampleTime is when the sample callbacks arrive; each a second after the one
// before.
var sampleTime = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)

// SampleEvent returns event n with the content numbered content: the same n is
// the same dedup key, and another content is a conflict with it. It passes an
// empty [host.Filter] unless it is a conflict.
func SampleEvent(n, content int) host.Event {
	received := sampleTime.Add(time.Duration(n) * time.Second)
	return host.Event{
		Key:         hash("key %d", n),
		ConflictKey: hash("key %d content %d", n, content),
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

// sampleID is the id of SampleEvent(n, 0).
func sampleID(n int) string { return hash("key %d", n).ID() }

// number is the n of a [SampleEvent].
func number(ev *host.Event) int { return int(ev.Received.Sub(sampleTime) / time.Second) }

// SampleRecord returns an accepted callback, the n-th, with the given events;
// without any, with SampleEvent(n, 0). Its callback has everything that is hard
// to keep: repeated headers, bytes that are no text, an address.
func SampleRecord(n int, events ...host.Event) *host.Record {
	if len(events) == 0 {
		events = []host.Event{SampleEvent(n, 0)}
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
			Received: sampleTime.Add(time.Duration(n) * time.Second),
			Remote:   netip.MustParseAddr("203.0.113.7"),
			Tokens:   []host.Evidence{{Secret: "basic", Algorithm: host.StaticToken}},
		},
		Evidence: []host.Evidence{evidence},
		Events:   events,
	}
}

// SampleAside returns an item set aside; the same n is the same item.
func SampleAside(n int) host.Aside {
	return host.Aside{
		Reason: "amount is missing",
		Item:   json.RawMessage(fmt.Sprintf(`{"item":%d}`, n)),
		Key:    hash("aside %d", n),
	}
}

// SampleIgnored returns an ignored callback.
func SampleIgnored(n int) *host.Record {
	rec := SampleRecord(n)
	rec.Kind, rec.Events, rec.Detail = host.Ignored, nil, "a ping"
	return rec
}

// SampleKept returns a callback kept unjudged.
func SampleKept(n int) *host.Record {
	rec := SampleRecord(n)
	rec.Kind, rec.Events, rec.Detail = host.Kept, nil, "the plugin trapped"
	return rec
}

// SampleRejected returns callback n, refused by an endpoint for a reason; the
// same n has the same body.
func SampleRejected(n int, endpoint, reason string) *host.Rejected {
	rec := SampleRecord(n)
	return &host.Rejected{
		Reason: reason, Detail: "the signature does not fit",
		Tenant: rec.Tenant, Endpoint: endpoint, Provider: rec.Provider, Plugin: rec.Plugin,
		Evidence: rec.Evidence, Callback: rec.Callback,
	}
}

func hash(format string, args ...any) host.Hash {
	s := sha256.Sum256(fmt.Appendf(nil, format, args...))
	return host.Hash(s[:16])
}

func sum(format string, args ...any) []byte {
	s := sha256.Sum256(fmt.Appendf(nil, format, args...))
	return s[:8]
}
