package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
)

// Amount is the amount with its currency, empty where there is none.
func Amount(f *client.Fact) string {
	if f.Data.Amount.Value == "" {
		return ""
	}
	return f.Data.Amount.Value + " " + f.Data.Amount.Currency
}

// Kind is the type with its mark, in the colour of both.
func Kind(f *client.Fact) screen.Cell {
	switch {
	case f.Conflict:
		// First, so that no narrow screen cuts it off.
		return screen.Text("! " + f.Type).In(screen.Odd)
	case f.Data.Status == "succeeded":
		return screen.Text(f.Type).In(screen.Good)
	case f.Data.Status == "failed":
		return screen.Text(f.Type).In(screen.Bad)
	}
	return screen.Text(f.Type)
}

// Where is the endpoint without its leading slash, as it is written in --endpoint.
func Where(f *client.Fact) string {
	if f.Source != "" && f.Source[0] == '/' {
		return f.Source[1:]
	}
	return f.Source
}

// Events writes events, a line each.
func Events(s *screen.Screen, now time.Time, got []client.Stored) {
	if len(got) == 0 {
		s.Printf("no events\n")
		return
	}
	t := screen.Table{Columns: []screen.Column{
		{Title: "ID"},
		{Title: "AGE", Right: true},
		{Title: "ENDPOINT", Least: 14},
		{Title: "TYPE", Least: 19},
		{Title: "AMOUNT", Right: true, Drop: true},
		{Title: "SUBJECT", Least: 8, Drop: true},
	}}
	for i := range got {
		f := &got[i].Fact
		t.Add(screen.Text(f.ID), screen.Text(Age(now.Sub(f.Received))).In(screen.Faint),
			screen.Text(Where(f)), Kind(f), screen.Text(Amount(f)), screen.Text(f.Subject))
	}
	t.Print(s)
	if slices.ContainsFunc(got, func(e client.Stored) bool { return e.Fact.Conflict }) {
		s.Printf("! conflict: an event with the same dedup key and other content came before it\n")
	}
}

// Event writes one event and the callback it came in.
func Event(s *screen.Screen, w *client.Whole) {
	f := &w.Fact
	s.Printf("%s\n", s.Paint(screen.Bold, "event "+f.ID))
	s.Field("type", screen.Text(f.Type))
	s.Field("endpoint", screen.Text(Where(f)))
	s.Field("provider", screen.Text(f.Provider))
	s.Field("subject", screen.Text(f.Subject))
	s.Field("amount", screen.Text(Amount(f)))
	s.Field("status", screen.Text(status(f)))
	s.Field("references", screen.Text(references(f)))
	s.Field("method", screen.Text(f.Data.Method))
	s.Field("party", screen.Text(f.Data.Party))
	s.Field("time", screen.Text(stamp(f.Time)))
	s.Field("received", screen.Text(stamp(f.Received)))
	s.Field("verified by", screen.Text(f.VerifiedBy+", covers "+f.Covers))
	if f.Conflict {
		s.Field("conflict", screen.Text("an event with the same dedup key and other content came before it").In(screen.Odd))
	}
	s.Field("confirm", screen.Text(f.Confirm).In(screen.Odd))
	if f.Sandbox {
		s.Field("sandbox", screen.Text("from the provider's test environment").In(screen.Odd))
	}
	annotations(s, f)
	s.Field("dedup key", screen.Text(f.DedupKey))
	s.Field("sequence", screen.Text(fmt.Sprint(w.Seq)))
	if data := f.Data.ProviderData; len(data) > 0 && (w.Callback == nil || !sameJSON(data, []byte(w.Callback.Body))) {
		s.Printf("\n%s\n", s.Paint(screen.Bold, "provider data"))
		s.Block(data)
	}
	if w.Callback != nil {
		s.Printf("\n")
		callback(s, w.Callback)
	}
}

// annotations writes what guards added, by name.
func annotations(s *screen.Screen, f *client.Fact) {
	for _, name := range slices.Sorted(maps.Keys(f.Annotations)) {
		s.Field("annotation", screen.Text(name+": "+f.Annotations[name]))
	}
}

// sameJSON reports whether two texts are the same but for white space.
func sameJSON(a, b []byte) bool {
	var compactA, compactB bytes.Buffer
	return json.Compact(&compactA, a) == nil && json.Compact(&compactB, b) == nil &&
		bytes.Equal(compactA.Bytes(), compactB.Bytes())
}

func status(f *client.Fact) string {
	if f.Data.ProviderStatus == "" {
		return f.Data.Status
	}
	return strings.TrimSpace(f.Data.Status + " (the provider says " + f.Data.ProviderStatus + ")")
}

func references(f *client.Fact) string {
	var parts []string
	r := f.Data.References
	for _, part := range [][2]string{{"merchant", r.Merchant}, {"provider", r.Provider}, {"bank", r.Bank}} {
		if part[1] != "" {
			parts = append(parts, part[0]+" "+part[1])
		}
	}
	return strings.Join(parts, ", ")
}

func callback(s *screen.Screen, r *client.Recorded) {
	s.Printf("%s\n", s.Paint(screen.Bold, "callback"))
	s.Field("request", screen.Text(r.Method+" "+r.Target))
	s.Field("received", screen.Text(stamp(r.Received)))
	s.Field("from", screen.Text(r.Remote))
	s.Field("judged by", screen.Text(r.Plugin))
	s.Field("verdict", screen.Text(strings.TrimSuffix(r.Kind+", "+r.Detail, ", ")))
	for _, e := range r.Evidence {
		s.Field("evidence", screen.Text(fmt.Sprintf("%s with %s (value %d), covers %s",
			e.Algorithm, e.Secret, e.Value+1, e.Covers)).In(screen.Good))
	}
	s.Printf("\n%s\n", s.Paint(screen.Bold, "headers"))
	for _, h := range r.Headers {
		s.Printf("  %s: %s\n", s.Show(screen.Text(h.Name).In(screen.Faint)), screen.Clean(h.Value))
	}
	s.Printf("\n%s\n", s.Paint(screen.Bold, "body"))
	body := []byte(r.Body)
	if len(r.Bytes) > 0 {
		body = r.Bytes
	}
	s.Block(body)
	for _, a := range r.Aside {
		s.Printf("\n%s\n", s.Show(screen.Text("set aside: "+a.Reason).In(screen.Odd)))
		s.Block(a.Item)
	}
}

// stamp is a time to the second, empty for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
