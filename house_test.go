package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/postern/postern"

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Doc        string
	Dir        string
	GoFiles    []string
	Imports    []string
	Standard   bool
}

// confined are the technologies that stay inside one folder each, or inside
// those that " and " stands between.
var confined = map[string]string{
	"github.com/gofiber/fiber":         "server",
	"github.com/valyala/fasthttp":      "server",
	"github.com/tetratelabs/wazero":    "host/wasm",
	"go.etcd.io/bbolt":                 "host/store/bolt",
	"github.com/klauspost/compress":    "host/store/bolt",
	"github.com/knadh/koanf":           "config",
	"github.com/spf13/cobra":           "server/cli",
	"github.com/prometheus":            "server",
	"github.com/standard-webhooks":     "host/sink/webhook",
	"github.com/nats-io":               "host/sink/nats",
	"github.com/jackc":                 "host/sink/postgres and host/store/postgres",
	"github.com/santhosh-tekuri":       "host/wasm",
	"github.com/hanwen/go-fuse":        "host/store/bolt/internal/crashfs",
	"github.com/go-json-experiment":    "host/wasm",
	"golang.org/x/time":                "server and host/dispatch",
	"github.com/sony/gobreaker":        "host/dispatch and host/wasm/internal/admit",
	"github.com/expr-lang/expr":        "config/internal/where",
	"aead.dev/minisign":                "host/shelf",
	"golang.org/x/mod":                 "host/shelf",
	"github.com/fsnotify":              "server/watch",
	"github.com/postern/postern/sdk":   "nowhere: the host and the SDK share no code",
	"github.com/google/go-cmp":         "tests",
	"github.com/stretchr/testify":      "nowhere",
	"github.com/postern/postern/bench": "nowhere: it measures, nobody uses it",
}

// violations are the rules of the house that the packages break, one line
// each.
func violations(packages []listed) []string {
	var found []string
	for _, p := range packages {
		if p.Standard || !within(p.ImportPath, modulePath) || len(p.GoFiles) == 0 {
			continue
		}
		from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, modulePath), "/")
		if p.Doc == "" {
			found = append(found, from+": has no doc comment saying its one job")
		}
		for _, imported := range p.Imports {
			if why := forbidden(from, imported); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", from, imported, why))
			}
		}
	}
	slices.Sort(found)
	return found
}

// forbidden says why a package of ours may not import another; empty if it may.
func forbidden(from, imported string) string {
	suite := strings.Contains(from+"/", "test/")
	for prefix, folder := range confined {
		inside := slices.ContainsFunc(strings.Split(folder, " and "), func(f string) bool { return within(from, f) })
		if within(imported, prefix) && !inside && (!suite || folder != "tests") {
			return "it stays inside " + folder
		}
	}
	if from == "host" && strings.Contains(strings.Split(imported, "/")[0], ".") {
		return "the domain imports the standard library only"
	}
	to, ours := strings.CutPrefix(imported, modulePath+"/")
	if !ours {
		return ""
	}
	switch {
	case strings.HasSuffix(to, "test") && !suite:
		return "a conformance suite is for tests"
	case within(to, from) && from != "host" && from != "server":
		return "" // its own innards
	case innards(from) != "" && innards(from) == innards(to):
		return "" // innards of one package
	case rank(to) < rank(from):
		return ""
	}
	return "a package imports only what stands below it, and never a sibling"
}

// rank orders the house from the ground up: a package imports lower ranks only.
func rank(path string) int {
	switch {
	case path == "host":
		return 0
	case path == "server":
		return 2
	case within(path, "server/cli"):
		return 3
	case path == "":
		return 4
	}
	return 1
}

// innards is the folder of the innards that a package is among, empty for none.
func innards(path string) string {
	const name = "/internal/"
	if i := strings.Index(path, name); i >= 0 {
		return path[:i+len(name)]
	}
	return ""
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func goList(t *testing.T, dir string, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Doc,Dir,GoFiles,Imports,Standard"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v\n%s", dir, err, &stderr)
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestHouse_imports(t *testing.T) {
	packages := goList(t, ".", "-deps", "./...")
	for _, v := range violations(packages) {
		t.Error(v)
	}
	seen := make(map[string]bool)
	for _, p := range packages {
		seen[p.ImportPath] = true
	}
	for _, want := range []string{"host", "host/wasm", "host/store/bolt", "host/dispatch", "server/intake", "server/cli", "config"} {
		if !seen[modulePath+"/"+want] {
			t.Errorf("the test did not see %s", want)
		}
	}
}

// TestHouse_fixture has a tree that breaks every rule once: a rule that says
// nothing about it is no rule.
func TestHouse_fixture(t *testing.T) {
	got := violations(goList(t, "testdata/house", "./..."))
	want := []string{
		" imports github.com/postern/postern/sdk: it stays inside nowhere: the host and the SDK share no code",
		"config imports github.com/postern/postern/host/dispatch: a package imports only what stands below it, and never a sibling",
		"host imports github.com/google/uuid: the domain imports the standard library only",
		"host/dispatch imports go.etcd.io/bbolt: it stays inside host/store/bolt",
		"host/dispatch: has no doc comment saying its one job",
		"host/store/bolt imports github.com/postern/postern/host/store/storetest: a conformance suite is for tests",
		"server imports github.com/postern/postern/server/cli: a package imports only what stands below it, and never a sibling",
	}
	if !slices.Equal(got, want) {
		t.Errorf("violations:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestHouse_sizes keeps files and packages readable in one sitting: lines of
// code, without blank ones and comments.
func TestHouse_sizes(t *testing.T) {
	const maxFile, maxPackage = 500, 2500
	for _, p := range goList(t, ".", "./...") {
		total := 0
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			lines := 0
			for line := range strings.Lines(string(text)) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
					lines++
				}
			}
			if lines > maxFile {
				t.Errorf("%s/%s has %d lines, the limit is %d", p.ImportPath, name, lines, maxFile)
			}
			total += lines
		}
		if total > maxPackage {
			t.Errorf("%s has %d lines, the limit is %d", p.ImportPath, total, maxPackage)
		}
	}
}

// TestHouse_modules keeps the SDK without dependencies, the plugins with
// nothing but the SDK, and the floor under fasthttp: Fiber's own pin takes
// requests that two parsers read differently.
func TestHouse_modules(t *testing.T) {
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if mod := read("sdk/go.mod"); strings.Contains(mod, "require") {
		t.Error("sdk/go.mod requires something; the SDK has no dependencies")
	}
	direct := regexp.MustCompile(`(?m)^\s*(?:require )?([a-z][^\s/]*\.[a-z]+/\S+) v\S+$`)
	for _, m := range direct.FindAllStringSubmatch(read("plugins/go.mod"), -1) {
		if !within(m[1], modulePath+"/sdk") {
			t.Errorf("plugins/go.mod requires %s; plugins need only the SDK", m[1])
		}
	}
	mod := read("go.mod")
	if !strings.Contains(mod, "github.com/valyala/fasthttp v1.74.0") {
		t.Error("go.mod does not require fasthttp v1.74.0")
	}
	if strings.Contains(mod, "replace") {
		t.Error("go.mod replaces a module")
	}
}
