package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func keyOf(ep *Endpoint, d Draft, s Strength, body string, i int) (Hash, Content, Hash) {
	return ep.identify(&Callback{Body: []byte(body)}, &d, s, i)
}

// TestInvariant14_keysAreScopedAndLengthPrefixed lists what must not share a
// key. One that did would drop a payment as a duplicate of another.
func TestInvariant14_keysAreScopedAndLengthPrefixed(t *testing.T) {
	a := &Endpoint{Tenant: "acme", Name: "pay"}
	seen := make(map[Hash]string)
	for name, tt := range map[string]struct {
		ep    *Endpoint
		key   []string
		s     Strength
		body  string
		index int
	}{
		"the key":               {a, []string{"ab", "c"}, Cryptographic, "x", 0},
		"cut elsewhere":         {a, []string{"a", "bc"}, Cryptographic, "x", 0},
		"joined":                {a, []string{"abc"}, Cryptographic, "x", 0},
		"a separator inside":    {a, []string{"ab\x00\x00\x00\x00\x00\x00\x00\x00c"}, Cryptographic, "x", 0},
		"another order":         {a, []string{"c", "ab"}, Cryptographic, "x", 0},
		"another tenant":        {&Endpoint{Tenant: "other", Name: "pay"}, []string{"ab", "c"}, Cryptographic, "x", 0},
		"another endpoint":      {&Endpoint{Tenant: "acme", Name: "other"}, []string{"ab", "c"}, Cryptographic, "x", 0},
		"tenant and name moved": {&Endpoint{Tenant: "acmepay", Name: ""}, []string{"ab", "c"}, Cryptographic, "x", 0},
		"unverified":            {a, []string{"ab", "c"}, Unproven, "x", 0},
		"by a token only":       {a, []string{"ab", "c"}, Bearer, "x", 0},
		"by the body":           {a, nil, Cryptographic, "x", 0},
		"by another body":       {a, nil, Cryptographic, "y", 0},
		"the body's second":     {a, nil, Cryptographic, "x", 1},
	} {
		key, _, conflict := keyOf(tt.ep, Draft{Key: tt.key}, tt.s, tt.body, tt.index)
		for h, what := range map[Hash]string{key: name, conflict: name + ", as a conflict"} {
			if other, taken := seen[h]; taken {
				t.Errorf("%q and %q share a key", what, other)
			}
			seen[h] = what
		}
	}
	_, _, first := keyOf(a, Draft{Key: []string{"k"}, Amount: "1"}, Bearer, "x", 0)
	if _, _, other := keyOf(a, Draft{Key: []string{"k"}, Amount: "2"}, Bearer, "x", 0); first == other {
		t.Error("two conflicts of one key share an identity")
	}
	one, _, _ := keyOf(a, Draft{Key: []string{"k"}}, Bearer, "x", 0)
	same, _, _ := keyOf(a, Draft{Key: []string{"k"}}, Bearer, "another body", 5)
	if one != same {
		t.Error("the same components give two keys: body and index count only without any")
	}
}

// TestInvariant14_aKeyComesFromVerifiedBytes: the body's hash is a key only
// where the evidence covers the body; who has one valid callback could
// otherwise make new events of it by adding a space.
func TestInvariant14_aKeyComesFromVerifiedBytes(t *testing.T) {
	for name, tt := range map[string]struct {
		proof Evidence
		draft Draft
		ok    bool
	}{
		"fields, no key":          {Evidence{Algorithm: HMACSHA256, Covers: CoversFields}, Draft{}, false},
		"fields, a key":           {Evidence{Algorithm: HMACSHA256, Covers: CoversFields}, Draft{Key: []string{"k"}}, true},
		"fields, no key, a hint":  {Evidence{Algorithm: HMACSHA256, Covers: CoversFields}, Draft{Confirm: true}, true},
		"the body, no key":        {Evidence{Algorithm: HMACSHA256, Covers: CoversBody}, Draft{}, true},
		"a token proves no bytes": {Evidence{Algorithm: StaticToken}, Draft{}, true},
		"verification none, fine": {Evidence{}, Draft{Evidence: -1}, true},
	} {
		tt.draft.Type, tt.draft.Status = "payment.succeeded", "succeeded"
		res := Result{Evidence: []Evidence{tt.proof}, Events: []Draft{tt.draft}}
		if err := res.checkEvent(0); (err == nil) != tt.ok {
			t.Errorf("%s: checkEvent = %v, want ok %v", name, err, tt.ok)
		}
	}
}

