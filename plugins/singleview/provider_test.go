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
	"time"

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

// TestIsTime_isWhatTheHostTakes holds every day of 120 years, and every clock
// time's bounds, to the parser that the host uses: what passes here must not
// fail there, for it would take the batch with it.
func TestIsTime_isWhatTheHostTakes(t *testing.T) {
	check := func(text string) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, text)
		if want := err == nil && at.Year() >= 1970; isTime(text) != want {
			t.Errorf("isTime(%q) = %v, want %v", text, !want, want)
		}
	}
	for year := 1968; year < 2088; year++ {
		for month := range 14 {
			for day := range 33 {
				check(fmt.Sprintf("%04d-%02d-%02dT11:12:13Z", year, month, day))
			}
		}
	}
	for n := range 100 {
		check(fmt.Sprintf("2024-06-02T%02d:12:13Z", n))
		check(fmt.Sprintf("2024-06-02T11:%02d:13Z", n))
		check(fmt.Sprintf("2024-06-02T11:12:%02dZ", n))
	}
	for _, year := range []string{"0000", "1600", "2000", "2100", "2400", "9999"} {
		check(year + "-02-29T00:00:00Z")
	}
	for _, text := range []string{
		"", "2024-06-02", "2024-06-02T11:12:13", "2024-06-02T11:12:13z", "2024-06-02 11:12:13Z",
		"2024-06-02T11:12:13+08:00", "2024-06-02T11:12:13.000Z", "+024-06-02T11:12:13Z", "2024-+6-02T11:12:13Z",
		"2024/06/02T11:12:13Z", "2024-06-02T11.12.13Z", " 2024-06-02T11:12:13",
	} {
		if isTime(text) {
			t.Errorf("isTime(%q) = true: it is not of the documented form", text)
		}
	}
}

var amountForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?$`)

func TestIsAmount(t *testing.T) {
	for _, text := range []string{
		"0", "0.00", "1", "100.25", "10", "999999999999999999.999999999999",
		"", ".", "1.", ".5", "00.00", "01", "-1", "+1", "1e3", "1E3", "1,000", " 1", "1 ", "1.2.3", "1.-2", "NaN",
		"0.1234567890123", "1000000000000000000000", "\u0661", "0x1", "1_0",
	} {
		if got, want := isAmount(text), amountForm.MatchString(text); got != want {
			t.Errorf("isAmount(%q) = %v, want %v", text, got, want)
		}
	}
}

// key is the first event's dedup key in a golden.
func key(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Expect struct{ Events []struct{ Key []string } }
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Expect.Events) == 0 {
		t.Fatalf("%s: no event: %v", name, err)
	}
	return golden.Expect.Events[0].Key
}

// TestKeys_tellRepeatsFromNews: what SingleView sends again has the key that it
// had, whatever the spelling; what is news has one of its own.
func TestKeys_tellRepeatsFromNews(t *testing.T) {
	first := key(t, "status-completed")
	for _, again := range []string{"duplicate", "strings", "payment-spelled", "escaped-names", "rotated-old"} {
		if got := key(t, again); !slices.Equal(got, first) {
			t.Errorf("%s has the key %q, want %q", again, got, first)
		}
	}
	if charge := key(t, "charge-completed"); !slices.Equal(key(t, "charge-strings"), charge) {
		t.Errorf("charge-strings has not the key %q", charge)
	}
	seen := make(map[string]string)
	for _, news := range []string{
		"status-completed", "status-failed", "status-bank-process", "status-onhold", "open-rejected", "completed-rejected",
		"approval-in-progress", "approval-reviewed", "approval-approved", "approval-executed", "numbers", "company-number",
		"charge-completed", "charge-failed", "charge-other-amount", "charge-not-posted", "charge-completed-rejected",
	} {
		text := strings.Join(key(t, news), "\x00")
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
				`{"verdict":"accept","evidence":[{"secret":"token","value":0,"algorithm":"static-token","covers":"none"}],`+
					`"events":[{"evidence":0,"type":"payment.succeeded","subject":"S","key":["svWebHookPaymentStatus","C","P","1","S","0","3"],`+
					`"status":"succeeded","provider_status":"COMPLETED","amount":"1","currency":"SGD","references":{"merchant":"P","provider":"S"},"provider_data":`+payment+`}],`+
					`"aside":[`+strings.Join(aside, ",")+`]}`)
		})
	}
}

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
