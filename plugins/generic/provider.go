// Command generic is the plugin for a provider that nobody wrote one for: what
// is signed, where the fields stand and what the provider's words mean is said
// by settings alone. README.md has all of them; the manifest's schema refuses
// what they cannot mean.
package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

func init() { postern.Register(postern.Plugin{Handle: handle, Sign: sign}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict {
	proof, id, wrong := verify(cb)
	if wrong != "" {
		return cb.Reject(postern.NotVerified, wrong)
	}
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	word, unsigned := wordOf(cb, body)
	if word == "" || len(word) > maxWord {
		return cb.Reject(postern.NotUnderstood, "it does not say what happened, or at length")
	}
	kind := typeOf(cb, word)
	switch kind {
	case "":
		return cb.Reject(postern.NotUnderstood, "unknown word "+word)
	case "ignore":
		return cb.Ignore(word)
	}
	ev := cb.Event(proof).Type(kind).Status(statusOf(kind))
	// Nobody vouches for a type out of a header that is not signed.
	if unsigned || proof == (postern.Evidence{}) || strings.HasSuffix(kind, ".notified") {
		ev.Confirm()
	}
	tell(cb, ev, body, word)
	identify(cb, ev, body, word, id)
	return cb.Accept()
}

// wordOf is what the provider says that happened, and whether that stands in a
// header for which no evidence speaks: a static token speaks for its sender, a
// signature for what it covers.
func wordOf(cb *postern.Callback, body postern.View) (word string, unsigned bool) {
	if name, ok := strings.CutPrefix(cb.Setting("word"), "header:"); ok {
		return cb.Header(name), cb.Setting("hmac_algorithm") != ""
	}
	return field(cb, body, "word"), false
}

// typeOf is the type that the settings give a word: empty for none, "ignore" for
// what is of no interest.
func typeOf(cb *postern.Callback, word string) string {
	events, ok := setting(cb, "events")
	if !ok {
		return ""
	}
	kind := events.Text("/" + pointed(word))
	if kind == "" {
		kind = events.Text("/*")
	}
	family, ok := strings.CutSuffix(kind, "{word}")
	if !ok {
		return kind
	}
	name := strings.ReplaceAll(word, "/", ".")
	if !isName(name) {
		return ""
	}
	return family + name
}

// pointed makes a name part of a JSON Pointer.
func pointed(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// isName reports whether text can stand in an event's type behind its family.
func isName(text string) bool {
	inside := false // a part that has begun
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			inside = true
		case inside && (c == '-' || c == '_'):
		case inside && c == '.':
			inside = false
		default:
			return false
		}
	}
	return inside
}

// statusOf is the status that goes with a type: in the families about money the
// fact is the status, in any other there is none.
func statusOf(kind string) string {
	family, fact, _ := strings.Cut(kind, ".")
	switch family {
	case "payment", "payout", "transfer", "charge":
	default:
		return ""
	}
	switch fact {
	case "notified":
		return ""
	case "credited", "debited":
		return "succeeded"
	}
	return fact
}

// tell says what the callback says of the event.
func tell(cb *postern.Callback, ev postern.Event, body postern.View, word string) {
	own := field(cb, body, "provider_status")
	if own == "" {
		own = word
	}
	ev.ProviderStatus(own)
	price(cb, ev, body)
	happened(cb, ev, body)
	if path, text, ok := strings.Cut(cb.Setting("sandbox"), "="); ok && body.Text(path) == text {
		ev.Sandbox()
	}
	ev.MerchantRef(field(cb, body, "merchant_ref")).
		ProviderRef(field(cb, body, "provider_ref")).
		BankRef(field(cb, body, "bank_ref")).
		Method(field(cb, body, "method")).
		Party(field(cb, body, "party")).
		ProviderData(body, "")
}

// identify says which transaction the event is of and which events are the same
// one. A component that is absent or empty fails the callback.
func identify(cb *postern.Callback, ev postern.Event, body postern.View, word, id string) {
	if cb.Setting("subject") != "" {
		ev.Subject(field(cb, body, "subject"))
	}
	parts, ok := setting(cb, "key")
	if !ok {
		return
	}
	for i := range parts.Len("") {
		switch part := parts.Text("/" + postern.Decimal(int64(i), 0)); {
		case part == "word":
			ev.Key(word)
		case part == "header":
			ev.Key(id)
		case part[0] == '/':
			ev.Key(body.Text(part))
		default:
			ev.Key(field(cb, body, part))
		}
	}
}
