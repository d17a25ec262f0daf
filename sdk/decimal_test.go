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
