package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// sdkArchive is the SDK as "postern plugin new" writes it.
const sdkArchive = "server/cli/internal/author/sdk.txtar"

// sdkFiles are the files of the SDK that a plugin builds with.
func sdkFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	root := os.DirFS("sdk")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") ||
			strings.HasPrefix(name, "sdktest/") || strings.Contains("/"+name, "/testdata/") {
			return err
		}
		files[name], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestScaffold_hasTheSDK holds the SDK that a new plugin takes along to the one
// in sdk/, byte for byte.
func TestScaffold_hasTheSDK(t *testing.T) {
	archive, err := txtar.ParseFile(sdkArchive)
	if err != nil {
		t.Fatal(err)
	}
	want := sdkFiles(t)
	if len(want) < 15 {
		t.Fatalf("%d files in sdk/, want more", len(want))
	}
	for _, f := range archive.Files {
		text, there := want[f.Name]
		if !there || !bytes.Equal(text, f.Data) {
			t.Errorf("%s has another sdk/%s than sdk/ (in sdk/: %v); renew it: go generate ./server/cli/internal/author", sdkArchive, f.Name, there)
		}
		delete(want, f.Name)
	}
	for name := range want {
		t.Errorf("%s does not have sdk/%s; renew it: go generate ./server/cli/internal/author", sdkArchive, name)
	}
}

// buildPostern builds the binary, without the race detector, into dir.
func buildPostern(t *testing.T, dir string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", filepath.Join(dir, "postern"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
}

// offline is the environment of somebody without a network, or a copy of this
// repository: no proxy, no sums, no version control, no other Go.
func offline(dir string) []string {
	return append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "NO_COLOR=1", "COLUMNS=",
		"GOPROXY=off", "GOFLAGS=-mod=mod", "GOSUMDB=off", "GOTOOLCHAIN=local", "GOVCS=*:off", "GOMODCACHE="+filepath.Join(dir, "none"))
}

// workbench is a place to write a plugin at, with the binary on its PATH.
type workbench struct {
	t   *testing.T
	dir string
}

// does runs a command line and returns what it printed, standard error last.
func (w *workbench) does(want int, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(w.dir, "postern"), args...)
	cmd.Dir, cmd.Env = w.dir, offline(w.dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != want {
		w.t.Fatalf("postern %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, want, &out, &errs)
	}
	return strings.ReplaceAll(out.String()+errs.String(), filepath.Join(w.dir, "postern"), "postern")
}

func (w *workbench) read(file string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, file))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *workbench) write(file, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, file), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// edit replaces the only place where old stands.
func (w *workbench) edit(file, old, fresh string) {
	w.t.Helper()
	text := w.read(file)
	if n := strings.Count(text, old); n != 1 {
		w.t.Fatalf("%s has %q %d times", file, old, n)
	}
	w.write(file, strings.Replace(text, old, fresh, 1))
}

// measured are numbers that another Go gives otherwise.
var measured = regexp.MustCompile(` +\d+ +\d+\.\d MiB`)

