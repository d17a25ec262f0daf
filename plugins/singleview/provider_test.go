package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/sdk/sdktest"
)

func TestGoldens(t *testing.T) { sdktest.Run(t, ".") }

var row = regexp.MustCompile("(?m)^\\| ([0-4]) ([A-Z ]+) \\| ([0-4, ]+) \\| `payment\\.([a-z]+)`, `charge\\.([a-z]+)` \\|")

// TestFact_isTheReadmesTable tries every status with every approval_status
// against the table that an operator reads.
func TestFact_isTheReadmesTable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		if got := statuses[m[1][0]-'0']; got != m[2] {
			t.Errorf("status %s is %q, the table says %q", m[1], got, m[2])
		}
		if m[4] != m[5] {
			t.Errorf("the table has payment.%s beside charge.%s", m[4], m[5])
		}
		for approval := range strings.SplitSeq(m[3], ", ") {
			want[m[1]+" "+approval] = m[4]
		}
	}
	if len(want) != 25 {
		t.Fatalf("README.md's table has %d of the 25 pairs", len(want))
	}
	for status := range statuses {
		for approval := range 5 {
			pair := fmt.Sprint(status, " ", approval)
			if got := fact(pair[:1], pair[2:]); got != want[pair] {
				t.Errorf("fact of %s = %q, the table says %q", pair, got, want[pair])
			}
		}
	}
}

// TestTime puts every txnDate into one batch: whatever one of them is, all the
// payments are told, and those whose txnDate is no time get the time of receipt.
func TestTime(t *testing.T) {
	var bodies, events []string
	for i, c := range []struct{ txnDate, want string }{
		{`"2026-01-02T02:58:59Z"`, "2026-01-02T02:58:59Z"},
		{`"2024-02-29T00:00:00Z"`, "2024-02-29T00:00:00Z"},
		{`"2026-01-02T10:58:59+08:00"`, "2026-01-02T02:58:59Z"},
		{`"2026-01-01T21:58:59-05:00"`, "2026-01-02T02:58:59Z"},
		{`"2026-01-02T02:58:59.5Z"`, "2026-01-02T02:58:59.500Z"},
		{`"2026-01-02T02:58:59.1239Z"`, "2026-01-02T02:58:59.123Z"},
		{`"1970-01-02T00:00:00Z"`, "1970-01-02T00:00:00Z"},
		{`"9999-12-30T23:59:59Z"`, "9999-12-30T23:59:59Z"},
		{`"1970-01-01T00:00:00Z"`, ""},
		{`"1970-01-01T00:00:00+14:00"`, ""},
		{`"9999-12-31T23:59:59Z"`, ""},
		{`"9999-12-31T23:59:59-12:00"`, ""},
		{`"1969-12-31T23:59:59Z"`, ""},
		{`"0000-02-29T00:00:00Z"`, ""},
		{`"10000-01-01T00:00:00Z"`, ""},
		{`"2026-02-29T00:00:00Z"`, ""},
		{`"2026-13-01T00:00:00Z"`, ""},
		{`"2026-01-02T24:00:00Z"`, ""},
		{`"2026-01-02T02:58:60Z"`, ""},
		{`"2026-01-02T02:58:59"`, ""},
		{`"2026-01-02 02:58:59Z"`, ""},
		{`"2026-01-02"`, ""},
		{`"02/01/2026 02:58:59"`, ""},
		{`"0000-00-00T00:00:00Z"`, ""},
		{`"20260102T025859Z"`, ""},
		{`"now, at last"`, ""},
		{`"` + strings.Repeat("9", 5000) + `"`, ""},
		{`""`, ""},
		{`null`, ""},
		{`1767322739`, ""},
		{`1767322739000`, ""},
		{`true`, ""},
		{`{"$date":"2026-01-02T02:58:59Z"}`, ""},
		{`["2026-01-02T02:58:59Z"]`, ""},
	} {
		body := fmt.Sprintf(`{"payId":"P-%d","seqNum":"1","svRefId":"S","amount":1,"currency":"SGD","txnDate":%s,"status":0,"approval_status":3}`, i, c.txnDate)
		var at string
		if c.want != "" {
			at = `"time":"` + c.want + `",`
		}
		bodies = append(bodies, body)
		events = append(events, fmt.Sprintf(`{"evidence":0,"type":"payment.succeeded","subject":"S",%s"key":["svWebHookPaymentStatus","C","P-%d","1","S","succeeded"],`+
			`"status":"succeeded","provider_status":"COMPLETED","amount":"1","currency":"SGD","references":{"merchant":"P-%d","provider":"S"},"provider_data":%s}`, at, i, i, body))
	}
	runCase(t, `{"service":"svWebHookPaymentStatus","companyCode":"C","payments":[`+strings.Join(bodies, ",")+`]}`,
		`{"verdict":"accept","evidence":[`+proof+`],"events":[`+strings.Join(events, ",")+`]}`)
}

func TestPlain(t *testing.T) {
	for amount, want := range map[string]string{
		"0": "0", "0.00": "0", "1": "1", "1.0": "1", "1.5": "1.5", "1.50": "1.5", "100": "100", "100.00": "100",
		"1000000": "1000000", "10.01": "10.01", "10.010": "10.01", "0.10": "0.1", "0.001": "0.001",
		"999999999999999999999999.123456789012": "999999999999999999999999.123456789012",
	} {
		if got := plain(amount); got != want || !isAmount(got) {
			t.Errorf("plain(%q) = %q, want %q", amount, got, want)
		}
	}
}

