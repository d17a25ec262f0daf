package postern

import "github.com/postern/postern/sdk/internal/abi"

// Event is one fact that the callback tells, under construction. Each setter
// returns the event, so that calls chain; the first failure of any setter
// sticks to the callback, see [Callback.Accept]. An event is finished when the
// next one begins.
//
// Texts of at most 4,096 bytes of UTF-8. Where a setter says "optional", an
// empty text leaves the field out; otherwise it is a failure.
type Event struct{ nth int }

// Event begins an event that evidence proves; see [Evidence] for none.
func (cb *Callback) Event(evidence Evidence) Event {
	cb.events++
	cb.keyParts = 0
	return Event{cb.events}.add(abi.FieldBegin, abi.OfNumber, "", int64(evidence.id)-1)
}

// Type sets what happened, "payment.succeeded". Required.
func (e Event) Type(text string) Event { return e.need(abi.FieldType, text) }

// Subject sets the transaction's id. It must come from verified bytes.
func (e Event) Subject(text string) Event { return e.need(abi.FieldSubject, text) }

// Time sets when it happened, as RFC 3339 text after the first day of 1970 and
// before the last of 9999, which are dates that were never set. An event is not
// lost for its time: any other text, also an empty one, leaves the time of receipt.
func (e Event) Time(text string) Event { return e.may(abi.FieldTime, text) }

// TimeMillis is Time in milliseconds since 1970 UTC.
func (e Event) TimeMillis(ms int64) Event { return e.setInt(abi.FieldTime, ms) }

// Key appends components of the dedup key: two events of one endpoint with
// equal components are the same event. Components must come from verified
// bytes, at most 16 of 512 bytes. An empty one fails, so that an absent id is
// never joined as nothing. Without any, the key is the body's SHA-256 and the
// event's index.
func (e Event) Key(components ...string) Event {
	for _, component := range components {
		e.need(abi.FieldKey, component)
	}
	return e
}

// Status sets Postern's word for the transaction's state. Optional.
func (e Event) Status(text string) Event { return e.may(abi.FieldStatus, text) }

// ProviderStatus sets the provider's own word for it. Optional.
func (e Event) ProviderStatus(text string) Event {
	return e.may(abi.FieldProviderStatus, text)
}

// Amount sets an amount in plain decimal text ("15.00") with its ISO 4217
// currency. Optional together; one of them alone fails.
func (e Event) Amount(value, currency string) Event {
	if value == "" && currency == "" {
		return e
	}
	if value == "" {
		callback.fail("amount", abi.Malformed)
	}
	e.may(abi.FieldAmount, value)
	if currency == "" {
		callback.fail("currency", abi.Malformed)
	}
	return e.may(abi.FieldCurrency, currency)
}

// MapAmount is Amount of what stands at two paths in v, from host to host. See
// [Event.Map].
func (e Event) MapAmount(v View, value, currency string) Event {
	// The one is judged by the other: both go to the host together.
	if callback.told > len(fields)-2 {
		callback.tell()
	}
	return e.mapped(abi.FieldAmount, v, value).mapped(abi.FieldCurrency, v, currency)
}

// Minor sets the amount in minor units, where the currency's scale is known.
// See [Decimal] for the text.
func (e Event) Minor(units int64) Event { return e.setInt(abi.FieldMinor, units) }

// MerchantRef sets the merchant's id of the transaction. Optional.
func (e Event) MerchantRef(text string) Event {
	return e.may(abi.FieldRefMerchant, text)
}

// ProviderRef sets the provider's id of the transaction. Optional.
func (e Event) ProviderRef(text string) Event {
	return e.may(abi.FieldRefProvider, text)
}

// BankRef sets the bank's id of the transaction. Optional.
func (e Event) BankRef(text string) Event {
	return e.may(abi.FieldRefBank, text)
}

// Method sets how it was paid. Optional.
func (e Event) Method(text string) Event { return e.may(abi.FieldMethod, text) }

// Party sets who paid or was paid. Optional.
func (e Event) Party(text string) Event { return e.may(abi.FieldParty, text) }

// Confirm says that the evidence does not cover the fact: whoever acts on the
// event must fetch it from the provider first.
func (e Event) Confirm() Event { return e.setInt(abi.FieldConfirm, 1) }

// Sandbox marks an event of the provider's test environment.
func (e Event) Sandbox() Event { return e.setInt(abi.FieldSandbox, 1) }

// ProviderData keeps what stands at path as the provider's own fields, as
// sent. It goes from the view into the event without passing the guest. An
// absent value or null leaves it out.
func (e Event) ProviderData(v View, path string) Event {
	return e.Map(FieldProviderData, v, path)
}

// Field names a field for [Event.Map].
type Field int32

// The fields that a view can fill.
const (
	FieldSubject        = Field(abi.FieldSubject)
	FieldTime           = Field(abi.FieldTime)
	FieldKey            = Field(abi.FieldKey)
	FieldProviderStatus = Field(abi.FieldProviderStatus)
	FieldMerchantRef    = Field(abi.FieldRefMerchant)
	FieldProviderRef    = Field(abi.FieldRefProvider)
	FieldBankRef        = Field(abi.FieldRefBank)
	FieldMethod         = Field(abi.FieldMethod)
	FieldParty          = Field(abi.FieldParty)
	FieldProviderData   = Field(abi.FieldProviderData)
)

