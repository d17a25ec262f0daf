package postern

import "github.com/postern/postern/sdk/internal/abi"

// Event is one fact that the callback tells, under construction. Each setter
// returns the event, so that calls chain; the first failure of any setter
// sticks to the callback, see [Callback.Accept]. An event is finished when the
// next one begins.
//
// Texts of at most 4,096 bytes of UTF-8. Where a setter says "optional", an
// empty text leaves the field out; otherwise it is a failure.
type Event struct {
	cb    *Callback
	index int32
}

// Event begins an event that evidence proves; see [Evidence] for none.
func (cb *Callback) Event(evidence Evidence) Event {
	index := abi.EventBegin(evidence.id - 1)
	if index < 0 {
		cb.fail("event", index)
	}
	cb.events, cb.keyParts = index, 0
	return Event{cb, index}
}

// Type sets what happened, "payment.succeeded". Required.
func (e Event) Type(text string) Event { return e.need(abi.FieldType, text) }

// Subject sets the transaction's id. It must come from verified bytes.
func (e Event) Subject(text string) Event { return e.need(abi.FieldSubject, text) }

// Time sets when it happened, as RFC 3339 text after the first day of 1970 and
// before the last of 9999, which are dates that were never set. An event is not
// lost for its time: any other text, also an empty one, leaves the time of receipt.
func (e Event) Time(text string) Event {
	const day = len("1970-01-01")
	if e.open("time") && len(text) >= day && text[:day] > "1970-01-01" && text[:day] < "9999-12-31" {
		e.timed(abi.Set(abi.FieldTime, text))
	}
	return e
}

// TimeMillis is Time in milliseconds since 1970 UTC. What is before 1970 or
// after 9999 leaves the time of receipt.
func (e Event) TimeMillis(ms int64) Event {
	if e.open("time") {
		e.timed(abi.SetInt(abi.FieldTime, ms))
	}
	return e
}

// timed takes a code for a time: what is none leaves the time of receipt.
func (e Event) timed(code int32) {
	if code < 0 && code != abi.Malformed && code != abi.Limit {
		e.cb.fail("time", code)
	}
}

// Key appends components of the dedup key: two events of one endpoint with
// equal components are the same event. Components must come from verified
// bytes, at most 16 of 512 bytes. An empty one fails, so that an absent id is
// never joined as nothing. Without any, the key is the body's SHA-256 and the
// event's index.
func (e Event) Key(components ...string) Event {
	for _, component := range components {
		e.cb.keyParts++
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
		e.cb.fail("amount", abi.Malformed)
	}
	e.may(abi.FieldAmount, value)
	if currency == "" {
		e.cb.fail("currency", abi.Malformed)
	}
	return e.may(abi.FieldCurrency, currency)
}

// MapAmount is Amount of what stands at two paths in v, from host to host. See
// [Event.Map].
func (e Event) MapAmount(v View, value, currency string) Event {
	if !v.valid || !e.open("amount") {
		return e
	}
	amount := abi.Map(abi.FieldAmount, v.handle, value)
	unit := abi.Map(abi.FieldCurrency, v.handle, currency)
	switch {
	case amount == abi.Absent && unit == abi.Absent:
	case amount < 0:
		e.cb.fail("amount", amount)
	case unit < 0:
		e.cb.fail("currency", unit)
	}
	return e
}

// Minor sets the amount in minor units, where the currency's scale is known.
// See [Decimal] for the text.
func (e Event) Minor(units int64) Event { return e.setInt(abi.FieldMinor, "minor", units) }

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
func (e Event) Confirm() Event { return e.setInt(abi.FieldConfirm, "confirm", 1) }

// Sandbox marks an event of the provider's test environment.
func (e Event) Sandbox() Event { return e.setInt(abi.FieldSandbox, "sandbox", 1) }

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
	if field == FieldTime {
		return e.Time(v.Text(path))
	}
	if field == FieldKey {
		e.cb.keyParts++
	}
	if !e.open("value") {
		return e
	}
	code := abi.Absent
	if v.valid {
		code = abi.Map(int32(field), v.handle, path)
	}
	if code < 0 {
		e.unmapped(field, path, code)
	}
	return e
}

func (e Event) unmapped(field Field, path string, code int32) {
	if code != abi.Absent || field == FieldSubject || field == FieldKey {
		e.cb.fail("value of "+path, code)
	}
}

// SetAside keeps an item of a batch that cannot be used, with the reason why.
// It is stored beside the events and fails nothing.
func (cb *Callback) SetAside(v View, path, reason string) {
	code := abi.Invalid
	if v.valid {
		code = abi.SetAside(v.handle, path, reason)
	}
	if code < 0 {
		cb.fail("set aside "+path, code)
	}
}

// open reports whether setters still speak of this event.
func (e Event) open(what string) bool {
	return e.index == e.cb.events && e.index >= 0 || e.closed(what)
}

// closed is false, and the failure of a setter that speaks of another event than
// the newest.
func (e Event) closed(what string) bool {
	if e.index >= 0 {
		e.cb.fail(what+" of a finished event", abi.Invalid)
	}
	return false
}

func (e Event) need(field int32, text string) Event {
	if text == "" {
		e.cb.fail(e.cb.name(field), abi.Absent)
		return e
	}
	e.set(field, text)
	return e
}

func (e Event) may(field int32, text string) Event {
	if text != "" {
		e.set(field, text)
	}
	return e
}

// set sets a field of the event while setters speak of it.
func (e Event) set(field int32, text string) {
	if e.index != e.cb.events || e.index < 0 {
		e.closed(e.cb.name(field))
		return
	}
	if code := abi.Set(field, text); code < 0 {
		e.cb.fail(e.cb.name(field), code)
	}
}

// name is a field's, for operators.
func (cb *Callback) name(field int32) string {
	if field == abi.FieldKey {
		return "key component " + Decimal(int64(cb.keyParts), 0)
	}
	return fieldNames[field]
}

var fieldNames = [...]string{
	abi.FieldType: "type", abi.FieldSubject: "subject", abi.FieldStatus: "status", abi.FieldProviderStatus: "provider status",
	abi.FieldAmount: "amount", abi.FieldCurrency: "currency", abi.FieldRefMerchant: "merchant reference",
	abi.FieldRefProvider: "provider reference", abi.FieldRefBank: "bank reference", abi.FieldMethod: "method", abi.FieldParty: "party",
}

func (e Event) setInt(field int32, name string, value int64) Event {
	if !e.open(name) {
		return e
	}
	if code := abi.SetInt(field, value); code < 0 {
		e.cb.fail(name, code)
	}
	return e
}
