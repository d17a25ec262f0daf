package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

// forms are the members that Wowpe documents, with what a value must be for an
// event to tell it as fact. Nil is one that is judged elsewhere.
//
// A spliced checksum decrypts to a block of garbage, which has to stand
// somewhere in the body. Each form leaves it fewer places.
var forms = map[string]func(text string) bool{
	"StatusCode":    nil,
	"statusCode":    nil,
	"Status":        nil,
	"Checksum":      nil,
	"Message":       isPrintable,
	"Date":          func(text string) bool { return isPrintable(spaced(text)) },
	"OrderId":       isID,
	"ClientOrderId": isID,
	"PaymentMode":   isCode,
	"Amount":        postern.IsAmount,
	"UTR":           isCode,
}

// isFormed reports whether the body has no other members than the documented
// ones, each of its form, and the three that every payout has.
func isFormed(body postern.View) bool {
	for i := range body.Len("") {
		name, _ := body.NameAt("", i)
		form, documented := forms[name]
		if !documented || form != nil && !isAbsent(body, "/"+name) && !has(body, name) {
			return false
		}
	}
	return has(body, "OrderId") && has(body, "ClientOrderId") && has(body, "Amount")
}

// has reports whether a member is a string or a number of its form.
func has(body postern.View, name string) bool {
	text, kind := body.Get("/" + name)
	return (kind == postern.String || kind == postern.Number) && forms[name](text)
}

// isPayin reports whether the body has a member that Wowpe documents for payins
// alone.
func isPayin(body postern.View) bool {
	for i := range body.Len("") {
		switch name, _ := body.NameAt("", i); name {
		case "OrderAmount", "BankRRN", "RefNumber", "MerchantId":
			return true
		default:
			if strings.HasPrefix(name, "Payer") {
				return true
			}
		}
	}
	return false
}

// maxID is far beyond any id that Wowpe shows.
const maxID = 64

func isID(text string) bool {
	return text != "" && len(text) <= maxID && only(text, func(c byte) bool {
		return isLetter(c) || isDigit(c) || strings.IndexByte("_./-", c) >= 0
	})
}

// isCode reports whether text is letters and digits. That is a PaymentMode too:
// its type is documented as Integer, its values as words.
func isCode(text string) bool {
	return len(text) <= maxID && only(text, func(c byte) bool { return isLetter(c) || isDigit(c) })
}

// isPrintable reports whether text is printable ASCII.
func isPrintable(text string) bool {
	return only(text, func(c byte) bool { return c >= ' ' && c <= '~' })
}

func isLetter(c byte) bool { return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func only(text string, is func(c byte) bool) bool {
	for i := range len(text) {
		if !is(text[i]) {
			return false
		}
	}
	return true
}
