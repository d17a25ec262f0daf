package postern

import "github.com/postern/postern/sdk/internal/abi"

// RegisterGuard makes judge the module's guard: a tenant's own rule on what a
// provider's plugin accepted. It is called once, from init, in place of [Register],
// and the module's plugin.json says "guard": true. Callback and events are valid
// only until judge returns.
//
// A guard reads the callback. It has no secrets, and what says an event or gives
// evidence fails: all that it says, it says with [Events] and with its ruling.
func RegisterGuard(judge func(cb *Callback, events *Events) Ruling) {
	if judge == nil {
		panic("postern: a guard needs a function")
	}
	abi.GuardExport = func() int32 { return judge(&Callback{}, &Events{}).code }
}

// Events are the completed events of the callback under judgement.
type Events struct{}

// Ruling is what a guard returns. Only the methods of [Events] make one; the zero
// value counts as a failure of the guard.
type Ruling struct{ code int32 }

// Len returns how many there are: none where the plugin set every item aside.
func (e *Events) Len() int { return max(0, int(abi.Events())) }

// At returns the i-th event as it would be delivered, a CloudEvent:
// Text("/type"), Text("/data/amount/value"). It has what earlier guards added. A
// view of what is not there is empty.
func (e *Events) At(i int) View {
	return View{max(0, abi.EventView(index(i))+1)}
}

// Annotate adds an attribute to the i-th event. Its name is the guard's own, without
// "-", and name: 1 to 20 of a-z and 0-9. Value is text without control characters,
// up to 1 KiB. ErrInvalid says that the event has an attribute of that name.
func (e *Events) Annotate(i int, name, value string) error {
	if code := abi.Annotate(index(i), name, value); code < 0 {
		return Error(code)
	}
	return nil
}

// Pass is the ruling that there is nothing against the events.
func (e *Events) Pass() Ruling { return Ruling{abi.GuardPass} }

// Hold is the ruling that the events are to be looked at first: the callback is
// durable and acknowledged, and delivered once an operator releases it. Detail is
// for them, at most 256 bytes.
func (e *Events) Hold(detail string) Ruling { return ruling(abi.GuardHold, detail) }

// Reject is the ruling that the callback is not to be acknowledged. Its provider
// may give it up: hold what breaks a rule of business. Detail is for operators, at
// most 256 bytes, never sent to the provider.
func (e *Events) Reject(detail string) Ruling { return ruling(abi.GuardReject, detail) }

func ruling(code int32, detail string) Ruling {
	abi.Reason(0, detail)
	return Ruling{code}
}
