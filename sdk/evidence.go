package postern

import "github.com/postern/postern/sdk/internal/abi"

// Evidence is what the host itself saw verified. The zero value is no
// evidence: an event begun with it is stored only by an endpoint that is
// configured with "verification: none".
type Evidence struct{ id int32 } // the host's handle and one

func evidence(handle int32) (Evidence, bool) {
	if handle < 0 {
		return Evidence{}, false
	}
	return Evidence{handle + 1}, true
}

// Token returns the evidence that a static or signed token was right, and
// false where the secret is not bound: a wrong one never reaches the plugin. It
// covers nothing of the body.
func (cb *Callback) Token(secret string) (Evidence, bool) {
	return evidence(abi.Token(secret))
}

// TokenText returns the text that a signed token spoke for, and false where
// none is bound under that name. The token is good for that text alone: the
// plugin must compare it with the id in the body before it believes the body.
func (cb *Callback) TokenText(secret string) (string, bool) {
	return pull(func(out []byte) int32 { return abi.TokenText(secret, out) })
}

// Signed are the bytes that a signature covers, put together in order.
type Signed struct {
	handle int32
	failed bool
}

// Signed begins the bytes that a signature made with secret covers. Where the
// secret is not bound, every check of them fails.
func (cb *Callback) Signed(secret string) *Signed {
	handle := abi.SignedBegin(secret)
	return &Signed{handle: handle, failed: handle < 0}
}

// Text appends text.
func (s *Signed) Text(text string) *Signed {
	s.failed = s.failed || abi.SignedBytes(s.handle, text) < 0
	return s
}

// Bytes appends bytes.
func (s *Signed) Bytes(bytes []byte) *Signed { return s.Text(string(bytes)) }

// Body appends the body as sent.
func (s *Signed) Body() *Signed {
	s.failed = s.failed || abi.SignedBody(s.handle) < 0
	return s
}

// Check compares a signature in constant time, with every bound value of the
// secret and the manifest's algorithm. A signature that is not of the encoding
// is a wrong one. It may be called again with another signature.
func (s *Signed) Check(signature string, encoding Encoding) (Evidence, bool) {
	if s.failed || signature == "" {
		return Evidence{}, false
	}
	return evidence(abi.SignedCheck(s.handle, signature, int32(encoding)))
}

// CoversBody compares a digest that stood among the signed bytes with the
// body's and reports whether they are equal. With SHA-256 or SHA-512 the
// evidence then covers the body; a CRC-32 leaves it as it was.
func (e Evidence) CoversBody(hash Hash, digest string, encoding Encoding) bool {
	return abi.CoversBody(e.id-1, int32(hash), digest, int32(encoding)) >= 0
}

// Decrypt gives the host bytes to decrypt with secret, a cipher. What comes of
// it is sealed: it tells the plugin nothing, not even whether the key was the
// right one. It can only be parsed as JSON and compared, by [Callback.Same] or
// [Callback.SameBytes]; once a comparison gave evidence it reads like any other
// bytes. The error is ErrDenied where the secret is not bound or no cipher,
// ErrMalformed where iv is not 16 bytes or the ciphertext is not one or more
// whole blocks of 16, and ErrLimit beyond 64 decryptions.
func (cb *Callback) Decrypt(secret string, iv []byte, ciphertext Bytes) (Bytes, error) {
	return held(abi.Decrypt(secret, iv, ciphertext.handle))
}

// Same returns the evidence that two JSON objects have the same members with
// the same values, but for a member except of either ("" leaves none out).
// Inner is a view of what [Callback.Decrypt] gave. Order is free among members
// and numbers are compared as text. It is false for every cause: a wrong key, a
// text that is not JSON, a view that is empty, a difference. The evidence covers
// fields.
func (cb *Callback) Same(outer, inner View, except string) (Evidence, bool) {
	if outer.id == 0 || inner.id == 0 {
		return Evidence{}, false
	}
	return evidence(abi.Same(outer.id-1, inner.id-1, except))
}

// SameBytes returns the evidence that two byte strings are equal, exactly one
// of which [Callback.Decrypt] gave. It is false for every cause, as
// [Callback.Same] is, and covers fields.
func (cb *Callback) SameBytes(a, b Bytes) (Evidence, bool) {
	return evidence(abi.SameBytes(a.handle, b.handle))
}
