package cases

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
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
	case o.Failed:
		return Refused
	case o.Verdict == host.Ignore:
		return ignored
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

// Show writes what became of each, and of all together.
func Show(s *screen.Screen, results []Result) {
	t := screen.Table{Columns: []screen.Column{
		{Title: "CALLBACK", Least: 12},
		{Title: "ANSWER"},
		{Title: "BECAME"},
		{Title: "EVENT", Least: 12},
		{Title: "SINK"},
		{Title: ""},
	}}
	totals := map[string]int{}
	delivered := 0
	for i := range results {
		r := &results[i]
		tally(totals, r.Got.Became)
		in := "-"
		if r.Got.Delivered {
			in = "yes"
			delivered += len(r.Events)
		} else if len(r.Events) > 0 {
			in = "no"
		}
		mark := screen.Text("ok").In(screen.Good)
		if !r.OK {
			mark = screen.Text("WRONG").In(screen.Bad)
		}
		kind := r.Got.Type
		if kind == "" {
			kind = "-"
		}
		if i == 0 || results[i-1].Provider != r.Provider {
			heading := make([]screen.Cell, len(t.Columns))
			heading[0] = screen.Text(r.Provider).In(screen.Bold)
			t.Add(heading...)
		}
		t.Add(screen.Text("  "+r.Case), screen.Text(strconv.Itoa(r.Got.Status)),
			screen.Text(r.Got.Became).In(toneOf(r.Got.Became)), screen.Text(kind), screen.Text(in), mark)
	}
	t.Print(s)
	s.Printf("\n%s, %d of them refused, %d kept as they came, %d ignored\n",
		show.Count(len(results), "callback"), totals[Refused], totals[host.Kept.String()], totals[ignored])
	s.Printf("%s stored, %d in the sink; %s, %s, %d set aside\n",
		show.Count(totals[host.Stored.String()], "event"), delivered, show.Count(totals[host.Duplicate.String()], "duplicate"),
		show.Count(totals[host.Conflicted.String()], "conflict"), totals[host.SetAside.String()])
	for i := range results {
		if r := &results[i]; !r.OK {
			s.Printf("%s\n  want %s\n  got  %s\n", s.Paint(screen.Bad, r.Provider+": "+r.Case), r.Want, r.Got)
		}
	}
}

// tally adds what became of a callback, as [Became] writes it.
func tally(totals map[string]int, what string) {
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

// toneOf is the colour of what became of a callback.
func toneOf(what string) screen.Tone {
	switch what {
	case host.Stored.String():
		return screen.Good
	case host.Conflicted.String():
		return screen.Odd
	}
	return screen.Faint
}
