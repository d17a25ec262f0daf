package sdktest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	postern "github.com/postern/postern/sdk"
	"github.com/postern/postern/sdk/internal/abi"
)

// judge runs a handler on a callback, with a secret "key", a secret "crc" that
// may answer challenges, a token "token", a signed token "once" and the ciphers
// "cipher", of two values, and "zero".
func judge(t *testing.T, body string, handle func(cb *postern.Callback) postern.Verdict) *result {
	t.Helper()
	h := newHost(t, body)
	abi.Use(h)
	postern.Register(postern.Plugin{Handle: handle})
	r, err := h.finish(abi.HandleExport(), true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newHost(t *testing.T, body string) *host {
	t.Helper()
	r, err := parseRequest([]byte("POST /in/demo/x?a=1&b=2&b=3 HTTP/1.1\nOne: first\nTwo: a\ntwo: b\n\n" + body))
	if err != nil {
		t.Fatal(err)
	}
	r.public = "https://postern.test"
	secrets := map[string]*secret{
		"key":    {Name: "key", Use: "hmac-sha256", Form: "utf8"},
		"crc":    {Name: "crc", Use: "hmac-sha256", Form: "utf8", Respond: "[a-z]{1,8}"},
		"once":   {Name: "once", Use: "signed-token", Form: "utf8", In: "query:once"},
		"cipher": {Name: "cipher", Use: "aes-128-cbc", Form: "utf8"},
		"zero":   {Name: "zero", Use: "aes-128-cbc-zero", Form: "utf8"},
	}
	values := map[string][]string{"cipher": {"test-key-0123456", "test-key-old-001"}, "zero": {"test-key-0123456"}, "once": {"test-key-of-token"}}
	for name, s := range secrets {
		if values[name] == nil {
			values[name] = []string{"test-key"}
		}
		if err := s.bind(values[name]); err != nil {
			t.Fatal(err)
		}
	}
	return &host{
		req: r, received: time.UnixMilli(1767323045120), secrets: secrets,
		settings: map[string]string{"text": "x", "number": "201"}, tokens: map[string]token{"token": {which: 1}, "once": {text: "order-1", signed: true}},
		chunks: []chunk{{bytes: r.body}}, log: func(line string) { t.Log(line) },
	}
}

// say makes one event with everything it needs, then what the test wants.
func say(then func(cb *postern.Callback, ev postern.Event, body postern.View)) func(cb *postern.Callback) postern.Verdict {
	return func(cb *postern.Callback) postern.Verdict {
		body, _ := cb.JSON()
		proof, _ := cb.Token("token")
		then(cb, cb.Event(proof).Type("payment.succeeded").Status("succeeded"), body)
		return cb.Accept()
	}
}

func TestAccept_refusesAfterTheFirstFailure(t *testing.T) {
	const body = `{"id":"1","unit":"KWD","null":null,"object":{"id":"2"},"long":"` + "%" + `"}`
	doc := strings.Replace(body, "%", strings.Repeat("x", 5000), 1)
	for name, c := range map[string]struct {
		detail string
		then   func(cb *postern.Callback, ev postern.Event, body postern.View)
	}{
		"empty key component": {"key component 2: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Key("1", body.Text("/absent"), "3")
		}},
		"null key component": {"key component 1: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Key(body.Text("/null"))
		}},
		"object as key component": {"key component 1: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Key(body.Text("/object"))
		}},
		"long key component": {"key component 1: too long or too many", func(_ *postern.Callback, ev postern.Event, _ postern.View) {
			ev.Key(strings.Repeat("k", 513))
		}},
		"seventeen key components": {"key component 17: too long or too many", func(_ *postern.Callback, ev postern.Event, _ postern.View) {
			ev.Key(strings.Split(strings.Repeat("k", 17), "")...)
		}},
		"empty subject": {"subject: absent", func(_ *postern.Callback, ev postern.Event, _ postern.View) { ev.Subject("") }},
		"absent subject": {"value of /absent: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Map(postern.FieldSubject, body, "/absent")
		}},
		"long text": {"value of /long: too long or too many", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Map(postern.FieldParty, body, "/long")
		}},
		"path that is none": {"value of id: malformed", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.ProviderData(body, "id")
		}},
		"amount alone":  {"currency: malformed", func(_ *postern.Callback, ev postern.Event, _ postern.View) { ev.Amount("1.00", "") }},
		"currency only": {"amount: malformed", func(_ *postern.Callback, ev postern.Event, _ postern.View) { ev.Amount("", "KWD") }},
		"mapped amount alone": {"currency: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.MapAmount(body, "/id", "/absent")
		}},
		"mapped currency only": {"amount: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.MapAmount(body, "/absent", "/unit")
		}},
		"mapped object": {"value of /object: malformed", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Map(postern.FieldKey, body, "/object")
		}},
		"mapped key": {"value of /absent: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Map(postern.FieldKey, body, "/absent")
		}},
		"float amount": {"amount: malformed", func(_ *postern.Callback, ev postern.Event, _ postern.View) { ev.Amount("1e2", "KWD") }},
		"finished event": {"party of a finished event: out of order", func(cb *postern.Callback, ev postern.Event, _ postern.View) {
			cb.Event(postern.Evidence{}).Type("payment.failed")
			ev.Party("x")
		}},
		"time of a finished event": {"time of a finished event: out of order", func(cb *postern.Callback, ev postern.Event, _ postern.View) {
			cb.Event(postern.Evidence{}).Type("payment.failed")
			ev.Time("yesterday")
		}},
		"odd milliseconds of a finished event": {"time of a finished event: out of order", func(cb *postern.Callback, ev postern.Event, _ postern.View) {
			cb.Event(postern.Evidence{}).Type("payment.failed")
			ev.TimeMillis(-1)
		}},
		"ack that is no success": {"ack: out of order", func(cb *postern.Callback, _ postern.Event, _ postern.View) { cb.Ack(404, "", "") }},
		"set aside nothing": {"set aside /absent: absent", func(cb *postern.Callback, _ postern.Event, body postern.View) {
			cb.SetAside(body, "/absent", "why")
		}},
		"only the first failure counts": {"subject: absent", func(_ *postern.Callback, ev postern.Event, _ postern.View) {
			ev.Subject("").Key("")
		}},
		"the first failure is of a view": {"value of /absent: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Map(postern.FieldSubject, body, "/absent").Key("")
		}},
		"the first failure is long ago": {"value of /absent: absent", func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Map(postern.FieldSubject, body, "/absent")
			for range 100 {
				ev.Map(postern.FieldKey, body, "/null")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(t, doc, say(c.then))
			want := &result{Verdict: "reject", Reason: "malformed", Detail: c.detail}
			got.Evidence = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEvent_isNotLostForItsTime has times that are none, beside the first and
// the last that are: an event with no time of its own is accepted.
func TestEvent_isNotLostForItsTime(t *testing.T) {
	const doc = `{"at":"2026-01-02T08:34:05+05:30","odd":"yesterday","number":20260102,"object":{}}`
	text := func(at string) func(*postern.Callback, postern.Event, postern.View) {
		return func(_ *postern.Callback, ev postern.Event, _ postern.View) { ev.Time(at) }
	}
	millis := func(ms int64) func(*postern.Callback, postern.Event, postern.View) {
		return func(_ *postern.Callback, ev postern.Event, _ postern.View) { ev.TimeMillis(ms) }
	}
	mapped := func(path string) func(*postern.Callback, postern.Event, postern.View) {
		return func(_ *postern.Callback, ev postern.Event, body postern.View) {
			ev.Map(postern.FieldTime, body, path)
		}
	}
	for name, c := range map[string]struct {
		want string // of the event, "" for none
		then func(*postern.Callback, postern.Event, postern.View)
	}{
		"empty":                    {"", text("")},
		"a word":                   {"", text("yesterday")},
		"long words":               {"", text("yesterday, when all my troubles")},
		"a day alone":              {"", text("2026-01-02")},
		"no zone":                  {"", text("2026-01-02T03:04:05")},
		"no such month":            {"", text("2026-13-01T00:00:00Z")},
		"no such day":              {"", text("2026-02-29T00:00:00Z")},
		"the month first":          {"", text("1/2/2026 3:04:05 AM")},
		"bytes that are no text":   {"", text("2026-01-02T03:04:05\xff")},
		"longer than a text":       {"", text("2026-01-02T03:04:05." + strings.Repeat("0", 5000) + "Z")},
		"before 1970":              {"", text("1969-12-31T00:00:00Z")},
		"the first day":            {"", text("1970-01-01T23:59:59Z")},
		"the second day":           {"1970-01-02T00:00:00Z", text("1970-01-02T00:00:00Z")},
		"the last day but one":     {"9999-12-30T23:59:59Z", text("9999-12-30T23:59:59Z")},
		"the last day":             {"", text("9999-12-31T00:00:00Z")},
		"far away":                 {"", text("+12026-01-02T03:04:05Z")},
		"milliseconds before 1970": {"", millis(-1)},
		"the first millisecond":    {"", millis(0)},
		"one of the second day":    {"1970-01-02T00:00:00Z", millis(86400_000)},
		"one of the last but one":  {"9999-12-30T23:59:59.999Z", millis(253402214399_999)},
		"the last millisecond":     {"", millis(253402300799_999)},
		"milliseconds after 9999":  {"", millis(253402300800_000)},
		"mapped":                   {"2026-01-02T03:04:05Z", mapped("/at")},
		"mapped, odd":              {"", mapped("/odd")},
		"mapped, a number":         {"", mapped("/number")},
		"mapped, an object":        {"", mapped("/object")},
		"mapped, absent":           {"", mapped("/absent")},
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(t, doc, say(c.then))
			if got.Verdict != "accept" || len(got.Events) != 1 {
				t.Fatalf("verdict %s, detail %q, want accept with one event", got.Verdict, got.Detail)
			}
			if at := got.Events[0].Time; at != c.want {
				t.Errorf("time = %q, want %q", at, c.want)
			}
		})
	}
}

