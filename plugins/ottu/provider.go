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
		return operate(cb, body, postern.Evidence{}, text(body, "/order_no"))
	}
	signature, kind := body.Get("/signature")
	if kind != postern.String {
		return cb.Reject(postern.NotVerified, "no signature")
	}
	for _, scheme := range accepted(cb, body) {
		signed, unclear := scheme.read(body)
		if proof, ok := cb.Signed(secret).Bytes(signed).Check(signature, postern.Hex); ok {
			if unclear != "" {
				return cb.Reject(postern.NotUnderstood, unclear)
			}
			return judge(cb, body, proof, scheme.order(body))
		}
	}
	return cb.Reject(postern.NotVerified, "signature does not match")
}

// judge tells the event of a verified callback. In the flat scheme's text the
// amount is a decimal at the front, result and state are known words at the
// end, and no value between holds a field's name: no other split gives another
// outcome. What was done (operation, txn) is never signed: a body with txn is no
// payment event, and no payment's state is taken from it.
func judge(cb *postern.Callback, body postern.View, proof postern.Evidence, order string) postern.Verdict {
	state, result := text(body, "/state"), text(body, "/result")
	switch {
	case isOperation(body) || state != "" && body.Kind("/txn") == postern.Object:
		return operate(cb, body, proof, order)
	case state != "":
		word := fact(state, result)
		if word == "" {
			return cb.Reject(postern.NotUnderstood, "state "+state+" with result "+result)
		}
		pay(cb, body, proof, word, order)
		return accept(cb)
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
	if !isOneOf(result, "pending", "success", "failed", "rejected", "canceled", "error", "cod") {
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

func pay(cb *postern.Callback, body postern.View, proof postern.Evidence, word, order string) {
	reference, state, result := text(body, "/reference_number"), text(body, "/state"), text(body, "/result")
	ev := cb.Event(proof).
		Type("payment."+word).
		Subject(reference).
		Key("payment", reference, state, result).
		Status(word).
		ProviderStatus(state).
		Amount(text(body, "/amount"), text(body, "/currency_code"))
	describe(ev, body, order)
}

// operate tells an operation as a hint: what was done is never signed. Its
// signed fields are the same for two equal refunds of one payment, so the dedup
// key is the body. What nobody signed names no subject.
func operate(cb *postern.Callback, body postern.View, proof postern.Evidence, order string) postern.Verdict {
	result := text(body, "/result")
	if !isOneOf(result, "success", "failed", "rejected", "queued") {
		return cb.Reject(postern.NotUnderstood, "operation with result "+result)
	}
	ev := cb.Event(proof).
		Type("payment.notified").
		ProviderStatus(result).
		Confirm()
	if proof != (postern.Evidence{}) {
		ev.Subject(text(body, "/reference_number"))
	}
	if t := text(body, "/timestamp_utc"); len(t) > 10 && t[10] == ' ' {
		ev.Time(t[:10] + "T" + t[11:] + "Z")
	}
	// Some operations name their currency only in txn. A hint is not lost for it.
	if amount, currency := text(body, "/amount"), text(body, "/currency_code"); amount != "" && currency != "" {
		ev.Amount(amount, currency)
	}
	describe(ev, body, order)
	return accept(cb)
}

func describe(ev postern.Event, body postern.View, order string) {
	// Nobody signs it: a mark that is written otherwise must not be lost.
	if isOneOf(body.Text("/is_sandbox"), "true", "True", "1") {
		ev.Sandbox()
	}
	ev.MerchantRef(order).
		ProviderRef(text(body, "/reference_number")).
		Method(text(body, "/gateway_name")).
		ProviderData(body, "")
}

// isOperation reports whether the body is of the operation event's form.
// The operation itself may be null.
func isOperation(body postern.View) bool {
	return text(body, "/state") == "" &&
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
