package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"github.com/postern/postern/sdk/sdktest"
)

var lastSignature = regexp.MustCompile(`,"signature":"[0-9a-f]{64}"\}$`)

// TestSign takes the signature off callbacks that openssl signed and lets the
// plugin sign them again: the requests are the same, byte for byte.
func TestSign(t *testing.T) {
	for _, name := range []string{
		"paid", "authorized", "all-fields", "null-and-empty-skipped", "zero-amount", "escaped-names",
		"html-and-slashes", "operation-null", "subscription", "subscription-failed",
		"current-paid", "current-operation", "current-falsy", "current-two-lines", "current-only",
	} {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile("testdata/" + name + ".http")
			if err != nil {
				t.Fatal(err)
			}
			_, body, _ := bytes.Cut(want, []byte("\n\n"))
			unsigned := lastSignature.ReplaceAll(body, []byte("}"))
			if len(unsigned) == len(body) {
				t.Fatal("the body does not end with its signature")
			}
			if got := sdktest.Sign(t, ".", name, unsigned); !bytes.Equal(got, want) {
				t.Errorf("signed again:\ngot  %s\nwant %s", got, want)
			}
		})
	}
}
