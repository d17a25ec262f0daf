package sdktest

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern/postern/sdk/internal/abi"
)

// docs/plugin-abi.md §6.

// Reason is the ABI's reason.
func (h *host) Reason(code int32, text string) int32 {
	if code < 0 || code > abi.ReasonNotUnderstood {
		return abi.Invalid
	}
	h.reason, h.detail = code, shorten(text)
	return 0
}

// shorten keeps at most 256 bytes of whole characters.
func shorten(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxDetail {
		return text
	}
	end := maxDetail
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// EventBegin is the ABI's event_begin.
func (h *host) EventBegin(evidence int32) int32 {
	switch {
	case evidence < -1 || int(evidence) >= len(h.evidence):
		return abi.Invalid
	case len(h.events)+len(h.aside) >= maxEvents:
		return abi.Limit
	}
	h.events = append(h.events, &event{Evidence: evidence})
	return count(len(h.events) - 1)
}

func (h *host) newest() *event {
	if len(h.events) == 0 {
		return nil
	}
	return h.events[len(h.events)-1]
}

// Set is the ABI's set.
func (h *host) Set(field int32, text string) int32 {
	if field == abi.FieldProviderData {
		return h.setData(text)
	}
	return h.became(field, h.setText(field, text))
}

// became is what became of a field. A component that is not in the dedup key
// breaks the event, whatever the guest does about it.
func (h *host) became(field, code int32) int32 {
	if field == abi.FieldKey && code != 0 {
		h.breaks("is absent or was refused")
	}
	return code
}

func (h *host) breaks(how string) {
	if h.broken == "" {
		h.broken = fmt.Sprintf("event %d: a component of the dedup key %s", max(len(h.events)-1, 0), how)
	}
}

func (h *host) setData(text string) int32 {
	e := h.newest()
	if e == nil {
		return abi.Invalid
	}
	_, err := parseView(abi.ViewJSON, []byte(text))
	var data json.RawMessage
	if err == nil {
		data, err = compact(text)
	}
	switch {
	case err != nil:
		return abi.Malformed
	case !h.hold(len(text)):
		return abi.Limit
	}
	e.ProviderData = data
	return 0
}

func (h *host) setText(field int32, text string) int32 {
	e := h.newest()
	switch {
	case e == nil:
		return abi.Invalid
	case field == abi.FieldKey:
		return h.addKey(e, text)
	case len(text) > maxText:
		return abi.Limit
	case !utf8.ValidString(text):
		return abi.Malformed
	case field == abi.FieldTime:
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return abi.Malformed
		}
		return e.setTime(at)
	}
	to, form := e.text(field)
	switch {
	case to == nil:
		return abi.Invalid
	case form != nil && !form.MatchString(text):
		return abi.Malformed
	}
	*to = text
	return 0
}

// setTime takes an instant of the years 1970 to 9999, but for the first day and
// the last: dates that were never set.
func (e *event) setTime(at time.Time) int32 {
	u := at.UTC()
	if y := u.Year(); y < 1970 || y > 9999 || y == 1970 && u.YearDay() == 1 || y == 9999 && u.YearDay() == 365 {
		return abi.Malformed
	}
	e.at = at
	return 0
}

func (h *host) addKey(e *event, text string) int32 {
	switch {
	case len(text) > maxComponent || len(e.Key) >= maxParts:
		h.breaks("is too long or one too many")
		return abi.Limit
	case text == "" || !utf8.ValidString(text):
		h.breaks("is empty or not UTF-8")
		return abi.Malformed
	}
	e.Key = append(e.Key, text)
	return 0
}

// text is where a text field stands, nil for one that is none, and the form it
// must have, nil for any.
func (e *event) text(field int32) (*string, *regexp.Regexp) {
	switch field {
	case abi.FieldType:
		return &e.Type, typeForm
	case abi.FieldSubject:
		return &e.Subject, nil
	case abi.FieldStatus:
		return &e.Status, nil
	case abi.FieldProviderStatus:
		return &e.ProviderStatus, nil
	case abi.FieldAmount:
		return &e.Amount, amountForm
	case abi.FieldCurrency:
		return &e.Currency, currencyForm
	case abi.FieldRefMerchant:
		return &e.References.Merchant, nil
	case abi.FieldRefProvider:
		return &e.References.Provider, nil
	case abi.FieldRefBank:
		return &e.References.Bank, nil
	case abi.FieldMethod:
		return &e.Method, nil
	case abi.FieldParty:
		return &e.Party, nil
	}
	return nil, nil
}

