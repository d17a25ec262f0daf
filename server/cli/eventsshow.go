package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/postern/postern/host"
)

// whole is one event with the callback it came in.
type whole struct {
	stored
	Callback *recorded `json:"callback"`
}

// recorded is a callback as the admin routes give it, tokens masked.
type recorded struct {
	Kind     string          `json:"kind"`
	Detail   string          `json:"detail"`
	Plugin   string          `json:"plugin"`
	Method   string          `json:"method"`
	Target   string          `json:"target"`
	Headers  []host.Header   `json:"headers"`
	Remote   string          `json:"remote"`
	Received time.Time       `json:"received"`
	Evidence []host.Evidence `json:"evidence"`
	Body     string          `json:"body"`
	// Bytes is the body where it is not UTF-8.
	Bytes []byte       `json:"body_base64"`
	Aside []host.Aside `json:"aside"`
}

func (p *program) eventsShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show <id>",
		Short: "Show one event and the callback it came in",
		Args:  takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := host.ParseID(args[0]); err != nil {
				return usageError{err}
			}
			cl, err := p.client(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.close() }()
			var answer json.RawMessage
			err = cl.get(c.Context(), "/events/"+url.PathEscape(args[0]), nil, &answer)
			if isNotFound(err) {
				return fmt.Errorf("event %s is not stored here", args[0])
			}
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, answer)
			}
			var w whole
			if err := json.Unmarshal(answer, &w); err != nil {
				return fmt.Errorf("understand the server's answer: %w", err)
			}
			if err := w.read(); err != nil {
				return err
			}
			w.print(p.screen())
			return nil
		},
	}
}

// field is a name and its value; one without a value is not printed.
type field struct {
	name  string
	value cell
}

func (s *screen) fields(list []field) {
	for _, f := range list {
		if f.value.text != "" {
			name := fmt.Sprintf("  %-12s", f.name)
			s.printf("%s%s\n", s.paint(faint, name), s.paint(f.value.tone, clean(f.value.text)))
		}
	}
}

func (w *whole) print(s *screen) {
	f := &w.fact
	s.printf("%s\n", s.paint(bold, "event "+f.ID))
	s.fields([]field{
		{"type", cell{text: f.Type}},
		{"endpoint", cell{text: f.where()}},
		{"provider", cell{text: f.Provider}},
		{"subject", cell{text: f.Subject}},
		{"amount", cell{text: f.amount()}},
		{"status", cell{text: f.status()}},
		{"references", cell{text: f.references()}},
		{"method", cell{text: f.Data.Method}},
		{"party", cell{text: f.Data.Party}},
		{"time", cell{text: stamp(f.Time)}},
		{"received", cell{text: stamp(f.Received)}},
		{"verified by", cell{text: f.VerifiedBy + ", covers " + f.Covers}},
		{"conflict", f.conflict()},
		{"confirm", cell{f.Confirm, odd}},
		{"sandbox", f.sandbox()},
		{"dedup key", cell{text: f.DedupKey}},
		{"sequence", cell{text: fmt.Sprint(w.Seq)}},
	})
	if data := f.Data.ProviderData; len(data) > 0 && (w.Callback == nil || !sameJSON(data, []byte(w.Callback.Body))) {
		s.printf("\n%s\n", s.paint(bold, "provider data"))
		s.block(data)
	}
	if w.Callback != nil {
		s.printf("\n")
		w.Callback.print(s)
	}
}

// sameJSON reports whether two texts are the same but for white space.
func sameJSON(a, b []byte) bool {
	var compactA, compactB bytes.Buffer
	return json.Compact(&compactA, a) == nil && json.Compact(&compactB, b) == nil &&
		bytes.Equal(compactA.Bytes(), compactB.Bytes())
}

func (f *fact) status() string {
	if f.Data.ProviderStatus == "" {
		return f.Data.Status
	}
	return strings.TrimSpace(f.Data.Status + " (the provider says " + f.Data.ProviderStatus + ")")
}

func (f *fact) references() string {
	var parts []string
	r := f.Data.References
	for _, part := range [][2]string{{"merchant", r.Merchant}, {"provider", r.Provider}, {"bank", r.Bank}} {
		if part[1] != "" {
			parts = append(parts, part[0]+" "+part[1])
		}
	}
	return strings.Join(parts, ", ")
}

func (f *fact) sandbox() cell {
	if f.Sandbox {
		return cell{"from the provider's test environment", odd}
	}
	return cell{}
}

func (f *fact) conflict() cell {
	if f.Conflict {
		return cell{"an event with the same dedup key and other content came before it", odd}
	}
	return cell{}
}

func (r *recorded) print(s *screen) {
	s.printf("%s\n", s.paint(bold, "callback"))
	list := []field{
		{"request", cell{text: r.Method + " " + r.Target}},
		{"received", cell{text: stamp(r.Received)}},
		{"from", cell{text: r.Remote}},
		{"judged by", cell{text: r.Plugin}},
		{"verdict", cell{text: strings.TrimSuffix(r.Kind+", "+r.Detail, ", ")}},
	}
	for _, e := range r.Evidence {
		list = append(list, field{"evidence", cell{
			fmt.Sprintf("%s with %s (value %d), covers %s", e.Algorithm, e.Secret, e.Value+1, e.Covers), good,
		}})
	}
	s.fields(list)
	s.printf("\n%s\n", s.paint(bold, "headers"))
	for _, h := range r.Headers {
		s.printf("  %s: %s\n", s.paint(faint, clean(h.Name)), clean(h.Value))
	}
	s.printf("\n%s\n", s.paint(bold, "body"))
	body := []byte(r.Body)
	if len(r.Bytes) > 0 {
		body = r.Bytes
	}
	s.block(body)
	for _, a := range r.Aside {
		s.printf("\n%s\n", s.paint(odd, "set aside: "+clean(a.Reason)))
		s.block(a.Item)
	}
}

// block prints bytes indented: JSON spread out, other text as it is, and what
// is no text by its length.
func (s *screen) block(b []byte) {
	var spread bytes.Buffer
	if json.Indent(&spread, b, "", "  ") == nil {
		b = spread.Bytes()
	}
	if !utf8.Valid(b) {
		s.printf("  %d bytes that are no text; --json shows them\n", len(b))
		return
	}
	for line := range strings.Lines(string(b)) {
		s.printf("  %s\n", clean(strings.TrimRight(line, "\r\n")))
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
