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
func (e Event) Type(text string) Event { return e.need(abi.FieldType, "type", text) }

// Subject sets the transaction's id. It must come from verified bytes.
func (e Event) Subject(text string) Event { return e.need(abi.FieldSubject, "subject", text) }

// Time sets when it happened, as RFC 3339 text after the first day of 1970 and
// before the last of 9999: with an offset these reach into years that the host
// does not take. An event is not lost for its time: any other text, also an
// empty one, leaves the time of receipt.
func (e Event) Time(text string) Event {
	const day = len("1970-01-01")
	if !e.open("time") || len(text) < day || text[:day] <= "1970-01-01" || text[:day] >= "9999-12-31" {
		return e
	}
	if code := abi.Set(abi.FieldTime, text); code < 0 && code != abi.Malformed && code != abi.Limit {
		e.cb.fail("time", code)
	}
	return e
}

// TimeMillis is Time in milliseconds since 1970 UTC. What is before 1970 or
// after 9999 leaves the time of receipt.
func (e Event) TimeMillis(ms int64) Event {
	const end = 253402300800_000 // the year 10000
	if ms < 0 || ms >= end {
		e.open("time")
		return e
	}
	return e.setInt(abi.FieldTime, "time", ms)
}

// Key appends components of the dedup key: two events of one endpoint with
// equal components are the same event. Components must come from verified
// bytes, at most 16 of 512 bytes. An empty one fails, so that an absent id is
// never joined as nothing. Without any, the key is the body's SHA-256 and the
// event's index.
func (e Event) Key(components ...string) Event {
	for _, component := range components {
		e.need(abi.FieldKey, e.keyName(), component)
	}
	return e
}

// keyName names the next component of the key, counted from 1. Few keys have more
// than there are names ready.
func (e Event) keyName() string {
	e.cb.keyParts++
	if n := e.cb.keyParts; n <= len(keyNames) {
		return keyNames[n-1]
	}
	return "key component " + Decimal(int64(e.cb.keyParts), 0)
}

var keyNames = [...]string{"key component 1", "key component 2", "key component 3", "key component 4"}

// Status sets Postern's word for the transaction's state. Optional.
func (e Event) Status(text string) Event { return e.may(abi.FieldStatus, "status", text) }

// ProviderStatus sets the provider's own word for it. Optional.
func (e Event) ProviderStatus(text string) Event {
	return e.may(abi.FieldProviderStatus, "provider status", text)
}

// Amount sets an amount in plain decimal text ("15.00") with its ISO 4217
// currency. Optional together; one of them alone fails.
func (e Event) Amount(value, currency string) Event {
	if value == "" && currency == "" {
		return e
	}
	// The host takes only such an amount for an event; refused here, the
	// callback is malformed and not the plugin at fault.
	if !IsAmount(value) {
		e.cb.fail("amount", abi.Malformed)
	}
	if !IsCurrency(currency) {
		e.cb.fail("currency", abi.Malformed)
	}
	return e.may(abi.FieldAmount, "amount", value).may(abi.FieldCurrency, "currency", currency)
}

// Minor sets the amount in minor units, where the currency's scale is known.
// See [Decimal] for the text.
func (e Event) Minor(units int64) Event { return e.setInt(abi.FieldMinor, "minor", units) }

// MerchantRef sets the merchant's id of the transaction. Optional.
func (e Event) MerchantRef(text string) Event {
	return e.may(abi.FieldRefMerchant, "merchant reference", text)
}

// ProviderRef sets the provider's id of the transaction. Optional.
func (e Event) ProviderRef(text string) Event {
	return e.may(abi.FieldRefProvider, "provider reference", text)
}

// BankRef sets the bank's id of the transaction. Optional.
func (e Event) BankRef(text string) Event {
	return e.may(abi.FieldRefBank, "bank reference", text)
}

// Method sets how it was paid. Optional.
func (e Event) Method(text string) Event { return e.may(abi.FieldMethod, "method", text) }

// Party sets who paid or was paid. Optional.
func (e Event) Party(text string) Event { return e.may(abi.FieldParty, "party", text) }

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
// fails for the subject. For the time it is [Event.Time] of the text there.
func (e Event) Map(field Field, v View, path string) Event {
	if field == FieldTime {
		return e.Time(v.Text(path))
	}
	name := "value of " + path
	if !e.open(name) {
		return e
	}
	code := abi.Absent
	if v.valid {
		code = abi.Map(int32(field), v.handle, path)
	}
	if code == abi.Absent && field != FieldSubject {
		return e
	}
	if code < 0 {
		e.cb.fail(name, code)
	}
	return e
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
	if e.index < 0 {
		return false
	}
	if e.index != e.cb.events {
		e.cb.fail(what+" of a finished event", abi.Invalid)
		return false
	}
	return true
}

func (e Event) need(field int32, name, text string) Event {
	if text == "" {
		e.cb.fail(name, abi.Absent)
		return e
	}
	return e.may(field, name, text)
}

func (e Event) may(field int32, name, text string) Event {
	if text == "" || !e.open(name) {
		return e
	}
	if code := abi.Set(field, text); code < 0 {
		e.cb.fail(name, code)
	}
	return e
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
