// Command hold-amount is a guard: it holds events whose amount is above a limit
// of its currency, until an operator has looked at them. README.md says more.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.RegisterGuard(judge) }

func main() {}

func judge(cb *postern.Callback, events *postern.Events) postern.Ruling {
	limits, ok := settings(cb, "limits")
	types, alsoOK := settings(cb, "types")
	if !ok || !alsoOK {
		return events.Hold("the settings cannot be read")
	}
	held := ""
	for i := range events.Len() {
		ev := events.At(i)
		value, currency := ev.Text("/data/amount/value"), ev.Text("/data/amount/currency")
		if value == "" || !listed(types, ev.Text("/type")) {
			continue
		}
		if why := above(limits, value, currency); why != "" {
			if held == "" {
				held = why
			}
			if err := events.Annotate(i, "why", why); err != nil {
				cb.Log(postern.Warn, "why an event is held is not noted: "+err.Error())
			}
		}
	}
	if held != "" {
		return events.Hold(held)
	}
	return events.Pass()
}

// above says why an amount is to be held, empty if it is not. What is paid back is
// written below zero and counts alike.
func above(limits postern.View, value, currency string) string {
	limit := limits.Text("/" + currency)
	if limit == "" {
		if limit = limits.Text("/*"); limit == "" {
			return ""
		}
	}
	size := value
	if size[0] == '-' {
		size = size[1:]
	}
	order, ok := postern.CompareAmounts(size, limit)
	switch {
	case !ok:
		return value + " " + currency + " cannot be compared with the limit of " + limit
	case order > 0:
		return value + " " + currency + " is above the limit of " + limit
	}
	return ""
}

// listed reports whether text is one of a list's.
func listed(list postern.View, text string) bool {
	for i := range list.Len("") {
		if list.Text("/"+postern.Decimal(int64(i), 0)) == text {
			return true
		}
	}
	return false
}

// settings is a setting that is no text.
func settings(cb *postern.Callback, name string) (postern.View, bool) {
	raw, err := cb.Decode(cb.Setting(name), postern.Raw)
	if err != nil {
		return postern.View{}, false
	}
	v, err := raw.JSON()
	return v, err == nil
}