// Map sets a field to what stands at path in v, from host to host: it saves
// the way through the guest. An absent value or null leaves the field out, but
// fails for the subject and for a component of the key. For the time it is
// [Event.Time] of the text there.
func (e Event) Map(field Field, v View, path string) Event {
	return e.mapped(int32(field), v, path)
}

// SetAside keeps an item of a batch that cannot be used, with the reason why.
// It is stored beside the events and fails nothing.
func (cb *Callback) SetAside(v View, path, reason string) {
	code := abi.Invalid
	if v.id > 0 {
		code = abi.SetAside(v.id-1, path, reason)
	}
	if code < 0 {
		cb.fail("set aside "+path, code)
	}
}

// fields is what the host has yet to be told of events: a call out of the sandbox
// costs more than most of what it says.
var fields [64]abi.Field

// add puts a field behind those that the host has yet to be told. It is all in one
// function, because a call costs a guest in Go more than what it does.
func (e Event) add(field, of int32, text string, number int64) Event {
	if e.nth != callback.events {
		callback.fail(fieldNames[field]+" of a finished event", abi.Invalid)
		return e
	}
	if callback.told == len(fields) {
		callback.tell()
	}
	if field == abi.FieldKey { // for nameOf
		callback.keyParts++
		number = callback.keyParts
	}
	f := &fields[callback.told]
	callback.told++
	f.Field, f.Of, f.Text, f.Number = field, of, text, number
	return e
}

// lacks is add of a field that must not be absent, and is.
func (e Event) lacks(field, of int32, text string) Event {
	e.add(field, of, text, 0)
	if callback.told > 0 {
		callback.told--
		callback.fail(nameOf(&fields[callback.told]), abi.Absent)
	}
	return e
}

func (e Event) need(field int32, text string) Event {
	if text == "" {
		return e.lacks(field, abi.OfText, "")
	}
	return e.add(field, abi.OfText, text, 0)
}

func (e Event) may(field int32, text string) Event {
	if text == "" {
		return e
	}
	return e.add(field, abi.OfText, text, 0)
}

func (e Event) setInt(field int32, value int64) Event {
	return e.add(field, abi.OfNumber, "", value)
}

// mapped adds what stands in a view; in an empty one everything is absent.
func (e Event) mapped(field int32, v View, path string) Event {
	switch {
	case v.id > 0:
		return e.add(field, v.id-1, path, 0)
	case field == abi.FieldSubject || field == abi.FieldKey:
		return e.lacks(field, 0, path)
	}
	return e
}

// tell tells the host what it has yet to be told, until it fails.
func (cb *Callback) tell() {
	rest := fields[:cb.told]
	cb.told = 0
	for len(rest) > 0 && cb.failed == "" {
		told := abi.Tell(rest)
		if told >= 0 {
			return
		}
		i, code := abi.Refused(told)
		rest = rest[i+cb.passOver(rest[i:], code):]
	}
}

// passOver takes a field that was refused, with those behind it. It is how many can
// be left out, or the callback has failed.
func (cb *Callback) passOver(refused []abi.Field, code int32) int {
	f := &refused[0]
	switch absent := code == abi.Absent && f.Of >= 0; {
	case f.Field == abi.FieldTime && code != abi.Invalid:
		return 1
	case absent && f.Field == abi.FieldAmount:
		// What [Event.MapAmount] has put behind it must be absent with it.
		if len(refused) > 1 && abi.Kind(f.Of, refused[1].Text) <= abi.KindNull {
			return 2
		}
	case absent && f.Field != abi.FieldCurrency && f.Field != abi.FieldSubject && f.Field != abi.FieldKey:
		return 1
	}
	cb.failed = nameOf(f) + ": " + Error(code).Error()
	return len(refused)
}

// nameOf is a field's, for operators.
func nameOf(f *abi.Field) string {
	switch {
	case f.Of >= 0 && f.Field != abi.FieldAmount && f.Field != abi.FieldCurrency:
		return "value of " + f.Text
	case f.Field == abi.FieldKey:
		return fieldNames[f.Field] + " " + Decimal(f.Number, 0)
	}
	return fieldNames[f.Field]
}

var fieldNames = [...]string{
	abi.FieldBegin: "event", abi.FieldType: "type", abi.FieldSubject: "subject", abi.FieldTime: "time", abi.FieldKey: "key component",
	abi.FieldStatus: "status", abi.FieldProviderStatus: "provider status",
	abi.FieldAmount: "amount", abi.FieldCurrency: "currency", abi.FieldMinor: "minor", abi.FieldRefMerchant: "merchant reference",
	abi.FieldRefProvider: "provider reference", abi.FieldRefBank: "bank reference", abi.FieldMethod: "method", abi.FieldParty: "party",
	abi.FieldConfirm: "confirm", abi.FieldSandbox: "sandbox", abi.FieldProviderData: "provider data",
}
