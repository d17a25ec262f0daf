package wasm

import (
	"time"
	"unicode/utf8"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/codec"
	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/view"
)

// docs/plugin-abi.md §6.

// The fields of an event.
const (
	fieldType           = 1
	fieldSubject        = 2
	fieldTime           = 3
	fieldKey            = 4
	fieldStatus         = 5
	fieldProviderStatus = 6
	fieldAmount         = 7
	fieldCurrency       = 8
	fieldMinor          = 9
	fieldRefMerchant    = 10
	fieldRefProvider    = 11
	fieldRefBank        = 12
	fieldMethod         = 13
	fieldParty          = 14
	fieldConfirm        = 15
	fieldSandbox        = 16
	fieldProviderData   = 17
)

func (g *guest) reason() {
	why := g.u32(0)
	if why > uint32(host.NotUnderstood) {
		g.give(invalid)
		return
	}
	g.res.Reason, g.res.Detail = host.Reason(why), codec.Cut(g.in(1), maxDetail)
	g.give(ok)
}

func (g *guest) eventBegin() { g.give(g.begin(int64(g.i32(0)))) }

// begin begins an event and gives its index.
func (c *call) begin(evidence int64) code {
	switch {
	case evidence < -1 || evidence >= int64(len(c.res.Evidence)):
		return invalid
	case len(c.res.Events)+len(c.res.Aside) >= host.MaxEvents:
		return overLimit
	}
	if c.res.Events == nil {
		c.res.Events = c.firsts().event[:0]
	}
	c.res.Events = append(c.res.Events, host.Draft{Evidence: int(evidence)})
	return count(len(c.res.Events) - 1)
}

// draft is the event being said.
func (c *call) draft() *host.Draft {
	if len(c.res.Events) == 0 {
		return nil
	}
	return &c.res.Events[len(c.res.Events)-1]
}

func (g *guest) set() {
	field := g.u32(0)
	g.give(g.became(field, g.setBytes(field, g.in(1))))
}

// became is what became of a field that the guest set.
//
// Invariant 14: whatever the reason for which a component of the dedup key was
// refused, the event is refused with it: it is never left out.
func (c *call) became(field uint32, result code) code {
	if field == fieldKey && result != ok {
		c.breaks("a component of the dedup key is absent or was refused")
	}
	return result
}

// setBytes sets a field to what the guest wrote.
func (c *call) setBytes(field uint32, text []byte) code {
	if field == fieldProviderData {
		return c.setData(text)
	}
	return c.setText(field, text)
}

// setData takes JSON that the guest wrote.
func (c *call) setData(text []byte) code {
	d := c.draft()
	if d == nil {
		return invalid
	}
	// As strict as a view: what nests deeper than that could be stored and
	// never be written out again.
	c.spend(read * len(text))
	if !view.IsJSON(text) {
		return malformed
	}
	if !c.hold(len(text)) {
		return overLimit
	}
	d.ProviderData = append([]byte(nil), text...)
	return ok
}

// setText sets a text field and copies it.
func (c *call) setText(field uint32, text []byte) code {
	d := c.draft()
	if d == nil {
		return invalid
	}
	if field == fieldKey {
		return c.addKey(d, text)
	}
	if len(text) > host.MaxText {
		return overLimit
	}
	if !utf8.Valid(text) {
		return malformed
	}
	if field == fieldTime {
		return setTime(d, text)
	}
	to, form := textField(d, field)
	if to == nil {
		return invalid
	}
	said := c.own(text)
	if form != nil && !form(said) {
		return malformed
	}
	*to = said
	return ok
}

// textField is where a text field stands, and the form it must have; no form
// is any text.
func textField(d *host.Draft, field uint32) (to *string, form func(string) bool) {
	switch field {
	case fieldType:
		return &d.Type, host.IsType
	case fieldSubject:
		return &d.Subject, nil
	case fieldStatus:
		return &d.Status, nil
	case fieldProviderStatus:
		return &d.ProviderStatus, nil
	case fieldAmount:
		return &d.Amount, host.IsAmount
	case fieldCurrency:
		return &d.Currency, host.IsCurrency
	case fieldRefMerchant:
		return &d.References.Merchant, nil
	case fieldRefProvider:
		return &d.References.Provider, nil
	case fieldRefBank:
		return &d.References.Bank, nil
	case fieldMethod:
		return &d.Method, nil
	case fieldParty:
		return &d.Party, nil
	}
	return nil, nil
}

func setTime(d *host.Draft, text []byte) code {
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return malformed
	}
	return setInstant(d, t)
}

