// Command wibmo-acme is a tenant's own module in the place of wibmo's plugin: its
// gateway stands before Postern and signs what it lets through. README.md says
// more.
package main

import postern "github.com/postern/postern/sdk"

const signatureHeader = "X-Acme-Signature"

func init() { postern.Register(postern.Plugin{Handle: handle, Sign: sign}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict {
	if _, bound := cb.Token("client-id"); !bound {
		return cb.Reject(postern.NotVerified, "a static header is not bound")
	}
	proof, ok := cb.Signed("gateway-key").Body().Check(cb.Header(signatureHeader), postern.Hex)
	if !ok {
		return cb.Reject(postern.NotVerified, "the gateway's signature is missing or does not match")
	}
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	minor, ok := postern.Minor(body.Text("/transactionAmount"))
	if !ok {
		return cb.Reject(postern.Malformed, "transactionAmount is not a whole number of minor units")
	}
	id, direction, status := body.Text("/prepaidTransactionId"), body.Text("/transactionType"), body.Text("/transactionStatus")
	kind, word := fact(direction, status)
	if kind == "" {
		return cb.Reject(postern.NotUnderstood, "neither SUCCESS nor FAILED of CR or DR: "+status+" of "+direction)
	}
	cb.Event(proof).
		Type(kind).
		Subject(id).
		Key(id, direction, status).
		Status(word).
		ProviderStatus(status).
		Amount(postern.Decimal(minor, 2), "INR").
		Minor(minor).
		ProviderRef(id).
		Party(body.Text("/customerId")).
		ProviderData(body, "")
	return cb.Accept()
}

// fact is the type and the status of a transaction, empty for one that ACME does
// not know.
func fact(direction, status string) (kind, word string) {
	switch {
	case direction != "CR" && direction != "DR":
		return "", ""
	case status == "FAILED":
		return "transfer.failed", "failed"
	case status != "SUCCESS":
		return "", ""
	case direction == "CR":
		return "transfer.credited", "succeeded"
	}
	return "transfer.debited", "succeeded"
}

// sign does what ACME's gateway does; the host puts the static header in.
func sign(u *postern.Unsigned) error {
	signature, err := u.Sign(u.Signed("gateway-key").Body(), postern.Hex)
	if err != nil {
		return err
	}
	u.SetHeader(signatureHeader, signature)
	return nil
}