// TestContent: exactly what makes a conflict.
func TestContent(t *testing.T) {
	ep := &Endpoint{}
	base := Draft{
		Type: "payment.succeeded", Subject: "s", Status: "succeeded", Amount: "1.00", Currency: "EUR",
		References: References{"m", "p", "b"},
	}
	_, want, _ := keyOf(ep, base, Bearer, "", 0)
	for name, change := range map[string]func(*Draft){
		"type": func(d *Draft) { d.Type = "x.y" }, "subject": func(d *Draft) { d.Subject = "t" },
		"status": func(d *Draft) { d.Status = "x" }, "amount": func(d *Draft) { d.Amount = "1.0" },
		"currency": func(d *Draft) { d.Currency = "USD" }, "merchant": func(d *Draft) { d.References.Merchant = "" },
		"provider": func(d *Draft) { d.References.Provider = "q" }, "bank": func(d *Draft) { d.References.Bank = "q" },
	} {
		d := base
		change(&d)
		if _, got, _ := keyOf(ep, d, Bearer, "", 0); got == want {
			t.Errorf("another %s is the same content", name)
		}
	}
	for name, change := range map[string]func(*Draft){
		"time": func(d *Draft) { d.Time = time.Now() }, "provider data": func(d *Draft) { d.ProviderData = json.RawMessage("1") },
		"provider status": func(d *Draft) { d.ProviderStatus = "x" }, "method": func(d *Draft) { d.Method = "x" },
		"party": func(d *Draft) { d.Party = "x" },
	} {
		d := base
		change(&d)
		if _, got, _ := keyOf(ep, d, Bearer, "", 0); got != want {
			t.Errorf("another %s is other content", name)
		}
	}
}

func TestID(t *testing.T) {
	h := Hash{0, 1, 2, 253, 254, 255}
	id := h.ID()
	if len(id) != 26 || strings.ToLower(id) != id {
		t.Errorf("ID = %q, want 26 lower-case characters", id)
	}
	if back, err := ParseID(id); err != nil || back != h {
		t.Errorf("ParseID = %v %v, want %v", back, err, h)
	}
	for _, bad := range []string{"", "x", strings.ToUpper(id), id + "a", id[:25] + "1", id[:5] + "\n" + id[5:], id[:25] + "b"} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) succeeds", bad)
		}
	}
	ev := Event{Key: Hash{1}, ConflictKey: Hash{2}}
	if first, conflict := ev.ID(), (&Event{Key: Hash{1}, ConflictKey: Hash{2}, Conflict: true}).ID(); first == conflict {
		t.Error("a conflict has the id of the first")
	}
}

func TestDraft_check(t *testing.T) {
	minor := int64(5)
	east, west := time.FixedZone("", 5*3600+1800), time.FixedZone("", -3600)
	for name, tt := range map[string]struct {
		draft Draft
		want  string
	}{
		"fine":              {Draft{Type: "payment.succeeded", Status: "succeeded", Amount: "-0.05", Currency: "EUR", Minor: &minor}, ""},
		"no type":           {Draft{}, "type"},
		"type of one word":  {Draft{Type: "payment"}, "type"},
		"type with capital": {Draft{Type: "Payment.ok"}, "type"},
		"float":             {Draft{Type: "a.b", Amount: "1e3", Currency: "EUR"}, "amount"},
		"leading zero":      {Draft{Type: "a.b", Amount: "01", Currency: "EUR"}, "amount"},
		"no currency":       {Draft{Type: "a.b", Amount: "1"}, "both or neither"},
		"currency alone":    {Draft{Type: "a.b", Currency: "EUR"}, "both or neither"},
		"minor alone":       {Draft{Type: "a.b", Minor: &minor}, "minor"},
		"currency form":     {Draft{Type: "a.b", Amount: "1", Currency: "eur"}, "currency"},
		"empty key":         {Draft{Type: "a.b", Key: []string{"a", ""}}, "component"},
		"long key":          {Draft{Type: "a.b", Key: []string{strings.Repeat("x", MaxKeyLength+1)}}, "component"},
		"many keys":         {Draft{Type: "a.b", Key: make([]string, MaxKeyParts+1)}, "components"},
		"year 0":            {Draft{Type: "a.b", Time: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)}, "time"},
		"1969 in UTC":       {Draft{Type: "a.b", Time: time.Date(1970, 1, 1, 0, 0, 0, 0, east)}, "time"},
		"1970 in UTC":       {Draft{Type: "a.b", Time: time.Date(1970, 1, 1, 5, 30, 0, 0, east)}, ""},
		"10000 in UTC":      {Draft{Type: "a.b", Time: time.Date(9999, 12, 31, 23, 0, 0, 0, west)}, "time"},
		"not UTF-8":         {Draft{Type: "a.b", Subject: "\xff"}, "subject"},
		"long":              {Draft{Type: "a.b", Party: strings.Repeat("x", MaxText+1)}, "party"},
	} {
		err := tt.draft.check()
		if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: check = %v, want %q", name, err, tt.want)
		}
	}
}

