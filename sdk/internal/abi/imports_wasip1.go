package abi

import "unsafe"

// A string parameter crosses as pointer and length. A buffer is handed over
// for the call only: the host keeps no pointer, hence noescape.

//go:wasmimport postern1 read
//go:noescape
func hostRead(bytes, offset int32, out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 method
//go:noescape
func hostMethod(out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 target
//go:noescape
func hostTarget(out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 url
//go:noescape
func hostURL(out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 query
//go:noescape
func hostQuery(name string, i int32, out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 header
//go:noescape
func hostHeader(name string, i int32, out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 header_at
//go:noescape
func hostHeaderAt(i, part int32, out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 setting
//go:noescape
func hostSetting(name string, out unsafe.Pointer, size int32) int32

// Now is the host's now.
//
//go:wasmimport postern1 now
//go:noescape
func Now() int64

// Log is the host's log.
//
//go:wasmimport postern1 log
//go:noescape
func Log(level int32, text string)

// Bytes is the host's bytes.
//
//go:wasmimport postern1 bytes
//go:noescape
func Bytes(encoding int32, text string) int32

//go:wasmimport postern1 hash
//go:noescape
func hostHash(algorithm, bytes int32, out unsafe.Pointer, size int32) int32

// View is the host's view.
//
//go:wasmimport postern1 view
//go:noescape
func View(kind, bytes int32) int32

// Kind is the host's kind.
//
//go:wasmimport postern1 kind
//go:noescape
func Kind(view int32, path string) int32

//go:wasmimport postern1 get
//go:noescape
func hostGet(view int32, path string, out unsafe.Pointer, size int32) int32

// Len is the host's len.
//
//go:wasmimport postern1 len
//go:noescape
func Len(view int32, path string) int32

//go:wasmimport postern1 name_at
//go:noescape
func hostNameAt(view int32, path string, i int32, out unsafe.Pointer, size int32) int32

// Reason is the host's reason.
//
//go:wasmimport postern1 reason
//go:noescape
func Reason(code int32, text string) int32

//go:wasmimport postern1 tell
//go:noescape
func hostTell(fields unsafe.Pointer, n int32) int32

// SetAside is the host's set_aside.
//
//go:wasmimport postern1 set_aside
//go:noescape
func SetAside(view int32, path, reason string) int32

// Ack is the host's ack.
//
//go:wasmimport postern1 ack
//go:noescape
func Ack(status int32, contentType, body string) int32

// Respond is the host's respond.
//
//go:wasmimport postern1 respond
//go:noescape
func Respond(status int32, contentType, body string) int32

// RespondMAC is the host's respond_mac.
//
//go:wasmimport postern1 respond_mac
//go:noescape
func RespondMAC(secret, text string, encoding int32) int32

// Token is the host's token.
//
//go:wasmimport postern1 token
//go:noescape
func Token(secret string) int32

// SignedBegin is the host's signed_begin.
//
//go:wasmimport postern1 signed_begin
//go:noescape
func SignedBegin(secret string) int32

// SignedBytes is the host's signed_bytes.
//
//go:wasmimport postern1 signed_bytes
//go:noescape
func SignedBytes(signed int32, text string) int32

// SignedBody is the host's signed_body.
//
//go:wasmimport postern1 signed_body
//go:noescape
func SignedBody(signed int32) int32

// SignedCheck is the host's signed_check.
//
//go:wasmimport postern1 signed_check
//go:noescape
func SignedCheck(signed int32, signature string, encoding int32) int32

// CoversBody is the host's covers_body.
//
//go:wasmimport postern1 covers_body
//go:noescape
func CoversBody(evidence, hash int32, digest string, encoding int32) int32

//go:wasmimport postern1 token_text
//go:noescape
func hostTokenText(secret string, out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 decrypt
//go:noescape
func hostDecrypt(secret string, iv unsafe.Pointer, size, bytes int32) int32

// Same is the host's same.
//
//go:wasmimport postern1 same
//go:noescape
func Same(outer, inner int32, except string) int32

// SameBytes is the host's same_bytes.
//
//go:wasmimport postern1 same_bytes
//go:noescape
func SameBytes(a, b int32) int32

//go:wasmimport postern1 sign
//go:noescape
func hostSign(signed, encoding int32, out unsafe.Pointer, size int32) int32

//go:wasmimport postern1 encrypt
//go:noescape
func hostEncrypt(secret string, iv unsafe.Pointer, size, bytes int32) int32

// OutToken is the host's out_token.
//
//go:wasmimport postern1 out_token
//go:noescape
func OutToken(secret, text string) int32

// OutHeader is the host's out_header.
//
//go:wasmimport postern1 out_header
//go:noescape
func OutHeader(name, value string) int32

// OutBody is the host's out_body.
//
//go:wasmimport postern1 out_body
//go:noescape
func OutBody(body string) int32

// Events is the host's events.
//
//go:wasmimport postern1 events
//go:noescape
func Events() int32

// EventView is the host's event_view.
//
//go:wasmimport postern1 event_view
//go:noescape
func EventView(i int32) int32

// Annotate is the host's annotate.
//
//go:wasmimport postern1 annotate
//go:noescape
func Annotate(i int32, name, value string) int32

// Read is the host's read.
func Read(bytes, offset int32, out []byte) int32 {
	return hostRead(bytes, offset, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Method is the host's method.
func Method(out []byte) int32 {
	return hostMethod(unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Target is the host's target.
func Target(out []byte) int32 {
	return hostTarget(unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// URL is the host's url.
func URL(out []byte) int32 {
	return hostURL(unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Query is the host's query.
func Query(name string, i int32, out []byte) int32 {
	return hostQuery(name, i, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Header is the host's header.
func Header(name string, i int32, out []byte) int32 {
	return hostHeader(name, i, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// HeaderAt is the host's header_at.
func HeaderAt(i, part int32, out []byte) int32 {
	return hostHeaderAt(i, part, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Setting is the host's setting.
func Setting(name string, out []byte) int32 {
	return hostSetting(name, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Tell is the host's tell.
func Tell(fields []Field) int32 {
	return hostTell(unsafe.Pointer(unsafe.SliceData(fields)), int32(len(fields)))
}

// Hash is the host's hash.
func Hash(algorithm, bytes int32, out []byte) int32 {
	return hostHash(algorithm, bytes, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Get is the host's get.
func Get(view int32, path string, out []byte) int32 {
	return hostGet(view, path, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// NameAt is the host's name_at.
func NameAt(view int32, path string, i int32, out []byte) int32 {
	return hostNameAt(view, path, i, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// TokenText is the host's token_text.
func TokenText(secret string, out []byte) int32 {
	return hostTokenText(secret, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}

// Decrypt is the host's decrypt.
func Decrypt(secret string, iv []byte, bytes int32) int32 {
	return hostDecrypt(secret, unsafe.Pointer(unsafe.SliceData(iv)), int32(len(iv)), bytes)
}

// Encrypt is the host's encrypt.
func Encrypt(secret string, iv []byte, bytes int32) int32 {
	return hostEncrypt(secret, unsafe.Pointer(unsafe.SliceData(iv)), int32(len(iv)), bytes)
}

// Sign is the host's sign.
func Sign(signed, encoding int32, out []byte) int32 {
	return hostSign(signed, encoding, unsafe.Pointer(unsafe.SliceData(out)), int32(len(out)))
}
