package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

// maxWord is the longest word that is looked up: the longest that the settings
// may have.
const maxWord = 128

const (
	maxAmount = 40  // longer than any amount
	noAmount  = "-" // what no event takes
)

// setting is a setting that is an array or an object, read by the host, and
// whether it is set.
func setting(cb *postern.Callback, name string) (postern.View, bool) {
	text := cb.Setting(name)
	if text == "" {
		return postern.View{}, false
	}
	return view(cb, text)
}

func view(cb *postern.Callback, text string) (postern.View, bool) {
	held, err := cb.Decode(text, postern.Raw)
	if err != nil {
		return postern.View{}, false
	}
	v, err := held.JSON()
	return v, err == nil
}

// place is the pointer that a setting names, or the first of several at which
// there is something; empty where it is not set or there is nothing.
func place(cb *postern.Callback, body postern.View, name string) string {
	path := cb.Setting(name)
	if path == "" || path[0] != '[' {
		return path
	}
	places, _ := view(cb, path)
	for i := range places.Len("") {
		path = places.Text("/" + postern.Decimal(int64(i), 0))
		if body.Kind(path) > postern.Null {
			return path
		}
	}
	return ""
}

// field is the text at the place that a setting names, empty where there is
// nothing, and for an array or an object.
func field(cb *postern.Callback, body postern.View, name string) string {
	path := place(cb, body, name)
	if path == "" {
		return ""
	}
	return body.Text(path)
}

// price says the amount and its currency. A callback without an amount has
// none; one that is not of the form that the settings say is malformed.
func price(cb *postern.Callback, ev postern.Event, body postern.View) {
	path := place(cb, body, "amount")
	if path == "" || body.Kind(path) <= postern.Null {
		return
	}
	amount, currency := short(body.Text(path), maxAmount), cb.Setting("currency")
	if !postern.IsCurrency(currency) {
		currency = strings.ToUpper(short(field(cb, body, "currency"), 3))
	}
	if cb.Setting("amount_form") != "minor" {
		ev.Amount(orNone(amount), currency)
		return
	}
	digits, negative := strings.CutPrefix(amount, "-")
	units, ok := postern.Minor(digits)
	if !ok {
		ev.Amount(noAmount, currency)
		return
	}
	if negative {
		units = -units
	}
	ev.Amount(postern.Decimal(units, scale(cb, currency)), currency).Minor(units)
}

// orNone makes nothing an amount that the event refuses, for otherwise it would
// go without one.
func orNone(amount string) string {
	if amount == "" {
		return noAmount
	}
	return amount
}

// scale is how many digits of minor units stand behind the point.
func scale(cb *postern.Callback, currency string) int {
	own := ""
	if scales, ok := setting(cb, "amount_scales"); ok {
		own = scales.Text("/" + currency)
	}
	if own == "" {
		own = cb.Setting("amount_scale")
	}
	n, _ := postern.Minor(own)
	return int(n)
}

// happened says when. What is no time of the form that the settings say leaves
// the time of receipt.
func happened(cb *postern.Callback, ev postern.Event, body postern.View) {
	text := field(cb, body, "time")
	form := cb.Setting("time_form")
	if form == "rfc3339" {
		ev.Time(short(text, 64))
		return
	}
	if ms, ok := unix(text, form); ok {
		ev.TimeMillis(ms)
	}
}

// short is text, or nothing where it is longer than it may be: what is far too
// long is not read letter by letter.
func short(text string, most int) string {
	if len(text) > most {
		return ""
	}
	return text
}