// SetInt is the ABI's set_i64.
func (h *host) SetInt(field int32, value int64) int32 {
	return h.became(field, h.setNumber(field, value))
}

func (h *host) setNumber(field int32, value int64) int32 {
	e := h.newest()
	if e == nil {
		return abi.Invalid
	}
	switch field {
	case abi.FieldTime:
		return e.setTime(time.UnixMilli(value))
	case abi.FieldMinor:
		e.Minor = &value
	case abi.FieldConfirm:
		e.Confirm = value != 0
	case abi.FieldSandbox:
		e.Sandbox = value != 0
	default:
		return abi.Invalid
	}
	return 0
}

// Map is the ABI's map.
func (h *host) Map(field, handle int32, path string) int32 {
	n, code := h.at(handle, path)
	if code == 0 {
		code = h.setFrom(field, n)
	}
	return h.became(field, code)
}

func (h *host) setFrom(field int32, n *node) int32 {
	switch {
	case h.newest() == nil:
		return abi.Invalid
	case n == nil || n.kind == abi.KindNull:
		return abi.Absent
	case field == abi.FieldProviderData:
		return h.setData(n.json)
	case (field == abi.FieldSubject || field == abi.FieldKey) && (n.kind == abi.KindObject || n.kind == abi.KindArray):
		return abi.Malformed
	}
	return h.setText(field, n.text)
}

// Tell is the ABI's tell.
func (h *host) Tell(said []abi.Field) int32 {
	if len(said) > maxTold {
		return abi.Limit
	}
	for i := range said {
		if code := h.tell(&said[i]); code < 0 {
			return code - abi.Told*count(i)
		}
	}
	return count(len(said))
}

func (h *host) tell(f *abi.Field) int32 {
	switch {
	case f.Of < abi.OfNumber, f.Field == abi.FieldBegin && f.Of != abi.OfNumber:
		return abi.Invalid
	case f.Field == abi.FieldBegin:
		return h.EventBegin(int32(max(-2, min(f.Number, math.MaxInt32))))
	case f.Of == abi.OfNumber:
		return h.SetInt(f.Field, f.Number)
	case f.Of == abi.OfText:
		return h.Set(f.Field, f.Text)
	}
	return h.Map(f.Field, f.Of, f.Text)
}

// SetAside is the ABI's set_aside.
func (h *host) SetAside(handle int32, path, reason string) int32 {
	n, code := h.at(handle, path)
	switch {
	case code < 0:
		return code
	case n == nil:
		return abi.Absent
	case len(h.events)+len(h.aside) >= maxEvents || !h.hold(len(n.json)):
		return abi.Limit
	}
	item, err := compact(n.json)
	if err != nil {
		return abi.Malformed
	}
	h.aside = append(h.aside, aside{shorten(reason), item})
	return 0
}

// isHeaderText reports whether a header field can hold text as it is.
func isHeaderText(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

func newAnswer(status int32, contentType, body string) (*answer, int32) {
	switch {
	case status < 200 || status > 299 || !isHeaderText(contentType):
		return nil, abi.Invalid
	case len(body) > maxAnswer:
		return nil, abi.Limit
	}
	return &answer{status, contentType, body}, 0
}

// Ack is the ABI's ack.
func (h *host) Ack(status int32, contentType, body string) int32 {
	a, code := newAnswer(status, contentType, body)
	if code == 0 {
		h.ack = a
	}
	return code
}

// Respond is the ABI's respond.
func (h *host) Respond(status int32, contentType, body string) int32 {
	if h.response != nil {
		body = h.response.Body + body
	}
	a, code := newAnswer(status, contentType, body)
	if code == 0 {
		h.response = a
	}
	return code
}

// RespondMAC is the ABI's respond_mac.
func (h *host) RespondMAC(name, text string, encoding int32) int32 {
	s := h.key(name)
	switch {
	case s == nil || s.respond == nil || !s.respond.MatchString(text):
		return abi.Denied
	case !isEncoding(encoding) || h.response == nil:
		return abi.Invalid
	}
	mac := toText(encoding, s.mac(0, []byte(text)))
	return h.Respond(h.response.Status, h.response.ContentType, mac)
}
