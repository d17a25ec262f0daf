package sdktest

import (
	"crypto/aes"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // a provider's own form of a key
	"crypto/sha1" //nolint:gosec // a provider's own algorithm and form of a key
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"regexp"
	"slices"
	"strings"

	"github.com/postern/postern/sdk/internal/abi"
)

// secret is a secret of the manifest with the values a golden binds.
type secret struct {
	Name     string `json:"name"`
	Use      string `json:"use"`
	Form     string `json:"form"`
	In       string `json:"in"`
	Respond  string `json:"respond"`
	Optional bool   `json:"optional"`

	keys    [][]byte
	respond *regexp.Regexp
}

var macs = map[string]func() hash.Hash{
	"hmac-sha1":   sha1.New,
	"hmac-sha256": sha256.New,
	"hmac-sha384": sha512.New384,
	"hmac-sha512": sha512.New,
}

const signedToken = "signed-token"

// minToken is the least length of a path's token and of a signed token's key.
const minToken = 16

var pathToken = regexp.MustCompile(`^[A-Za-z0-9._~-]{16,}$`)

func (s *secret) isToken() bool { return s.Use == "token" || s.Use == signedToken }

func (s *secret) isMAC() bool { return macs[s.Use] != nil }

func (s *secret) isCipher() bool { return pads[s.Use].fill != nil }

// resolve puts settings in the place of "setting:NAME" in use and form. It
// refuses a secret without its setting, a setting without its secret and a
// value that is none of the setting's enum.
func (s *secret) resolve(m *manifest, settings map[string]string, bound bool) error {
	for _, member := range []*string{&s.Use, &s.Form} {
		name, by := strings.CutPrefix(*member, "setting:")
		if !by {
			continue
		}
		text, set := settings[name]
		switch {
		case bound && !set:
			return fmt.Errorf("is bound, and settings.%s is not set", name)
		case set && !bound:
			return fmt.Errorf("is not bound, and settings.%s is set", name)
		case set && !slices.Contains(m.Settings.Properties[name].Enum, any(text)):
			return fmt.Errorf("settings.%s %q is none of its enum", name, text)
		case set:
			*member = text
		}
	}
	return nil
}

// bind decodes the values as an operator would write them. A secret without
// values may have a use that only a setting says.
func (s *secret) bind(values []string) error {
	if !s.isToken() && !s.isMAC() && !s.isCipher() && (len(values) > 0 || !strings.HasPrefix(s.Use, "setting:")) {
		return fmt.Errorf("use %s is not served by sdktest", s.Use)
	}
	s.keys = nil
	for _, text := range values {
		form := s.Form
		if s.Use == "token" {
			form = "utf8"
		}
		key, err := decodeKey(form, text)
		switch {
		case err != nil:
		case text == "" || len(key) == 0:
			err = errors.New("is empty")
		case s.isCipher() && len(key) != aes.BlockSize:
			err = fmt.Errorf("is a key of %d bytes, the cipher takes %d", len(key), aes.BlockSize)
		case s.Use == signedToken && len(key) < minToken:
			err = fmt.Errorf("is a key of %d bytes, fewer than %d", len(key), minToken)
		case s.Use == "token" && s.In == "path" && !pathToken.MatchString(text):
			err = fmt.Errorf("is not %d or more of A-Z a-z 0-9 . _ ~ - in a path", minToken)
		}
		if err != nil {
			return fmt.Errorf("a value %w (form %s)", err, form)
		}
		s.keys = append(s.keys, key)
	}
	if s.Respond != "" {
		var err error
		if s.respond, err = regexp.Compile("^(?:" + s.Respond + ")$"); err != nil {
			return err
		}
	}
	return nil
}

func decodeKey(form, text string) ([]byte, error) {
	switch form {
	case "utf8":
		return []byte(text), nil
	case "hex":
		return fromText(abi.Hex, text)
	case "base64":
		return fromText(abi.Base64, text)
	case "whsec":
		rest, ok := strings.CutPrefix(text, "whsec_")
		if !ok {
			return nil, errors.New("does not begin with whsec_")
		}
		return fromText(abi.Base64, rest)
	case "sha1":
		sum := sha1.Sum([]byte(text)) //nolint:gosec // a provider's own form of a key
		return sum[:], nil
	case "md5":
		sum := md5.Sum([]byte(text)) //nolint:gosec // a provider's own form of a key
		return sum[:], nil
	case "sha256-16":
		sum := sha256.Sum256([]byte(text))
		return sum[:16], nil
	case "utf8-16":
		key := make([]byte, 16)
		copy(key, text)
		return key, nil
	}
	return nil, fmt.Errorf("has the form %q, which sdktest does not serve", form)
}

// mac is the MAC of text with the i-th value.
func (s *secret) mac(i int, text []byte) []byte {
	h := hmac.New(macs[s.Use], s.keys[i])
	h.Write(text)
	return h.Sum(nil)
}

// match returns which value of the secret made signature, -1 for none.
func (s *secret) match(text, signature []byte) int {
	for i := range s.keys {
		if hmac.Equal(s.mac(i, text), signature) {
			return i
		}
	}
	return -1
}

var errEncoding = errors.New("is not of its encoding")

func fromText(encoding int32, text string) ([]byte, error) {
	var b []byte
	var err error
	// Package base64 passes over line breaks.
	if encoding != abi.Raw && strings.ContainsAny(text, "\r\n") {
		return nil, errEncoding
	}
	switch encoding {
	case abi.Raw:
		b = []byte(text)
	case abi.Hex:
		b, err = hex.DecodeString(text)
	case abi.Base64:
		b, err = base64.StdEncoding.Strict().DecodeString(text)
	case abi.Base64URL:
		b, err = base64.RawURLEncoding.Strict().DecodeString(text)
	}
	if err != nil {
		return nil, errEncoding
	}
	return b, nil
}

func toText(encoding int32, b []byte) string {
	switch encoding {
	case abi.Hex:
		return hex.EncodeToString(b)
	case abi.Base64:
		return base64.StdEncoding.EncodeToString(b)
	case abi.Base64URL:
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return string(b)
}

func isEncoding(encoding int32) bool { return encoding >= abi.Raw && encoding <= abi.Base64URL }

func digest(algorithm int32, b []byte) []byte {
	switch algorithm {
	case abi.SHA256:
		sum := sha256.Sum256(b)
		return sum[:]
	case abi.SHA512:
		sum := sha512.Sum512(b)
		return sum[:]
	case abi.CRC32:
		return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b))
	}
	return nil
}