func TestEvent_everyField(t *testing.T) {
	got := judge(t, `{"id":"1","n":12.50,"unit":"KWD","list":[ 1 ]}`, say(func(cb *postern.Callback, ev postern.Event, body postern.View) {
		ev.Subject("s").TimeMillis(1767323045007).Key("a").Key("b", "c").Map(postern.FieldKey, body, "/id").Status("succeeded").ProviderStatus("OK").
			MapAmount(body, "/n", "/unit").Minor(12500).MerchantRef("m").ProviderRef("p").BankRef("b").
			Method("card").Party("payer").Confirm().Sandbox().ProviderData(body, "")
		cb.Event(postern.Evidence{}).Type("payment.notified").Confirm().
			Map(postern.FieldSubject, body, "/id").Map(postern.FieldMethod, body, "/absent").MapAmount(body, "/absent", "/absent").
			Time("2026-01-02T08:34:05.1234567+05:30").Amount("", "").Party("")
		cb.SetAside(body, "/list", "why")
		cb.Ack(201, "text/plain", "ok")
	}))
	want := `{"verdict":"accept","evidence":[{"secret":"token","value":1,"algorithm":"static-token","covers":"none"}],` +
		`"answer":{"status":201,"content_type":"text/plain","body":"ok"},"events":[` +
		`{"evidence":0,"type":"payment.succeeded","subject":"s","time":"2026-01-02T03:04:05.007Z","key":["a","b","c","1"],` +
		`"status":"succeeded","provider_status":"OK","amount":"12.50","currency":"KWD","minor":12500,` +
		`"references":{"merchant":"m","provider":"p","bank":"b"},"method":"card","party":"payer","confirm":true,"sandbox":true,` +
		`"provider_data":{"id":"1","n":12.50,"unit":"KWD","list":[1]}},` +
		`{"evidence":-1,"type":"payment.notified","subject":"1","time":"2026-01-02T03:04:05.123Z","confirm":true}],` +
		`"aside":[{"reason":"why","item":[1]}]}`
	if text, err := canonical(got); err != nil || string(text) != want {
		t.Errorf("result = %s, %v\nwant     %s", text, err, want)
	}
}

