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
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
}

func (v *sayVector) check(t *testing.T) {
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
	for _, call := range v.Calls {
		c := sayCall{t, call}
		last := len(call) - 1
		if got, want := c.make(h), c.number(last, codes); got != want {
			t.Errorf("%s = %d, want %s", call[:last], got, call[last])
		}
	}
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
