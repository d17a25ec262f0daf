package sdktest

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/sdk/internal/abi"
)

// sayVector is an entry of say.json; sdk/testdata/README.md.
type sayVector struct {
	Name       string
	Body       *string
	Unverified bool
	Calls      [][]json.RawMessage
	Verdict    json.RawMessage
	Result     json.RawMessage
	Failed     bool
}

func TestSay(t *testing.T) {
	var vectors []sayVector
	readVectors(t, "say.json", &vectors)
	if len(vectors) < 40 {
		t.Fatalf("%d vectors, want all", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t, sayApart) })
		t.Run(v.Name+", together", func(t *testing.T) { v.check(t, sayTogether) })
	}
}

func (v *sayVector) check(t *testing.T, say func(h *host, calls []sayCall)) {
	body := "{}"
	if v.Body != nil {
		body = *v.Body
	}
	h := newHost(t, body)
	h.received = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h.secrets = map[string]*secret{"mac": {Name: "mac", Use: "hmac-sha256", Form: "utf8", Respond: "[a-z]{1,8}"}}
	if err := h.secrets["mac"].bind([]string{"test-key"}); err != nil {
		t.Fatal(err)
	}
	h.tokens = map[string]token{"tok": {}}
	calls := make([]sayCall, len(v.Calls))
	for i, call := range v.Calls {
		calls[i] = sayCall{t, call}
	}
	say(h, calls)
	r, err := h.finish(sayCall{t, []json.RawMessage{v.Verdict}}.number(0, map[string]int32{
		"accept": abi.VerdictAccept, "ignore": abi.VerdictIgnore, "respond": abi.VerdictRespond, "reject": abi.VerdictReject,
	}), v.Unverified)
	if (err != nil) != v.Failed {
		t.Fatalf("finish = %v, want the plugin to have failed: %v", err, v.Failed)
	}
	if err != nil {
		return
	}
	got, err := canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := compact(string(v.Result))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// sayApart makes the calls one by one.
func sayApart(h *host, calls []sayCall) {
	for _, c := range calls {
		c.t.Helper()
		if got, want := c.make(h), c.want(); got != want {
			c.t.Errorf("%s = %d, want %d", c.says, got, want)
		}
	}
}

// sayTogether says what tell can say by it, as much at a time as there is, and the
// rest behind what was refused once more.
func sayTogether(h *host, calls []sayCall) {
	for len(calls) > 0 {
		fields := told(calls)
		if len(fields) == 0 {
			sayApart(h, calls[:1])
			calls = calls[1:]
			continue
		}
		refused := 0
		for refused < len(fields) && calls[refused].want() >= 0 {
			refused++
		}
		want := count(len(fields))
		if refused < len(fields) {
			want = calls[refused].want() - abi.Told*count(refused)
		}
		if got := h.Tell(fields); got != want {
			calls[0].t.Fatalf("tell %v = %d, want %d", fields, got, want)
		}
		calls = calls[min(refused+1, len(fields)):]
	}
}

// told are the calls from the first on that tell can say.
func told(calls []sayCall) (out []abi.Field) {
	for _, c := range calls {
		var f abi.Field
		switch c.text(0) {
		case "event_begin":
			f = abi.Field{Field: abi.FieldBegin, Of: abi.OfNumber, Number: int64(c.number(1, nil))}
		case "set":
			f = abi.Field{Field: c.number(1, fields), Of: abi.OfText, Text: c.text(2), Number: -1}
		case "set_i64":
			f = abi.Field{Field: c.number(1, fields), Of: abi.OfNumber, Number: c.long(2)}
		case "map":
			f = abi.Field{Field: c.number(1, fields), Of: c.number(2, nil), Text: c.text(3)}
			if f.Of < 0 {
				return out
			}
		default:
			return out
		}
		if f.Field == abi.FieldBegin && c.text(0) != "event_begin" {
			return out
		}
		out = append(out, f)
	}
	return out
}

var (
	codes = map[string]int32{
		"ABSENT": abi.Absent, "MALFORMED": abi.Malformed, "DENIED": abi.Denied,
		"UNVERIFIED": abi.Unverified, "LIMIT": abi.Limit, "INVALID": abi.Invalid,
	}
	fields = map[string]int32{
		"type": abi.FieldType, "subject": abi.FieldSubject, "time": abi.FieldTime, "key": abi.FieldKey,
		"status": abi.FieldStatus, "provider_status": abi.FieldProviderStatus,
		"amount": abi.FieldAmount, "currency": abi.FieldCurrency, "minor": abi.FieldMinor,
		"ref_merchant": abi.FieldRefMerchant, "ref_provider": abi.FieldRefProvider, "ref_bank": abi.FieldRefBank,
		"method": abi.FieldMethod, "party": abi.FieldParty, "confirm": abi.FieldConfirm, "sandbox": abi.FieldSandbox,
		"provider_data": abi.FieldProviderData,
	}
	reasonCodes = map[string]int32{
		"not-verified": abi.ReasonNotVerified, "malformed": abi.ReasonMalformed, "not-understood": abi.ReasonNotUnderstood,
	}
)

// sayCall is one call: its name, its arguments and the code it gives.
type sayCall struct {
	t    *testing.T
	says []json.RawMessage
}

// number is a number, or the name of one.
func (c sayCall) number(i int, names map[string]int32) int32 {
	c.t.Helper()
	var n int32
	if json.Unmarshal(c.says[i], &n) == nil {
		return n
	}
	var name string
	if err := json.Unmarshal(c.says[i], &name); err != nil {
		c.t.Fatal(err)
	}
	n, known := names[name]
	if !known {
		c.t.Fatalf("%s: %q is no name there", c.says, name)
	}
	return n
}

// want is the code that the call gives.
func (c sayCall) want() int32 { return c.number(len(c.says)-1, codes) }

// text is text as it is, in hexadecimal or repeated.
func (c sayCall) text(i int) string {
	c.t.Helper()
	var s string
	if json.Unmarshal(c.says[i], &s) == nil {
		return s
	}
	made := struct {
		Hex, Text string
		Times     int
	}{Times: 1}
	if err := json.Unmarshal(c.says[i], &made); err != nil {
		c.t.Fatal(err)
	}
	b, err := hex.DecodeString(made.Hex)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.Repeat(string(b)+made.Text, made.Times)
}

func (c sayCall) long(i int) (n int64) {
	c.t.Helper()
	if err := json.Unmarshal(c.says[i], &n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c sayCall) make(h *host) int32 {
	c.t.Helper()
	switch name := c.text(0); name {
	case "token":
		return h.Token(c.text(1))
	case "view":
		return h.View(c.number(1, map[string]int32{"json": abi.ViewJSON, "form": abi.ViewForm}), c.number(2, nil))
	case "signed_begin":
		return h.SignedBegin(c.text(1))
	case "signed_bytes":
		return h.SignedBytes(c.number(1, nil), c.text(2))
	case "signed_body":
		return h.SignedBody(c.number(1, nil))
	case "signed_check":
		return h.SignedCheck(c.number(1, nil), c.text(2), c.number(3, encodings))
	case "event_begin":
		return h.EventBegin(c.number(1, nil))
	case "set":
		return h.Set(c.number(1, fields), c.text(2))
	case "set_i64":
		return h.SetInt(c.number(1, fields), c.long(2))
	case "map":
		return h.Map(c.number(1, fields), c.number(2, nil), c.text(3))
	case "set_aside":
		return h.SetAside(c.number(1, nil), c.text(2), c.text(3))
	case "ack":
		return h.Ack(c.number(1, nil), c.text(2), c.text(3))
	case "respond":
		return h.Respond(c.number(1, nil), c.text(2), c.text(3))
	case "respond_mac":
		return h.RespondMAC(c.text(1), c.text(2), c.number(3, encodings))
	case "reason":
		return h.Reason(c.number(1, reasonCodes), c.text(2))
	default:
		c.t.Fatalf("unknown call %s", name)
		return 0
	}
}
