package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/postern/postern/sdk/sdktest"
)

var lastChecksum = regexp.MustCompile(`,"Checksum":"[^"]*"\}$`)

// TestSign takes the checksum off callbacks that openssl encrypted and lets the
// plugin put it on again: the requests are the same, byte for byte.
func TestSign(t *testing.T) {
	for _, name := range []string{
		"success", "status-failure", "status-code-lower", "status-code-0", "numeric-fields", "with-escapes",
		"extra-member-both", "key-hex", "key-base64", "key-short", "key-long", "key-md5", "key-sha256",
		"zero-padding", "zero-padding-none", "plaintext-null", "plaintext-empty", "plaintext-without",
		"plaintext-null-zero-padding", "rotated-newest", "if-present-right",
	} {
		t.Run(name, func(t *testing.T) {
			want, body := read(t, name)
			unsigned := lastChecksum.ReplaceAll(body, []byte("}"))
			if len(unsigned) == len(body) {
				t.Fatal("the body does not end with its checksum")
			}
			if got := sdktest.Sign(t, ".", name, unsigned); !bytes.Equal(got, want) {
				t.Errorf("signed again:\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

// TestSign_nothingToSignWith leaves a callback as it is where the endpoint needs
// no checksum and has no secret.
func TestSign_nothingToSignWith(t *testing.T) {
	for _, name := range []string{"off-failure", "off-with-secret", "if-present-no-secret"} {
		want, body := read(t, name)
		unsigned := lastChecksum.ReplaceAll(body, []byte("}"))
		want = bytes.Replace(want, body, unsigned, 1)
		if got := sdktest.Sign(t, ".", name, unsigned); !bytes.Equal(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

func read(t *testing.T, name string) (request, body []byte) {
	t.Helper()
	request, err := os.ReadFile("testdata/" + name + ".http")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ = bytes.Cut(request, []byte("\n\n"))
	return request, body
}

func TestMembers(t *testing.T) {
	for in, want := range map[string][]string{
		"{}":      nil,
		" { } ":   nil,
		`{"a":1}`: {`"a":1`},
		"{\r\n\t\"a\" : \" x , y \" ,\n" + `"b":[ 1 , { "c" : {} } ] }`: {`"a":" x , y "`, `"b":[1,{"c":{}}]`},
		`{"a":"\"}{,","\\":"\\","c":{"}":"]"}}`:                         {`"a":"\"}{,"`, `"\\":"\\"`, `"c":{"}":"]"}`},
	} {
		if got := members(in); !slices.Equal(got, want) {
			t.Errorf("members(%q) = %q, want %q", in, got, want)
		}
	}
}
