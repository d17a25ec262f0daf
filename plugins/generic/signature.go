package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

const (
	hmacKey = "hmac-key"
	// maxHeader is the longest header of signatures, maxParts how many parts of it
	// are read and maxSignatures how many of them are tried: a provider sends one,
	// and two while it changes its key.
	maxHeader     = 4096
	maxParts      = 32
	maxSignatures = 8
	// maxID is the longest header that is signed: as long as a component of a key.
	maxID = 512
)

// tokens are the static ones. The host has compared those that are bound.
var tokens = [...]string{"path-token", "callback-token", "authorization", "api-key", "webhook-token", "gitlab-token"}

// verify is the strongest evidence there is, none where nothing is bound, with
// the header that the signature covers; or why the callback is not verified.
func verify(cb *postern.Callback) (proof postern.Evidence, id, wrong string) {
	if cb.Setting("hmac_algorithm") == "" {
		for _, name := range tokens {
			if token, bound := cb.Token(name); bound {
				proof = token
			}
		}
		return proof, "", ""
	}
	signatures, timestamp, wrong := signatures(cb)
	if wrong != "" {
		return proof, "", wrong
	}
	if cb.Setting("timestamp") != "" && !isRecent(cb, timestamp) {
		return proof, "", "the timestamp is missing, no timestamp, or too far from the time of receipt"
	}
	if name := cb.Setting("signed_header"); name != "" {
		if id = short(cb.Header(name), maxID); id == "" {
			return proof, "", "the signed header is missing or too long"
		}
	}
	signed := cb.Signed(hmacKey)
	if !put(cb, signed, timestamp, id) {
		return proof, "", "the signed header holds what parts it from the rest"
	}
	how := encoding(cb)
	for _, signature := range signatures {
		if proof, ok := signed.Check(signature, how); ok {
			return proof, id, ""
		}
	}
	return proof, "", "the signature does not match"
}

// signatures are those of the header, with the timestamp, wherever that stands;
// or why there are none.
func signatures(cb *postern.Callback) (found []string, timestamp, wrong string) {
	const none = "the signature is missing"
	header, prefix := short(cb.Header(cb.Setting("hmac_header")), maxHeader), cb.Setting("hmac_prefix")
	if header == "" {
		return nil, "", none
	}
	place, name, _ := strings.Cut(cb.Setting("timestamp"), ":")
	if place == "header" {
		timestamp = cb.Header(name)
	}
	separator := cb.Setting("hmac_separator")
	if separator == "" {
		signature, ok := strings.CutPrefix(header, prefix)
		if !ok {
			return nil, "", none
		}
		return []string{signature}, timestamp, ""
	}
	more := true
	for n := 0; more; n++ {
		if n == maxParts {
			return nil, "", "the header of the signature has too many parts"
		}
		var part string
		part, header, more = strings.Cut(header, separator)
		part = strings.Trim(part, " \t")
		if text, ok := strings.CutPrefix(part, name); ok && place == "part" {
			if timestamp != "" {
				return nil, "", "there are two timestamps"
			}
			timestamp = text
		} else if text, ok := strings.CutPrefix(part, prefix); ok && len(found) < maxSignatures {
			found = append(found, text)
		}
	}
	if len(found) == 0 {
		return nil, "", none
	}
	return found, timestamp, ""
}

// isRecent reports whether a timestamp is as near to the time of receipt as the
// settings ask for, before or after it.
func isRecent(cb *postern.Callback, timestamp string) bool {
	at, ok := instant(timestamp, cb.Setting("timestamp_form"))
	if !ok {
		return false
	}
	seconds, ok := postern.Minor(cb.Setting("tolerance"))
	apart := cb.Now() - at
	return ok && max(apart, -apart) <= seconds*1000
}

// put puts together what is signed. It reports whether that can only be read in
// one way: the header must not hold the byte that parts it from what follows, or
// its end could be taken for the beginning of that.
func put(cb *postern.Callback, signed *postern.Signed, timestamp, id string) (clear bool) {
	rest := cb.Setting("signed")
	for rest != "" {
		text, behind, found := strings.Cut(rest, "{")
		if text != "" {
			signed.Text(text)
		}
		if !found {
			break
		}
		var name string
		name, rest, _ = strings.Cut(behind, "}")
		switch name {
		case "body":
			signed.Body()
		case "timestamp":
			signed.Text(timestamp)
		case "url":
			signed.Text(cb.URL())
		case "header":
			// A timestamp ends what stands before it by itself: it has one length.
			if rest != "" && !strings.HasPrefix(rest, "{timestamp}") && strings.IndexByte(id, rest[0]) >= 0 {
				return false
			}
			signed.Text(id)
		default:
			return false // the schema has no other
		}
	}
	return true
}

func encoding(cb *postern.Callback) postern.Encoding {
	if cb.Setting("hmac_encoding") == "base64" {
		return postern.Base64
	}
	return postern.Hex
}

// sign sets the headers that the provider would send now. Static tokens are put
// in by the host.
func sign(u *postern.Unsigned) error {
	if u.Setting("hmac_algorithm") == "" {
		return nil
	}
	place, name, _ := strings.Cut(u.Setting("timestamp"), ":")
	timestamp, separator := "", u.Setting("hmac_separator")
	header := ""
	switch place {
	case "header":
		timestamp = written(u.Now(), u.Setting("timestamp_form"))
		u.SetHeader(name, timestamp)
	case "part":
		timestamp = written(u.Now(), u.Setting("timestamp_form"))
		header = name + timestamp + separator
	}
	signed := u.Signed(hmacKey)
	if !put(&u.Callback, signed, timestamp, u.Header(u.Setting("signed_header"))) {
		return postern.ErrMalformed
	}
	signature, err := u.Sign(signed, encoding(&u.Callback))
	if err != nil {
		return err
	}
	u.SetHeader(u.Setting("hmac_header"), header+u.Setting("hmac_prefix")+signature)
	return nil
}
