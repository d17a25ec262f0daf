package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shown runs a command over the shelf's directory, and compares what it prints
// with a golden file.
func shown(t *testing.T, name, dir string, environ []string, args ...string) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		got := postern(t, environ, append(args, "--data", dir)...)
		if got.code != exitDone || got.stderr != "" {
			t.Fatalf("%s = code %d, stderr %q; want 0 and nothing", strings.Join(args, " "), got.code, got.stderr)
		}
		golden(t, name, settled(got.stdout, dir, "DIR"))
		if strings.Contains(got.stdout, "\x1b") {
			t.Error("an escape sequence from outside reached the terminal")
		}
	})
}

func TestSinksList(t *testing.T) {
	dir := serving(t, newShelf())
	shown(t, "sinks-80", dir, narrow, "sinks", "list")
	shown(t, "sinks-json", dir, nil, "sinks", "list", "--json")
}

func TestSinks_told(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	for _, tt := range []struct{ args, want string }{
		{"sinks pause orders", "sink orders is paused: nothing is delivered to it\ngo on: postern sinks resume orders --data DIR\n"},
		{"sinks pause orders --json", `{"paused":true,"sink":"orders"}` + "\n"},
		{"sinks resume orders", "sink orders goes on\n"},
		{"sinks resume orders --json", `{"paused":false,"sink":"orders"}` + "\n"},
		{"sinks forget ledger", "sink ledger is forgotten; with it went 1 delivery under way and 2 dead letters, and 40312 records it had not seen\n"},
		{"sinks forget ledger --json", `{"lag":{"records":40312,"leased":0,"retrying":1,"parked":0,"dead":2,"paused":true},"sink":"ledger"}` + "\n"},
	} {
		got := postern(t, nil, append(strings.Fields(tt.args), "--data", dir)...)
		got.stdout = settled(got.stdout, dir, "DIR")
		if want := (result{exitDone, tt.want, ""}); got != want {
			t.Errorf("%s = %+v, want %+v", tt.args, got, want)
		}
	}
	want := []string{"pause orders", "pause orders", "resume orders", "resume orders", "forget ledger", "forget ledger"}
	if diff := cmp.Diff(want, s.told); diff != "" {
		t.Errorf("asked of the queue (-want +got):\n%s", diff)
	}
}

func TestSinks_refused(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"sinks pause nowhere", `sink "nowhere" is unknown`, exitFailed},
		{"sinks resume nowhere", `sink "nowhere" is unknown`, exitFailed},
		{"sinks forget nowhere", `sink "nowhere" is unknown`, exitFailed},
		{"sinks forget orders", "sink orders is configured; take it out of the configuration, restart, and then forget it", exitFailed},
		{"sinks pause", "usage: postern sinks pause <sink>", exitUsage},
		{"replay start orders", "give --from and --to, --since and --until, or --all (one of the three)", exitUsage},
		{"replay start orders --all --since 1h", "give --from and --to, --since and --until, or --all (one of the three)", exitUsage},
		{"replay start nowhere --all", `sink "nowhere" is unknown`, exitFailed},
		{"replay start orders --from x", "from is no cursor; take one from the events' list", exitFailed},
		{"replay start orders --since yesterday", `since is "yesterday"; use a time like 2026-01-31T08:00:00Z, or how long ago like 90m, 6h or 7d`, exitFailed},
		{"replay status nowhere", `sink "nowhere" is unknown`, exitFailed},
		{"replay stop orders", "no replay of sink orders is under way", exitFailed},
		{"deadletters show orders nonsense", `event id "nonsense" is not 26 characters of a-z and 2-7`, exitUsage},
		{"deadletters show orders " + s.events[3].Event.ID(), `sink "orders" has no dead letter ` + s.events[3].Event.ID(), exitFailed},
		{"deadletters discard orders", "name the events' ids, or say --all (one of the two)", exitUsage},
		{"deadletters discard nowhere --all", `sink "nowhere" is unknown`, exitFailed},
	} {
		got := postern(t, nil, append(strings.Fields(tt.args), "--data", dir)...)
		if want := (result{tt.code, "", "postern: " + tt.want + "\n"}); got != want {
			t.Errorf("%s = %+v, want %+v", tt.args, got, want)
		}
	}
	if len(s.told) > 0 {
		t.Errorf("asked of the queue: %q, want nothing", s.told)
	}
}

func TestReplay(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	run := func(args string) string {
		t.Helper()
		got := postern(t, nil, append(strings.Fields(args), "--data", dir)...)
		if got.code != exitDone || got.stderr != "" {
			t.Errorf("%s = %+v, want code 0", args, got)
		}
		return settled(got.stdout, dir, "DIR")
	}
	second, fourth := string(s.events[1].Cursor), string(s.events[3].Cursor)
	var out strings.Builder
	for _, args := range []string{
		"replay status orders",
		"replay status orders --json",
		// Two seconds and three seconds after at.
		"replay start orders --since 2026-11-21T09:30:02Z --until 2026-11-21T09:30:04Z",
		"replay status orders",
		"replay status orders --json",
		"replay stop orders",
		"replay start orders --all",
		"replay stop orders --json",
		"replay start orders --from " + second + " --json",
	} {
		out.WriteString("$ postern " + args + "\n" + run(args))
	}
	golden(t, "replay", out.String())
	want := []string{
		`replay to orders: "` + second + `" to "` + fourth + `"`, "stop the replay to orders",
		`replay to orders: "" to ""`, "stop the replay to orders", `replay to orders: "` + second + `" to ""`,
	}
	if diff := cmp.Diff(want, s.told); diff != "" {
		t.Errorf("asked of the queue (-want +got):\n%s", diff)
	}
}

func TestDeadLettersShow(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	shown(t, "deadletters-show", dir, nil, "deadletters", "show", "orders", s.events[0].Event.ID())
	got := postern(t, nil, "deadletters", "show", "orders", s.events[0].Event.ID(), "--data", dir, "--json")
	if want := `"answer":"{\"error\":\"out of memory\"}\u001b[2J"`; got.code != exitDone || !strings.Contains(got.stdout, want) {
		t.Errorf("deadletters show --json = %+v, want %s in it", got, want)
	}
}

func TestDeadLettersDiscard(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	one, two := s.events[0].Event.ID(), s.events[3].Event.ID()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{one}, "1 dead letter of sink orders dropped\n"},
		{[]string{one, two}, "1 dead letter of sink orders dropped\n1 of the 2 ids name no dead letter of it\n"},
		{[]string{"--all"}, "3 dead letters of sink orders dropped\n"},
		{[]string{"--all", "--json"}, `{"discarded":3,"sink":"orders"}` + "\n"},
	} {
		got := postern(t, nil, append([]string{"deadletters", "discard", "orders", "--data", dir}, tt.args...)...)
		if want := (result{exitDone, tt.want, ""}); got != want {
			t.Errorf("discard %v = %+v, want %+v", tt.args, got, want)
		}
	}
	want := []string{"discard of orders: " + one, "discard of orders: " + one + " " + two, "discard all of orders", "discard all of orders"}
	if diff := cmp.Diff(want, s.told); diff != "" {
		t.Errorf("asked of the queue (-want +got):\n%s", diff)
	}
}

func TestStoreStatus(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	shown(t, "store-status", dir, narrow, "store", "status")
	shown(t, "store-status-json", dir, nil, "store", "status", "--json")
}