// TestEvent_manyFields has the host told of fields in parts, which must not show:
// what is judged together stands at every place of a part.
func TestEvent_manyFields(t *testing.T) {
	const body = `{"n":12.50,"unit":"KWD","null":null}`
	for before := range 140 {
		for name, c := range map[string]struct {
			then   func(ev postern.Event, body postern.View)
			want   string // of the event, or
			detail string
		}{
			"amount": {
				func(ev postern.Event, body postern.View) { ev.MapAmount(body, "/n", "/unit") },
				`,"amount":"12.50","currency":"KWD"`, "",
			},
			"neither": {
				func(ev postern.Event, body postern.View) { ev.MapAmount(body, "/no", "/null").Method("card") },
				`,"method":"card"`, "",
			},
			"amount alone":   {func(ev postern.Event, body postern.View) { ev.MapAmount(body, "/n", "/no") }, "", "currency: absent"},
			"currency alone": {func(ev postern.Event, body postern.View) { ev.MapAmount(body, "/null", "/unit") }, "", "amount: absent"},
			"left out": {func(ev postern.Event, body postern.View) {
				ev.Map(postern.FieldMethod, body, "/no").Map(postern.FieldTime, body, "/unit").Time("never").Map(postern.FieldBankRef, body, "/unit")
			}, `,"references":{"bank":"KWD"}`, ""},
			"component": {
				func(ev postern.Event, body postern.View) {
					ev.Key("a").Map(postern.FieldKey, body, "/null").Method("card")
				},
				"", "value of /null: absent",
			},
			"second component": {
				func(ev postern.Event, _ postern.View) { ev.Key("a", strings.Repeat("x", 513), "c") },
				"", "key component 2: too long or too many",
			},
		} {
			got := judge(t, body, say(func(_ *postern.Callback, ev postern.Event, body postern.View) {
				for range before {
					ev.Party("payer")
				}
				c.then(ev, body)
			}))
			if got.Detail != c.detail {
				t.Fatalf("%s behind %d fields: detail %q, want %q", name, before, got.Detail, c.detail)
			}
			if c.detail != "" {
				continue
			}
			party := ""
			if before > 0 {
				party = `,"party":"payer"`
			}
			text, err := canonical(got)
			if err != nil {
				t.Fatal(err)
			}
			if said := strings.Replace(string(text), party, "", 1); !strings.Contains(said, `"status":"succeeded"`+c.want+"}") {
				t.Fatalf("%s behind %d fields: %s, want %s in it", name, before, text, c.want)
			}
		}
	}
}

