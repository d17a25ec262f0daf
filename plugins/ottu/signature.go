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
	falsy   bool   // 0, false, [] and {} are left out like the empty string
	// fence are paths that stand between what a customer writes and order_no:
	// see order.
	fence  []string
	fields []field
}

// field is a signed value and the name under which it is signed.
type field struct{ path, name string }

// flat is Ottu's previous scheme. Names and values stand with nothing between
// them, so that the text alone is ambiguous: see read and order.
var flat = scheme{fence: []string{"/gateway_account", "/gateway_name"}, fields: []field{
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

// current is the scheme of every callback since Ottu's documentation ("Verify
// Signatures") calls the flat one the previous.
var current = scheme{between: "=", lines: "\n", falsy: true, fence: []string{
	"/extra/merchant_id", "/gateway_account", "/gateway_name",
}, fields: []field{
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

// accepted are the schemes that a callback may be signed by, the likelier one
// first: putting a text together is most of what a callback costs.
func accepted(cb *postern.Callback, body postern.View) []*scheme {
	switch {
	case cb.Setting("schemes") == "current":
		return []*scheme{&current}
	case looksCurrent(body):
		return []*scheme{&current, &flat}
	}
	return []*scheme{&flat, &current}
}

// looksCurrent says that the body has what came with the current scheme,
// extra.merchant_id above all, which no current body lacks.
func looksCurrent(body postern.View) bool {
	return body.Kind("/extra/merchant_id") != postern.Absent ||
		body.Kind("/token") == postern.Object || body.Kind("/agreement") == postern.Object
}

// read puts together the text that the scheme signs, and says why it could be
// that of another body too, or nothing: a signed value that is no string (the
// schemes do not say how it is signed), or one that holds what begins another
// field.
func (s *scheme) read(body postern.View) (text []byte, unclear string) {
	text = make([]byte, 0, 512)
	for _, f := range s.fields {
		value, kind := body.Get(f.path)
		if kind == postern.Absent || kind == postern.Null || value == "" || s.falsy && isFalsy(body, f.path) {
			continue
		}
		switch {
		case kind != postern.String:
			unclear = "signed field is not a string: " + f.name
		case s.holdsField(value):
			unclear = "signed field holds what parts the fields: " + f.name
		}
		if kind == postern.Array || kind == postern.Object {
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

// isFalsy reports whether a value that is no string is 0, false, [] or {}.
func isFalsy(body postern.View, path string) bool {
	value, kind := body.Get(path)
	if kind == postern.Boolean {
		return value == "false"
	}
	if kind == postern.Number {
		digits, _, _ := strings.Cut(strings.ToLower(value), "e")
		return strings.Trim(digits, "-0.") == ""
	}
	return kind != postern.String && body.Len(path) == 0
}

// holdsField reports whether value holds what begins another signed field. In
// the flat scheme the names without an underscore are words that an address may
// have (Estate Road) and are those of the first field and the last two: see
// judge.
func (s *scheme) holdsField(value string) bool {
	mark := s.lines
	if mark == "" {
		mark = "_"
	}
	if !strings.Contains(value, mark) {
		return false
	}
	for _, f := range s.fields {
		if s.lines == "" && !strings.Contains(f.name, "_") {
			continue
		}
		if strings.Contains(value, s.lines+f.name+s.between) {
			return true
		}
	}
	return false
}

// order is the merchant's reference, empty where the end of what a customer
// wrote could have been taken for it: where no field that is not the
// customer's stands between.
func (s *scheme) order(body postern.View) string {
	open := false
	for _, f := range s.fields {
		open = open || strings.HasPrefix(f.name, "customer_") && text(body, f.path) != ""
	}
	for _, path := range s.fence {
		open = open && text(body, path) == ""
	}
	if open {
		return ""
	}
	return text(body, "/order_no")
}

// text is a signed value: a false or a 0 in its place is signed like nothing,
// and says nothing.
func text(body postern.View, path string) string {
	if value, kind := body.Get(path); kind == postern.String {
		return value
	}
	return ""
}

// sign adds the signature as the body's last member: by the current scheme
// where it is the only one or the body has what came with it, extra.merchant_id
// above all, which no current body lacks.
func sign(u *postern.Unsigned) error {
	body, err := u.JSON()
	if err != nil {
		return err
	}
	if body.Kind("") != postern.Object || body.Kind("/signature") != postern.Absent {
		return postern.ErrMalformed
	}
	scheme := &flat
	if u.Setting("schemes") == "current" || looksCurrent(body) {
		scheme = &current
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
