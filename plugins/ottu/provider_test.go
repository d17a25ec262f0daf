package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/sdk/sdktest"
)

func TestGoldens(t *testing.T) { sdktest.Run(t, ".") }

var (
	row    = regexp.MustCompile("(?m)^\\| (`[a-z`, ]+`) \\| ([^|]+) \\| `payment\\.([a-z]+)` \\|")
	states = []string{
		"created", "pending", "attempted", "authorized", "paid", "cod", "failed", "canceled", "expired", "invalidated",
	}
	results = []string{"pending", "success", "failed", "rejected", "canceled", "error", "cod"}
)

// TestFact_isTheReadmesTable tries every state with every result against the
// table that an operator reads.
func TestFact_isTheReadmesTable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		for state := range strings.SplitSeq(m[1], ", ") {
			for _, result := range results {
				if allowed(strings.TrimSpace(m[2]), result) {
					want[strings.Trim(state, "`")+" "+result] = m[3]
				}
			}
		}
	}
	if len(want) == 0 {
		t.Fatal("README.md has no table")
	}
	for _, state := range append(states, "settled", "", "PAID") {
		for _, result := range append(slices.Clone(results), "ok", "", "Success") {
			if got := fact(state, result); got != want[state+" "+result] {
				t.Errorf("fact(%q, %q) = %q, the table says %q", state, result, got, want[state+" "+result])
			}
		}
	}
}

func allowed(rule, result string) bool {
	switch rule {
	case "any":
		return true
	case "not `success`":
		return result != "success"
	}
	return rule == "`"+result+"`"
}
