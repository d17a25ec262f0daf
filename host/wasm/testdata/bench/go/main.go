// Command go is the plugin of the measurements, as an author would write it: it
// reads the body through the host's view, has the host verify an HMAC, tells one
// event with ten fields and acknowledges it. pay.c does the same.
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
	id := body.Text("/id")
	cb.Event(proof).
		Type("payment.succeeded").
		Subject(id).
		Time(body.Text("/paid_at")).
		Key(id).
		Status("succeeded").
		ProviderStatus(status).
		Amount(body.Text("/amount/value"), body.Text("/amount/currency")).
		MerchantRef(body.Text("/order/reference")).
		Method(body.Text("/method"))
	cb.Ack(200, "application/json", `{"received":true}`)
	return cb.Accept()
}
