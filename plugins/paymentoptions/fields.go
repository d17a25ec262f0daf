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

// isAmount reports whether text is a decimal without sign, exponent or a
// superfluous zero in front, as the host takes it for an event.
func isAmount(text string) bool {
	whole, fraction, point := strings.Cut(text, ".")
	_, ok := postern.Minor(whole)
	if point {
		_, digits := postern.Minor(fraction)
		ok = ok && digits && len(fraction) <= 12
	}
	return ok && (len(whole) == 1 || whole[0] != '0')
}

func isCurrency(text string) bool {
	for i := range len(text) {
		if text[i] < 'A' || text[i] > 'Z' {
			return false
		}
	}
	return len(text) == 3
}
