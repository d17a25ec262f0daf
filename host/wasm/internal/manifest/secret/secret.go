// Package secret turns an operator's text into a key and computes with it:
// MACs, and ciphers that tell nothing of what they opened. It knows every use
// and every form of key that this version of Postern serves.
package secret

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // a provider's own form of a key, not our choice
	"crypto/sha1" //nolint:gosec // a provider's own algorithm, not our choice
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"

	"github.com/postern/postern/host"
)

// Use is the one algorithm that a secret serves, as a manifest names it.
type Use string

// The uses that are no algorithm: what stands in a callback as it is.
const (
	Token       Use = "token"
	SignedToken     = Use(host.SignedToken)
)

// macs are the keyed hashes served.
var macs = map[Use]func() hash.Hash{
	Use(host.HMACSHA1):   sha1.New,
	Use(host.HMACSHA256): sha256.New,
	Use(host.HMACSHA384): sha512.New384,
	Use(host.HMACSHA512): sha512.New,
}

// IsToken reports whether u is a credential that stands in a callback.
func (u Use) IsToken() bool { return u == Token || u == SignedToken }

// IsMAC reports whether u is a keyed hash that is served.
func (u Use) IsMAC() bool { return macs[u] != nil }

// IsCipher reports whether u is a cipher that is served.
func (u Use) IsCipher() bool { return paddings[u] != nil }

// Uses are the names of all that is served, sorted.
func Uses() []string {
	names := []string{string(Token), string(SignedToken)}
	for u := range macs {
		names = append(names, string(u))
	}
	for u := range paddings {
		names = append(names, string(u))
	}
	slices.Sort(names)
	return names
}

// forms turn the operator's text into a key. An error never quotes the text.
var forms = map[string]func(string) ([]byte, error){
	"utf8": func(s string) ([]byte, error) { return []byte(s), nil },
	"hex": func(s string) ([]byte, error) {
		b, err := hex.DecodeString(s)
		if err != nil {
			return nil, errors.New("is not hexadecimal text")
		}
		return b, nil
	},
	"base64": decodeBase64,
	"whsec": func(s string) ([]byte, error) {
		rest, ok := strings.CutPrefix(s, "whsec_")
		if !ok {
			return nil, errors.New("does not begin with whsec_")
		}
		return decodeBase64(rest)
	},
	"sha1": func(s string) ([]byte, error) {
		sum := sha1.Sum([]byte(s)) //nolint:gosec // a provider's own form of a key
		return sum[:], nil
	},
	"md5": func(s string) ([]byte, error) {
		sum := md5.Sum([]byte(s)) //nolint:gosec // a provider's own form of a key
		return sum[:], nil
	},
	"sha256-16": func(s string) ([]byte, error) {
		sum := sha256.Sum256([]byte(s))
		return sum[:BlockSize], nil
	},
	"utf8-16": func(s string) ([]byte, error) {
		key := make([]byte, BlockSize)
		copy(key, s)
		return key, nil
	},
}

// Forms are the names of the forms of key, sorted.
func Forms() []string {
	names := make([]string, 0, len(forms))
	for name := range forms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// IsForm reports whether form is one that is served.
func IsForm(form string) bool { return forms[form] != nil }

// Key is the key that text stands for, in one of [Forms], for one use. A
// cipher's key has its cipher's length, that of a signed token at least 16
// bytes. The error names what is wrong and never quotes the text.
func Key(use Use, form, text string) ([]byte, error) {
	if text == "" {
		return nil, errEmpty
	}
	key, err := forms[form](text)
	switch {
	case err != nil:
	case len(key) == 0:
		err = errors.New("decodes to an empty key")
	case use.IsCipher() && len(key) != BlockSize:
		err = fmt.Errorf("is a key of %d bytes, %s takes %d", len(key), use, BlockSize)
	case use == SignedToken && len(key) < minToken:
		err = fmt.Errorf("is a key of %d bytes, fewer than %d: it can be guessed", len(key), minToken)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (its form is %s)", err, form)
	}
	return key, nil
}

var errEmpty = errors.New("is empty; an empty secret proves nothing")

// minToken is how much makes a token hard to guess: 16 characters of hex are
// 64 bits.
const minToken = 16

// CheckToken reports what keeps text from being a static token. In a path it
// must be hard to guess and stand there as it is (RFC 3986, unreserved). The
// error never quotes it.
func CheckToken(text string, inPath bool) error {
	const fix = "make one with: openssl rand -hex 16"
	switch {
	case text == "":
		return errEmpty
	case inPath && len(text) < minToken:
		return fmt.Errorf("has %d characters, fewer than %d: it can be guessed (%s)", len(text), minToken, fix)
	case inPath && !host.IsUnreserved(text):
		return fmt.Errorf("has characters that cannot stand in a path as they are (%s)", fix)
	}
	return nil
}

func decodeBase64(s string) ([]byte, error) {
	b, err := StrictBase64(base64.StdEncoding, s)
	if err != nil {
		return nil, errors.New("is not base64 text")
	}
	return b, nil
}

// StrictBase64 takes one spelling only: the library passes over line breaks.
func StrictBase64(e *base64.Encoding, s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return e.Strict().DecodeString(s)
}

// MAC is one value of a MAC's key, with its keyed states ready for use: the key
// schedule is half the price of a short MAC. It is safe for concurrent use.
type MAC struct {
	idle *sync.Pool
}

// NewMAC makes the MAC of a use that [Use.IsMAC].
func NewMAC(use Use, key []byte) MAC {
	newHash := macs[use]
	return MAC{idle: &sync.Pool{New: func() any { return hmac.New(newHash, key) }}}
}

// Sum appends the MAC of the parts to dst.
func (m MAC) Sum(dst []byte, parts [][]byte) []byte {
	mac, _ := m.idle.Get().(hash.Hash)
	mac.Reset()
	for _, part := range parts {
		mac.Write(part)
	}
	dst = mac.Sum(dst)
	m.idle.Put(mac)
	return dst
}
