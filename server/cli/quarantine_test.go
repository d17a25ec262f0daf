package cli

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

func TestQuarantineList(t *testing.T) {
	dir := serving(t, newShelf())
	shown(t, "quarantine-80", dir, narrow, "quarantine", "list")
	shown(t, "quarantine-filter", dir, nil, "quarantine", "list", "--endpoint", "main/wowpe", "--reason", "malformed")
	shown(t, "quarantine-none", dir, nil, "quarantine", "list", "--tenant", "other")
	shown(t, "quarantine-json", dir, nil, "quarantine", "list", "--limit", "1", "--json")
}

func TestQuarantineShow(t *testing.T) {
	dir := serving(t, newShelf())
	shown(t, "quarantine-show", dir, nil, "quarantine", "show", "refused-2")
	shown(t, "quarantine-show-kept", dir, nil, "quarantine", "show", "refused-4")
	got := postern(t, nil, "quarantine", "show", "refused-2", "--data", dir, "--json")
	if want := `"callback":{"kind":"rejected"`; got.code != exitDone || !strings.Contains(got.stdout, want) {
		t.Errorf("quarantine show --json = %+v, want %s in it", got, want)
	}
}

func TestQuarantineDiscard(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	const left = "refused-4  left  it was kept, and acknowledged: name its id or its reason to discard it\n"
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"refused-1 gone", "refused-1  discarded\ngone  not-found\n2 callbacks, 1 discarded, 1 not-found\n", exitFailed},
		{"--endpoint wowpe", "refused-3  discarded\n" + left + "2 callbacks, 1 discarded, 1 left\n", exitDone},
		{"--endpoint main/wowpe --reason kept", "refused-4  discarded\n1 callback, 1 discarded\n", exitDone},
		{"--tenant other", "0 callbacks\n", exitDone},
		{"--all --json", `{"id":"refused-1","result":"discarded"}
{"id":"refused-2","result":"discarded"}
{"id":"refused-3","result":"discarded"}
{"id":"refused-4","result":"left","detail":"it was kept, and acknowledged: name its id or its reason to discard it"}
`, exitDone},
	} {
		got := postern(t, nil, append([]string{"quarantine", "discard", "--data", dir}, strings.Fields(tt.args)...)...)
		if want := (result{tt.code, tt.want, ""}); got != want {
			t.Errorf("discard %s = %+v, want %+v", tt.args, got, want)
		}
	}
	want := []string{"drop refused-1", "drop refused-3", "drop refused-4", "drop refused-1", "drop refused-2", "drop refused-3"}
	if diff := cmp.Diff(want, s.told); diff != "" {
		t.Errorf("asked of the store (-want +got):\n%s", diff)
	}
}

func TestQuarantine_refused(t *testing.T) {
	s := newShelf()
	dir := serving(t, s)
	const ways = "name ids, choose by --tenant, --endpoint or --reason, or say --all (one of the three)"
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"discard", ways, exitUsage},
		{"retry", ways, exitUsage},
		{"discard refused-1 --all", ways, exitUsage},
		{"discard --all --reason kept", ways, exitUsage},
		{"list --tenant a --endpoint b/c", "--tenant a and --endpoint b/c name two tenants", exitUsage},
		{"list --limit 0", "--limit 0: must be 1 or more", exitUsage},
		{"show gone", "gone is not in quarantine", exitFailed},
		{"discard ../x", `ids: "../x" is no id of the quarantine`, exitFailed},
	} {
		got := postern(t, nil, append([]string{"quarantine", "--data", dir}, strings.Fields(tt.args)...)...)
		if want := (result{tt.code, "", "postern: " + tt.want + "\n"}); got != want {
			t.Errorf("quarantine %s = %+v, want %+v", tt.args, got, want)
		}
	}
	if len(s.told) > 0 {
		t.Errorf("asked of the store: %q, want nothing", s.told)
	}
}

// A retry needs plugins, which only a server has; the one to start is named.
func TestQuarantineRetry_noServer(t *testing.T) {
	data, _ := shelved(t)
	file := filepath.Join(t.TempDir(), "x.yaml")
	write(t, file, "store: {path: "+data+"}\n")
	got := postern(t, []string{}, "quarantine", "retry", "--all", "--config", file)
	want := "postern: no server is running on this data directory: a retry needs its plugins\n" +
		"postern: start one: postern serve --config " + file + "\n"
	if got.code != exitFailed || got.stderr != want {
		t.Errorf("retry without a server = %+v, want %q", got, want)
	}
}

// Whoever gives the data directory alone does not say what is configured.
func TestSinksForget_needsTheConfiguration(t *testing.T) {
	data, _ := shelved(t)
	got := postern(t, nil, "sinks", "forget", "orders", "--data", data)
	want := result{exitFailed, "", "postern: nobody here knows which sinks are configured; name the configuration, or ask the running server\n"}
	if got != want {
		t.Errorf("forget = %+v, want %+v", got, want)
	}
}

func TestQuarantineRetry(t *testing.T) {
	s := newShelf()
	id := s.events[0].Event.ID()
	s.reprocess = func(rejected string) (host.Reprocessed, error) {
		switch rejected {
		case "refused-1":
			return host.Reprocessed{
				Kind: host.Accepted, Receipt: host.Receipt{Events: []host.Disposition{host.Stored}}, Events: []string{id},
			}, nil
		case "refused-2":
			return host.Reprocessed{Reason: "not-verified", Detail: "the signature is not that of the body\x1b[2J"}, nil
		}
		return host.Reprocessed{}, errors.New("no instance is free")
	}
	dir := serving(t, s)
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"refused-1", "refused-1  accepted  1 stored\n  event " + id + "\n1 callback, 1 accepted\n", exitDone},
		{
			"--endpoint main/ottu", "refused-1  accepted  1 stored\n  event " + id + "\nrefused-2  left  not-verified: the signature is not that of the body\\x1b[2J\n" +
				"2 callbacks, 1 accepted, 1 left\n", exitDone,
		},
		{"--reason kept", "refused-4  failed  no instance is free\n1 callback, 1 failed\n", exitFailed},
	} {
		got := postern(t, nil, append([]string{"quarantine", "retry", "--data", dir}, strings.Fields(tt.args)...)...)
		if want := (result{tt.code, tt.want, ""}); got != want {
			t.Errorf("retry %s = %+v, want %+v", tt.args, got, want)
		}
	}
}
