package postern

import (
	"math"
	"unsafe"

	"github.com/postern/postern/sdk/internal/abi"
)

// Callback is the callback under judgement and what the plugin says of it.
// Texts it returns are copies and stay valid.
type Callback struct {
	failed   string // the first failure of a setter, for operators
	events   int    // how many were begun
	keyParts int64  // components of the newest event's dedup key
	told     int    // how many of fields the host has yet to be told
}

// Body returns the body as sent.
func (cb *Callback) Body() Bytes { return Bytes{} }

// JSON parses the body as JSON. See [Bytes.JSON].
func (cb *Callback) JSON() (View, error) { return cb.Body().JSON() }

// Form parses the body as a form. See [Bytes.Form].
func (cb *Callback) Form() (View, error) { return cb.Body().Form() }

// Decode gives the host text to decode: ErrMalformed if it is not of the
// encoding.
func (cb *Callback) Decode(text string, encoding Encoding) (Bytes, error) {
	return held(abi.Bytes(int32(encoding), text))
}

// Header returns the value of a header, its name in any case. It is empty
// where the header is absent or stands more than once: two parties could read
// a repeated one differently. See [Callback.HeaderAt] for lists.
func (cb *Callback) Header(name string) string {
	n := abi.Header(name, abi.Only, room())
	if long(n) {
		n = abi.Header(name, abi.Only, room())
	}
	return taken(n)
}

// HeaderAt returns the i-th value of a header and whether there is one.
func (cb *Callback) HeaderAt(name string, i int) (string, bool) {
	return pull(func(out []byte) int32 { return abi.Header(name, index(i), out) })
}

// HeaderField returns name and value of the i-th header in wire order, as
// sent.
func (cb *Callback) HeaderField(i int) (name, value string, ok bool) {
	name, ok = pull(func(out []byte) int32 { return abi.HeaderAt(index(i), 0, out) })
	value, _ = pull(func(out []byte) int32 { return abi.HeaderAt(index(i), 1, out) })
	return name, value, ok
}

// Query returns the decoded value of a query parameter, empty where it is
// absent or stands more than once.
func (cb *Callback) Query(name string) string {
	text, _ := pull(func(out []byte) int32 { return abi.Query(name, abi.Only, out) })
	return text
}

// QueryAt returns the i-th value of a query parameter and whether there is one.
func (cb *Callback) QueryAt(name string, i int) (string, bool) {
	return pull(func(out []byte) int32 { return abi.Query(name, index(i), out) })
}

// Method returns the request method as sent.
func (cb *Callback) Method() string {
	text, _ := pull(abi.Method)
	return text
}

// Target returns path and query as sent.
func (cb *Callback) Target() string {
	text, _ := pull(abi.Target)
	return text
}

// URL returns the public URL under which the provider knows the endpoint, with
// path and query: what a provider that signs its URL has signed.
func (cb *Callback) URL() string {
	text, _ := pull(abi.URL)
	return text
}

// Setting returns an operator's setting: a string as it is, anything else as
// JSON ("201", "true"), empty where it is unset and the manifest gives no
// default.
func (cb *Callback) Setting(name string) string {
	n := abi.Setting(name, room())
	if long(n) {
		n = abi.Setting(name, room())
	}
	return taken(n)
}

// Now returns when the callback was received, in milliseconds since 1970 UTC.
func (cb *Callback) Now() int64 { return abi.Now() }

// Level is how urgent a line of the log is.
type Level int32

// The levels.
const (
	Debug Level = -4
	Info  Level = 0
	Warn  Level = 4
	Fault Level = 8
)

// Log writes a line for operators. Lines beyond the host's limit are dropped.
func (cb *Callback) Log(level Level, text string) { abi.Log(int32(level), text) }

// Accept is the verdict on a callback that is verified and understood. If a
// setter failed, the callback is rejected as malformed instead, naming the
// field: an event is told whole or not at all.
func (cb *Callback) Accept() Verdict {
	cb.tell()
	if cb.failed != "" {
		return cb.Reject(Malformed, cb.failed)
	}
	return Verdict{abi.VerdictAccept}
}

// Ignore is the verdict on a callback that is verified and of no interest. It
// is recorded without events and acknowledged.
func (cb *Callback) Ignore(detail string) Verdict {
	if detail != "" {
		abi.Reason(0, detail)
	}
	return Verdict{abi.VerdictIgnore}
}

// Reject is the verdict on a callback that is not to be acknowledged. Detail is
// for operators, at most 256 bytes, never sent to the provider.
func (cb *Callback) Reject(reason Reason, detail string) Verdict {
	abi.Reason(int32(reason), detail)
	return Verdict{abi.VerdictReject}
}

// Respond is the verdict on a challenge: it is answered and nothing is stored.
// The status is 200 to 299. A second call appends to the body; see
// [Callback.RespondMAC].
func (cb *Callback) Respond(status int, contentType, body string) Verdict {
	if code := abi.Respond(index(status), contentType, body); code < 0 {
		cb.fail("respond", code)
	}
	if cb.failed != "" {
		return cb.Reject(Malformed, cb.failed)
	}
	return Verdict{abi.VerdictRespond}
}

// RespondMAC appends the MAC of text to the challenge's answer, after a first
// [Callback.Respond] and before the last, whose verdict is returned. The host
// refuses a secret whose manifest has no "respond" and text that does not match
// it.
func (cb *Callback) RespondMAC(secret, text string, encoding Encoding) {
	if code := abi.RespondMAC(secret, text, int32(encoding)); code < 0 {
		cb.fail("respond_mac", code)
	}
}

// Ack sets the answer that the provider gets once the callback is durable, in
// place of the endpoint's. The status is 200 to 299.
func (cb *Callback) Ack(status int, contentType, body string) {
	if code := abi.Ack(index(status), contentType, body); code < 0 {
		cb.fail("ack", code)
	}
}

func (cb *Callback) fail(what string, code int32) {
	cb.tell() // what was said before may have failed before
	if cb.failed == "" {
		cb.failed = what + ": " + Error(code).Error()
	}
}

// index brings a number into what the ABI can carry: one that it cannot is the
// largest, which no list reaches and no status is.
func index(i int) int32 {
	if i < 0 || i > math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(i)
}

// chunk is how much memory for texts is taken at a time: what a usual callback
// needs of them.
const chunk = 4096

// texts is where the next text goes, from used on. What is there already is never
// written again, which makes strings of it without a copy: an allocation for each
// costs a guest more than the call that brings it.
var (
	texts = make([]byte, chunk)
	used  int
)

// room is what the host may write into.
func room() []byte { return texts[used:] }

// pull gets a text from the host, once more where it is longer than the room
// left. What is called most spells it out: in a guest a function costs more than
// what it does.
func pull(call func(out []byte) int32) (string, bool) {
	n := call(room())
	if long(n) {
		n = call(room())
	}
	return taken(n), n >= 0
}

// long reports whether a text of n bytes is longer than the room left, and makes
// room for it.
func long(n int32) bool {
	if int(n) <= len(texts)-used {
		return false
	}
	texts, used = make([]byte, max(int(n), chunk)), 0
	return true
}

// taken is the text that the host has put into the room; nothing where n is a
// code.
func taken(n int32) string {
	if n <= 0 || int(n) > len(texts)-used {
		return ""
	}
	text := unsafe.String(&texts[used], int(n)) //nolint:gosec // these bytes are never written again
	used += int(n)
	return text
}
