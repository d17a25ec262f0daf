package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
)

func TestEventsList(t *testing.T) {
	dir := serving(t, newShelf())
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
	}{
		{"events-list", nil, nil},
		{"events-list-80", narrow, nil},
		{"events-list-type", narrow, []string{"--type", "payment.succeeded", "--newest=false"}},
		{"events-list-limit", narrow, []string{"--limit", "1"}},
		{"events-list-none", narrow, []string{"--tenant", "nobody"}},
		{"events-list-json", nil, []string{"--json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := postern(t, tt.environ, append([]string{"events", "list", "--data", dir}, tt.args...)...)
			if got.code != exitDone || got.stderr != "" {
				t.Fatalf("events list = code %d, stderr %q; want 0 and nothing", got.code, got.stderr)
			}
			golden(t, tt.name, got.stdout)
			if strings.Contains(got.stdout, "\x1b") {
				t.Error("events list coloured what is no terminal")
			}
			for line := range strings.Lines(got.stdout) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); tt.environ != nil && n > 80 {
					t.Errorf("a line has %d characters, want at most 80: %q", n, line)
				}
			}
		})
	}
}

func TestEventsShow(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	id := s.events[2].Event.ID()
	got := postern(t, nil, "events", "show", id, "--data", dir)
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("events show = code %d, stderr %q; want 0 and nothing", got.code, got.stderr)
	}
	golden(t, "events-show", got.stdout)
	if strings.Contains(got.stdout, "\x1b") {
		t.Error("a header's escape sequence reached the terminal")
	}

	got = postern(t, nil, "events", "show", id, "--data", dir, "--json")
	var w client.Whole
	if err := json.Unmarshal([]byte(got.stdout), &w); err != nil || w.Callback == nil {
		t.Errorf("events show --json = %q, want the event with its callback (%v)", got.stdout, err)
	}
}

// A body that is the provider's data whole is shown once.
func TestEventsShow_once(t *testing.T) {
	s := newShelf()
	s.record.Callback.Body = []byte(`{ "state":"paid", "n":[1, 2] }`)
	got := postern(t, nil, "events", "show", s.events[0].Event.ID(), "--data", serving(t, s))
	if n := strings.Count(got.stdout, `"state": "paid"`); n != 1 || strings.Contains(got.stdout, "provider data") {
		t.Errorf("events show has the body %d times, want once:\n%s", n, got.stdout)
	}
}

func TestEventsShow_bytes(t *testing.T) {
	s := newShelf()
	s.record.Callback.Body = []byte{0xff, 0xfe, 1}
	got := postern(t, nil, "events", "show", s.events[0].Event.ID(), "--data", serving(t, s))
	if want := "  3 bytes that are no text; --json shows them\n"; !strings.Contains(got.stdout, want) {
		t.Errorf("events show = %q, want it to say %q", got.stdout, want)
	}
}

func TestEventsShow_unknown(t *testing.T) {
	id := host.Hash{9, 9}.ID()
	got := postern(t, nil, "events", "show", id, "--data", serving(t, newShelf()))
	want := result{exitFailed, "", "postern: event " + id + " is not stored here\n"}
	if got != want {
		t.Errorf("events show = %+v, want %+v", got, want)
	}
}

func TestEventsTail(t *testing.T) {
	s := newShelf()
	// The fourth comes in when the tail has asked once and got nothing.
	late := s.events[3]
	s.events, s.late, s.lateAfter = s.events[:3], &late, 2
	dir := serving(t, s)
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"events-tail", []string{"--limit", "1"}},
	} {
		got := postern(t, nil, append([]string{"events", "tail", "--data", dir}, tt.args...)...)
		if got.code != exitDone || got.stderr != "" {
			t.Fatalf("events tail = code %d, stderr %q; want 0 and nothing", got.code, got.stderr)
		}
		golden(t, tt.name, got.stdout)
	}
}

func TestEventsTail_stops(t *testing.T) {
	dir := serving(t, newShelf())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := command(ctx, &out, &errs, "events", "tail", "--data", dir); code != exitDone {
		t.Errorf("an interrupted tail = code %d, %q; want 0", code, errs.String())
	}
}
