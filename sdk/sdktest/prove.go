package sdktest

import (
	"crypto/subtle"
	"strings"

	"github.com/postern/postern/sdk/internal/abi"
)

// docs/plugin-abi.md §7 and §8.

func (h *host) prove(e evidence) int32 {
	if len(h.evidence) >= maxHandles {
		return abi.Limit
	}
	h.evidence = append(h.evidence, e)
	return count(len(h.evidence) - 1)
}

// Token is the ABI's token.
func (h *host) Token(name string) int32 {
	token, ok := h.tokens[name]
	if !ok {
		return abi.Denied
	}
	algorithm := "static-token"
	if token.signed {
		algorithm = signedToken
	}
	return h.prove(evidence{name, token.which, algorithm, "none"})
}

// TokenText is the ABI's token_text.
func (h *host) TokenText(name string, out []byte) int32 {
	token, ok := h.tokens[name]
	if !ok || !token.signed {
		return abi.Denied
	}
	return fill(out, token.text)
}

// key finds a bound secret that makes MACs.
func (h *host) key(name string) *secret {
	s := h.secrets[name]
	if s == nil || !s.isMAC() || len(s.keys) == 0 {
		return nil
	}
	return s
}

// SignedBegin is the ABI's signed_begin.
func (h *host) SignedBegin(name string) int32 {
	s := h.key(name)
	switch {
	case s == nil:
		return abi.Denied
	case len(h.signed) >= maxHandles:
		return abi.Limit
	}
	h.signed = append(h.signed, &signed{secret: s})
	return count(len(h.signed) - 1)
}

func (h *host) signature(handle int32) *signed {
	if handle < 0 || int(handle) >= len(h.signed) {
		return nil
	}
	return h.signed[handle]
}

// SignedBytes is the ABI's signed_bytes.
func (h *host) SignedBytes(handle int32, text string) int32 {
	s := h.signature(handle)
	if s == nil {
		return abi.Invalid
	}
	if s.said = true; !h.hold(len(text)) {
		s.short = true
		return abi.Limit
	}
	s.text = append(s.text, text...)
	return 0
}

// SignedBody is the ABI's signed_body.
func (h *host) SignedBody(handle int32) int32 {
	s := h.signature(handle)
	if s == nil || s.body {
		return abi.Invalid
	}
	s.text = append(s.text, h.req.body...)
	s.said, s.body = true, true
	return 0
}

// SignedCheck is the ABI's signed_check.
func (h *host) SignedCheck(handle int32, signature string, encoding int32) int32 {
	s := h.signature(handle)
	if s == nil || !s.said {
		return abi.Invalid
	}
	if s.checks++; s.checks > maxChecks || s.short {
		return abi.Limit
	}
	b, err := fromText(encoding, signature)
	switch {
	case !isEncoding(encoding):
		return abi.Invalid
	case err != nil:
		return abi.Unverified
	}
	which := s.secret.match(s.text, b)
	if which < 0 {
		return abi.Unverified
	}
	covers := "fields"
	if s.body {
		covers = "body"
	}
	return h.prove(evidence{s.secret.Name, which, s.secret.Use, covers})
}

// CoversBody is the ABI's covers_body.
func (h *host) CoversBody(handle, algorithm int32, text string, encoding int32) int32 {
	if handle < 0 || int(handle) >= len(h.evidence) || h.evidence[handle].Covers == "none" {
		return abi.Invalid
	}
	sum := digest(algorithm, h.req.body)
	said, err := fromText(encoding, text)
	switch {
	case sum == nil || !isEncoding(encoding):
		return abi.Invalid
	case err != nil || subtle.ConstantTimeCompare(sum, said) != 1:
		return abi.Unverified
	}
	if algorithm != abi.CRC32 {
		h.evidence[handle].Covers = "body"
	}
	return 0
}

// Sign is the ABI's sign.
func (h *host) Sign(handle, encoding int32, out []byte) int32 {
	s := h.signature(handle)
	switch {
	case !h.signing:
		return abi.Denied
	case s == nil || !s.said || !isEncoding(encoding):
		return abi.Invalid
	case s.short:
		return abi.Limit
	}
	return fill(out, toText(encoding, s.secret.mac(0, s.text)))
}

// OutToken is the ABI's out_token.
func (h *host) OutToken(name, text string) int32 {
	s := h.secrets[name]
	switch {
	case !h.signing || s == nil || s.Use != signedToken:
		return abi.Denied
	case !tokenText.MatchString(text):
		return abi.Malformed
	}
	h.spoken[name] = text
	return 0
}

// OutHeader is the ABI's out_header.
func (h *host) OutHeader(name, value string) int32 {
	switch {
	case !h.signing:
		return abi.Denied
	case name == "" || !isHeaderText(name) || !isHeaderText(value):
		return abi.Invalid
	}
	kept := h.out.headers[:0:0]
	for _, f := range h.out.headers {
		if !strings.EqualFold(f.name, name) {
			kept = append(kept, f)
		}
	}
	h.out.headers = append(kept, field{name, value})
	return 0
}

// OutBody is the ABI's out_body.
func (h *host) OutBody(body string) int32 {
	if !h.signing {
		return abi.Denied
	}
	h.out.body = []byte(body)
	return 0
}