func TestEvent_thousandAtMost(t *testing.T) {
	got := judge(t, `{}`, func(cb *postern.Callback) postern.Verdict {
		for range 1001 {
			cb.Event(postern.Evidence{}).Type("payment.succeeded").Party("x")
		}
		return cb.Accept()
	})
	if want := "event: too long or too many"; got.Verdict != "reject" || got.Detail != want {
		t.Errorf("1001 events: %s %q, want reject %q", got.Verdict, got.Detail, want)
	}
}

func TestCallback_reads(t *testing.T) {
	long := strings.Repeat("long text ", 1000)
	judge(t, `{"long":"`+long+`"}`, func(cb *postern.Callback) postern.Verdict {
		body, _ := cb.JSON()
		plain, err := cb.Decode("68656c6c6f", postern.Hex)
		_, bad := cb.Decode("xx", postern.Hex)
		name, value, _ := cb.HeaderField(2)
		second, _ := cb.HeaderAt("TWO", 1)
		got := []any{
			cb.Method(), cb.Target(), cb.URL(), cb.Now(), cb.Header("ONE"), cb.Header("two"), cb.Header("three"), second, name, value,
			cb.Query("a"), cb.Query("b"), cb.Setting("number"), cb.Setting("absent"),
			body.Text("/long") == long, string(plain.Read()), err, bad, len(cb.Body().Read()),
			len(plain.Hash(postern.SHA512)), string(plain.Hash(postern.CRC32)),
		}
		want := []any{
			"POST", "/in/demo/x?a=1&b=2&b=3", "https://postern.test/in/demo/x?a=1&b=2&b=3", int64(1767323045120), "first", "", "", "b", "two", "b",
			"1", "", "201", "",
			true, "hello", nil, postern.ErrMalformed, len(long) + len(`{"long":""}`),
			64, "\x36\x10\xa6\x86",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reads (-want +got):\n%s", diff)
		}
		return cb.Ignore("read")
	})
}

