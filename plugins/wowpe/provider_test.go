package main

import (
	"os"
	"regexp"
	"testing"

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
		"3/31/2024 11:02:41 AM":  "2024-03-31T11:02:41+05:30",
		"12/1/2026 1:00:00 PM":   "2026-12-01T13:00:00+05:30",
		"1/1/2026 12:00:00 AM":   "2026-01-01T00:00:00+05:30",
		"1/1/2026 12:59:59 PM":   "2026-01-01T12:59:59+05:30",
		"01/02/2026 03:04:05 AM": "2026-01-02T03:04:05+05:30",
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
	} {
		if got := timestamp(in, "+05:30"); got != "" {
			t.Errorf("timestamp(%q) = %q, want nothing", in, got)
		}
	}
}
