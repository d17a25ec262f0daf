package postern

import "github.com/postern/postern/sdk/internal/abi"

// Plugin is what a provider's module does.
type Plugin struct {
	// Handle judges one callback. Required. The callback is valid only until
	// it returns.
	Handle func(cb *Callback) Verdict
	// Sign turns an unsigned callback into one the provider could have sent,
	// for "postern send" and "postern demo". Nil if the plugin cannot. A
	// plugin whose callbacks carry only static tokens returns nil here: the
	// host puts tokens in. Of a signed token it says the text, see
	// [Unsigned.SetToken].
	Sign func(u *Unsigned) error
}

// callback is the one under judgement: there is one at a time, and to allocate it
// would cost a guest more than most of what it says.
var callback Callback

// Register makes p the module's plugin. It is called once, from init.
func Register(p Plugin) {
	if p.Handle == nil {
		panic("postern: a plugin needs Handle")
	}
	abi.HandleExport = func() int32 {
		callback = Callback{}
		return p.Handle(&callback).code
	}
	abi.SignExport = func() int32 {
		if p.Sign == nil {
			return abi.Invalid
		}
		return p.sign()
	}
}

func (p Plugin) sign() int32 {
	u := &Unsigned{}
	err := p.Sign(u)
	if err == nil {
		err = u.failed
	}
	if err == nil {
		return 0
	}
	if code, ok := err.(Error); ok { //nolint:errorlint // package errors stays out of the guest
		return int32(code)
	}
	return abi.Invalid
}

// Verdict is what a handler returns. Only the methods of [Callback] make one;
// the zero value counts as a failure of the plugin.
type Verdict struct{ code int32 }

// Reason says why a callback is rejected.
type Reason int32

// The reasons.
const (
	// NotVerified: no signature, token or cipher proved it.
	NotVerified = Reason(abi.ReasonNotVerified)
	// Malformed: it cannot be parsed.
	Malformed = Reason(abi.ReasonMalformed)
	// NotUnderstood: it is verified, and the plugin does not know what it
	// means.
	NotUnderstood = Reason(abi.ReasonNotUnderstood)
)

// Encoding is how bytes stand in a text.
type Encoding int32

// The encodings.
const (
	Raw       = Encoding(abi.Raw)       // the bytes themselves
	Hex       = Encoding(abi.Hex)       // either case
	Base64    = Encoding(abi.Base64)    // standard alphabet, padded
	Base64URL = Encoding(abi.Base64URL) // URL alphabet, not padded
)

// Error is a result code of the host.
type Error int32

// The errors.
const (
	ErrAbsent     = Error(abi.Absent)     // there is no such thing
	ErrMalformed  = Error(abi.Malformed)  // the bytes are not what the call takes them for
	ErrDenied     = Error(abi.Denied)     // the secret is not bound, or the call is not granted here
	ErrUnverified = Error(abi.Unverified) // the comparison failed
	ErrLimit      = Error(abi.Limit)      // too long or too many
	ErrInvalid    = Error(abi.Invalid)    // a call out of order
)

// Error describes the code for an operator.
func (e Error) Error() string {
	switch e {
	case ErrAbsent:
		return "absent"
	case ErrMalformed:
		return "malformed"
	case ErrDenied:
		return "not bound or not granted"
	case ErrUnverified:
		return "not verified"
	case ErrLimit:
		return "too long or too many"
	case ErrInvalid:
		return "out of order"
	}
	return "unknown error"
}
