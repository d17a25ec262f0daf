// Package abi is the guest's end of the ABI postern1, one Go function for each
// function of the host. Package postern is its only user in a plugin;
// docs/plugin-abi.md says what each function does.
//
// In WebAssembly the functions are imports. In a native build they go to the
// host that a test has set with [Use].
package abi

// HandleExport is what the export postern_handle calls, set when the plugin
// registers itself.
var HandleExport func() int32

// GuardExport is what the export postern_guard calls, set when the guard
// registers itself.
var GuardExport func() int32

// SignExport is what the export postern_sign calls, set with HandleExport.
var SignExport func() int32

// Version is what the export postern_abi returns.
const Version = 1

// Result codes.
const (
	Absent     int32 = -1
	Malformed  int32 = -2
	Denied     int32 = -3
	Unverified int32 = -4
	Limit      int32 = -5
	Invalid    int32 = -6
)

// Verdicts.
const (
	VerdictAccept  int32 = 1
	VerdictIgnore  int32 = 2
	VerdictRespond int32 = 3
	VerdictReject  int32 = 4
)

// Verdicts of a guard.
const (
	GuardPass   int32 = 1
	GuardHold   int32 = 2
	GuardReject int32 = 4
)

// Reasons of a rejection.
const (
	ReasonNotVerified   int32 = 1
	ReasonMalformed     int32 = 2
	ReasonNotUnderstood int32 = 3
)

// Encodings.
const (
	Raw       int32 = 0
	Hex       int32 = 1
	Base64    int32 = 2
	Base64URL int32 = 3
)

// Only asks header and query for a value that stands once.
const Only int32 = -1

// Hashes.
const (
	SHA256 int32 = 1
	SHA512 int32 = 2
	CRC32  int32 = 3
)

// Kinds of view.
const (
	ViewJSON int32 = 1
	ViewForm int32 = 2
)

// Kinds of value in a view.
const (
	KindAbsent  int32 = 0
	KindNull    int32 = 1
	KindBoolean int32 = 2
	KindNumber  int32 = 3
	KindString  int32 = 4
	KindArray   int32 = 5
	KindObject  int32 = 6
)

// Field is a record of the host's tell. It lies in the guest's memory as
// docs/plugin-abi.md §6 has it: 32 bytes, a string being a pointer and a length of
// 64 bits each.
type Field struct {
	Field  int32
	Of     int32 // OfText, OfNumber, or a view
	Text   string
	Number int64
}

// What a Field is of, where it is of no view.
const (
	OfText   int32 = -1
	OfNumber int32 = -2
)

// Told is what the place of a refused record is counted in, see [Refused].
const Told = 16

// Refused takes what tell returned apart: the place of the record that was refused,
// and its code.
func Refused(told int32) (place int, code int32) {
	place = int(-told / Told)
	return place, told + Told*int32(place) //nolint:gosec // it was one
}

// Fields of an event; FieldBegin begins one.
const (
	FieldBegin          int32 = 0
	FieldType           int32 = 1
	FieldSubject        int32 = 2
	FieldTime           int32 = 3
	FieldKey            int32 = 4
	FieldStatus         int32 = 5
	FieldProviderStatus int32 = 6
	FieldAmount         int32 = 7
	FieldCurrency       int32 = 8
	FieldMinor          int32 = 9
	FieldRefMerchant    int32 = 10
	FieldRefProvider    int32 = 11
	FieldRefBank        int32 = 12
	FieldMethod         int32 = 13
	FieldParty          int32 = 14
	FieldConfirm        int32 = 15
	FieldSandbox        int32 = 16
	FieldProviderData   int32 = 17
)
