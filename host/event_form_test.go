package host

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzForms holds the forms to what docs/schema says of them.
func FuzzForms(f *testing.F) {
	kind := regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9_-]{0,62}){1,4}$`)
	amount := regexp.MustCompile(`^-?(0|[1-9][0-9]{0,23})(\.[0-9]{1,12})?$`)
	currency := regexp.MustCompile(`^[A-Z]{3}$`)
	long, digits := strings.Repeat("a", 63), strings.Repeat("1", 24)
	for _, s := range []string{
		"", "a", "a.b", "payment.succeeded", "a.b.c.d.e", "a.b.c.d.e.f", ".", "a.", ".a", "a..b", "a_b.c", "a.b_c", "a-b.c-d", "-a.b", "a.-b", "a._b", "A.b", "a.b\n",
		long + "." + long, long + "a.b", "a." + long + "a", "é.b",
		"0", "-0", "00", "01", "1", "-1", "--1", "+1", "1.", "1.0", ".1", "1.0.0", "1e2", "1.", "0.123456789012", "0.1234567890123", digits, digits + "1", "-" + digits + ".1", "1\n", " 1", "-", "-.1", "٣",
		"KWD", "kwd", "KW", "KWDX", "K1D", "KWD\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := IsType(s), kind.MatchString(s); got != want {
			t.Errorf("IsType(%q) = %v, want %v", s, got, want)
		}
		if got, want := IsAmount(s), amount.MatchString(s); got != want {
			t.Errorf("IsAmount(%q) = %v, want %v", s, got, want)
		}
		if got, want := IsCurrency(s), currency.MatchString(s); got != want {
			t.Errorf("IsCurrency(%q) = %v, want %v", s, got, want)
		}
	})
}
