package host

import (
	"context"
	"encoding/json"
	"time"
)

// Plugin is a provider's module bound to one endpoint's secrets and settings.
//
// Handle judges one masked callback. It must not keep or change cb, and what
// it returns owns its memory. The same callback gives the same Result, today
// or in a year (invariant 11). It blocks while the plugin runs, and for a
// bounded time while waiting for an instance; ctx cancels the wait, not a run.
//
// An error means that the plugin failed, not that it refused: it has the code
// [PluginFailed] (trapped, broke the ABI, exceeded a limit) or [PluginBusy]
// (no instance was free in time). The instance that failed is never used
// again.
//
// Implementations are safe for concurrent use.
type Plugin interface {
	Handle(ctx context.Context, cb *Callback) (Result, error)
}

// Verdict is what a plugin makes of a callback.
type Verdict uint8

// The verdicts. The numbers are those of the ABI (docs/plugin-abi.md).
const (
	Accept  Verdict = 1 // verified and understood: its events are stored
	Ignore  Verdict = 2 // verified and of no interest: a record without events
	Respond Verdict = 3 // a challenge: answered, not stored
	Reject  Verdict = 4 // not verified or not understood
)

// String names the verdict as in logs, metrics and goldens.
func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Ignore:
		return "ignore"
	case Respond:
		return "respond"
	case Reject:
		return "reject"
	}
	return "unknown"
}

// Reason is why a callback was rejected.
type Reason uint8

// The reasons. The numbers up to NotUnderstood are those of the ABI; zero is "no
// reason".
const (
	NotVerified   Reason = 1 // no signature, token or cipher proved it
	Malformed     Reason = 2 // it cannot be parsed
	NotUnderstood Reason = 3 // verified, and the plugin does not know what it means
	ByGuard       Reason = 4 // a guard rejected what the plugin accepted
)

// String names the reason as in logs, metrics and goldens.
func (r Reason) String() string {
	switch r {
	case NotVerified:
		return "not-verified"
	case Malformed:
		return "malformed"
	case NotUnderstood:
		return "not-understood"
	case ByGuard:
		return "guard-rejected"
	}
	return ""
}

// Code is the error code of a rejection for this reason.
func (r Reason) Code() Code {
	switch r {
	case Malformed:
		return CallbackMalformed
	case NotUnderstood:
		return CallbackNotUnderstood
	case ByGuard:
		return GuardRejected
	case NotVerified:
	}
	return CallbackNotVerified
}

// Result is everything a plugin said of one callback.
type Result struct {
	Verdict Verdict
	// Reason and Detail say why it was rejected or ignored. Detail is the
	// plugin's text for operators, at most 256 bytes; it is never sent to the
	// provider.
	Reason Reason
	Detail string
	// Evidence is what the plugin asked for and got, in that order.
	Evidence []Evidence
	Events   []Draft
	Aside    []Aside
	// Fuel is what judging it burnt, in units of about one simple instruction; the
	// same wherever and whenever it is judged.
	Fuel int64
	// Memory is the size of the plugin's linear memory when it was done, in bytes.
	Memory int64
	// Answer is the plugin's ack, or the challenge's answer for Respond; nil
	// leaves the ack to the endpoint.
	Answer *Answer
}

// Draft is an event as the plugin describes it, before the host completes it.
type Draft struct {
	// Evidence is the index in Result.Evidence of what proves this event, or
	// -1 for none.
	Evidence int
	// Type is the event's type, "payment.succeeded".
	Type string
	// Subject is the transaction's id.
	Subject string
	// Time is when it happened; the zero time means when it was received.
	Time time.Time
	// Key are the components of the dedup key, none empty; no components
	// means the SHA-256 of the body and the event's index.
	Key []string
	// Status is Postern's own word for the transaction's state and
	// ProviderStatus the provider's.
	Status         string
	ProviderStatus string
	// Amount is exact decimal text, Currency its ISO 4217 code; Minor is the
	// amount in minor units where the scale is known, else nil.
	Amount   string
	Currency string
	Minor    *int64
	// References are the names others give the transaction.
	References References
	// Method and Party are how and who, where the provider says so.
	Method string
	Party  string
	// Confirm says that the evidence does not cover the fact: the consumer
	// must fetch it from the provider before acting on it.
	Confirm bool
	// Sandbox marks an event of the provider's test environment.
	Sandbox bool
	// ProviderData are the provider's own fields, as sent.
	ProviderData json.RawMessage
}

// References are the ids by which a transaction is known.
type References struct {
	Merchant string `json:"merchant,omitempty"`
	Provider string `json:"provider,omitempty"`
	Bank     string `json:"bank,omitempty"`
}

// Aside is an item of a batch that the plugin could not use. It is stored with
// its reason in the callback's record, so that one bad item fails no batch and
// is not lost.
type Aside struct {
	Reason string          `json:"reason"`
	Item   json.RawMessage `json:"item"`
	// Key is the item's identity, filled by the host.
	Key Hash `json:"-"`
}

// Answer is an HTTP answer to a provider.
type Answer struct {
	// Status is the HTTP status; zero means 200.
	Status int `json:"status"`
	// ContentType of Body; empty with an empty Body.
	ContentType string `json:"content_type,omitempty"`
	Body        []byte `json:"-"`
	// RetryAfter, if positive, is sent in whole seconds.
	RetryAfter time.Duration `json:"-"`
	// Close asks for the connection to be closed after the answer.
	Close bool `json:"-"`
}
