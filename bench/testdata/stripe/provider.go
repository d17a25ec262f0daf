// Command stripe is what the plugin generic does with providers/stripe.yaml,
// written out as an author would: the measurements run the two beside each other.
package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

func init() { postern.Register(postern.Plugin{Handle: handle}) }

func main() {}

// tolerance is how far the signed time and that of receipt may be apart, in
// milliseconds.
const tolerance = 300_000

// facts are what Stripe's events mean. All others are of no interest.
var facts = map[string]string{
	"payment_intent.created":                   "pending",
	"payment_intent.processing":                "pending",
	"payment_intent.requires_action":           "pending",
	"payment_intent.amount_capturable_updated": "authorized",
	"payment_intent.succeeded":                 "succeeded",
	"payment_intent.payment_failed":            "failed",
	"payment_intent.canceled":                  "canceled",
	"charge.refunded":                          "refunded",
}

func handle(cb *postern.Callback) postern.Verdict {
	proof, ok := verify(cb)
	if !ok {
		return cb.Reject(postern.NotVerified, "the signature does not match")
	}
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	word := body.Text("/type")
	fact := facts[word]
	if fact == "" {
		return cb.Ignore(word)
	}
	id := body.Text("/data/object/id")
	subject := body.Text("/data/object/payment_intent")
	if subject == "" {
		subject = id
	}
	ev := cb.Event(proof).
		Type("payment." + fact).
		Subject(subject).
		Key(body.Text("/id")).
		Status(fact).
		ProviderStatus(word).
		MerchantRef(body.Text("/data/object/metadata/order_id")).
		ProviderRef(id).
		ProviderData(body, "")
	price(ev, body)
	if seconds, ok := postern.Minor(body.Text("/created")); ok {
		ev.TimeMillis(seconds * 1000)
	}
	if body.Text("/livemode") == "false" {
		ev.Sandbox()
	}
	return cb.Accept()
}

// verify tries the signatures of Stripe-Signature: t=1767323045,v1=…,v0=…
func verify(cb *postern.Callback) (proof postern.Evidence, ok bool) {
	timestamp := ""
	var found []string
	for part := range strings.SplitSeq(cb.Header("Stripe-Signature"), ",") {
		part = strings.Trim(part, " \t")
		if text, is := strings.CutPrefix(part, "t="); is {
			timestamp = text
		} else if text, is := strings.CutPrefix(part, "v1="); is {
			found = append(found, text)
		}
	}
	seconds, ok := postern.Minor(timestamp)
	if apart := cb.Now() - seconds*1000; !ok || max(apart, -apart) > tolerance {
		return proof, false
	}
	signed := cb.Signed("hmac-key").Text(timestamp).Text(".").Body()
	for _, signature := range found {
		if proof, ok := signed.Check(signature, postern.Hex); ok {
			return proof, true
		}
	}
	return proof, false
}

// price says the amount, in the currency's minor units.
func price(ev postern.Event, body postern.View) {
	text := body.Text("/data/object/amount_refunded")
	if text == "" {
		text = body.Text("/data/object/amount")
	}
	if text == "" {
		return
	}
	currency := strings.ToUpper(body.Text("/data/object/currency"))
	digits, negative := strings.CutPrefix(text, "-")
	units, ok := postern.Minor(digits)
	if negative {
		units = -units
	}
	if !ok {
		ev.Amount("-", currency) // which fails the callback
		return
	}
	ev.Amount(postern.Decimal(units, scale(currency)), currency).Minor(units)
}

func scale(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "JOD", "KWD", "OMR", "TND":
		return 3
	}
	return 2
}
