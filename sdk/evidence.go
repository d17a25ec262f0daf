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

// Token returns the evidence that a static token was right, and false where
// the secret is not bound: a wrong one never reaches the plugin. It covers
// nothing of the body.
func (cb *Callback) Token(secret string) (Evidence, bool) {
	return evidence(abi.Token(secret))
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
