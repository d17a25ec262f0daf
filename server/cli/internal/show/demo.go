package show

import (
	"strconv"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/cases"
	"github.com/postern/postern/server/cli/internal/screen"
)

// Demo writes what became of each, and of all together.
func Demo(s *screen.Screen, results []cases.Result) {
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
		cases.Tally(totals, r.Got.Became)
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
	s.Printf("\n%s, %d of them refused, %d kept as they came, %d held, %d ignored\n",
		Count(len(results), "callback"), totals[cases.Refused], totals[host.Kept.String()], totals[host.Held.String()], totals[cases.Ignored])
	s.Printf("%s stored, %d in the sink; %s, %s, %d set aside\n",
		Count(totals[host.Stored.String()], "event"), delivered, Count(totals[host.Duplicate.String()], "duplicate"),
		Count(totals[host.Conflicted.String()], "conflict"), totals[host.SetAside.String()])
	for i := range results {
		if r := &results[i]; !r.OK {
			s.Printf("%s\n  want %s\n  got  %s\n", s.Paint(screen.Bad, r.Provider+": "+r.Case), r.Want, r.Got)
		}
	}
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
