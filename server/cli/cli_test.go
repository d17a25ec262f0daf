package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// result is what a command left behind.
type result struct {
	code           int
	stdout, stderr string
}

// postern runs a command with an environment of its own.
func postern(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	return posternIn(t, "", environ, args...)
}

func posternIn(t *testing.T, stdin string, environ []string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{
		stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, environ: environ,
		version: versions{Version: "1.2.3", Go: "go1.26.0", OS: "linux", Arch: "amd64", Wazero: "v1", Bbolt: "v2", Fiber: "v3"},
		now:     func() time.Time { return at.Add(2 * time.Hour) },
	}
	return result{p.run(t.Context(), args), out.String(), errs.String()}
}

// settled names a directory whose own name differs from run to run, and with
// its length the place of a proposed command.
func settled(text, dir, name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, dir, name), ":\n  postern ", ": postern ")
}

// proposed is the command line that stands behind before, below it or beside
// it, without the program's name.
func proposed(t *testing.T, text, before string) []string {
	t.Helper()
	_, after, ok := strings.Cut(text, before)
	words := strings.Fields(strings.SplitN(strings.TrimSpace(after), "\n", 2)[0])
	if !ok || len(words) == 0 || words[0] != "postern" {
		t.Fatalf("there is no command behind %q in\n%s", before, text)
	}
	return words[1:]
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test ./server/cli -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestMain_usage(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string
	}{
		{"evnts", `postern: unknown command "evnts" for "postern"; did you mean "events"?`},
		{"events lst", `postern: unknown command "lst" for "postern events"; did you mean "list"?`},
		{"xyzzy", `postern: unknown command "xyzzy" for "postern"; see "postern --help"`},
		{"events show", "postern: usage: postern events show <id>"},
		{"events list --limt 3", `postern: unknown flag: --limt; see "postern events list --help"`},
		{"events list --limit 0", "postern: --limit 0: must be 1 or more"},
		{"events show nonsense", `postern: event id "nonsense" is not 26 characters of a-z and 2-7`},
		{"serve --cursors newest", "postern: --cursors newest: must be oldest or now"},
		{"deadletters redrive events", "postern: name the events' ids, or say --all (one of the two)"},
		{"deadletters redrive events --all abc", "postern: name the events' ids, or say --all (one of the two)"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := postern(t, nil, strings.Fields(tt.args)...)
			want := result{exitUsage, "", tt.want + "\n"}
			if got != want {
				t.Errorf("postern %s = %+v, want %+v", tt.args, got, want)
			}
		})
	}
}

func TestMain_help(t *testing.T) {
	// What the process itself was called with must not count.
	defer func(args []string) { os.Args = args }(os.Args)
	os.Args = []string{"cli.test", "xyzzy"}
	got := postern(t, nil)
	if got.code != exitDone || got.stderr != "" {
		t.Errorf("postern = code %d, stderr %q; want 0 and nothing", got.code, got.stderr)
	}
	golden(t, "help", got.stdout)
	for line := range strings.Lines(got.stdout) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("help: a line has %d characters, want at most 80: %q", n, line)
		}
	}
}

func TestMain_oneLineForEachProblem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postern.yaml")
	write(t, file, "intake:\n  listn: x\nlog:\n  format: xml\nstore:\n  engine: mem2\n")
	got := postern(t, []string{}, "serve", "--config", file)
	if got.code != exitFailed || got.stdout != "" {
		t.Errorf("serve = code %d, stdout %q; want 1 and nothing", got.code, got.stdout)
	}
	lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
	if len(lines) != 3 {
		t.Fatalf("serve wrote %d lines, want one for each of 3 problems:\n%s", len(lines), got.stderr)
	}
	for i, path := range []string{"intake.listn: ", "log.format: ", "store.engine: "} {
		if !strings.HasPrefix(lines[i], "postern: "+path) {
			t.Errorf("line %d = %q, want it to begin with %q", i+1, lines[i], "postern: "+path)
		}
	}
}

func TestGetenv(t *testing.T) {
	p := &program{environ: []string{"A=1", "A=2", "B="}}
	if got, ok := p.getenv("A"); got != "2" || !ok {
		t.Errorf(`getenv("A") = %q, %v; want "2", true`, got, ok)
	}
	if got, ok := p.getenv("B"); got != "" || !ok {
		t.Errorf(`getenv("B") = %q, %v; want "", true`, got, ok)
	}
	if _, ok := p.getenv("C"); ok {
		t.Error(`getenv("C") is set, want not`)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs args with a context that the test ends.
func command(ctx context.Context, out, errs *bytes.Buffer, args ...string) int {
	p := &program{stdin: strings.NewReader(""), stdout: out, stderr: errs, environ: []string{}, now: time.Now}
	return p.run(ctx, args)
}

func TestMain_version(t *testing.T) {
	got := postern(t, nil, "version")
	golden(t, "version", got.stdout)
	got = postern(t, nil, "version", "--json")
	want := `{"version":"1.2.3","go":"go1.26.0","os":"linux","arch":"amd64","wazero":"v1","bbolt":"v2","fiber":"v3"}` + "\n"
	if got.stdout != want {
		t.Errorf("version --json = %q, want %q", got.stdout, want)
	}
	var out bytes.Buffer
	code := Main(Call{
		Args: []string{"version"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Version: "v9.8.7",
	})
	if code != exitDone || !strings.HasPrefix(out.String(), "postern v9.8.7\n  go      go1.") {
		t.Errorf("version = code %d, %q; want 0 and the version given", code, out.String())
	}
}
