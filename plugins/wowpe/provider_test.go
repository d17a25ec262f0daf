package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/sdk/sdktest"
)

func TestGoldens(t *testing.T) { sdktest.Run(t, ".") }

var row = regexp.MustCompile("(?m)^\\| (`-?[0-9]+`|any other integer) \\| `payout\\.([a-z]+)` \\| ([a-z]+) \\| `([a-z]+)(:Status)?` \\|$")

// TestMeaning_isTheReadmesTable compares what is told of each Status with the
// table that an operator reads.
func TestMeaning_isTheReadmesTable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	type told struct{ fact, step string }
	want := make(map[string]told)
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		if m[2] != m[3] {
			t.Errorf("the row of %s has the status %s", m[1], m[3])
		}
		want[m[1]] = told{m[2], m[4] + m[5]}
	}
	if len(want) != 4 {
		t.Fatalf("README.md has %d rows of statuses, want 4", len(want))
	}
	for _, status := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "10", "14", "-1", "-4", "44"} {
		expect, listed := want["`"+status+"`"]
		if !listed {
			expect = want["any other integer"]
		}
		if expect.step == "pending:Status" {
			expect.step = "pending:" + status
		}
		if fact, step := meaning(status); (told{fact, step}) != expect {
			t.Errorf("meaning(%q) = %q, %q; the table says %q, %q", status, fact, step, expect.fact, expect.step)
		}
	}
}

func TestTimestamp(t *testing.T) {
	for in, want := range map[string]string{
		"3/31/2024 11:02:41 AM":      "2024-03-31T11:02:41+05:30",
		"12/1/2026 1:00:00 PM":       "2026-12-01T13:00:00+05:30",
		"1/1/2026 12:00:00 AM":       "2026-01-01T00:00:00+05:30",
		"1/1/2026 12:59:59 PM":       "2026-01-01T12:59:59+05:30",
		"01/02/2026 03:04:05 AM":     "2026-01-02T03:04:05+05:30",
		"3/31/2024 11:02:41\u202fAM": "2024-03-31T11:02:41+05:30",
	} {
		if got := timestamp(in, "+05:30"); got != want {
			t.Errorf("timestamp(%q) = %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{
		"", "3/31/2024", "3/31/2024 11:02:41", "3/31/2024 11:02:41 am", "3/31/2024 11:02:41 AM ", "3/31/2024  11:02:41 AM",
		"3/31/24 11:02:41 AM", "3/31/20244 11:02:41 AM", "0/31/2024 11:02:41 AM", "3/0/2024 11:02:41 AM",
		"3/31/2024 0:02:41 AM", "3/31/2024 13:02:41 PM", "3/31/2024 11:2:41 AM", "3/31/2024 11:02 AM",
		"-3/31/2024 11:02:41 AM", "3/031/2024 11:02:41 AM", "3-31-2024 11:02:41 AM", "3/31/2024 011:02:41 AM",
		"31/3/2024 11:02:41 AM", "2/30/2024 11:02:41 AM", "/31/2024 11:02:41 AM", "3/31/2024 11:60:41 AM", "3/31/2024 11::41 AM",
	} {
		got := timestamp(in, "+05:30")
		if at, err := time.Parse(time.RFC3339, got); err == nil {
			t.Errorf("timestamp(%q) = %q, which is the time %v, want none", in, got, at)
		}
	}
}

func TestForms(t *testing.T) {
	long := strings.Repeat("7", maxID)
	for name, c := range map[string]struct {
		is          func(string) bool
		right, none []string
	}{
		"id":        {isID, []string{"1", "PAYOUT-77", "a_b.c/D-9", long}, []string{"", long + "7", "a b", "a:b", "a\u00e9", "a\"", "a\x00"}},
		"code":      {isCode, []string{"", "601515900001", "AXISN2601", "IMPS", long}, []string{long + "7", "6-1", "6 1", "NEFT/RTGS", "\u0661", "\u00c9"}},
		"printable": {isPrintable, []string{"", "Payout Success, ref 1~", "  "}, []string{"a\tb", "\u20b9250", "\x7f", "\x1f", "\u202f"}},
	} {
		for _, text := range c.right {
			if !c.is(text) {
				t.Errorf("%s: %q is refused", name, text)
			}
		}
		for _, text := range c.none {
			if c.is(text) {
				t.Errorf("%s: %q is taken", name, text)
			}
		}
	}
}
