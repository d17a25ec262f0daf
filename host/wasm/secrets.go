package wasm

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
	"strings"
	"sync"

	"github.com/postern/postern/host"
)

// use is the one algorithm that a secret serves.
type use string

const useToken use = "token"

// macs are the keyed hashes served.
var macs = map[use]func() hash.Hash{
	use(host.HMACSHA1):   sha1.New,
	use(host.HMACSHA256): sha256.New,
	use(host.HMACSHA384): sha512.New384,
	use(host.HMACSHA512): sha512.New,
}

// keyForms turn the operator's text into a key. An error never quotes the
// text.
var keyForms = map[string]func(string) ([]byte, error){
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
}

func decodeBase64(s string) ([]byte, error) {
	b, err := strictBase64(base64.StdEncoding, s)
	if err != nil {
		return nil, errors.New("is not base64 text")
	}
	return b, nil
}

// strictBase64 takes one spelling only: the library passes over line breaks.
func strictBase64(e *base64.Encoding, s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, base64.CorruptInputError(0)
	}
	return e.Strict().DecodeString(s)
}

// boundSecret is a declared secret with the operator's values.
type boundSecret struct {
	decl *Secret
	// keys are the values, the newest first.
	keys []keyed
	// values are a token's texts.
	values [][]byte
}

// keyed is one value of a MAC's key, with its keyed states ready for use: the
// key schedule is half the price of a short MAC.
type keyed struct {
	idle *sync.Pool
}

func newKeyed(newHash func() hash.Hash, key []byte) keyed {
	return keyed{idle: &sync.Pool{New: func() any { return hmac.New(newHash, key) }}}
}

// sum appends the MAC of the parts to dst.
func (k keyed) sum(dst []byte, parts [][]byte) []byte {
	mac, _ := k.idle.Get().(hash.Hash)
	mac.Reset()
	for _, part := range parts {
		mac.Write(part)
	}
	dst = mac.Sum(dst)
	k.idle.Put(mac)
	return dst
}

// bind decodes the operator's values. It reports every problem, naming the
// secret and never its value.
func (s *Secret) bind(values []string) (*boundSecret, error) {
	b := &boundSecret{decl: s}
	var wrong []error
	for i, text := range values {
		at := fmt.Sprintf("secrets.%s", s.Name)
		if len(values) > 1 {
			at = fmt.Sprintf("%s[%d]", at, i)
		}
		if text == "" {
			wrong = append(wrong, fmt.Errorf("%s: is empty; an empty secret proves nothing", at))
			continue
		}
		if use(s.Use) == useToken {
			b.values = append(b.values, []byte(text))
			continue
		}
		key, err := keyForms[s.Form](text)
		if err == nil && len(key) == 0 {
			err = errors.New("decodes to an empty key")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w (its form is %s)", at, err, s.Form))
			continue
		}
		b.keys = append(b.keys, newKeyed(macs[use(s.Use)], key))
	}
	return b, errors.Join(wrong...)
}