func TestEvent_isACloudEvent(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	minor := int64(86000)
	ep := &Endpoint{Tenant: "acme", Name: "pay", Provider: "ottu"}
	res := Result{Evidence: []Evidence{proof}, Events: []Draft{{
		Type: "payment.succeeded", Subject: "r1", Key: []string{"r1"}, Status: "succeeded", ProviderStatus: "paid",
		Amount: "86.000", Currency: "KWD", Minor: &minor, References: References{Provider: "r1"},
		Confirm: true, Sandbox: true, ProviderData: json.RawMessage(`{"a<b":1.0}`),
	}}}
	ev, err := ep.complete(&Callback{Received: at}, &res, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ev.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/acme/pay","type":"payment.succeeded","subject":"r1",`+
		`"time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","tenant":"acme","provider":"ottu",`+
		`"verifiedby":"hmac-sha256","covers":"body","receivedtime":"2026-01-02T03:04:05Z","dedupkey":"%x",`+
		`"confirm":"required","sandbox":true,"data":{"status":"succeeded","provider_status":"paid",`+
		`"amount":{"value":"86.000","currency":"KWD","minor":86000},"references":{"provider":"r1"},"provider_data":{"a<b":1.0}}}`,
		ev.ID(), ev.Key)
	if string(got) != want {
		t.Errorf("event\n%s\nwant\n%s", got, want)
	}
}

func TestFilter(t *testing.T) {
	ev := Event{Tenant: "acme", Provider: "ottu", Type: "payment.succeeded", VerifiedBy: HMACSHA256}
	unverified, conflict := ev, ev
	unverified.VerifiedBy, conflict.Conflict = None, true
	for name, tt := range map[string]struct {
		filter Filter
		ev     Event
		want   bool
	}{
		"no condition":        {Filter{}, ev, true},
		"glob":                {Filter{Types: []string{"refund.*", "payment.*"}}, ev, true},
		"other type":          {Filter{Types: []string{"refund.*"}}, ev, false},
		"other tenant":        {Filter{Tenants: []string{"umbrella"}}, ev, false},
		"every condition":     {Filter{Tenants: []string{"acme"}, Providers: []string{"wibmo"}}, ev, false},
		"unverified":          {Filter{}, unverified, false},
		"unverified wanted":   {Filter{Unverified: true}, unverified, true},
		"conflict":            {Filter{}, conflict, false},
		"conflict wanted":     {Filter{Conflicts: true}, conflict, true},
		"a broken glob is no": {Filter{Types: []string{"["}}, ev, false},
	} {
		if got := tt.filter.Match(&tt.ev); got != tt.want {
			t.Errorf("%s: Match = %v, want %v", name, got, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	err := fmt.Errorf("append: %w", Errorf(StoreFull, "queue: %w", ErrNotFound))
	if CodeOf(err) != StoreFull || !errors.Is(err, ErrNotFound) {
		t.Errorf("code %v of %v", CodeOf(err), err)
	}
	if CodeOf(errors.New("x")) != Internal || CodeOf(nil) != Internal {
		t.Error("an error without a code is internal")
	}
	for c := Internal; c <= Draining; c++ {
		if c.String() == "" || c.Status() < 400 || (c != Internal && c.String() == Internal.String()) {
			t.Errorf("code %d: %q %d", c, c, c.Status())
		}
	}
	if err := RetryAfter(Permanent(errors.New("x")), time.Second); !IsPermanent(err) || AskedWait(err) != time.Second {
		t.Errorf("marks are lost: %v", err)
	}
	if Permanent(nil) != nil || RetryAfter(nil, 1) != nil || IsPermanent(nil) || AskedWait(errors.New("x")) != 0 {
		t.Error("nil is marked")
	}
}

func TestCursor(t *testing.T) {
	c := CursorAt(258, 3)
	if seq, i, err := c.At(); err != nil || seq != 258 || i != 3 {
		t.Errorf("At = %d %d %v", seq, i, err)
	}
	if CursorAt(9, 0) >= CursorAt(10, 0) || CursorAt(10, 1) >= CursorAt(10, 2) {
		t.Error("cursors do not sort as text")
	}
	for _, bad := range []Cursor{"x", "00000000000000010001x", "-0000000000000010001", " 000000000000000 001"} {
		if _, _, err := bad.At(); err == nil {
			t.Errorf("At(%q) succeeds", bad)
		}
	}
}
