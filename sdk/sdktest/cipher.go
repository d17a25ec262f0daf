package sdktest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"errors"
	"slices"
	"strings"

	"github.com/postern/postern/sdk/internal/abi"
)

// docs/plugin-abi.md §7, "Sealed", and §8.

// chunk is what a handle of bytes stands for.
type chunk struct {
	bytes []byte
	seal  *seal // nil for what the guest may know
}

// seal is a decryption that has proven nothing yet: what each value of the
// secret made of it, nil where the padding was wrong.
type seal struct {
	secret *secret
	size   int // of the ciphertext
	plain  [][]byte
}

// pads are the ciphers that are served: what fills the last block, and how many
// bytes of a decrypted text did.
var pads = map[string]struct {
	fill  func(missing int) []byte
	count func(plain []byte) (int, error)
}{
	"aes-128-cbc": {
		func(missing int) []byte { return slices.Repeat([]byte{byte(missing)}, missing) },
		countPKCS7,
	},
	"aes-128-cbc-zero": {
		func(missing int) []byte { return make([]byte, missing%aes.BlockSize) },
		countZero,
	},
}

func countPKCS7(plain []byte) (int, error) {
	n := int(plain[len(plain)-1])
	if n == 0 || n > aes.BlockSize {
		return 0, errMalformed
	}
	for _, b := range plain[len(plain)-n:] {
		if int(b) != n {
			return 0, errMalformed
		}
	}
	return n, nil
}

func countZero(plain []byte) (int, error) {
	n := 0
	for n < aes.BlockSize-1 && plain[len(plain)-1-n] == 0 {
		n++
	}
	return n, nil
}

// crypt runs whole blocks through the cipher with the i-th value.
func (s *secret) crypt(i int, mode func(cipher.Block, []byte) cipher.BlockMode, iv, text []byte) []byte {
	block, err := aes.NewCipher(s.keys[i])
	if err != nil {
		return nil // bind has checked the length
	}
	out := make([]byte, len(text))
	mode(block, iv).CryptBlocks(out, text)
	return out
}

func (s *secret) decrypt(i int, iv, text []byte) []byte {
	plain := s.crypt(i, cipher.NewCBCDecrypter, iv, text)
	n, err := pads[s.Use].count(plain)
	if err != nil {
		return nil
	}
	return plain[:len(plain)-n]
}

func (s *secret) encrypt(i int, iv, plain []byte) []byte {
	missing := aes.BlockSize - len(plain)%aes.BlockSize
	return s.crypt(i, cipher.NewCBCEncrypter, iv, slices.Concat(plain, pads[s.Use].fill(missing)))
}

// cipher finds a bound secret that is a cipher.
func (h *host) cipher(name string) *secret {
	s := h.secrets[name]
	if s == nil || !s.isCipher() || len(s.keys) == 0 {
		return nil
	}
	return s
}

// open returns the bytes behind a handle, or why the guest may not have them.
func (h *host) open(handle int32) ([]byte, int32) {
	switch {
	case handle < 0 || int(handle) >= len(h.chunks):
		return nil, abi.Invalid
	case h.chunks[handle].seal != nil:
		return nil, abi.Denied
	}
	return h.chunks[handle].bytes, 0
}

// Decrypt is the ABI's decrypt.
func (h *host) Decrypt(name string, iv []byte, handle int32) int32 {
	s := h.cipher(name)
	if s == nil {
		return abi.Denied
	}
	text, code := h.open(handle)
	switch {
	case code < 0:
		return code
	case len(iv) != aes.BlockSize || len(text) == 0 || len(text)%aes.BlockSize != 0:
		return abi.Malformed
	case len(text) > maxSealed || h.decrypts == maxDecrypts:
		return abi.Limit
	}
	h.decrypts++
	plain := make([][]byte, len(s.keys))
	for i := range s.keys {
		plain[i] = s.decrypt(i, iv, text)
	}
	return h.keep(chunk{seal: &seal{s, len(text), plain}}, len(text)*len(s.keys))
}

// Encrypt is the ABI's encrypt.
func (h *host) Encrypt(name string, iv []byte, handle int32) int32 {
	s := h.cipher(name)
	if !h.signing || s == nil {
		return abi.Denied
	}
	plain, code := h.open(handle)
	switch {
	case code < 0:
		return code
	case len(iv) != aes.BlockSize:
		return abi.Malformed
	}
	sealed := s.encrypt(0, iv, plain)
	return h.keep(chunk{bytes: sealed}, len(sealed))
}

// Same is the ABI's same.
func (h *host) Same(outer, inner int32, except string) int32 {
	if inner < 0 || int(inner) >= len(h.views) {
		return abi.Invalid
	}
	root, code := h.at(outer, "")
	switch {
	case code < 0:
		return code
	case h.views[outer].kind != abi.ViewJSON || h.chunks[h.views[inner].of].seal == nil:
		return abi.Invalid
	case len(root.json) > maxOuter:
		return abi.Limit
	}
	want, err := root.canonical(except)
	return h.unseal(h.views[inner].of, func(plain []byte) bool {
		doc, bad := parseView(abi.ViewJSON, plain)
		if bad != nil || err != nil {
			return false
		}
		got, err := doc.canonical(except)
		return err == nil && hmac.Equal([]byte(got), []byte(want))
	})
}

// SameBytes is the ABI's same_bytes.
func (h *host) SameBytes(a, b int32) int32 {
	if max(a, b) >= count(len(h.chunks)) || min(a, b) < 0 {
		return abi.Invalid
	}
	if h.chunks[a].seal != nil {
		a, b = b, a
	}
	want, code := h.open(a)
	if code < 0 {
		return code
	}
	return h.unseal(b, func(plain []byte) bool { return len(want) > 0 && hmac.Equal(plain, want) })
}

// unseal gives evidence if one of the texts that a sealed handle stands for is
// the right one, and the handle is that text from then on.
func (h *host) unseal(handle int32, right func(plain []byte) bool) int32 {
	seal := h.chunks[handle].seal
	if seal == nil {
		return abi.Invalid
	}
	which := slices.IndexFunc(seal.plain, func(plain []byte) bool { return plain != nil && right(plain) })
	if which < 0 {
		return abi.Unverified
	}
	proof := h.prove(evidence{seal.secret.Name, which, seal.secret.Use, "fields"})
	if proof >= 0 {
		h.chunks[handle] = chunk{bytes: seal.plain[which]}
	}
	return proof
}

var errNothing = errors.New("is no object with anything to compare")

// canonical writes an object without one of its members, so that two objects
// with the same members are the same text.
func (n *node) canonical(except string) (string, error) {
	if n.kind != abi.KindObject {
		return "", errNothing
	}
	rest := &node{kind: n.kind}
	for i, name := range n.names {
		if name != except || except == "" {
			rest.names = append(rest.names, name)
			rest.children = append(rest.children, n.children[i])
		}
	}
	if len(rest.names) == 0 {
		return "", errNothing
	}
	return rest.sorted(), nil
}

func (n *node) sorted() string {
	parts := make([]string, len(n.children))
	for i, child := range n.children {
		parts[i] = child.sorted()
		if n.kind == abi.KindObject {
			parts[i] = quote(n.names[i]) + ":" + parts[i]
		}
	}
	switch n.kind {
	case abi.KindObject:
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	case abi.KindArray:
		return "[" + strings.Join(parts, ",") + "]"
	case abi.KindString:
		return quote(n.text)
	}
	return n.text
}
