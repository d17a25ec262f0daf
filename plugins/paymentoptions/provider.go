// Command paymentoptions is the plugin for the callbacks of the Payment Options
// gateway, of which next to nothing is documented: it tells whether a payment
// succeeded or failed, and passes on everything else as a hint. README.md says
// what is known of the sender and what is not.
package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

func init() { postern.Register(postern.Plugin{Handle: handle, Sign: sign}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict {
	proof, ok := verify(cb)
	if !ok {
		return cb.Reject(postern.NotVerified, "the signature is missing or does not match")
	}
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	// A URL made for one transaction says nothing about another.
	if ref, ok := cb.TokenText("transaction-key"); ok && ref != id(body, "/merchant_txn_ref") {
		return cb.Reject(postern.NotVerified, "the URL was made for another merchant_txn_ref")
	}
	word := fact(body)
	if word == "" {
		return cb.Reject(postern.NotUnderstood, "success is neither true nor false")
	}
	tell(cb, body, proof, word)
	return cb.Accept()
}

// verify is the strongest evidence that there is, and none where nothing is
// bound. It reports whether the signature, if one is asked for, is right; tokens
// the host has compared already.
func verify(cb *postern.Callback) (proof postern.Evidence, ok bool) {
	for _, name := range [...]string{"path-token", "transaction-key"} {
		if token, bound := cb.Token(name); bound {
			proof = token
		}
	}
	if cb.Setting("hmac_algorithm") == "" {
		return proof, true
	}
	signature, ok := strings.CutPrefix(cb.Header(cb.Setting("hmac_header")), cb.Setting("hmac_prefix"))
	if !ok {
		return proof, false
	}
	return cb.Signed("hmac-key").Body().Check(signature, encoding(cb))
}

func encoding(cb *postern.Callback) postern.Encoding {
	if cb.Setting("hmac_encoding") == "base64" {
		return postern.Base64
	}
	return postern.Hex
}

// fact is Postern's word for what the callback says, empty where it says
// nothing. Only an outcome of a known transaction is a fact: callbacks that name
// an event of their own (refunds are announced, their form is not) and those
// without an id are hints.
func fact(body postern.View) string {
	word := outcome(body.Text("/success"))
	if isNamed(body) || (word != "" && id(body, "/merchant_txn_ref") == "" && id(body, "/transaction_token") == "") {
		return "notified"
	}
	return word
}

// outcome is Postern's word for a success, as a boolean, number or string: empty
// where it is none of the four, for what is absent is not false.
func outcome(success string) string {
	switch success {
	case "true", "1":
		return "succeeded"
	case "false", "0":
		return "failed"
	}
	return ""
}

// isNamed reports whether the callback has a word of its own for what happened,
// in whatever form.
func isNamed(body postern.View) bool {
	return body.Kind("/type") > postern.Null || body.Kind("/event") > postern.Null
}

func name(body postern.View) string {
	if word := id(body, "/type"); word != "" {
		return word
	}
	return id(body, "/event")
}

func tell(cb *postern.Callback, body postern.View, proof postern.Evidence, word string) {
	ref, token := id(body, "/merchant_txn_ref"), id(body, "/transaction_token")
	ev := cb.Event(proof).
		Type("payment."+word).
		MerchantRef(ref).
		ProviderRef(token).
		ProviderData(body, "")
	switch {
	case ref != "":
		ev.Subject(ref)
	case token != "":
		ev.Subject(token)
	}
	if word == "notified" {
		// Of a refund the amount may be the payment's or its own. The key is the
		// body: two refunds of one payment may be alike in all that is known.
		ev.Confirm().ProviderStatus(name(body))
		return
	}
	ev.Status(word).ProviderStatus(body.Text("/success")).Amount(amount(cb, body)).Key("payment", word)
	if ref != "" {
		ev.Key("merchant", ref)
	}
	// Both ids, where both say something. The URL of one transaction says
	// nothing about the gateway's id, and must not speak twice of one outcome:
	// there another id, like another amount, is a conflict.
	if token != "" && !isOneTransaction(cb) {
		ev.Key("gateway", token)
	}
	if (proof == postern.Evidence{}) {
		ev.Confirm()
	}
}

// isOneTransaction reports whether the URL of one transaction is all that
// speaks for the callback.
func isOneTransaction(cb *postern.Callback) bool {
	_, own := cb.TokenText("transaction-key")
	return own && cb.Setting("hmac_algorithm") == ""
}

// amount is that of the transaction and its currency, and nothing where one of
// them is absent or not in a form that is known: all of it stays in
// provider_data.
func amount(cb *postern.Callback, body postern.View) (value, currency string) {
	for _, path := range [...]string{"/transaction/currency", "/currency"} {
		if body.Kind(path) <= postern.Null {
			continue
		}
		text := body.Text(path)
		if !postern.IsCurrency(text) || (currency != "" && currency != text) {
			return "", ""
		}
		currency = text
	}
	if currency == "" {
		currency = cb.Setting("currency")
	}
	value = body.Text("/transaction/amount")
	if currency == "" || !isAmount(value) {
		return "", ""
	}
	return value, currency
}

// sign says what the transaction's URL speaks for, and signs the body where a
// signature is asked for. A static token is put in by the host.
func sign(u *postern.Unsigned) error {
	body, err := u.JSON()
	if err != nil {
		return err
	}
	if ref := id(body, "/merchant_txn_ref"); ref != "" {
		u.SetToken("transaction-key", ref)
	}
	if u.Setting("hmac_algorithm") == "" {
		return nil
	}
	signature, err := u.Sign(u.Signed("hmac-key").Body(), encoding(&u.Callback))
	if err != nil {
		return err
	}
	u.SetHeader(u.Setting("hmac_header"), u.Setting("hmac_prefix")+signature)
	return nil
}
