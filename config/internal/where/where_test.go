package where

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

func payment() *host.Event {
	ev := &host.Event{
		Key: host.Hash{1}, Source: "/acme/pay", Type: "payment.succeeded", Subject: "stage45F3C",
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Received: time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC),
		Tenant: "acme", Endpoint: "pay", Provider: "ottu", VerifiedBy: host.HMACSHA256, Covers: host.CoversFields,
		Data: []byte(`{"status":"succeeded","amount":{"value":"86.000","currency":"KWD","minor":86000},
			"references":{"merchant":"A4711"},"provider_data":{"flag":true,"rate":1.5,"huge":123456789012345678901234567890,
			"nothing":null,"items":[{"sku":"A1","n":2},{"sku":"B2","n":1}],"tags":["x","y"]}}`),
	}
	return ev
}

func TestCondition(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`type == "payment.succeeded"`:                                              true,
		`type startsWith "payment." and provider in ["ottu", "wowpe"]`:             true,
		`tenant == "acme" && endpoint == "pay" && source == "/acme/pay"`:           true,
		`subject matches "^stage[0-9A-F]+$"`:                                       true,
		`verifiedby == "hmac-sha256" && covers == "fields"`:                        true,
		`len(id) == 26 && dedupkey startsWith "0100"`:                              true,
		`conflict || sandbox || confirm == "required"`:                             false,
		`time < date("2026-01-03") && receivedtime - time == duration("1m")`:       true,
		`data.status == "succeeded"`:                                               true,
		`data.amount.minor > 50000`:                                                true,
		`data.amount.minor + 1 == 86001`:                                           true,
		`decimal(data.amount.value) > decimal("12.50")`:                            true,
		`decimal(data.amount.value) == decimal("86")`:                              true,
		`decimal(data.amount.value) != decimal(86)`:                                false,
		`decimal(data.amount.value) <= decimal("85.999")`:                          false,
		`data.amount.value == "86"`:                                                false,
		`data.references.merchant == "A4711" and not (data.references.bank == "")`: true,
		`data.provider_data.flag == true`:                                          true,
		`data.provider_data.rate == 1.5`:                                           true,
		`(data.party ?? "none") == "none"`:                                         true,
		`(data.no?.such?.thing ?? 0) > 5`:                                          false,
		`data.provider_data.nothing == nil`:                                        true,
		`any(data.provider_data.items, .sku == "A1" && .n > 1)`:                    true,
		`count(data.provider_data.items, .n > 0) == 2`:                             true,
		`"x" in data.provider_data.tags`:                                           true,
		`type == "payment.failed" ? data.a.b.c == 1 : true`:                        true,
		`type == "payment.failed" && data.a.b.c == 1`:                              false,
		"type == 'payment.succeeded' &&\n  provider == 'ottu'":                     true,
		`lower(data.amount.currency) == "kwd"`:                                     true,
	} {
		c, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := c.Test(payment()); got != want || err != nil {
			t.Errorf("%s = %t, %v, want %t", text, got, err, want)
		}
	}
}

func TestCompile_refuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{``, "at character 1: "},
		{`provder == "ottu"`, `at character 1: "provder" is unknown`},
		{`type == "a" && provder == "ottu"`, `at character 16: "provder" is unknown`},
		{"type == 'a' &&\n  provder == 'b'", `at line 2, character 3: "provder" is unknown`},
		{`type == 5`, "at character 6: invalid operation: == (mismatched types string and int)"},
		{`conflict == "true"`, "mismatched types bool and string"},
		{`type.name == "x"`, "at character 6: "},
		{`!type`, "at character 1: "},
		{`type == "a`, "at character "},
		{`type = "a"`, "at character "},
		{`(type == "a"`, "at character "},
		{`subject matches "("`, "at character "},
		{`type`, "at character 1: is neither true nor false: it is text"},
		{`data.amount.minor`, "at character 1: is neither true nor false: it is known only with the data"},
		{`data.flag`, "is neither true nor false"},
		{`time`, "it is a time"},
		{`1 + 1`, "it is a number"},
		{`decimal("1")`, "it is a decimal"},
		{`decimal(data.amount.value) > 12.5`, "mismatched types decimal and float64"},
		{`data.amount.value > "12.50"`, "at character 19: may compare text letter by letter"},
		{`data.amount.value > data.limit`, "may compare text"},
		{`subject < data.b`, "may compare text"},
		{`data.a + data.b == "x"`, "joins text"},
		{`subject + "x" == "x"`, "joins text"},
		{`data.a matches data.b`, "takes a pattern from elsewhere"},
		{`5 in 1..1000000000`, "makes a list of a range"},
		{`any(data.items, # in data.others)`, "looks at the data as a whole"},
		{`any(data.items, any(.parts, .n == 1))`, "goes through a list"},
		{`let x = data; x.a == 1`, "is not offered"},
		{`{"a": 1}.a == 1`, "is not offered"},
		{`time.Year() == 2026`, "is no function here"},
		{`decimal("1").Sign() == 1`, "is no function here"},
		{`filter(data.items, .n == 1)[0].n == 1`, "filter is no function here"},
		{`sum(data.items, .n) == 1 && reduce(data.items, #acc + .n, 0) == 1`, "is no function here"},
		{`$env["data"].a == 1`, "$env is not offered"},
		{`now() > time`, `"now" is unknown`},
		{`repeat("x", 1000000) == ""`, `"repeat" is unknown`},
		{`len(map(data.items, .n)) == 1`, "map is no function here"},
		{`date("2026", "2006", "Europe/Berlin") > time`, "date takes one text"},
		{strings.Repeat("a", maxText+1), "the limit is 4096"},
		{"true" + strings.Repeat(" || true", maxNodes), "at character "},
		{strings.Repeat("(", 2000), "at character "},
	} {
		c, err := Compile(tc.text)
		if err == nil {
			t.Errorf("Compile(%.60q) = %v, want an error with %q", tc.text, c, tc.want)
			continue
		}
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Compile(%.60q): %v, want one line with %q", tc.text, err, tc.want)
		}
	}
}