// shown compares what a command printed with a file of testdata.
func (w *workbench) shown(name, got string) {
	w.t.Helper()
	file := filepath.Join("testdata", "scaffold", name+".golden")
	got = measured.ReplaceAllString(got, "  FUEL  MEMORY")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatalf("%v (go test -run TestScaffold . -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestScaffold writes a plugin outside this repository and without a network:
// made, tested, broken, put right, built.
func TestScaffold(t *testing.T) {
	w := &workbench{t, t.TempDir()}
	buildPostern(t, w.dir)
	w.shown("new", w.does(0, "plugin", "new", "acme"))
	w.shown("test", w.does(0, "plugin", "test", "acme"))

	w.does(0, "plugin", "build", "acme")
	first := w.read("acme/dist/acme.wasm")
	w.does(0, "plugin", "build", "acme", "--out", "other")
	if w.read("other/acme.wasm") != first {
		t.Error("two builds of the same sources differ")
	}
	w.shown("test", w.does(0, "plugin", "test", "acme/dist/acme.wasm"))

	// A golden tells a broken handler, and takes the new result when told to.
	w.edit("acme/provider.go", `"paid":   "succeeded"`, `"paid":   "pending"`)
	w.edit("acme/provider.go", "ProviderRef(body.Text(\"/id\")).\n\t\t", "")
	w.shown("broken", w.does(1, "plugin", "test", "acme"))
	w.shown("updated", w.does(0, "plugin", "test", "acme", "--update"))
	if golden := w.read("acme/testdata/paid.golden.json"); !strings.Contains(golden, `"type": "payment.pending"`) ||
		!strings.HasPrefix(golden, "{\n  \"about\": \"a payment that succeeded\",\n") {
		t.Errorf("the golden after --update:\n%s", golden)
	}
	w.newCase()
	w.misbehaves()
}

// newCase adds a callback that nobody has signed yet.
func (w *workbench) newCase() {
	w.t.Helper()
	w.write("acme/testdata/late.http", "POST /in/demo/acme HTTP/1.1\nX-Signature: 00\n\n"+`{"id":"pay-2","status":"open"}`)
	if said := w.does(1, "plugin", "test", "acme"); !strings.Contains(said, "testdata/late.http has no golden: --update makes one") {
		w.t.Errorf("a request without a golden: %s", said)
	}
	w.does(0, "plugin", "test", "acme", "--update", "--sign", "late")
	request := w.read("acme/testdata/late.http")
	if strings.Contains(request, "X-Signature: 00\n") || strings.Count(request, "X-Signature: ") != 1 ||
		!strings.HasSuffix(request, "\n\n"+`{"id":"pay-2","status":"open"}`) {
		w.t.Errorf("the signed request:\n%s", request)
	}
	var report struct {
		Failed  int
		Goldens []struct {
			Name, Result, Verdict string
			Fuel, Memory          int
		}
	}
	if err := json.Unmarshal([]byte(w.does(0, "plugin", "test", "acme", "--json")), &report); err != nil {
		w.t.Fatal(err)
	}
	for _, g := range report.Goldens {
		if g.Result != "ok" || g.Fuel < 1000 || g.Memory < 1<<20 {
			w.t.Errorf("--json: %+v", g)
		}
		if g.Name == "late" && g.Verdict != "accept" {
			w.t.Errorf("the verdict on the new case is %s", g.Verdict)
		}
	}
	if report.Failed != 0 || len(report.Goldens) != 4 {
		w.t.Errorf("--json: %+v", report)
	}
	if said := w.does(2, "plugin", "test", "acme/dist/acme.wasm", "--update"); !strings.Contains(said, "name the plugin's folder, not its module") {
		w.t.Errorf("--update of a module: %s", said)
	}
	if said := w.does(2, "plugin", "test", "acme", "--sign", "gone"); !strings.Contains(said, "there is no testdata/gone.http") {
		w.t.Errorf("--sign of no case: %s", said)
	}
}

// misbehaves shows what an author sees of a handler that fails, and of one that
// is none.
func (w *workbench) misbehaves() {
	w.t.Helper()
	w.edit("acme/provider.go", "func handle(cb *postern.Callback) postern.Verdict {\n", "func handle(cb *postern.Callback) postern.Verdict {\n	calls++\n	if calls > 1 {\n		return cb.Ignore(\"seen\")\n	}\n")
	w.edit("acme/provider.go", "func main() {}\n", "func main() {}\n\nvar calls int\n")
	if said := w.does(1, "plugin", "test", "acme"); !strings.Contains(said, "asked again it does not say the same: acme: golden ") {
		w.t.Errorf("a handler that remembers: %s", said)
	}
	w.edit("acme/provider.go", "calls > 1", "calls < 0")
	w.edit("acme/provider.go", "	word := body.Text", "	if body.Text(\"/status\") == \"open\" {\n		panic(\"not yet\")\n	}\n	word := body.Text")
	if said := w.does(1, "plugin", "test", "acme", "--update"); !strings.Contains(said, "\nlate     failed ") ||
		!strings.Contains(said, "unreachable: panic: not yet") || !strings.Contains(said, "3 ok, 1 failed") {
		w.t.Errorf("a handler that panics:\n%s", said)
	}
	w.edit("acme/provider.go", "not yet\")", "not yet\"")
	w.shown("compile", w.does(1, "plugin", "build", "acme"))
	if w.read("acme/dist/acme.wasm") == "" {
		w.t.Error("a build that failed left no module")
	}
}
