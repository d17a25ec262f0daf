package cases

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/host"
)

// Result is what became of one case.
type Result struct {
	Provider string `json:"provider"`
	Case     string `json:"case"`
	// Events are the ids of the new ones.
	Events []string `json:"events,omitempty"`
	Got    Outcome  `json:"got"`
	Want   Outcome  `json:"want"`
	OK     bool     `json:"ok"`
}

// In reports whether there are new events and all are among ids.
func (r *Result) In(ids map[string]bool) bool {
	for _, id := range r.Events {
		if !ids[id] {
			return false
		}
	}
	return len(r.Events) > 0
}

// Became is what the host saw become of a callback.
func Became(o host.Observation) string {
	switch {
	case o.Kept:
		return host.Kept.String()
	case o.Held && o.Receipt.Seq != 0:
		return host.Held.String()
	case o.Failed:
		return Refused
	case o.Verdict == host.Ignore:
		return Ignored
	}
	var all []string
	number := map[string]int{}
	for _, d := range slices.Concat(o.Receipt.Events, o.Receipt.Aside) {
		if number[d.String()]++; number[d.String()] == 1 {
			all = append(all, d.String())
		}
	}
	if len(all) == 1 && number[all[0]] == 1 {
		return all[0]
	}
	for i, d := range all {
		all[i] = fmt.Sprintf("%d %s", number[d], d)
	}
	return strings.Join(all, ", ")
}

// Tally adds what became of a callback, as [Became] writes it.
func Tally(totals map[string]int, what string) {
	for part := range strings.SplitSeq(what, ", ") {
		number, disposition, several := strings.Cut(part, " ")
		if n, err := strconv.Atoi(number); several && err == nil {
			totals[disposition] += n
			continue
		}
		totals[part]++
	}
}

// String is the outcome in words.
func (o Outcome) String() string {
	parts := []string{strconv.Itoa(o.Status), o.Became}
	if o.Type != "" {
		parts = append(parts, o.Type)
		if o.Delivered {
			parts = append(parts, "in the sink")
		} else {
			parts = append(parts, "not in the sink")
		}
	}
	return strings.Join(parts, ", ")
}
