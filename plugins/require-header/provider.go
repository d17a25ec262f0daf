// Command require-header is a guard: it rejects a callback without a header that
// the tenant asks for. README.md says what for.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.RegisterGuard(judge) }

func main() {}

func judge(cb *postern.Callback, events *postern.Events) postern.Ruling {
	name := cb.Setting("name")
	value, ok := cb.HeaderAt(name, 0)
	if _, repeated := cb.HeaderAt(name, 1); !ok || value == "" || repeated {
		return events.Reject("the header " + name + " must stand once, and not empty")
	}
	if !allowed(cb, value) {
		return events.Reject("the header " + name + " has a value that is not among the settings")
	}
	for i := range events.Len() {
		// What cannot be an attribute, a control character say, is no reason to reject.
		if err := events.Annotate(i, "value", value); err != nil {
			cb.Log(postern.Warn, "the header "+name+" is not noted: "+err.Error())
		}
	}
	return events.Pass()
}

// allowed reports whether the value is one of the settings, if there are any.
func allowed(cb *postern.Callback, value string) bool {
	text := cb.Setting("values")
	if text == "" {
		return true
	}
	raw, err := cb.Decode(text, postern.Raw)
	if err != nil {
		return false
	}
	values, err := raw.JSON()
	if err != nil {
		return false
	}
	for i := range values.Len("") {
		if values.Text("/"+digits(i)) == value {
			return true
		}
	}
	return false
}

func digits(i int) string { return postern.Decimal(int64(i), 0) }
