package main

import postern "github.com/postern/postern/sdk"

const secret = "hmac-key"

// scheme is one way in which Ottu puts together the text that it signs: of
// each field, in order, that is neither absent nor null nor empty, its name
// and its value.
type scheme struct {
	between string // between name and value
	lines   string // between two fields
	fields  []field
}

// field is a signed value and the name under which it is signed.
type field struct{ path, name string }

// schemes are tried in this order.
var schemes = [...]scheme{standard, subscription}

// standard signs flat payment and operation callbacks. Names and values stand
// with nothing between them, so that the text is ambiguous: see judge.
var standard = scheme{fields: []field{
	{"/amount", "amount"},
	{"/currency_code", "currency_code"},
	{"/customer_address_city", "customer_address_city"},
	{"/customer_address_country", "customer_address_country"},
	{"/customer_address_line1", "customer_address_line1"},
	{"/customer_address_line2", "customer_address_line2"},
	{"/customer_address_postal_code", "customer_address_postal_code"},
	{"/customer_address_state", "customer_address_state"},
	{"/customer_email", "customer_email"},
	{"/customer_first_name", "customer_first_name"},
	{"/customer_last_name", "customer_last_name"},
	{"/customer_phone", "customer_phone"},
	{"/gateway_account", "gateway_account"},
	{"/gateway_name", "gateway_name"},
	{"/order_no", "order_no"},
	{"/reference_number", "reference_number"},
	{"/result", "result"},
	{"/state", "state"},
}}

// subscription signs callbacks of auto-debit agreements.
var subscription = scheme{between: "=", lines: "\n", fields: []field{
	{"/agreement/id", "agreement.id"},
	{"/amount", "amount"},
	{"/currency_code", "currency_code"},
	{"/customer_address_city", "customer_address_city"},
	{"/customer_address_country", "customer_address_country"},
	{"/customer_address_line1", "customer_address_line1"},
	{"/customer_address_line2", "customer_address_line2"},
	{"/customer_address_postal_code", "customer_address_postal_code"},
	{"/customer_address_state", "customer_address_state"},
	{"/customer_email", "customer_email"},
	{"/customer_first_name", "customer_first_name"},
	{"/customer_last_name", "customer_last_name"},
	{"/customer_phone", "customer_phone"},
	{"/extra/autopay/subscription_id", "extra.autopay.subscription_id"},
	{"/extra/merchant_id", "extra.merchant_id"},
	{"/gateway_account", "gateway_account"},
	{"/gateway_name", "gateway_name"},
	{"/order_no", "order_no"},
	{"/payment_type", "payment_type"},
	{"/reference_number", "reference_number"},
	{"/result", "result"},
	{"/session_id", "session_id"},
	{"/state", "state"},
	{"/token/customer_id", "token.customer_id"},
	{"/token/pg_code", "token.pg_code"},
	{"/token/token", "token.token"},
}}

// signed puts together the text that the scheme signs.
func (s scheme) signed(cb *postern.Callback, body postern.View) *postern.Signed {
	signed := cb.Signed(secret)
	before := ""
	for _, f := range s.fields {
		if value := body.Text(f.path); value != "" {
			signed.Text(before + f.name + s.between + value)
			before = s.lines
		}
	}
	return signed
}

// notText returns the name of a signed field that is neither a string nor
// null nor absent: the schemes do not say how such a value is signed.
func (s scheme) notText(body postern.View) string {
	for _, f := range s.fields {
		switch body.Kind(f.path) {
		case postern.String, postern.Null, postern.Absent:
		case postern.Boolean, postern.Number, postern.Array, postern.Object:
			return f.name
		}
	}
	return ""
}

// sign adds the signature as the body's last member, by the scheme that Ottu
// uses for such a body.
func sign(u *postern.Unsigned) error {
	body, err := u.JSON()
	if err != nil {
		return err
	}
	if body.Kind("") != postern.Object || body.Kind("/signature") != postern.Absent {
		return postern.ErrMalformed
	}
	scheme := standard
	if body.Kind("/token") == postern.Object || body.Kind("/agreement") == postern.Object {
		scheme = subscription
	}
	signature, err := u.Sign(scheme.signed(&u.Callback, body), postern.Hex)
	if err != nil {
		return err
	}
	text, _ := body.Get("")
	open := text[:len(text)-1]
	if body.Len("") > 0 {
		open += ","
	}
	u.SetBody(open + `"signature":"` + signature + `"}`)
	return nil
}
