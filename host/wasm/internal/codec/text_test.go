package codec

import (
	"strings"
	"testing"
)

// TestCut: what replaces a bad byte counts, and no character is cut through.
func TestCut(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"short":                  {"abc", "abc"},
		"whole":                  {strings.Repeat("x", 8), "xxxxxxxx"},
		"one more":               {strings.Repeat("x", 9), "xxxxxxxx"},
		"a character at the end": {"xxxxxxx\u00e4x", "xxxxxxx"},
		"a character before it":  {"xxxxxx\u00e4x", "xxxxxx\u00e4"},
		"bad bytes apart":        {strings.Repeat("a\xff", 9), "a\uFFFDa\uFFFD"},
		"bad bytes together":     {strings.Repeat("\xff", 9) + "abcdef", "\uFFFDabcde"},
		"bad at the end":         {"xxxxxx\xff", "xxxxxx"},
	} {
		if got := Cut([]byte(tt.text), 8); got != tt.want {
			t.Errorf("%s: cut = %q, want %q", name, got, tt.want)
		}
	}
}
