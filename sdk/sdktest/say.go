package sdktest

import (
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
	e := h.newest()
	switch {
	case e == nil:
		return abi.Invalid
	case !utf8.ValidString(text):
		return abi.Malformed
	case field == abi.FieldKey:
		return e.addKey(text)
	case field == abi.FieldProviderData:
		data, err := compact(text)
		if err != nil {
			return abi.Malformed
		}
		e.ProviderData = data
		return 0
	case len(text) > maxText:
		return abi.Limit
	case field == abi.FieldTime:
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return abi.Malformed
		}
		e.at = at
		return 0
	}
	return e.setText(field, text)
}

func (e *event) addKey(text string) int32 {
	switch {
	case text == "":
		return abi.Malformed
	case len(text) > maxComponent || len(e.Key) >= maxParts:
		return abi.Limit
	}
	e.Key = append(e.Key, text)
	return 0
}

func (e *event) setText(field int32, text string) int32 {
	if field >= abi.FieldRefMerchant && field <= abi.FieldRefBank {
		if e.References == nil {
			e.References = &references{}
		}
	}
	var to *string
	switch field {
	case abi.FieldType:
		to = &e.Type
	case abi.FieldSubject:
		to = &e.Subject
	case abi.FieldStatus:
		to = &e.Status
	case abi.FieldProviderStatus:
		to = &e.ProviderStatus
	case abi.FieldAmount:
		to = &e.Amount
	case abi.FieldCurrency:
		to = &e.Currency
	case abi.FieldRefMerchant:
		to = &e.References.Merchant
	case abi.FieldRefProvider:
		to = &e.References.Provider
	case abi.FieldRefBank:
		to = &e.References.Bank
	case abi.FieldMethod:
		to = &e.Method
	case abi.FieldParty:
		to = &e.Party
	default:
		return abi.Invalid
	}
	*to = text
	return 0
}

// SetInt is the ABI's set_i64.
func (h *host) SetInt(field int32, value int64) int32 {
	e := h.newest()
	if e == nil {
		return abi.Invalid
	}
	switch field {
	case abi.FieldTime:
		e.at = time.UnixMilli(value)
	case abi.FieldMinor:
		e.Minor = &value
	case abi.FieldConfirm:
		e.Confirm = value == 1
	case abi.FieldSandbox:
		e.Sandbox = value == 1
	default:
		return abi.Invalid
	}
	return 0
}

// Map is the ABI's map.
func (h *host) Map(field, handle int32, path string) int32 {
	n, code := h.there(handle, path)
	switch {
	case code < 0:
		return code
	case field == abi.FieldProviderData:
		return h.Set(field, n.json)
	}
	return h.Set(field, n.text)
}

// SetAside is the ABI's set_aside.
func (h *host) SetAside(handle int32, path, reason string) int32 {
	n, code := h.at(handle, path)
	switch {
	case code < 0:
		return code
	case n == nil:
		return abi.Absent
	case len(h.events)+len(h.aside) >= maxEvents:
		return abi.Limit
	}
	item, err := compact(n.json)
	if err != nil {
		return abi.Malformed
	}
	h.aside = append(h.aside, aside{shorten(reason), item})
	return 0
}

func newAnswer(status int32, contentType, body string) (*answer, int32) {
	visible := strings.IndexFunc(contentType, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	switch {
	case status < 200 || status > 299 || !visible:
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
