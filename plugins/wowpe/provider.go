// Command wowpe is the plugin for Wowpe's payout callbacks: it verifies them by
// the encrypted copy that they carry of themselves, and tells what became of a
// payout. README.md says what of the scheme is known and what is inferred.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.Register(postern.Plugin{Handle: handle, Sign: sign}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict {
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	proof, ok := verify(cb, body)
	if !ok {
		// One text for every cause. What it was would help nobody but a forger.
		return cb.Reject(postern.NotVerified, "the checksum does not verify the body")
	}
	return judge(cb, body, proof)
}

// verify applies the endpoint's policy. Where that lets a callback pass without
// a checksum, the evidence is none.
func verify(cb *postern.Callback, body postern.View) (postern.Evidence, bool) {
	switch cb.Setting("checksum") {
	case "off":
		return postern.Evidence{}, true
	case "if-present":
		if isAbsent(body, "/Checksum") {
			return postern.Evidence{}, true
		}
	}
	return prove(cb, body)
}

// judge tells what a callback says. Only StatusCode 1 says anything: with
// another one Wowpe has nothing to report of the payout.
func judge(cb *postern.Callback, body postern.View, proof postern.Evidence) postern.Verdict {
	if isPayin(body) {
		// A payin's Status has other meanings.
		return cb.Reject(postern.NotUnderstood, "a payin callback, not a payout's")
	}
	code := "/StatusCode"
	if body.Kind("/statusCode") != postern.Absent {
		if body.Kind(code) != postern.Absent {
			return cb.Reject(postern.Malformed, "both StatusCode and statusCode")
		}
		code = "/statusCode"
	}
	if !isFormed(body) {
		notify(cb, body, proof)
		return cb.Accept()
	}
	for _, path := range [...]string{code, "/Status"} {
		switch {
		case isAbsent(body, path):
			return cb.Reject(postern.NotUnderstood, "no "+path[1:])
		case !isInteger(body, path):
			return cb.Reject(postern.Malformed, path[1:]+" is not a whole number")
		case path == code && body.Text(path) != "1":
			return cb.Ignore("StatusCode is " + body.Text(path))
		}
	}
	tell(cb, body, proof)
	return cb.Accept()
}

// tell says confirm of every event: the checksum is no authentication, and a
// body of the documented form can still be a splice.
func tell(cb *postern.Callback, body postern.View, proof postern.Evidence) {
	status := body.Text("/Status")
	fact, step := meaning(status)
	order, merchant := body.Text("/OrderId"), body.Text("/ClientOrderId")
	cb.Event(proof).
		Type("payout."+fact).
		Subject(order).
		Time(timestamp(body.Text("/Date"), cb.Setting("time_zone"))).
		Key("payout", merchant, order, step).
		Status(fact).
		ProviderStatus(status).
		Amount(body.Text("/Amount"), cb.Setting("currency")).
		MerchantRef(merchant).
		ProviderRef(order).
		BankRef(body.Text("/UTR")).
		Method(body.Text("/PaymentMode")).
		Confirm().
		ProviderData(body, "")
}

// notify says that something came which is not of the documented form: no
// outcome, and no dedup key of the body's own choice. The ids are there to ask
// Wowpe with.
func notify(cb *postern.Callback, body postern.View, proof postern.Evidence) {
	ev := cb.Event(proof).Type("payout.notified").Confirm().ProviderData(body, "")
	if has(body, "OrderId") {
		ev.Subject(body.Text("/OrderId")).ProviderRef(body.Text("/OrderId"))
	}
	if has(body, "ClientOrderId") {
		ev.MerchantRef(body.Text("/ClientOrderId"))
	}
}

// meaning is Postern's word for a payout's Status, and the component of the
// dedup key that stands for it. A payout has one final outcome: success and
// failure share theirs, so that the second of them is a conflict with the
// first. A reversal follows either.
func meaning(status string) (fact, step string) {
	switch status {
	case "1":
		return "succeeded", "final"
	case "0":
		return "failed", "final"
	case "4":
		return "reversed", "reversal"
	}
	return "pending", "pending:" + status
}

// isAbsent reports whether nothing is said at path: no member, null, or an
// empty string. Zero is something.
func isAbsent(body postern.View, path string) bool {
	text, kind := body.Get(path)
	return kind == postern.Absent || kind == postern.Null || kind == postern.String && text == ""
}

// isInteger takes a JSON number or a string of digits, one spelling for each
// integer of at most 18 digits: no fraction, exponent, plus, superfluous zero.
func isInteger(body postern.View, path string) bool {
	text, kind := body.Get(path)
	if kind != postern.Number && kind != postern.String {
		return false
	}
	digits := text
	if text != "" && text[0] == '-' {
		digits = text[1:]
	}
	_, ok := postern.Minor(digits)
	return ok && len(digits) <= 18 && (digits[0] != '0' || text == "0")
}
