package wasm

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// sayVector is an entry of say.json; sdk/testdata/README.md.
type sayVector struct {
	Name       string
	Body       *string
	Unverified bool
	Calls      [][]any
	Verdict    any
	Result     json.RawMessage
	Failed     bool
}

const saySecrets = `[{"name":"mac","use":"hmac-sha256","form":"utf8","respond":"[a-z]{1,8}"},{"name":"tok","use":"token","in":"header:X-Token"}]`

var sayBinding = Binding{Secrets: map[string][]string{"mac": {"test-key"}, "tok": {"test-token"}}}

// TestSayVectors runs the calls through the host's functions, and what they
// said through the whole judgement, as a plugin's would be.
func TestSayVectors(t *testing.T) {
	text, err := os.ReadFile("../../sdk/testdata/say.json")
	if err != nil {
		t.Fatal(err)
	}
	// A number stays the text it was: minor units may be too many for a float.
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var vectors []sayVector
	if err := d.Decode(&vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 40 {
		t.Fatalf("%d vectors, want all", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t, (*sayPlugin).sayApart) })
		t.Run(v.Name+", together", func(t *testing.T) { v.check(t, (*sayPlugin).sayTogether) })
	}
}

func (v *sayVector) check(t *testing.T, say func(p *sayPlugin, calls [][]any)) {
	cb := callback("{}")
	if v.Body != nil {
		cb.Body = []byte(*v.Body)
	}
	cb.Headers = []host.Header{{Name: "X-Token", Value: "test-token"}}
	cb.Received = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	said := &sayPlugin{drive(t, saySecrets, sayBinding, cb), v, say}
	if _, grown := said.in.api.Memory().Grow(1); !grown {
		t.Fatal("the driver's memory does not hold the longest text")
	}
	ep := &host.Endpoint{Plugin: said, Tokens: said.in.guest.plugin.Tokens(), Unverified: v.Unverified}
	res, err := ep.Judge(t.Context(), cb)
	if (err != nil) != v.Failed {
		t.Fatalf("Judge = %v, want the plugin to have failed: %v", err, v.Failed)
	}
	if err != nil {
		return
	}
	var want bytes.Buffer
	if err := json.Compact(&want, v.Result); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), canonical(t, res)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// sayPlugin is a guest that makes the calls of a vector.
type sayPlugin struct {
	*driver
	v   *sayVector
	say func(p *sayPlugin, calls [][]any)
}

// Handle makes the calls and checks their codes.
func (p *sayPlugin) Handle(context.Context, *host.Callback) (host.Result, error) {
	p.say(p, p.v.Calls)
	return p.in.guest.finish(int32(p.number(p.v.Verdict, map[string]int{
		"accept": int(host.Accept), "ignore": int(host.Ignore), "respond": int(host.Respond), "reject": int(host.Reject),
	})))
}

// sayApart makes the calls one by one.
func (p *sayPlugin) sayApart(calls [][]any) {
	for _, call := range calls {
		p.sayOne(call)
	}
}

func (p *sayPlugin) sayOne(call []any) {
	name, last := p.text(call[0]), len(call)-1
	args := make([]any, 0, last)
	for i, arg := range call[1:last] {
		args = append(args, p.argument(name, i, arg))
	}
	p.next = 1024 // the host keeps nothing of a guest's memory
	if got, want := p.do(name, args...), p.number(call[last], sayCodes); got != code(want) {
		p.t.Errorf("%v = %d, want %v", call[:last], got, call[last])
	}
}

var (
	sayCodes = map[string]int{
		"ABSENT": int(absent), "MALFORMED": int(malformed), "DENIED": int(denied),
		"UNVERIFIED": int(unverified), "LIMIT": int(overLimit), "INVALID": int(invalid),
	}
	sayFields = map[string]int{
		"type": fieldType, "subject": fieldSubject, "time": fieldTime, "key": fieldKey, "status": fieldStatus,
		"provider_status": fieldProviderStatus, "amount": fieldAmount, "currency": fieldCurrency, "minor": fieldMinor,
		"ref_merchant": fieldRefMerchant, "ref_provider": fieldRefProvider, "ref_bank": fieldRefBank,
		"method": fieldMethod, "party": fieldParty, "confirm": fieldConfirm, "sandbox": fieldSandbox,
		"provider_data": fieldProviderData,
	}
	sayEncodings = map[string]int{
		"raw": encodingRaw, "hex": encodingHex, "base64": encodingBase64, "base64url": encodingBase64URL,
	}
	// sayNames are the arguments that a constant of the ABI names, by function
	// and place.
	sayNames = map[string]map[int]map[string]int{
		"set":          {0: sayFields},
		"set_i64":      {0: sayFields},
		"map":          {0: sayFields},
		"view":         {0: {"json": viewJSON, "form": viewForm}},
		"signed_check": {2: sayEncodings},
		"respond_mac":  {2: sayEncodings},
		"reason":       {0: {"not-verified": int(host.NotVerified), "malformed": int(host.Malformed), "not-understood": int(host.NotUnderstood)}},
	}
)

// argument is what [driver.do] takes.
func (p *sayPlugin) argument(name string, i int, arg any) any {
	p.t.Helper()
	names, named := sayNames[name][i]
	_, isNumber := arg.(json.Number)
	switch {
	case name == "set_i64" && i == 1:
		return p.long(arg)
	case named || isNumber:
		return p.number(arg, names)
	}
	return p.text(arg)
}

// number is a number, or the name of one.
func (p *sayPlugin) number(arg any, names map[string]int) int {
	p.t.Helper()
	name, isName := arg.(string)
	if !isName {
		return int(p.long(arg))
	}
	n, known := names[name]
	if !known {
		p.t.Fatalf("%q is no name there", name)
	}
	return n
}

func (p *sayPlugin) long(arg any) int64 {
	p.t.Helper()
	number, _ := arg.(json.Number)
	n, err := number.Int64()
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// text is text as it is, in hexadecimal or repeated.
func (p *sayPlugin) text(arg any) string {
	p.t.Helper()
	switch v := arg.(type) {
	case string:
		return v
	case map[string]any:
		digits, _ := v["hex"].(string)
		b, err := hex.DecodeString(digits)
		if err != nil {
			p.t.Fatal(err)
		}
		times := int64(1)
		if n, repeated := v["times"]; repeated {
			times = p.long(n)
		}
		text, _ := v["text"].(string)
		return strings.Repeat(string(b)+text, int(times))
	}
	p.t.Fatalf("%v is no text", arg)
	return ""
}