func TestView_kinds(t *testing.T) {
	judge(t, `{"s":"x","n":1.0,"b":true,"null":null,"a":[1],"o":{"k":"v"},"brace":"{x","bracket":"[x"}`, func(cb *postern.Callback) postern.Verdict {
		v, _ := cb.JSON()
		var got []string
		for _, path := range []string{"/s", "/n", "/b", "/null", "/a", "/o", "/absent", "s", "/brace", "/bracket"} {
			text, kind := v.Get(path)
			got = append(got, path+" "+text+" "+v.Text(path)+" "+postern.Decimal(int64(kind), 0))
		}
		name, _ := v.NameAt("", 5)
		_, more := v.NameAt("", 8)
		want := []string{"/s x x 4", "/n 1.0 1.0 3", "/b true true 2", "/null   1", "/a [1]  5", `/o {"k":"v"}  6`, "/absent   0", "s   0", "/brace {x {x 4", "/bracket [x [x 4"}
		if diff := cmp.Diff(want, got); diff != "" || v.Len("") != 8 || v.Len("/a") != 1 || v.Len("/s") != 0 || name != "o" || more {
			t.Errorf("view (-want +got):\n%s", diff)
		}
		var empty postern.View
		if empty.Kind("") != postern.Absent || empty.Text("") != "" || empty.Len("") != 0 {
			t.Error("the zero View is not empty")
		}
		return cb.Ignore("")
	})
}

func TestSigned_failsClosed(t *testing.T) {
	judge(t, "body", func(cb *postern.Callback) postern.Verdict {
		if _, ok := cb.Signed("unknown").Body().Check("", postern.Raw); ok {
			t.Error("a secret that is not bound gave evidence")
		}
		if _, ok := cb.Token("unknown"); ok {
			t.Error("a token that is not bound gave evidence")
		}
		if _, ok := cb.Signed("key").Check("", postern.Hex); ok {
			t.Error("an empty signature gave evidence")
		}
		return cb.Reject(postern.NotVerified, "")
	})
}

// fullHost takes no more signed bytes.
type fullHost struct{ *host }

// SignedBytes is the ABI's signed_bytes.
func (fullHost) SignedBytes(int32, string) int32 { return abi.Limit }

// TestSigned_isWholeOrNothing: what the host did not take was not signed, and
// the signature of the rest is no proof.
func TestSigned_isWholeOrNothing(t *testing.T) {
	h := newHost(t, "body")
	abi.Use(fullHost{h})
	signature := toText(abi.Hex, h.secrets["key"].mac(0, []byte("body")))
	if _, ok := (&postern.Callback{}).Signed("key").Body().Text("more").Check(signature, postern.Hex); ok {
		t.Error("the signature of a part gave evidence")
	}
}

func TestEvidence_coversBody(t *testing.T) {
	const sum = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"
	h := newHost(t, "body")
	abi.Use(h)
	cb := &postern.Callback{}
	signature := toText(abi.Hex, h.secrets["key"].mac(0, []byte(sum)))
	proof, ok := cb.Signed("key").Text(sum).Check(signature, postern.Hex)
	if !ok {
		t.Fatal("the signature gave no evidence")
	}
	for _, c := range []struct {
		hash   postern.Hash
		digest string
		equal  bool
		covers string
	}{
		{postern.SHA256, strings.Repeat("0", 64), false, "fields"},
		{postern.SHA256, "not hex", false, "fields"},
		{postern.CRC32, "dba80bb2", true, "fields"},
		{postern.SHA256, sum, true, "body"},
	} {
		if got := proof.CoversBody(c.hash, c.digest, postern.Hex); got != c.equal || h.evidence[0].Covers != c.covers {
			t.Errorf("CoversBody(%d, %s) = %v covering %s, want %v covering %s", c.hash, c.digest, got, h.evidence[0].Covers, c.equal, c.covers)
		}
	}
	if (postern.Evidence{}).CoversBody(postern.SHA256, sum, postern.Hex) {
		t.Error("no evidence covers the body")
	}
}

