package show

import (
	"fmt"
	"strconv"
	"time"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
)

// reason is why it is there, in the colour of how grave that is.
func reason(r *client.Rejected) screen.Cell {
	if r.Kept || r.Guard != "" {
		// It was acknowledged: nobody else has it.
		return screen.Text(r.Reason).In(screen.Odd)
	}
	return screen.Text(r.Reason)
}

// Quarantine writes callbacks in quarantine, a line each.
func Quarantine(s *screen.Screen, now time.Time, all []client.Rejected) {
	if len(all) == 0 {
		s.Printf("nothing in quarantine\n")
		return
	}
	t := screen.Table{Columns: []screen.Column{
		{Title: "ID"},
		{Title: "LAST", Right: true},
		{Title: "ENDPOINT", Least: 12},
		{Title: "REASON", Least: 8},
		{Title: "COUNT", Right: true},
		{Title: "DETAIL", Least: 10, Drop: true},
	}}
	for i := range all {
		r := &all[i]
		t.Add(screen.Text(r.ID), screen.Text(Age(now.Sub(r.Last))).In(screen.Faint), screen.Text(r.Tenant+"/"+r.Endpoint),
			reason(r), screen.Text(strconv.FormatUint(r.Count, 10)), screen.Text(r.Detail))
	}
	t.Print(s)
}

// Rejected writes one callback in quarantine, and what came.
func Rejected(s *screen.Screen, w *client.WholeRejected) {
	s.Printf("%s\n", s.Paint(screen.Bold, "quarantine "+screen.Clean(w.ID)))
	s.Field("endpoint", screen.Text(w.Tenant+"/"+w.Endpoint))
	s.Field("provider", screen.Text(w.Provider))
	s.Field("reason", reason(&w.Rejected))
	if w.Kept {
		s.Field("kept", screen.Text("it was acknowledged, and its provider will not send it again").In(screen.Odd))
	}
	if w.Guard != "" {
		s.Field("guard", screen.Text(w.Guard))
		s.Field("why", screen.Text(w.Detail))
		s.Field("held", screen.Text("it was acknowledged, and is delivered once you release it").In(screen.Odd))
	}
	for i := range w.Facts {
		f := &w.Facts[i]
		s.Printf("\n%s\n", s.Paint(screen.Bold, "event "+screen.Clean(f.ID)))
		s.Field("type", screen.Text(f.Type))
		s.Field("subject", screen.Text(f.Subject))
		s.Field("amount", screen.Text(Amount(f)))
		annotations(s, f)
	}
	if w.Count > 1 {
		s.Field("count", screen.Text(fmt.Sprintf("%d, last %s", w.Count, stamp(w.Last))))
	}
	s.Printf("\n")
	callback(s, &w.Callback)
}

// Result writes what came of one callback in quarantine.
func Result(s *screen.Screen, r client.Result) {
	tone := screen.Good
	switch r.Result {
	case client.Failed, client.NotThere:
		tone = screen.Bad
	case client.LeftThere:
		tone = screen.Odd
	}
	s.Printf("%s  %s", screen.Clean(r.ID), s.Show(screen.Text(r.Result).In(tone)))
	if r.Detail != "" {
		s.Printf("  %s", screen.Clean(r.Detail))
	}
	s.Printf("\n")
	for _, id := range r.Events {
		s.Printf("  event %s\n", screen.Clean(id))
	}
}
