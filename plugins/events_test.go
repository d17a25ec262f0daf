package plugins_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// told is one line of the table in docs/events.md "What each provider's words
// become", for one word.
type told struct{ provider, word, typ, status string }

const (
	anyOther = "any other" // every word that has no row of its own
	noWord   = "none"      // the event has no provider_status, or no status
)

// TestEventsTable compares docs/events.md with what the plugins do: every
// golden's event has its row, and every row, for each of its words, a golden.
func TestEventsTable(t *testing.T) {
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := eventsTable(string(text))
	var events []told
	for _, provider := range folders(t) {
		if provider == "generic" {
			continue // its words are settings, which its own test compares with its goldens
		}
		events = append(events, toldBy(t, provider)...)
	}
	for _, wrong := range differences(rows, events) {
		t.Errorf("docs/events.md: %s", wrong)
	}
	t.Logf("%d rows, %d events of goldens", len(rows), len(events))
}

// differences says what stands in the table and not in the goldens, and the
// other way about.
func differences(rows, events []told) []string {
	known := make(map[told]bool) // provider and word
	used := make(map[told]int)
	var wrong []string
	for _, row := range rows {
		known[told{provider: row.provider, word: row.word}] = true
		if _, twice := used[row]; twice {
			wrong = append(wrong, fmt.Sprintf("%v stands twice", row))
		}
		used[row] = 0
	}
	for _, ev := range events {
		row := ev
		if ev.word != noWord && !known[told{provider: ev.provider, word: ev.word}] {
			row.word = anyOther
		}
		if _, ok := used[row]; !ok {
			wrong = append(wrong, fmt.Sprintf("no row for %v", ev))
			continue
		}
		used[row]++
	}
	for row, n := range used {
		if n == 0 {
			wrong = append(wrong, fmt.Sprintf("no golden of %v", row))
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

var (
	eventsRow = regexp.MustCompile("(?m)^\\| ([a-z0-9-]+) \\| ([^|]+) \\| `([a-z.]+)` \\| ([a-z]+) \\| [^|]* ?\\|$")
	quoted    = regexp.MustCompile("^`([^`]+)`$")
)

// eventsTable are the rows, one for each word. A cell of words that is not
// understood stays as it is and has no golden.
func eventsTable(text string) []told {
	var rows []told
	for _, m := range eventsRow.FindAllStringSubmatch(text, -1) {
		for word := range strings.SplitSeq(m[2], ", ") {
			if q := quoted.FindStringSubmatch(word); q != nil {
				word = q[1]
			}
			rows = append(rows, told{provider: m[1], word: word, typ: m[3], status: m[4]})
		}
	}
	return rows
}

// toldBy are the events of a plugin's goldens.
func toldBy(t *testing.T, provider string) []told {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(provider, "testdata", "*.golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var events []told
	for _, file := range files {
		var g struct {
			Expect struct {
				Events []struct {
					Type           string
					ProviderStatus string `json:"provider_status"`
					Status         string
				}
			}
		}
		readJSON(t, file, &g)
		for _, ev := range g.Expect.Events {
			one := told{provider: provider, word: ev.ProviderStatus, typ: ev.Type, status: ev.Status}
			if one.word == "" {
				one.word = noWord
			}
			if one.status == "" {
				one.status = noWord
			}
			events = append(events, one)
		}
	}
	return events
}

// TestEventsTable_notices breaks the table in every way that the comparison is
// there to find.
func TestEventsTable_notices(t *testing.T) {
	const table = "| acme | `paid`, `done` | `payment.succeeded` | succeeded | |\n" +
		"| acme | any other | `payment.notified` | none | not documented |\n" +
		"| acme | none | `payment.notified` | none | |\n"
	events := []told{
		{"acme", "paid", "payment.succeeded", "succeeded"},
		{"acme", "done", "payment.succeeded", "succeeded"},
		{"acme", "new", "payment.notified", "none"},
		{"acme", "none", "payment.notified", "none"},
	}
	if wrong := differences(eventsTable(table), events); len(wrong) != 0 {
		t.Fatalf("a right table has %q", wrong)
	}
	for name, tt := range map[string]struct {
		table  string
		events []told
		want   string
	}{
		"a row gone":       {strings.Replace(table, "| acme | none", "| other | none", 1), events, "no row for {acme none"},
		"a word gone":      {strings.Replace(table, ", `done`", "", 1), events, "no row for {acme done"},
		"another type":     {strings.Replace(table, "payment.succeeded", "payment.failed", 1), events, "no row for {acme paid"},
		"another status":   {strings.Replace(table, "| succeeded", "| failed", 1), events, "no row for {acme paid"},
		"a word too many":  {strings.Replace(table, "`done`", "`done`, `over`", 1), events, "no golden of {acme over"},
		"a row twice":      {table + table, events, "stands twice"},
		"no golden of any": {table, events[:2], "no golden of {acme any other"},
		"no row of any":    {strings.Replace(table, "any other", "`x`", 1), events, "no row for {acme new"},
	} {
		if wrong := differences(eventsTable(tt.table), tt.events); !strings.Contains(strings.Join(wrong, "\n"), tt.want) {
			t.Errorf("%s: found %q, want %q", name, wrong, tt.want)
		}
	}
}
