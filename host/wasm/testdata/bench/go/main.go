// Command go is the plugin of the measurements, as an author would write it: it
// reads the body through the host's view, has the host verify an HMAC, tells one
// event with ten fields and acknowledges it. What it need not look at goes from
// the view into the event. pay.c does the same.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.Register(postern.Plugin{Handle: handle}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict {
	body, err := cb.JSON()
	if err != nil {
		return cb.Reject(postern.Malformed, "body is not JSON")
	}
	proof, ok := cb.Signed("key").Body().Check(cb.Header("X-Signature"), postern.Hex)
	if !ok {
		return cb.Reject(postern.NotVerified, "X-Signature does not match")
	}
	status := body.Text("/status")
	if status != "paid" {
		return cb.Reject(postern.NotUnderstood, "status "+status)
	}
	cb.Event(proof).
		Type("payment.succeeded").
		Map(postern.FieldSubject, body, "/id").
		Map(postern.FieldTime, body, "/paid_at").
		Map(postern.FieldKey, body, "/id").
		Status("succeeded").
		ProviderStatus(status).
		MapAmount(body, "/amount/value", "/amount/currency").
		Map(postern.FieldMerchantRef, body, "/order/reference").
		Map(postern.FieldMethod, body, "/method")
	cb.Ack(200, "application/json", `{"received":true}`)
	return cb.Accept()
}
