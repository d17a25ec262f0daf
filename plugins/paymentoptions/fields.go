package main

import postern "github.com/postern/postern/sdk"

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

// isAmount reports whether text is an amount of money that was paid: one as the
// host takes it, without a sign.
func isAmount(text string) bool { return postern.IsAmount(text) && text[0] != '-' }