// What an expression does not fit is an error that shows nothing of the event.
func TestCondition_errors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`data.no.such == 1`:                             "at character 9: ",
		`data.amount.value > 5`:                         "at character 19: ",
		`data.status`:                                   "",
		`data.status && true`:                           "it is neither true nor false",
		`decimal(data.status) > decimal("1")`:           "at character ",
		`decimal(data.provider_data.rate) > decimal(1)`: "at character ",
		`decimal(data.none) > decimal(1)`:               "at character ",
		`date(data.status) > time`:                      "at character ",
		`decimal("1e999999999") > decimal(1)`:           "at character ",
		`decimal("1/3") > decimal(0)`:                   "at character ",
		`int(data.status) > 1`:                          "at character ",
		`1 % int(data.provider_data.rate - 1.5) == 1`:   "at character ",
		`any(data.amount.minor, # == 1)`:                "at character ",
		`data[data.status].x == 1`:                      "at character ",
	} {
		c, err := Compile(text)
		if want == "" {
			if err == nil {
				t.Errorf("%s compiles", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := c.Test(payment())
		if got || err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "succeeded") {
			t.Errorf("%s = %t, %v, want an error from %q on", text, got, err, want)
		}
	}
	c, err := Compile(`data.a == 1`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Test(&host.Event{Data: []byte(`{"a":`)}); got || err == nil {
		t.Errorf("of broken data: %t, %v", got, err)
	}
}

// An event whose data is broken is judged all the same where nobody asks for it.
func TestCondition_dataIsReadOnlyWhereItIsNamed(t *testing.T) {
	for text, reads := range map[string]bool{
		`type == "a" || "data" == type`:                  false,
		`type == "a" || data.x == 1`:                     true,
		`any(["a"], # == type)`:                          false,
		`decimal(data.amount?.value ?? 0) == decimal(1)`: true,
	} {
		c, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Test(&host.Event{Data: []byte(`{`)}); (err != nil) != reads {
			t.Errorf("%s: %v, want the data read: %t", text, err, reads)
		}
	}
	c, err := Compile(`type == "payment.succeeded" && provider == "ottu"`)
	if err != nil {
		t.Fatal(err)
	}
	small, large := payment(), payment()
	large.Data = fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", 1<<20))
	allocs := func(ev *host.Event) float64 { return testing.AllocsPerRun(20, func() { _, _ = c.Test(ev) }) }
	if a, b := allocs(small), allocs(large); a != b {
		t.Errorf("%v allocations for small data, %v for large", a, b)
	}
}

// However much data comes, the work is bounded.
func TestCondition_tooMuchData(t *testing.T) {
	t.Parallel()
	for text, most := range map[string]int{
		`data.a == 1`:         maxWork / 5,
		`any(data.a, # == 1)`: maxWork / (5 + 3*loopCost),
		`true` + strings.Repeat(` || data.a == 1`, 60): maxWork / (1 + 60*6),
		`type == "a"`: 64 << 20,
	} {
		c, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		ev := &host.Event{Data: []byte(`{"a":[0],"b":""}`)}
		ev.Data = append(ev.Data, strings.Repeat(" ", most-len(ev.Data))...)
		if _, err := c.Test(ev); err != nil {
			t.Errorf("%.20s, %d bytes: %v", text, most, err)
		}
		if text == `type == "a"` {
			continue
		}
		ev.Data = append(ev.Data, strings.Repeat(" ", most/50+10)...)
		if _, err := c.Test(ev); err == nil || !strings.Contains(err.Error(), "too much") {
			t.Errorf("%.20s, %d bytes: %v, want too much", text, len(ev.Data), err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	got := Names()
	for _, want := range []string{"type", "data", "decimal", "any", "receivedtime"} {
		if !slices.Contains(got, want) {
			t.Errorf("Names lacks %s: %v", want, got)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`data.amount.minor > 5`, `any(data.items, .sku == "A1")`, `decimal(data.a) >= decimal("1.5")`,
		`type matches "^a" ? true : !conflict`, `let x = 1; x`, `data?.a[1:2] ?? 1`, `{"a": [1]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Compile(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Errorf("Compile(%q) = %v, want an *Error with a place", text, err)
			}
			return
		}
		_, _ = c.Test(payment())
	})
}
