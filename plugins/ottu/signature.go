package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

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
// with nothing between them, so that the text alone is ambiguous: see read.
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

// read puts together the text that the scheme signs, and says why it could be
// that of another body too, or nothing: a signed value that is no string (the
// schemes do not say how it is signed), one with a field's name in it, or one
// with the separator of lines.
func (s scheme) read(body postern.View) (text []byte, unclear string) {
	text = make([]byte, 0, 512)
	for _, f := range s.fields {
		value, kind := body.Get(f.path)
		switch kind {
		case postern.Absent, postern.Null:
			continue
		case postern.String:
			if s.holdsName(value) || (s.lines != "" && strings.Contains(value, s.lines)) {
				unclear = "signed field holds what parts the fields: " + f.name
			}
		case postern.Boolean, postern.Number:
			unclear = "signed field is not a string: " + f.name
		case postern.Array, postern.Object:
			unclear = "signed field is not a string: " + f.name
			continue
		}
		if value == "" {
			continue
		}
		if len(text) > 0 {
			text = append(text, s.lines...)
		}
		text = append(text, f.name...)
		text = append(text, s.between...)
		text = append(text, value...)
	}
	return text, unclear
}

// holdsName reports whether value has the name of a signed field in it. The
// names without an underscore are words that an address may have (Estate Road)
// and are those of the first field and the last two: see judge.
func (s scheme) holdsName(value string) bool {
	if s.lines != "" || strings.IndexByte(value, '_') < 0 {
		return false
	}
	for _, f := range s.fields {
		if strings.IndexByte(f.name, '_') >= 0 && strings.Contains(value, f.name) {
			return true
		}
	}
	return false
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
	signed, _ := scheme.read(body)
	signature, err := u.Sign(u.Signed(secret).Bytes(signed), postern.Hex)
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
