//go:build !wasip1

package abi

// Host is everything the host offers a plugin, in the ABI's order. A buffer is
// filled as far as it goes and the whole length is returned.
type Host interface {
	Read(bytes, offset int32, out []byte) int32
	Method(out []byte) int32
	Target(out []byte) int32
	URL(out []byte) int32
	Query(name string, i int32, out []byte) int32
	Header(name string, i int32, out []byte) int32
	HeaderAt(i, part int32, out []byte) int32
	Setting(name string, out []byte) int32
	Now() int64
	Log(level int32, text string)
	Bytes(encoding int32, text string) int32
	Hash(algorithm, bytes int32, out []byte) int32
	View(kind, bytes int32) int32
	Kind(view int32, path string) int32
	Get(view int32, path string, out []byte) int32
	Len(view int32, path string) int32
	NameAt(view int32, path string, i int32, out []byte) int32
	Reason(code int32, text string) int32
	Tell(fields []Field) int32
	SetAside(view int32, path, reason string) int32
	Ack(status int32, contentType, body string) int32
	Respond(status int32, contentType, body string) int32
	RespondMAC(secret, text string, encoding int32) int32
	Token(secret string) int32
	SignedBegin(secret string) int32
	SignedBytes(signed int32, text string) int32
	SignedBody(signed int32) int32
	SignedCheck(signed int32, signature string, encoding int32) int32
	CoversBody(evidence, hash int32, digest string, encoding int32) int32
	TokenText(secret string, out []byte) int32
	Decrypt(secret string, iv []byte, bytes int32) int32
	Same(outer, inner int32, except string) int32
	SameBytes(a, b int32) int32
	Sign(signed, encoding int32, out []byte) int32
	Encrypt(secret string, iv []byte, bytes int32) int32
	OutToken(secret, text string) int32
	OutHeader(name, value string) int32
	OutBody(body string) int32
	Events() int32
	EventView(i int32) int32
	Annotate(i int32, name, value string) int32
}

var host Host

// Use sets the host that a native build speaks to. It is not safe while a
// plugin runs.
func Use(h Host) { host = h }

// Read is the host's read.
func Read(bytes, offset int32, out []byte) int32 { return host.Read(bytes, offset, out) }

// Method is the host's method.
func Method(out []byte) int32 { return host.Method(out) }

// Target is the host's target.
func Target(out []byte) int32 { return host.Target(out) }

// URL is the host's url.
func URL(out []byte) int32 { return host.URL(out) }

// Query is the host's query.
func Query(name string, i int32, out []byte) int32 { return host.Query(name, i, out) }

// Header is the host's header.
func Header(name string, i int32, out []byte) int32 { return host.Header(name, i, out) }

// HeaderAt is the host's header_at.
func HeaderAt(i, part int32, out []byte) int32 { return host.HeaderAt(i, part, out) }

// Setting is the host's setting.
func Setting(name string, out []byte) int32 { return host.Setting(name, out) }

// Now is the host's now.
func Now() int64 { return host.Now() }

// Log is the host's log.
func Log(level int32, text string) { host.Log(level, text) }

// Bytes is the host's bytes.
func Bytes(encoding int32, text string) int32 { return host.Bytes(encoding, text) }

// Hash is the host's hash.
func Hash(algorithm, bytes int32, out []byte) int32 { return host.Hash(algorithm, bytes, out) }

// View is the host's view.
func View(kind, bytes int32) int32 { return host.View(kind, bytes) }

// Kind is the host's kind.
func Kind(view int32, path string) int32 { return host.Kind(view, path) }

// Get is the host's get.
func Get(view int32, path string, out []byte) int32 { return host.Get(view, path, out) }

// Len is the host's len.
func Len(view int32, path string) int32 { return host.Len(view, path) }

// NameAt is the host's name_at.
func NameAt(view int32, path string, i int32, out []byte) int32 {
	return host.NameAt(view, path, i, out)
}

// Reason is the host's reason.
func Reason(code int32, text string) int32 { return host.Reason(code, text) }

// Tell is the host's tell.
func Tell(fields []Field) int32 { return host.Tell(fields) }

// SetAside is the host's set_aside.
func SetAside(view int32, path, reason string) int32 { return host.SetAside(view, path, reason) }

// Ack is the host's ack.
func Ack(status int32, contentType, body string) int32 { return host.Ack(status, contentType, body) }

// Respond is the host's respond.
func Respond(status int32, contentType, body string) int32 {
	return host.Respond(status, contentType, body)
}

// RespondMAC is the host's respond_mac.
func RespondMAC(secret, text string, encoding int32) int32 {
	return host.RespondMAC(secret, text, encoding)
}

// Token is the host's token.
func Token(secret string) int32 { return host.Token(secret) }

// SignedBegin is the host's signed_begin.
func SignedBegin(secret string) int32 { return host.SignedBegin(secret) }

// SignedBytes is the host's signed_bytes.
func SignedBytes(signed int32, text string) int32 { return host.SignedBytes(signed, text) }

// SignedBody is the host's signed_body.
func SignedBody(signed int32) int32 { return host.SignedBody(signed) }

// SignedCheck is the host's signed_check.
func SignedCheck(signed int32, signature string, encoding int32) int32 {
	return host.SignedCheck(signed, signature, encoding)
}

// CoversBody is the host's covers_body.
func CoversBody(evidence, hash int32, digest string, encoding int32) int32 {
	return host.CoversBody(evidence, hash, digest, encoding)
}

// TokenText is the host's token_text.
func TokenText(secret string, out []byte) int32 { return host.TokenText(secret, out) }

// Decrypt is the host's decrypt.
func Decrypt(secret string, iv []byte, bytes int32) int32 { return host.Decrypt(secret, iv, bytes) }

// Same is the host's same.
func Same(outer, inner int32, except string) int32 { return host.Same(outer, inner, except) }

// SameBytes is the host's same_bytes.
func SameBytes(a, b int32) int32 { return host.SameBytes(a, b) }

// Sign is the host's sign.
func Sign(signed, encoding int32, out []byte) int32 { return host.Sign(signed, encoding, out) }

// Encrypt is the host's encrypt.
func Encrypt(secret string, iv []byte, bytes int32) int32 { return host.Encrypt(secret, iv, bytes) }

// OutToken is the host's out_token.
func OutToken(secret, text string) int32 { return host.OutToken(secret, text) }

// OutHeader is the host's out_header.
func OutHeader(name, value string) int32 { return host.OutHeader(name, value) }

// OutBody is the host's out_body.
func OutBody(body string) int32 { return host.OutBody(body) }

// Events is the host's events.
func Events() int32 { return host.Events() }

// EventView is the host's event_view.
func EventView(i int32) int32 { return host.EventView(i) }

// Annotate is the host's annotate.
func Annotate(i int32, name, value string) int32 { return host.Annotate(i, name, value) }