// event is what the host compares of one.
type event struct {
	Type, Subject, Amount string
	Key                   []string
}

// told is the first event in a golden.
func told(t *testing.T, name string) event {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Expect struct{ Events []event } }
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Expect.Events) == 0 {
		t.Fatalf("%s: no event: %v", name, err)
	}
	return golden.Expect.Events[0]
}

// TestKeys_tellRepeatsFromNews: what SingleView sends again has the key that it
// had, whatever the spelling, and so has what has ended and is approved after
// that; what is news has a key of its own.
func TestKeys_tellRepeatsFromNews(t *testing.T) {
	for _, c := range []struct {
		first string
		again []string
	}{
		{"status-completed", []string{
			"duplicate", "strings", "payment-spelled", "escaped-names", "rotated-old", "null-beside-payments", "null-beside-payment",
			"completed-in-progress", "completed-reviewed", "completed-approved", "amount-zeros",
		}},
		{"status-failed", []string{"failed-rejected", "failed-in-progress"}},
		{"open-rejected", []string{"bank-process-rejected", "onhold-rejected"}},
		{"charge-completed", []string{"charge-strings", "charge-short", "charge-completed-in-progress"}},
		{"charge-failed", []string{"charge-failed-rejected"}},
		{"charge-open-rejected", []string{"charge-bank-process-rejected", "charge-onhold-rejected"}},
	} {
		first := told(t, c.first)
		for _, again := range c.again {
			got := told(t, again)
			if !slices.Equal(got.Key, first.Key) {
				t.Errorf("%s has the key %q, want that of %s, %q", again, got.Key, c.first, first.Key)
			}
			// The host compares these too: a difference would be a conflict.
			if got.Amount != first.Amount || got.Subject != first.Subject || got.Type != first.Type {
				t.Errorf("%s is %s of %q with %s, a conflict with %s", again, got.Type, got.Subject, got.Amount, c.first)
			}
		}
	}
	seen := make(map[string]string)
	for _, news := range []string{
		"status-completed", "status-failed", "status-bank-process", "status-onhold", "open-rejected", "completed-rejected",
		"approval-in-progress", "approval-reviewed", "approval-approved", "approval-executed", "numbers", "company-number",
		"charge-completed", "charge-failed", "charge-other-amount", "charge-not-posted", "charge-completed-rejected",
		"charge-open", "charge-bank-process", "charge-onhold", "charge-open-rejected",
	} {
		text := strings.Join(told(t, news).Key, "\x00")
		if other := seen[text]; other != "" {
			t.Errorf("%s and %s have one key", news, other)
		}
		seen[text] = news
	}
}

// TestRoom runs batches about as long as the host takes. They would make long
// goldens. The first item is a payment; the others are nothing, for short.
func TestRoom(t *testing.T) {
	const tooMany = "more than 1000 items: those after the first 999 are told by no event"
	for name, c := range map[string]struct {
		items, told int
		aside       string
	}{
		"full":      {items: room, told: room},
		"over full": {items: room + 1, told: room - 1, aside: tooMany},
		"far over":  {items: 3 * room, told: room - 1, aside: tooMany},
	} {
		t.Run(name, func(t *testing.T) {
			const payment = `{"payId":"P","seqNum":"1","svRefId":"S","amount":1,"currency":"SGD","status":0,"approval_status":3}`
			array := "[" + payment + strings.Repeat(",0", c.items-1) + "]"
			var aside []string
			if c.aside != "" {
				aside = append(aside, `{"reason":"`+c.aside+`","item":`+array+`}`)
			}
			aside = append(aside, slices.Repeat([]string{`{"reason":"the item is not an object","item":0}`}, c.told-1)...)
			runCase(t, `{"service":"svWebHookPaymentStatus","companyCode":"C","payments":`+array+`}`,
				`{"verdict":"accept","evidence":[`+proof+`],`+
					`"events":[{"evidence":0,"type":"payment.succeeded","subject":"S","key":["svWebHookPaymentStatus","C","P","1","S","succeeded"],`+
					`"status":"succeeded","provider_status":"COMPLETED","amount":"1","currency":"SGD","references":{"merchant":"P","provider":"S"},"provider_data":`+payment+`}],`+
					`"aside":[`+strings.Join(aside, ",")+`]}`)
		})
	}
}

// proof is the evidence of every callback here.
const proof = `{"secret":"token","value":0,"algorithm":"static-token","covers":"none"}`

// runCase runs a golden that stands in no file of this folder.
func runCase(t *testing.T, body, expect string) {
	t.Helper()
	dir := t.TempDir()
	manifest, err := os.ReadFile("plugin.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "testdata"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"plugin.json":               string(manifest),
		"testdata/case.http":        "POST /in/demo/singleview/test-path-token-0001 HTTP/1.1\n\n" + body,
		"testdata/case.golden.json": `{"about":"made by a test","received":"2026-01-02T03:04:05Z","secrets":{"token":["test-path-token-0001"]},"expect":` + expect + `}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sdktest.Run(t, dir)
}
