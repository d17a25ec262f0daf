package secret

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestStrip_everyLastByte holds both paddings against the plain rule, for every
// last byte and every place where another byte may stand.
func TestStrip_everyLastByte(t *testing.T) {
	for end := range 256 {
		for other := range BlockSize {
			last := bytes.Repeat([]byte{byte(end)}, BlockSize)
			if other < BlockSize-1 {
				last[other] ^= 0x55
			}
			n, right := stripPKCS7(last)
			want := end >= 1 && end <= BlockSize &&
				bytes.Count(last[BlockSize-min(end, BlockSize):], []byte{byte(end)}) == end
			if (right == 1) != want || (want && n != end) || n < 1 || n > BlockSize {
				t.Errorf("PKCS#7 of %x = %d, right %d; want right %v", last, n, right, want)
			}
			n, right = stripZero(last)
			trimmed := len(last) - len(bytes.TrimRight(last, "\x00"))
			if n != min(trimmed, BlockSize-1) || right != 1 {
				t.Errorf("zeros of %x = %d, right %d; want %d", last, n, right, trimmed)
			}
		}
	}
}

func TestSealAndOpen(t *testing.T) {
	iv := []byte("1234567890123456")
	for _, use := range []Use{"aes-128-cbc", "aes-128-cbc-zero"} {
		c, err := NewCipher(use, []byte("test-key-current"))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3*BlockSize + 1 {
			text := bytes.Repeat([]byte("x"), n)
			sealed := c.Seal(iv, text)
			if len(sealed) == 0 {
				continue // zero padding adds nothing to nothing
			}
			got, right := c.Open(iv, sealed)
			if !bytes.Equal(got, text) || right != 1 || len(sealed)%BlockSize != 0 {
				t.Errorf("%s: %d bytes come back as %q, right %d", use, n, got, right)
			}
		}
	}
	if _, err := NewCipher("aes-128-cbc", make([]byte, 32)); err == nil {
		t.Error("a key of 32 bytes is taken: it is another cipher's")
	}
}

func TestKey_neverQuotesTheText(t *testing.T) {
	const text = "test-k\xc3\xa4y-current-hidden"
	for _, form := range Forms() {
		for _, use := range []Use{"hmac-sha256", "aes-128-cbc", SignedToken} {
			if _, err := Key(use, form, text); err != nil && strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s, %s: %v", use, form, err)
			}
			if _, err := Key(use, form, ""); err == nil {
				t.Errorf("%s, %s: an empty text is a key", use, form)
			}
		}
	}
	for _, use := range Uses() {
		u := Use(use)
		if n := slices.Index([]bool{u.IsToken(), u.IsMAC(), u.IsCipher()}, true); n < 0 {
			t.Errorf("%s is of no family", use)
		}
	}
}
