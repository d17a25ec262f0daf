package postern

import (
	"math"
	"strings"
	"testing"
)

func TestDecimal(t *testing.T) {
	for _, c := range []struct {
		units int64
		scale int
		want  string
	}{
		{5000, 2, "50.00"},
		{5, 2, "0.05"},
		{0, 2, "0.00"},
		{0, 0, "0"},
		{7, 0, "7"},
		{-5, 2, "-0.05"},
		{-12345, 3, "-12.345"},
		{1, 18, "0.000000000000000001"},
		{math.MaxInt64, 2, "92233720368547758.07"},
		{math.MinInt64, 0, "-9223372036854775808"},
		{math.MinInt64, 18, "-9.223372036854775808"},
		{1, -1, ""},
		{1, 19, ""},
	} {
		if got := Decimal(c.units, c.scale); got != c.want {
			t.Errorf("Decimal(%d, %d) = %q, want %q", c.units, c.scale, got, c.want)
		}
	}
}

func TestMinor(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "5000": 5000, "007": 7, "9223372036854775807": math.MaxInt64,
	} {
		if got, ok := Minor(text); got != want || !ok {
			t.Errorf("Minor(%q) = %d, %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "-1", "+1", "1.0", "1e3", " 1", "1 ", "0x1", "1_0", "\u0661",
		"9223372036854775808", "9223372036854775810", "18446744073709551617", strings.Repeat("9", 100),
	} {
		if got, ok := Minor(text); ok {
			t.Errorf("Minor(%q) = %d, want it refused", text, got)
		}
	}
}

func TestIsAmount(t *testing.T) {
	for _, text := range []string{"0", "0.00", "86.000", "-1", "-0.5", "999999999999999999999999.123456789012"} {
		if !IsAmount(text) {
			t.Errorf("IsAmount(%q) = false", text)
		}
	}
	for _, text := range []string{
		"", "-", ".5", "1.", "01", "00", "1e3", "1,000", "+1", " 1", "1 ", "1.2.3", "--1",
		"1000000000000000000000000", "0.1234567890123", "NaN",
	} {
		if IsAmount(text) {
			t.Errorf("IsAmount(%q) = true", text)
		}
	}
}

func TestIsCurrency(t *testing.T) {
	for _, text := range []string{"INR", "KWD", "AAA", "ZZZ"} {
		if !IsCurrency(text) {
			t.Errorf("IsCurrency(%q) = false", text)
		}
	}
	for _, text := range []string{"", "IN", "INRR", "inr", "InR", "IN1", "@NR", "IN[", "IN ", "\u00c9A"} {
		if IsCurrency(text) {
			t.Errorf("IsCurrency(%q) = true", text)
		}
	}
}

func TestCompareAmounts(t *testing.T) {
	ascending := []string{
		"-100000000000000000000000", "-10.01", "-10", "-9.999999999999", "-0.1", "0", "0.000000000001", "0.5", "0.51", "1", "1.01",
		"9", "9.99", "10", "10.000000000001", "99", "100", "1000", "999999999999999999999999", "999999999999999999999999.1",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got, ok := CompareAmounts(a, b); got != want || !ok {
				t.Errorf("CompareAmounts(%s, %s) = %d, %t, want %d", a, b, got, ok, want)
			}
		}
	}
	for _, same := range [][2]string{{"1", "1.0"}, {"1.50", "1.5"}, {"-0", "0"}, {"-0.00", "0"}, {"0.0", "-0"}, {"-1.0", "-1"}} {
		for _, pair := range [][2]string{same, {same[1], same[0]}} {
			if got, ok := CompareAmounts(pair[0], pair[1]); got != 0 || !ok {
				t.Errorf("CompareAmounts(%s, %s) = %d, %t, want them the same", pair[0], pair[1], got, ok)
			}
		}
	}
	for _, wrong := range []string{"", "1e3", "01", "1.", ".5", "+1", "1,5"} {
		if _, ok := CompareAmounts(wrong, "1"); ok {
			t.Errorf("%q was compared", wrong)
		}
		if _, ok := CompareAmounts("1", wrong); ok {
			t.Errorf("%q was compared with", wrong)
		}
	}
}
