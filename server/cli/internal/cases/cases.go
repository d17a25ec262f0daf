// Package cases has the callbacks of the demo and what must become of each.
package cases

import (
	"embed"

	"github.com/postern/postern/host"
)

// requests are the demo's callbacks, unsigned; like those of real
// providers, with ids of our own.
//
//go:embed demo/*.http
var requests embed.FS

// Case is one callback and what must become of it.
type Case struct {
	// Provider is the endpoint's name, the provider's where there is one of it.
	Provider, Name string
	// file is the callback's, in demo.
	file string
	// From says who sends it.
	From Origin
	Want Outcome
}

// String names the case: "ottu: paid".
func (c *Case) String() string { return c.Provider + ": " + c.Name }

// Origin is who sends a callback.
type Origin uint8

// The origins.
const (
	FromProvider Origin = iota // signed with the endpoint's secrets
	FromForger                 // knows the URL; signed, with other secrets
	FromStranger               // guesses the end of the URL as well
	FromNobody                 // knows the URL; not signed
	FromOperator               // nothing is sent: what is held is released
)

// Outcome is what became of a callback.
type Outcome struct {
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
	Refused = "refused"
	Ignored = "ignored"
)

// Stored200 is what becomes of a callback whose events of this type are new.
func Stored200(kind string) Outcome {
	return Outcome{Status: 200, Became: host.Stored.String(), Type: kind, Delivered: true}
}

func ignored200() Outcome { return Outcome{Status: 200, Became: Ignored} }

// kept200 is what becomes of a callback that is not understood and is its
// provider's without doubt.
func kept200() Outcome { return Outcome{Status: 200, Became: host.Kept.String()} }

// held200 is what becomes of a callback that a guard holds.
func held200() Outcome { return Outcome{Status: 200, Became: host.Held.String()} }

func duplicate200() Outcome { return Outcome{Status: 200, Became: host.Duplicate.String()} }

// conflict200 is stored and marked, and goes only to sinks that ask for
// conflicts, which the demo's does not.
func conflict200(kind string) Outcome {
	return Outcome{Status: 200, Became: host.Conflicted.String(), Type: kind}
}

// Refused4xx is what becomes of a callback that is refused.
func Refused4xx(status int) Outcome { return Outcome{Status: status, Became: Refused} }

// All are the callbacks in the order in which they are sent.
func All() []Case {
	return []Case{
		{"ottu", "a payment begins", "ottu-pending.http", FromProvider, Stored200("payment.pending")},
		{"ottu", "the same again", "ottu-pending.http", FromProvider, duplicate200()},
		{"ottu", "it is paid", "ottu-paid.http", FromProvider, Stored200("payment.succeeded")},
		{"ottu", "other amount", "ottu-paid-other-amount.http", FromProvider, conflict200("payment.succeeded")},
		{"ottu", "forged signature", "ottu-paid.http", FromForger, Refused4xx(401)},
		{"ottu", "not signed", "ottu-paid.http", FromNobody, Refused4xx(401)},
		{"ottu", "broken JSON", "ottu-broken.http", FromNobody, kept200()},
		{"wibmo", "a load fails", "wibmo-failed.http", FromProvider, Stored200("transfer.failed")},
		{"wibmo", "the same again", "wibmo-failed.http", FromProvider, duplicate200()},
		{"wibmo", "it succeeds", "wibmo-success.http", FromProvider, Stored200("transfer.credited")},
		{"wibmo", "other amount", "wibmo-success-other-amount.http", FromProvider, conflict200("transfer.credited")},
		{"wibmo", "wrong header ids", "wibmo-success.http", FromForger, Refused4xx(401)},
		{"wibmo", "no ids at all", "wibmo-success.http", FromNobody, Refused4xx(401)},
		{"wibmo", "broken JSON", "wibmo-broken.http", FromProvider, kept200()},
		{"guarded", "through the gateway", "guarded-credit.http", FromProvider, Stored200("transfer.credited")},
		{"guarded", "around the gateway", "guarded-around.http", FromProvider, Refused4xx(403)},
		{"guarded", "above the limit", "guarded-large.http", FromProvider, held200()},
		{"guarded", "the same again", "guarded-large.http", FromProvider, duplicate200()},
		{"guarded", "it is released", "", FromOperator, Stored200("transfer.credited")},
		{"replaced", "a tenant's own rule", "wibmo-success.http", FromProvider, Stored200("transfer.credited")},
		{"replaced", "forged", "wibmo-success.http", FromForger, Refused4xx(401)},
		{"wowpe", "a payout begins", "wowpe-pending.http", FromProvider, Stored200("payout.pending")},
		{"wowpe", "it succeeds", "wowpe-success.http", FromProvider, Stored200("payout.succeeded")},
		{"wowpe", "the same again", "wowpe-success.http", FromProvider, duplicate200()},
		{"wowpe", "no, it failed", "wowpe-failure.http", FromProvider, conflict200("payout.failed")},
		{"wowpe", "it is reversed", "wowpe-reversal.http", FromProvider, Stored200("payout.reversed")},
		{"wowpe", "nothing to tell", "wowpe-no-status.http", FromProvider, ignored200()},
		{"wowpe", "forged checksum", "wowpe-success.http", FromForger, Refused4xx(401)},
		{"wowpe", "no checksum", "wowpe-success.http", FromNobody, Refused4xx(401)},
		{"singleview", "two and a bad one", "singleview-batch.http", FromProvider, Outcome{
			Status: 200, Became: "2 stored, 1 set-aside", Type: "payment.pending", Delivered: true,
		}},
		{"singleview", "one goes on", "singleview-later.http", FromProvider, Outcome{
			Status: 200, Became: "1 stored, 1 duplicate", Type: "payment.succeeded", Delivered: true,
		}},
		{"singleview", "its charge", "singleview-charge.http", FromProvider, Stored200("charge.succeeded")},
		{"singleview", "wrong token", "singleview-later.http", FromStranger, Refused4xx(401)},
		{"paymentoptions", "an order is paid", "paymentoptions-success.http", FromProvider, Stored200("payment.succeeded")},
		{"paymentoptions", "the same again", "paymentoptions-success.http", FromProvider, duplicate200()},
		{"paymentoptions", "one is declined", "paymentoptions-declined.http", FromProvider, Stored200("payment.failed")},
		{"paymentoptions", "forged URL", "paymentoptions-other-order.http", FromForger, Refused4xx(401)},
		{"paymentoptions", "not signed", "paymentoptions-success.http", FromNobody, Refused4xx(401)},
	}
}

// Text reads the case's callback, a .http file.
func (c *Case) Text() ([]byte, error) { return requests.ReadFile("demo/" + c.file) }
