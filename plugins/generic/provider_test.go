package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/sdk/sdktest"
)

func TestGoldens(t *testing.T) { sdktest.Run(t, ".") }

// TestSign lets the plugin sign requests whose signature or timestamp is wrong,
// old or missing: what comes out is, byte for byte, the request that openssl
// signed.
func TestSign(t *testing.T) {
	for wrong, right := range map[string]string{
		"github-bad":            "github-push",
		"github-no-prefix":      "github-push",
		"shopify-bad":           "shopify-paid-other-topic",
		"razorpay-bad":          "razorpay-captured",
		"stripe-bad":            "stripe-succeeded",
		"stripe-missing":        "stripe-succeeded",
		"stripe-past":           "stripe-succeeded",
		"stripe-two-timestamps": "stripe-succeeded",
		"zahlwerk-unknown":      "zahlwerk-settled",
		"made-url":              "made-url",
		"xendit-unknown":        "xendit-paid",
	} {
		t.Run(wrong, func(t *testing.T) {
			want := read(t, "testdata/"+right+".http")
			_, body, _ := bytes.Cut(want, []byte("\n\n"))
			got := sdktest.Sign(t, ".", wrong, body)
			if strings.HasPrefix(wrong, "shopify") {
				want = bytes.Replace(want, []byte("orders/paid"), []byte("orders/updated"), 1)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("signed:\ngot  %q\nwant %q", got, want)
			}
		})
	}
}

// TestSign_timestampsOfTheirOwn: what a timestamp is written as is what is
// signed.
func TestSign_timestampsOfTheirOwn(t *testing.T) {
	for name, want := range map[string]string{
		"made-rfc3339-old":       "\nX-Time: 2026-01-02T03:04:05Z\n",
		"made-milliseconds-late": "\nX-Time: 1767323045000\n",
	} {
		_, body, _ := bytes.Cut(read(t, "testdata/"+name+".http"), []byte("\n\n"))
		if got := sdktest.Sign(t, ".", name, body); !bytes.Contains(got, []byte(want)) {
			t.Errorf("%s: signed %q, want %q in it", name, got, want)
		}
	}
}

// TestRFC3339 holds the plugin's reading of times, and its writing, to package
// time's.
func TestRFC3339(t *testing.T) {
	for _, text := range []string{
		"1970-01-01T00:00:00Z", "2000-02-29T23:59:59Z", "2026-01-02T03:04:05.5Z", "2026-12-31T23:59:59.123456789-11:30",
		"2024-02-29T12:00:00+05:30", "2100-03-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-01-02T03:04:05+00:00",
	} {
		want, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := rfc3339(text); !ok || got != want.UnixMilli() {
			t.Errorf("rfc3339(%q) = %d, %v, want %d", text, got, ok, want.UnixMilli())
		}
	}
	for at := time.Unix(0, 0).UTC(); at.Year() < 2401; at = at.Add(37*time.Hour + 59*time.Second) {
		text := at.Format(time.RFC3339)
		if got := written(at.UnixMilli(), "rfc3339"); got != text {
			t.Fatalf("written(%d) = %s, want %s", at.UnixMilli(), got, text)
		}
		if got, ok := rfc3339(text); !ok || got != at.UnixMilli() {
			t.Fatalf("rfc3339(%s) = %d, %v, want %d", text, got, ok, at.UnixMilli())
		}
	}
	for _, text := range []string{
		"", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05z", "2026-01-02T03:04:05.Z",
		"2026-01-02T03:04:05+5:30", "2026-01-02T03:04:05+0530", "2026-01-02T24:04:05Z", "2026-01-02T03:60:05Z",
		"2026-01-02T03:04:60Z", "2026-00-02T03:04:05Z", "2026-01-32T03:04:05Z", "2026-01-02T03:04:05+24:00",
		"2026-01-02T03:04:05+05:60", "12026-01-02T03:04:05Z", "2026-01-02T03:04:05ZZ", "+026-01-02T03:04:05Z",
		"2026-01-02T03:04:05." + strings.Repeat("1", 40) + "Z", "1969-12-31T23:59:59Z",
	} {
		if got, ok := rfc3339(text); ok {
			t.Errorf("rfc3339(%q) = %d, want it refused", text, got)
		}
	}
}

// TestIsName compares what a word may be, behind a family, with the host's rule
// for a type.
func TestIsName(t *testing.T) {
	rule := regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$`)
	const letters = "a0-_.A/ "
	for n := range 8 * 8 * 8 * 8 {
		text := strings.TrimRight(string([]byte{letters[n&7], letters[n>>3&7], letters[n>>6&7], letters[n>>9&7]}), " ")
		if got, want := isName(text), rule.MatchString(text); got != want {
			t.Errorf("isName(%q) = %v, want %v", text, got, want)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