func TestRespond(t *testing.T) {
	got := judge(t, "", func(cb *postern.Callback) postern.Verdict {
		cb.Respond(200, "application/json", `{"response":"`)
		cb.RespondMAC("crc", "token", postern.Base64)
		return cb.Respond(200, "application/json", `"}`)
	})
	want := `{"response":"` + toText(abi.Base64, newHost(t, "").secrets["crc"].mac(0, []byte("token"))) + `"}`
	if got.Verdict != "respond" || got.Answer.Body != want {
		t.Errorf("respond = %s %+v, want body %s", got.Verdict, got.Answer, want)
	}
	for name, refuse := range map[string]func(cb *postern.Callback){
		"text outside the pattern":    func(cb *postern.Callback) { cb.RespondMAC("crc", "payment=1", postern.Hex) },
		"part of a longer text":       func(cb *postern.Callback) { cb.RespondMAC("crc", "token\nx", postern.Hex) },
		"a secret without pattern":    func(cb *postern.Callback) { cb.RespondMAC("key", "token", postern.Hex) },
		"a secret that is not there":  func(cb *postern.Callback) { cb.RespondMAC("none", "token", postern.Hex) },
		"an answer that is a failure": func(cb *postern.Callback) { cb.Respond(500, "", "") },
	} {
		t.Run(name, func(t *testing.T) {
			got := judge(t, "", func(cb *postern.Callback) postern.Verdict {
				cb.Respond(200, "text/plain", "x")
				refuse(cb)
				return cb.Respond(200, "text/plain", "y")
			})
			if got.Verdict != "reject" || got.Answer != nil {
				t.Errorf("result = %+v, want a rejection without answer", got)
			}
		})
	}
}

func TestSign_isDeniedWhileJudging(t *testing.T) {
	abi.Use(newHost(t, "body"))
	u := &postern.Unsigned{}
	if signature, err := u.Sign(u.Signed("key").Body(), postern.Hex); !errors.Is(err, postern.ErrDenied) || signature != "" {
		t.Errorf("Sign = %q, %v, want nothing and ErrDenied", signature, err)
	}
	postern.Register(postern.Plugin{
		Handle: func(cb *postern.Callback) postern.Verdict { return cb.Ignore("") },
		Sign: func(u *postern.Unsigned) error {
			u.SetBody("other")
			return nil
		},
	})
	if code := abi.SignExport(); code != abi.Denied {
		t.Errorf("postern_sign = %d, want DENIED: a setter failed", code)
	}
	postern.Register(postern.Plugin{
		Handle: func(cb *postern.Callback) postern.Verdict { return cb.Ignore("") },
		Sign: func(u *postern.Unsigned) error {
			if sealed, err := u.Encrypt("cipher", testIV, u.Body()); !errors.Is(err, postern.ErrDenied) || sealed.Read() != nil {
				t.Errorf("Encrypt = %q, %v, want nothing and ErrDenied", sealed.Read(), err)
			}
			u.SetToken("once", "order-2")
			return nil
		},
	})
	if code := abi.SignExport(); code != abi.Denied {
		t.Errorf("postern_sign = %d, want DENIED: the token was not set", code)
	}
}

func TestShorten_keepsWholeCharacters(t *testing.T) {
	got := shorten(strings.Repeat("x", 255) + "\u00e9")
	if want := strings.Repeat("x", 255); got != want {
		t.Errorf("shorten kept %d bytes, want 255", len(got))
	}
}
