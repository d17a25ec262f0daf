package postern

import "github.com/postern/postern/sdk/internal/abi"

// Unsigned is a callback that is to be signed: it reads like any other, and
// what is changed goes into the signed one.
type Unsigned struct {
	Callback
	failed error // the first failure of a setter
}

// Sign returns the signature of s with the newest value of its secret. The
// host grants it only for sending test callbacks, never in serve.
func (u *Unsigned) Sign(s *Signed, encoding Encoding) (string, error) {
	if s.failed {
		return "", ErrDenied
	}
	var out [256]byte
	n := abi.Sign(s.handle, int32(encoding), out[:])
	if n < 0 {
		return "", Error(n)
	}
	if int(n) > len(out) {
		return "", ErrLimit
	}
	return string(out[:n]), nil
}

// Encrypt encrypts plaintext with the newest value of a cipher's secret: what
// [Callback.Decrypt] decrypts. The result is not sealed. Make the plaintext with
// [Callback.Decode]. The error is ErrDenied where the secret is not bound or no
// cipher, and in serve; ErrMalformed where iv is not 16 bytes.
func (u *Unsigned) Encrypt(secret string, iv []byte, plaintext Bytes) (Bytes, error) {
	return held(abi.Encrypt(secret, iv, plaintext.handle))
}

// SetToken sets what a signed token of the signed callback speaks for, usually
// the transaction's id. The host makes the MAC and puts both in their place.
// Where the secret is declared and not bound nothing is put in: the endpoint is
// known by something else. A text that no signed token can have fails the
// signing.
func (u *Unsigned) SetToken(secret, text string) {
	if code := abi.OutToken(secret, text); code < 0 && u.failed == nil {
		u.failed = Error(code)
	}
}

// SetHeader sets a header of the signed callback.
func (u *Unsigned) SetHeader(name, value string) {
	if code := abi.OutHeader(name, value); code < 0 && u.failed == nil {
		u.failed = Error(code)
	}
}

// SetBody sets the body of the signed callback.
func (u *Unsigned) SetBody(body string) {
	if code := abi.OutBody(body); code < 0 && u.failed == nil {
		u.failed = Error(code)
	}
}
