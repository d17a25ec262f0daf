package codec

import (
	"strings"
	"unicode/utf8"
)

// Cut makes valid UTF-8 of text, and of that at most n bytes of whole characters:
// what replaces a bad byte is longer than it.
func Cut(b []byte, n int) string {
	text := strings.ToValidUTF8(string(b), "\uFFFD")
	if len(text) <= n {
		return text
	}
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
