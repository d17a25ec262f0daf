package main

import (
	"encoding/base64"
	"strings"

	postern "github.com/postern/postern/sdk"
)

const (
	secret = "webhook-secret"
	// vector is the initialisation vector that Wowpe's documentation fixes.
	vector = "1234567890123456"
	// checksum begins the member that the text is encrypted without.
	checksum = `"Checksum":`
)

// prove decrypts the checksum and has the host compare what comes of it with
// the body. What depends on the key takes the same calls whatever is wrong: a
// text that is no ciphertext at all, which needs no key to see, makes them fail
// early.
func prove(cb *postern.Callback, body postern.View) (postern.Evidence, bool) {
	text, kind := body.Get("/Checksum")
	if kind != postern.String {
		text = ""
	}
	sealed, _ := cb.Decode(text, postern.Base64)
	plain, _ := cb.Decrypt(secret, []byte(vector), sealed)
	form := cb.Setting("plaintext")
	if form == "object" {
		inner, _ := plain.JSON()
		return cb.Same(body, inner, "Checksum")
	}
	whole, _ := body.Get("")
	encrypted, _ := cb.Decode(plaintext(whole, form), postern.Raw)
	return cb.SameBytes(encrypted, plain)
}

// plaintext is the text that Wowpe is taken to encrypt: the members of the body
// in the order sent, as they are written but without white space between them,
// and Checksum null, empty or left out. Null, which the lengths of the
// documented samples fit, is also what is encrypted where only objects are
// compared.
func plaintext(object, form string) string {
	var kept []string
	for _, member := range members(object) {
		if strings.HasPrefix(member, checksum) {
			switch form {
			case "no-checksum":
				continue
			case "empty-checksum":
				member = checksum + `""`
			default:
				member = checksum + "null"
			}
		}
		kept = append(kept, member)
	}
	return join(kept)
}

func join(members []string) string { return "{" + strings.Join(members, ",") + "}" }

// members are the members of a JSON object as they stand in it, without white
// space between tokens. The host's parser has taken the object already.
func members(object string) []string {
	var all []string
	member := make([]byte, 0, len(object))
	depth, quoted := 0, false
	for i := 0; i < len(object); i++ {
		c := object[i]
		switch {
		case quoted && c == '\\':
			member = append(member, c)
			i++
			c = object[i]
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			continue
		case c == '{' || c == '[':
			if depth++; depth == 1 {
				continue
			}
		case (c == ',' || c == '}') && depth == 1:
			if len(member) > 0 {
				all = append(all, string(member))
				member = member[:0]
			}
			continue
		case c == '}' || c == ']':
			depth--
		}
		member = append(member, c)
	}
	return all
}

// sign adds the checksum as the last member, over the text that the endpoint's
// settings say.
func sign(u *postern.Unsigned) error {
	body, err := u.JSON()
	if err != nil {
		return err
	}
	if body.Kind("") != postern.Object || body.Kind("/Checksum") != postern.Absent {
		return postern.ErrMalformed
	}
	policy := u.Setting("checksum")
	if policy == "off" {
		return nil
	}
	whole, _ := body.Get("")
	all := append(members(whole), checksum)
	text, _ := u.Decode(plaintext(join(all), u.Setting("plaintext")), postern.Raw)
	sealed, err := u.Encrypt(secret, []byte(vector), text)
	if err == postern.ErrDenied && policy == "if-present" { //nolint:errorlint // package errors stays out of the guest
		return nil // no secret is bound
	}
	if err != nil {
		return err
	}
	all[len(all)-1] += `"` + base64.StdEncoding.EncodeToString(sealed.Read()) + `"`
	u.SetBody(join(all))
	return nil
}
