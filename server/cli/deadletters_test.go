package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDeadLettersList(t *testing.T) {
	dir := serving(t, newShelf())
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
	}{
		{"deadletters-80", narrow, nil},
		{"deadletters-sink", nil, []string{"orders", "--limit", "1"}},
		{"deadletters-none", nil, []string{"archive"}},
		{"deadletters-json", nil, []string{"orders", "--json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := postern(t, tt.environ, append([]string{"deadletters", "list", "--data", dir}, tt.args...)...)
			if got.code != exitDone || got.stderr != "" {
				t.Fatalf("deadletters list = code %d, stderr %q; want 0 and nothing", got.code, got.stderr)
			}
			golden(t, tt.name, settled(got.stdout, dir, "DIR"))
		})
	}
}

func TestDeadLetters_unknownSink(t *testing.T) {
	dir := serving(t, newShelf())
	for _, args := range [][]string{{"list", "nowhere"}, {"redrive", "nowhere", "--all"}} {
		got := postern(t, nil, append([]string{"deadletters", "--data", dir}, args...)...)
		want := result{exitFailed, "", "postern: sink \"nowhere\" is unknown\n"}
		if got != want {
			t.Errorf("deadletters %s = %+v, want %+v", strings.Join(args, " "), got, want)
		}
	}
}

func TestDeadLettersRedrive(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	one, two := s.events[0].Event.ID(), s.events[3].Event.ID()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{one}, "1 dead letter of sink orders due again\n"},
		{[]string{one, two}, "1 dead letter of sink orders due again\n1 of the 2 ids name no dead letter of it\n"},
		{[]string{"--all"}, "3 dead letters of sink orders due again\n"},
		{[]string{"--all", "--json"}, `{"redriven":3,"sink":"orders"}` + "\n"},
	} {
		got := postern(t, nil, append([]string{"deadletters", "redrive", "orders", "--data", dir}, tt.args...)...)
		if want := (result{exitDone, tt.want, ""}); got != want {
			t.Errorf("redrive %v = %+v, want %+v", tt.args, got, want)
		}
	}
	want := [][]string{{one}, {one, two}, {}, {}}
	if diff := cmp.Diff(want, s.redrove); diff != "" {
		t.Errorf("asked of the queue (-want +got):\n%s", diff)
	}
}
