package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
)

func (p *program) eventsShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show <id>",
		Short: "Show one event and the callback it came in",
		Args:  takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := host.ParseID(args[0]); err != nil {
				return usageError{err}
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			w, err := cl.Event(c.Context(), args[0])
			if client.NotFound(err) {
				return fmt.Errorf("event %s is not stored here", args[0])
			}
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, w.Answer)
			}
			showEvent(p.screen(), w)
			return nil
		},
	}
}

func showEvent(s *screen.Screen, w *client.Whole) {
	f := &w.Fact
	s.Printf("%s\n", s.Paint(screen.Bold, "event "+f.ID))
	s.Field("type", screen.Text(f.Type))
	s.Field("endpoint", screen.Text(where(f)))
	s.Field("provider", screen.Text(f.Provider))
	s.Field("subject", screen.Text(f.Subject))
	s.Field("amount", screen.Text(amount(f)))
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
	s.Field("dedup key", screen.Text(f.DedupKey))
	s.Field("sequence", screen.Text(fmt.Sprint(w.Seq)))
	if data := f.Data.ProviderData; len(data) > 0 && (w.Callback == nil || !sameJSON(data, []byte(w.Callback.Body))) {
		s.Printf("\n%s\n", s.Paint(screen.Bold, "provider data"))
		s.Block(data)
	}
	if w.Callback != nil {
		s.Printf("\n")
		showCallback(s, w.Callback)
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

func showCallback(s *screen.Screen, r *client.Recorded) {
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

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
