package host

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const eventSchema = "urn:postern:schema:event:1"

// published compiles docs/schema as whoever downloads it would: each file
// under the name that it gives itself.
func published(t testing.TB) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range []string{"event", "payment"} {
		doc := readJSON(t, "../docs/schema/"+name+".schema.json")
		members, _ := doc.(map[string]any)
		id, _ := members["$id"].(string)
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(eventSchema)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func readJSON(t testing.TB, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return doc
}

// judged is what the host and the schema each say of a draft; nil accepts it.
func judged(t testing.TB, schema *jsonschema.Schema, d Draft) (byHost, bySchema error) {
	t.Helper()
	ep := &Endpoint{Tenant: "acme", Name: "pay", Provider: "ottu"}
	res := Result{Events: []Draft{d}, Evidence: []Evidence{
		{Algorithm: HMACSHA256, Covers: CoversBody},
		{Algorithm: AES128CBC, Covers: CoversFields},
		{Algorithm: StaticToken, Covers: CoversNone},
	}}
	byHost = d.check()
	ev, err := ep.complete(&Callback{Received: time.Unix(1_800_000_000, 0)}, &res, 0)
	if err != nil {
		return err, err
	}
	ev.Conflict = d.Sandbox // the store's word; here any draft's
	text, err := ev.MarshalJSON()
	if err != nil {
		if byHost == nil {
			t.Errorf("the host takes %+v, which cannot be written out: %v", d, err)
		}
		return byHost, err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return byHost, schema.Validate(doc)
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// rightDraft makes a draft that the host and the schema must accept.
func rightDraft(r *rand.Rand) Draft {
	d := Draft{Evidence: r.IntN(4) - 1, Key: []string{"k"}, Confirm: r.IntN(4) == 0, Sandbox: r.IntN(4) == 0}
	family := pick(r, "payment", "payout", "transfer", "charge", "github", "payments", "0-x")
	fact := pick(r, slices.Concat(moneyFacts, []string{factNotified, factNotified, "credited"})...)
	switch {
	case !slices.Contains(moneyFamilies, family):
		d.Type = family + pick(r, ".push", "."+fact, ".a.b_c", ".0.1.2.3")
		d.Status = pick(r, "", "open", fact)
	case fact == factNotified:
		d.Type, d.Confirm = family+"."+fact, true
	case fact == "credited":
		d.Type, d.Status = "transfer."+pick(r, transferFacts...), statusSucceeded
	default:
		d.Type, d.Status = family+"."+fact, fact
	}
	if r.IntN(2) == 0 {
		d.Amount, d.Currency = pick(r, rightAmounts...), pick(r, "EUR", "KWD", "INR")
		if minor := int64(r.Uint64()); r.IntN(2) == 0 {
			d.Minor = &minor
		}
	}
	if r.IntN(2) == 0 {
		d.Time = pick(r, rightTimes...)
	}
	for _, text := range texts(&d) {
		if r.IntN(3) == 0 {
			*text = pick(r, "x", "0", " ", "<&>\u2028\"\\", "\x00\x1f", "ſ", "支付", strings.Repeat("x", MaxText))
		}
	}
	d.ProviderData = pick(r, nil, json.RawMessage{}, json.RawMessage(`{"a":1.0,"a":[null]}`), json.RawMessage(`"<"`), json.RawMessage("null"))
	return d
}

var (
	east = time.FixedZone("", 14*3600)
	west = time.FixedZone("", -12*3600)

	rightAmounts = []string{"0", "-0", "0.00", "86.000", "-0.05", strings.Repeat("9", 24) + "." + strings.Repeat("9", 12)}
	rightTimes   = []time.Time{
		{},
		time.Unix(0, 0), time.Unix(1_800_000_000, 120_000_000).In(east), time.Unix(1_800_000_000, 1).In(west),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(1970, 1, 1, 14, 0, 0, 0, east), time.Date(1969, 12, 31, 12, 0, 0, 0, west),
	}
)

// texts are the fields of free text, the status left out.
func texts(d *Draft) []*string {
	return []*string{
		&d.Subject, &d.ProviderStatus, &d.References.Merchant, &d.References.Provider,
		&d.References.Bank, &d.Method, &d.Party,
	}
}

// mutations each change one thing, mostly for the worse. What the schema
// cannot see is not among them: the dedup key, bytes that are no UTF-8 (the
// JSON has U+FFFD there) and the bytes of a text within the limit of
// characters. TestDraft_check has those.
var mutations = map[string]func(r *rand.Rand, d *Draft){
	"type": func(r *rand.Rand, d *Draft) {
		d.Type = pick(r, "", "payment", "payment.", ".succeeded", "Payment.succeeded", "payment.Succeeded", "payment_x.a",
			"payment.succeeded ", "payment.succeeded\n", "payment.succeeded.again", "a.b.c.d.e.f", "x.ſ", "x."+strings.Repeat("y", 64),
			"payment.succeded", "payment.success", "charge.credited", "payment.debited", "payout.x.succeeded")
	},
	"family": func(r *rand.Rand, d *Draft) {
		_, fact, _ := strings.Cut(d.Type, ".")
		d.Type = pick(r, "payment", "payout", "transfer", "charge", "github") + "." + fact
	},
	"fact": func(r *rand.Rand, d *Draft) {
		family, _, _ := strings.Cut(d.Type, ".")
		d.Type = family + "." + pick(r, slices.Concat(moneyFacts, transferFacts, []string{factNotified})...)
	},
	"status": func(r *rand.Rand, d *Draft) {
		d.Status = pick(r, slices.Concat(moneyFacts, transferFacts, []string{
			factNotified, "", "Succeeded", "succeeded ", "success", strings.Repeat("x", MaxText), strings.Repeat("x", MaxText+1),
		})...)
	},
	"confirm": func(_ *rand.Rand, d *Draft) { d.Confirm = !d.Confirm },
	"amount": func(r *rand.Rand, d *Draft) {
		d.Amount = pick(r, "", "1e3", "01", "+1", "1.", ".5", "--1", "-", " 1", "1\n", "1,5", "٣", "NaN", "-00", "0x1",
			strings.Repeat("9", 25), "0."+strings.Repeat("9", 13))
	},
	"currency": func(r *rand.Rand, d *Draft) {
		d.Currency = pick(r, "", "eur", "EU", "EURO", "EUR\n", "E R", "ÉUR", "E2R", "USD")
	},
	"minor": func(r *rand.Rand, d *Draft) {
		minor := pick(r, int64(0), 5000, math.MaxInt64, math.MinInt64)
		d.Minor = &minor
		if r.IntN(2) == 0 {
			d.Amount, d.Currency = "", ""
		}
	},
	"time": func(r *rand.Rand, d *Draft) {
		d.Time = pick(r, time.Unix(-1, 0), time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
			time.Date(1970, 1, 1, 13, 59, 59, 0, east), time.Date(9999, 12, 31, 12, 0, 0, 0, west),
			time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, east))
	},
	"text": func(r *rand.Rand, d *Draft) {
		*pick(r, texts(d)...) = pick(r, strings.Repeat("x", MaxText+1), strings.Repeat("支", MaxText+1), "")
	},
	"provider data": func(r *rand.Rand, d *Draft) {
		d.ProviderData = json.RawMessage(pick(r, "{", "nul", "{}{}", " ", "'a'", "\"\x01\"", "01", "[1]"))
	},
}

// TestDraft_check_isThePublishedSchema: what the host takes and what docs/schema
// allows are the same, over right drafts and over drafts with one thing wrong
// or two.
func TestDraft_check_isThePublishedSchema(t *testing.T) {
	const drafts = 20_000
	schema := published(t)
	r := rand.New(rand.NewPCG(3, 14))
	kinds := slices.Sorted(maps.Keys(mutations))
	accepted, refused := 0, 0
	refusedFor, seen := make(map[string]int), make(map[string]int)
	for i := range drafts {
		d := rightDraft(r)
		var broken []string
		for range i % 3 {
			kind := pick(r, kinds...)
			mutations[kind](r, &d)
			broken = append(broken, kind)
		}
		byHost, bySchema := judged(t, schema, d)
		if (byHost == nil) != (bySchema == nil) {
			t.Errorf("%+v\nthe host says %v\nthe schema says %v", d, byHost, bySchema)
		}
		switch {
		case byHost == nil:
			accepted++
			seen[d.Type]++
		case len(broken) == 0:
			t.Errorf("a right draft is refused: %+v: %v", d, byHost)
		default:
			refused++
			if len(broken) == 1 {
				refusedFor[broken[0]]++
			}
		}
	}
	t.Logf("%d accepted, %d refused, for %v", accepted, refused, refusedFor)
	if min(accepted, refused) < drafts/4 {
		t.Errorf("%d accepted and %d refused: both must be a quarter", accepted, refused)
	}
	for _, kind := range kinds {
		if refusedFor[kind] < 30 {
			t.Errorf("a wrong %s alone was refused %d times, which says little", kind, refusedFor[kind])
		}
	}
	for typ := range allTypes() {
		if seen[typ] == 0 {
			t.Errorf("no accepted draft has the type %s", typ)
		}
	}
}

func allTypes() map[string]string {
	status := map[string]string{"transfer.credited": statusSucceeded, "transfer.debited": statusSucceeded}
	for _, family := range moneyFamilies {
		status[family+"."+factNotified] = ""
		for _, fact := range moneyFacts {
			status[family+"."+fact] = fact
		}
	}
	return status
}

// FuzzDraft_check looks for a disagreement with the published schema that no
// generator thought of.
func FuzzDraft_check(f *testing.F) {
	schema := published(f)
	r := rand.New(rand.NewPCG(1, 1))
	kinds := slices.Sorted(maps.Keys(mutations))
	for i := range 200 {
		d := rightDraft(r)
		if i%2 == 1 {
			mutations[pick(r, kinds...)](r, &d)
		}
		_, offset := d.Time.Zone()
		f.Add(d.Type, d.Status, d.Amount, d.Currency, d.Subject, d.Time.Unix(), offset, d.Confirm, []byte(d.ProviderData))
	}
	f.Fuzz(func(t *testing.T, typ, status, amount, currency, subject string, at int64, offset int, confirm bool, data []byte) {
		for _, s := range []string{status, subject} {
			if !utf8.ValidString(s) || (len(s) > MaxText && utf8.RuneCountInString(s) <= MaxText) {
				return // the schema does not see the bytes
			}
		}
		d := Draft{
			Type: typ, Status: status, Amount: amount, Currency: currency, Subject: subject, Confirm: confirm,
			Time: time.Unix(at, 0).In(time.FixedZone("", offset%86400)), ProviderData: data,
		}
		byHost, bySchema := judged(t, schema, d)
		if (byHost == nil) != (bySchema == nil) {
			t.Errorf("%+v\nthe host says %v\nthe schema says %v", d, byHost, bySchema)
		}
	})
}

// TestDraft_check_vocabulary has each type with each status: one is right.
func TestDraft_check_vocabulary(t *testing.T) {
	types := allTypes()
	statuses := slices.Concat(moneyFacts, transferFacts, []string{"", factNotified, "ok"})
	for typ, right := range types {
		for _, status := range statuses {
			d := Draft{Type: typ, Status: status, Confirm: true}
			if err := d.check(); (err == nil) != (status == right) {
				t.Errorf("%s with status %q: %v, right is %q", typ, status, err, right)
			}
		}
	}
	for name, tt := range map[string]struct {
		draft Draft
		want  []string
	}{
		"a fact that no one knows":        {Draft{Type: "payment.settled"}, []string{"type", "payment.settled", "captured", "notified"}},
		"a transfer's fact of a payment":  {Draft{Type: "payment.credited", Status: "succeeded"}, []string{"type", "payment.credited", "succeeded"}},
		"a fact that no transfer has":     {Draft{Type: "transfer.moved"}, []string{"type", "credited, debited"}},
		"a fact and more":                 {Draft{Type: "payment.failed.late", Status: "failed"}, []string{"type", "failed.late"}},
		"another status":                  {Draft{Type: "payment.failed", Status: "succeeded"}, []string{"status", `"succeeded"`, "is failed"}},
		"a hint that needs no confirming": {Draft{Type: "payment.notified"}, []string{"confirm"}},
		"a hint with a status":            {Draft{Type: "payout.notified", Status: "pending", Confirm: true}, []string{"status", "none"}},
	} {
		err := tt.draft.check()
		for _, word := range tt.want {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: check = %v, want %q in it", name, err, word)
			}
		}
	}
	if err := (&Draft{Type: "github.settled", Status: "anything"}).check(); err != nil {
		t.Errorf("a family of its own: %v", err)
	}
}

// TestSchemas_ofEverythingTheHostSays: the schema's list of algorithms is that
// of the constants, and the examples are events.
func TestSchemas_ofEverythingTheHostSays(t *testing.T) {
	doc, ok := readJSON(t, "../docs/schema/event.schema.json").(map[string]any)
	if !ok {
		t.Fatal("the schema is no object")
	}
	schema := published(t)
	examples, _ := doc["examples"].([]any)
	if len(examples) == 0 {
		t.Error("the schema has no example")
	}
	for i, example := range append(examples, documented(t)) {
		if err := schema.Validate(example); err != nil {
			t.Errorf("example %d: %v", i, err)
		}
	}
	properties, _ := doc["properties"].(map[string]any)
	verifiedBy, _ := properties["verifiedby"].(map[string]any)
	words, _ := verifiedBy["enum"].([]any)
	var got []string
	for _, word := range words {
		got = append(got, fmt.Sprint(word))
	}
	slices.Sort(got)
	if want := algorithms(t); !slices.Equal(got, want) {
		t.Errorf("the schema's algorithms are %q, the host's %q", got, want)
	}
}

// TestSchemas_refuse has what the host never writes and a sink may be sent by
// another: each is the documented event with one thing changed.
func TestSchemas_refuse(t *testing.T) {
	type object = map[string]any
	schema := published(t)
	for name, change := range map[string]func(event, data, amount object){
		"no id":                    func(event, _, _ object) { delete(event, "id") },
		"no data":                  func(event, _, _ object) { delete(event, "data") },
		"no verifiedby":            func(event, _, _ object) { delete(event, "verifiedby") },
		"an id of another length":  func(event, _, _ object) { event["id"] = "fpwsytc5cs7jr6yqzn5tno45y" },
		"an id's last bits":        func(event, _, _ object) { event["id"] = "fpwsytc5cs7jr6yqzn5tno45yb" },
		"a source that is no path": func(event, _, _ object) { event["source"] = "demo/ottu" },
		"a time of another zone":   func(event, _, _ object) { event["time"] = "2026-01-02T03:04:05+01:00" },
		"a day that is none":       func(event, _, _ object) { event["time"] = "2026-02-30T03:04:05Z" },
		"a token over the body":    func(event, _, _ object) { event["verifiedby"] = "static-token" },
		"a signature over nothing": func(event, _, _ object) { event["covers"] = "none" },
		"an unknown algorithm":     func(event, _, _ object) { event["verifiedby"] = "md5" },
		"a conflict that is none":  func(event, _, _ object) { event["conflict"] = false },
		"a confirm that is not":    func(event, _, _ object) { event["confirm"] = true },
		"an attribute in capitals": func(event, _, _ object) { event["traceParent"] = "x" },
		"an attribute of a list":   func(event, _, _ object) { event["labels"] = []any{} },
		"no status":                func(_, data, _ object) { delete(data, "status") },
		"null":                     func(_, data, _ object) { data["method"] = nil },
		"an unknown member":        func(_, data, _ object) { data["fee"] = "1" },
		"no reference":             func(_, data, _ object) { data["references"] = object{} },
		"an unknown reference":     func(_, data, _ object) { data["references"] = object{"shop": "x"} },
		"a float":                  func(_, _, amount object) { amount["value"] = 86.0 },
		"no value":                 func(_, _, amount object) { delete(amount, "value") },
		"no currency":              func(_, _, amount object) { delete(amount, "currency") },
		"minor of more than 64":    func(_, _, amount object) { amount["minor"] = json.Number("9223372036854775808") },
		"minor with a fraction":    func(_, _, amount object) { amount["minor"] = json.Number("1.5") },
	} {
		event, _ := documented(t).(object)
		data, _ := event["data"].(object)
		amount, _ := data["amount"].(object)
		change(event, data, amount)
		if schema.Validate(event) == nil {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

// documented is the event that docs/events.md shows.
func documented(t *testing.T) any {
	t.Helper()
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```json\n")
	shown, _, _ := strings.Cut(rest, "```")
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(shown))
	if err != nil {
		t.Fatalf("docs/events.md: %v", err)
	}
	return doc
}

// algorithms are the values of the constants of type Algorithm, sorted.
func algorithms(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "callback.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Algorithm" {
			return true
		}
		for _, v := range spec.Values {
			if lit, ok := v.(*ast.BasicLit); ok {
				value, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
		}
		return true
	})
	slices.Sort(values)
	return values
}
