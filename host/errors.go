package host

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code classifies what went wrong. It is stable: logs, metrics and the body of
// an error answer carry its name.
type Code uint8

// The codes.
const (
	Internal Code = iota // a defect of ours
	EndpointUnknown
	AddressRefused
	MethodNotAllowed
	RateLimited
	HeadMalformed
	HeadTooLarge
	HeadTooMany
	EncodingUnsupported
	RequestTimeout
	BodyTooLarge
	CallbackNotVerified
	CallbackMalformed
	CallbackNotUnderstood
	GuardRejected
	PluginFailed
	PluginBusy
	StoreUnavailable
	StoreFull
	KeptFull
	Draining
)

// codes is the one table from a code to its name and its HTTP status.
//
// Invariant 1: whatever is our own failure is 503 here, never 4xx.
var codes = map[Code]struct {
	name   string
	status int
}{
	Internal:              {"internal", http.StatusServiceUnavailable},
	EndpointUnknown:       {"endpoint.unknown", http.StatusNotFound},
	AddressRefused:        {"address.refused", http.StatusForbidden},
	MethodNotAllowed:      {"method.not-allowed", http.StatusMethodNotAllowed},
	RateLimited:           {"rate.limited", http.StatusTooManyRequests},
	HeadMalformed:         {"head.malformed", http.StatusBadRequest},
	HeadTooLarge:          {"head.too-large", http.StatusRequestHeaderFieldsTooLarge},
	HeadTooMany:           {"head.too-many", http.StatusRequestHeaderFieldsTooLarge},
	EncodingUnsupported:   {"encoding.unsupported", http.StatusUnsupportedMediaType},
	RequestTimeout:        {"request.timeout", http.StatusRequestTimeout},
	BodyTooLarge:          {"body.too-large", http.StatusRequestEntityTooLarge},
	CallbackNotVerified:   {"callback.not-verified", http.StatusUnauthorized},
	CallbackMalformed:     {"callback.malformed", http.StatusBadRequest},
	CallbackNotUnderstood: {"callback.not-understood", http.StatusBadRequest},
	GuardRejected:         {"guard.rejected", http.StatusForbidden},
	PluginFailed:          {"plugin.failed", http.StatusServiceUnavailable},
	PluginBusy:            {"plugin.busy", http.StatusServiceUnavailable},
	StoreUnavailable:      {"store.unavailable", http.StatusServiceUnavailable},
	StoreFull:             {"store.full", http.StatusServiceUnavailable},
	KeptFull:              {"store.kept-full", http.StatusServiceUnavailable},
	Draining:              {"server.draining", http.StatusServiceUnavailable},
}

// String is the code's stable name, "store.full".
func (c Code) String() string {
	if d, ok := codes[c]; ok {
		return d.name
	}
	return codes[Internal].name
}

// Status is the HTTP status of an answer for this code.
func (c Code) Status() int {
	if d, ok := codes[c]; ok {
		return d.status
	}
	return codes[Internal].status
}

// Error is an error with a code. Its text is for operators; a provider sees
// only the code's name.
type Error struct {
	Code Code
	Err  error
}

// Errorf makes an *Error; the format is that of [fmt.Errorf].
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, else Internal.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// ErrUnsupported is returned by a store for what its engine cannot do.
var ErrUnsupported = errors.New("not supported by this store")

// ErrNotFound is returned by a [Reader] for an id or sequence it does not have.
var ErrNotFound = errors.New("not found")

// ErrBusy is returned where one thing of a kind can be under way at a time.
var ErrBusy = errors.New("one is under way already")

// permanentError marks a delivery that no retry can mend.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks err as one that no retry can mend: the delivery is dead at
// once. A sink uses it for what it knows to be final (410 Gone, a body the
// other side will never take). Nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// IsPermanent reports whether err was marked by [Permanent].
func IsPermanent(err error) bool {
	var p permanentError
	return errors.As(err, &p)
}

// retryAfterError carries the wait that the other side asked for.
type retryAfterError struct {
	error
	after time.Duration
}

func (e retryAfterError) Unwrap() error { return e.error }

// RetryAfter marks err with the time the other side asked to wait. Nil stays
// nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return retryAfterError{err, d}
}

// AskedWait returns the wait set by [RetryAfter], zero for none.
func AskedWait(err error) time.Duration {
	var r retryAfterError
	if errors.As(err, &r) {
		return r.after
	}
	return 0
}

// answeredError carries what the other side said.
type answeredError struct {
	error
	answer string
}

func (e answeredError) Unwrap() error { return e.error }

// WithAnswer adds to err what the other side said, for whoever looks at the
// dead letter. It is the sink's to bound it and to take every secret out of it.
// Nil stays nil.
func WithAnswer(err error, answer string) error {
	if err == nil || answer == "" {
		return err
	}
	return answeredError{err, answer}
}

// AnswerOf returns what was added by [WithAnswer], empty for nothing.
func AnswerOf(err error) string {
	var a answeredError
	if errors.As(err, &a) {
		return a.answer
	}
	return ""
}
