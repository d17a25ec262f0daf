package cli

import (
	"embed"

	"github.com/postern/postern/host"
)

// demoRequests are the demo's callbacks, unsigned; like those of real
// providers, with ids of our own.
//
//go:embed demo/*.http
var demoRequests embed.FS

// demoCase is one callback and what must become of it.
type demoCase struct {
	provider, name string
	// file is the callback's, in demo.
	file string
	// from says who sends it.
	from origin
	want outcome
}

// String names the case: "ottu: paid".
func (c *demoCase) String() string { return c.provider + ": " + c.name }

// origin is who sends a callback.
type origin uint8

// The origins.
const (
	fromProvider origin = iota // signed with the endpoint's secrets
	fromForger                 // knows the URL; signed, with other secrets
	fromStranger               // guesses the end of the URL as well
	fromNobody                 // knows the URL; not signed
)

// outcome is what became of a callback.
type outcome struct {
	// Status is that of the answer.
	Status int `json:"status"`
	// Became is what the store did with the callback's events: a disposition,
	// or several with their numbers; or "refused", "ignored" or "kept".
	Became string `json:"became"`
	// Type is the new events', empty for none.
	Type string `json:"type,omitempty"`
	// Delivered says that every new event is in the sink's file.
	Delivered bool `json:"delivered"`
}

// What becomes of a callback that was not taken, and of one of no interest.
const (
	refusedOutcome = "refused"
	ignoredOutcome = "ignored"
)

func stored200(kind string) outcome {
	return outcome{Status: 200, Became: host.Stored.String(), Type: kind, Delivered: true}
}

func ignored200() outcome { return outcome{Status: 200, Became: ignoredOutcome} }

// kept200 is what becomes of a callback that is not understood and is its
// provider's without doubt.
func kept200() outcome { return outcome{Status: 200, Became: host.Kept.String()} }

func duplicate200() outcome { return outcome{Status: 200, Became: host.Duplicate.String()} }

// conflict200 is stored and marked, and goes only to sinks that ask for
// conflicts, which the demo's does not.
func conflict200(kind string) outcome {
	return outcome{Status: 200, Became: host.Conflicted.String(), Type: kind}
}

func refused4xx(status int) outcome { return outcome{Status: status, Became: refusedOutcome} }

// demoCases are the callbacks in the order in which they are sent.
func demoCases() []demoCase {
	return []demoCase{
		{"ottu", "a payment begins", "ottu-pending.http", fromProvider, stored200("payment.pending")},
		{"ottu", "the same again", "ottu-pending.http", fromProvider, duplicate200()},
		{"ottu", "it is paid", "ottu-paid.http", fromProvider, stored200("payment.succeeded")},
		{"ottu", "other amount", "ottu-paid-other-amount.http", fromProvider, conflict200("payment.succeeded")},
		{"ottu", "forged signature", "ottu-paid.http", fromForger, refused4xx(401)},
		{"ottu", "not signed", "ottu-paid.http", fromNobody, refused4xx(401)},
		{"ottu", "broken JSON", "ottu-broken.http", fromNobody, kept200()},
		{"wibmo", "a load fails", "wibmo-failed.http", fromProvider, stored200("transfer.failed")},
		{"wibmo", "the same again", "wibmo-failed.http", fromProvider, duplicate200()},
		{"wibmo", "it succeeds", "wibmo-success.http", fromProvider, stored200("transfer.credited")},
		{"wibmo", "other amount", "wibmo-success-other-amount.http", fromProvider, conflict200("transfer.credited")},
		{"wibmo", "wrong header ids", "wibmo-success.http", fromForger, refused4xx(401)},
		{"wibmo", "no ids at all", "wibmo-success.http", fromNobody, refused4xx(401)},
		{"wibmo", "broken JSON", "wibmo-broken.http", fromProvider, kept200()},
		{"wowpe", "a payout begins", "wowpe-pending.http", fromProvider, stored200("payout.pending")},
		{"wowpe", "it succeeds", "wowpe-success.http", fromProvider, stored200("payout.succeeded")},
		{"wowpe", "the same again", "wowpe-success.http", fromProvider, duplicate200()},
		{"wowpe", "no, it failed", "wowpe-failure.http", fromProvider, conflict200("payout.failed")},
		{"wowpe", "it is reversed", "wowpe-reversal.http", fromProvider, stored200("payout.reversed")},
		{"wowpe", "nothing to tell", "wowpe-no-status.http", fromProvider, ignored200()},
		{"wowpe", "forged checksum", "wowpe-success.http", fromForger, refused4xx(401)},
		{"wowpe", "no checksum", "wowpe-success.http", fromNobody, refused4xx(401)},
		{"singleview", "two and a bad one", "singleview-batch.http", fromProvider, outcome{
			Status: 200, Became: "2 stored, 1 set-aside", Type: "payment.pending", Delivered: true,
		}},
		{"singleview", "one goes on", "singleview-later.http", fromProvider, outcome{
			Status: 200, Became: "1 stored, 1 duplicate", Type: "payment.succeeded", Delivered: true,
		}},
		{"singleview", "its charge", "singleview-charge.http", fromProvider, stored200("charge.succeeded")},
		{"singleview", "wrong token", "singleview-later.http", fromStranger, refused4xx(401)},
		{"paymentoptions", "an order is paid", "paymentoptions-success.http", fromProvider, stored200("payment.succeeded")},
		{"paymentoptions", "the same again", "paymentoptions-success.http", fromProvider, duplicate200()},
		{"paymentoptions", "one is declined", "paymentoptions-declined.http", fromProvider, stored200("payment.failed")},
		{"paymentoptions", "forged URL", "paymentoptions-other-order.http", fromForger, refused4xx(401)},
		{"paymentoptions", "not signed", "paymentoptions-success.http", fromNobody, refused4xx(401)},
	}
}
