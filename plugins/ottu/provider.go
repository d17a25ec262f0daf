// Command ottu is the plugin for Ottu's callbacks: it verifies them by the two
// signature schemes that Ottu uses and tells their payment and operation
// events. README.md says what is signed and what is not.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.Register(postern.Plugin{Handle: handle, Sign: sign}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict {
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	if body.Kind("/signature") == postern.Absent && cb.Setting("unsigned_operations") == "notify" && isOperation(body) {
		return operate(cb, body, postern.Evidence{})
	}
	signature, kind := body.Get("/signature")
	if kind != postern.String {
		return cb.Reject(postern.NotVerified, "no signature")
	}
	for _, scheme := range schemes {
		signed, unclear := scheme.read(body)
		if proof, ok := cb.Signed(secret).Bytes(signed).Check(signature, postern.Hex); ok {
			if unclear != "" {
				return cb.Reject(postern.NotUnderstood, unclear)
			}
			return judge(cb, body, proof)
		}
	}
	return cb.Reject(postern.NotVerified, "signature does not match")
}

// judge tells the event of a verified callback. The first signed field is a
// decimal and the last two are known words, and no value between holds a
// field's name: no other split of the signed text gives another event.
func judge(cb *postern.Callback, body postern.View, proof postern.Evidence) postern.Verdict {
	state, result := body.Text("/state"), body.Text("/result")
	switch {
	case state != "":
		word := fact(state, result)
		if word == "" {
			return cb.Reject(postern.NotUnderstood, "state "+state+" with result "+result)
		}
		pay(cb, body, proof, word)
		return accept(cb)
	case isOperation(body):
		return operate(cb, body, proof)
	}
	return cb.Reject(postern.NotUnderstood, "neither a payment nor an operation event")
}

func accept(cb *postern.Callback) postern.Verdict {
	if cb.Setting("ack_status") == "201" {
		cb.Ack(201, "application/json", `{"detail":"Success"}`)
	}
	return cb.Accept()
}

// fact is Postern's word for a payment's state, empty where the result
// contradicts it or either is unknown.
func fact(state, result string) string {
	if !isOneOf(result, "pending", "success", "failed", "canceled", "error", "cod") {
		return ""
	}
	if success := result == "success"; success != isOneOf(state, "paid", "authorized") && state != "cod" {
		return ""
	}
	switch state {
	case "paid":
		return "succeeded"
	case "authorized":
		return "authorized"
	case "created", "pending", "attempted", "cod":
		return "pending"
	case "failed":
		return "failed"
	case "canceled", "invalidated":
		return "canceled"
	case "expired":
		return "expired"
	}
	return ""
}

func pay(cb *postern.Callback, body postern.View, proof postern.Evidence, word string) {
	reference, state, result := body.Text("/reference_number"), body.Text("/state"), body.Text("/result")
	ev := cb.Event(proof).
		Type("payment."+word).
		Subject(reference).
		Key("payment", reference, state, result).
		Status(word).
		ProviderStatus(state).
		Amount(body.Text("/amount"), body.Text("/currency_code"))
	describe(ev, body)
}

// operate tells an operation as a hint: what was done (operation, txn) is never
// signed. Its signed fields are the same for two equal refunds of one payment,
// so the dedup key is the body. What nobody signed names no subject.
func operate(cb *postern.Callback, body postern.View, proof postern.Evidence) postern.Verdict {
	result := body.Text("/result")
	if !isOneOf(result, "success", "failed", "rejected", "queued") {
		return cb.Reject(postern.NotUnderstood, "operation with result "+result)
	}
	ev := cb.Event(proof).
		Type("payment.notified").
		ProviderStatus(result).
		Confirm()
	if proof != (postern.Evidence{}) {
		ev.Subject(body.Text("/reference_number"))
	}
	if t := body.Text("/timestamp_utc"); len(t) == len("2006-01-02 15:04:05") {
		ev.Time(t[:10] + "T" + t[11:] + "Z")
	}
	// Some operations name their currency only in txn.
	if body.Text("/currency_code") != "" {
		ev.Amount(body.Text("/amount"), body.Text("/currency_code"))
	}
	describe(ev, body)
	return accept(cb)
}

func describe(ev postern.Event, body postern.View) {
	if body.Text("/is_sandbox") == "true" {
		ev.Sandbox()
	}
	ev.MerchantRef(body.Text("/order_no")).
		ProviderRef(body.Text("/reference_number")).
		Method(body.Text("/gateway_name")).
		ProviderData(body, "")
}

// isOperation reports whether the body is of the operation event's form.
// The operation itself may be null.
func isOperation(body postern.View) bool {
	return body.Text("/state") == "" &&
		body.Kind("/operation") != postern.Absent && body.Kind("/txn") == postern.Object
}

func isOneOf(s string, words ...string) bool {
	for _, word := range words {
		if s == word {
			return true
		}
	}
	return false
}
