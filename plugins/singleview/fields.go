package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

// maxID is the longest text that the host takes as a component of a dedup key.
const maxID = 512

// id is the string or number at path, and nothing for anything else and for
// what is longer than any id.
func id(v postern.View, path string) string {
	text, kind := v.Get(path)
	if len(text) > maxID || (kind != postern.String && kind != postern.Number) {
		return ""
	}
	return text
}

func isPresent(text string) bool { return text != "" }

// isCode reports whether text is one of the five codes of a status.
func isCode(text string) bool { return len(text) == 1 && text[0] >= '0' && text[0] <= '4' }

func isYesOrNo(text string) bool { return text == "Y" || text == "N" }

// isAmount reports whether text is an amount of money that was paid or charged:
// one as the host takes it, without a sign.
func isAmount(text string) bool { return postern.IsAmount(text) && text[0] != '-' }

// plain is an amount without the zeros that say nothing: 1.50 and 1.5 are one
// charge, and no two.
func plain(amount string) string {
	if !strings.Contains(amount, ".") {
		return amount
	}
	return strings.TrimSuffix(strings.TrimRight(amount, "0"), ".")
}