// The first day of 1970 and the last of 9999 are dates that were never set.
var (
	firstTime = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

func setInstant(d *host.Draft, t time.Time) code {
	if t = t.UTC(); t.Before(firstTime) || !t.Before(lastTime) {
		return malformed
	}
	d.Time = t
	return ok
}

// addKey appends a component of the dedup key.
//
// Invariant 14: an empty or oversize component is refused, and the event with
// it: it is never joined as empty or left out.
func (c *call) addKey(d *host.Draft, text []byte) code {
	switch {
	case len(d.Key) >= host.MaxKeyParts || len(text) > host.MaxKeyLength:
		c.breaks("a component of the dedup key is too long or one too many")
		return overLimit
	case len(text) == 0 || !utf8.Valid(text):
		c.breaks("a component of the dedup key is empty or not UTF-8")
		return malformed
	}
	if d.Key == nil && len(c.res.Events) == 1 {
		d.Key = c.firsts().key[:0]
	}
	d.Key = append(d.Key, c.own(text))
	return ok
}

func (g *guest) setInt() {
	field, value := g.u32(0), int64(g.stack[1]) //nolint:gosec // an i64 of the ABI
	g.give(g.became(field, g.setNumber(field, value)))
}

func (c *call) setNumber(field uint32, value int64) code {
	d := c.draft()
	if d == nil {
		return invalid
	}
	switch field {
	case fieldTime:
		return setInstant(d, time.UnixMilli(value))
	case fieldMinor:
		d.Minor = &value
	case fieldConfirm:
		d.Confirm = value != 0
	case fieldSandbox:
		d.Sandbox = value != 0
	default:
		return invalid
	}
	return ok
}

// mapField sets a field from a view: the value never enters the guest.
func (g *guest) mapField() {
	field := g.u32(0)
	g.give(g.became(field, g.setAt(field, g.u32(1), g.in(2))))
}

// setAt sets a field to what stands at a path in a view.
func (c *call) setAt(field, view uint32, path []byte) code {
	v, result := c.pointed(view, path)
	if result != ok {
		return result
	}
	return c.setFrom(field, v, path)
}

func (c *call) setFrom(field uint32, v *view.View, path []byte) code {
	d := c.draft()
	if d == nil {
		return invalid
	}
	if field == fieldProviderData {
		data, found := v.JSON(path)
		if !found || v.Kind(path) == view.Null {
			return absent
		}
		if !c.hold(len(data)) {
			return overLimit
		}
		c.moves(len(data))
		d.ProviderData = data
		return ok
	}
	text, found := v.Text(path)
	if !found {
		return absent
	}
	c.moves(len(text))
	if field == fieldSubject || field == fieldKey {
		if kind := v.Kind(path); kind == view.Object || kind == view.Array {
			return malformed
		}
	}
	return c.setText(field, text)
}

func (g *guest) setAside() {
	v, path, c := g.at(0)
	if c != ok {
		g.give(c)
		return
	}
	item, found := v.JSON(path)
	g.moves(len(item))
	switch {
	case !found:
		g.give(absent)
	case len(g.res.Events)+len(g.res.Aside) >= host.MaxEvents || !g.hold(len(item)):
		g.give(overLimit)
	default:
		g.res.Aside = append(g.res.Aside, host.Aside{Reason: codec.Cut(g.in(3), maxDetail), Item: item})
		g.give(ok)
	}
}

// answer reads the arguments of ack and respond.
func (g *guest) answer() (host.Answer, code) {
	status, contentType, body := g.u32(0), g.own(g.in(1)), g.in(3)
	switch {
	case status < 200 || status > 299 || !manifest.HeaderText(contentType):
		return host.Answer{}, invalid
	case len(body) > maxAnswer:
		return host.Answer{}, overLimit
	}
	return host.Answer{Status: int(status), ContentType: contentType, Body: append([]byte(nil), body...)}, ok
}

func (g *guest) ack() {
	a, c := g.answer()
	if c == ok {
		g.call.ack = &g.firsts().answer
		*g.call.ack = a
	}
	g.give(c)
}

func (g *guest) respond() {
	a, c := g.answer()
	if c == ok {
		c = g.appendResponse(a)
	}
	g.give(c)
}

func (c *call) appendResponse(a host.Answer) code {
	if c.response == nil {
		c.response = &a
		return ok
	}
	if len(c.response.Body)+len(a.Body) > maxAnswer {
		return overLimit
	}
	a.Body = append(c.response.Body, a.Body...)
	c.response = &a
	return ok
}

// respondMAC signs only what the manifest's pattern allows, and writes it only
// into a challenge's answer: anything else would sign for anyone.
func (g *guest) respondMAC() {
	secret, bound := g.mac(0)
	text := g.in(2)
	if !bound || !secret.decl.Allows(text) {
		g.give(denied)
		return
	}
	mac, err := codec.Encode(g.u32(4), secret.macs[0].Sum(nil, [][]byte{text}))
	if err != nil || g.response == nil {
		g.give(invalid)
		return
	}
	a := *g.response
	a.Body = mac
	g.give(g.appendResponse(a))
}
