package plugins_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var walkFile = regexp.MustCompile("(?ms)^`(acme/[a-z_./]+)`\n\n```[a-z]*\n(.*?)^```$")

// TestWalk does what docs/write-a-plugin.md says, in a folder of its own.
func TestWalk(t *testing.T) {
	text, err := os.ReadFile("../docs/write-a-plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := walkModule(t)
	files := walkFile.FindAllSubmatch(text, -1)
	if len(files) != 5 {
		t.Fatalf("the walk has %d files, want 5", len(files))
	}
	for _, f := range files {
		contents := f[2]
		if strings.HasSuffix(string(f[1]), ".http") {
			contents = bytes.TrimSuffix(contents, []byte("\n"))
		}
		writeFile(t, filepath.Join(dir, string(f[1])), contents)
	}
	runIn(t, dir, "go", "test", "./acme", "-update")
	runIn(t, dir, "go", "test", "./acme")
	golden, err := os.ReadFile(filepath.Join(dir, "acme/testdata/paid.golden.json"))
	if err != nil || !bytes.Contains(golden, []byte(`"type": "payment.succeeded"`)) {
		t.Errorf("the golden after -update: %v\n%s", err, golden)
	}
	runIn(t, "../sdk", "go", "run", "./cmd/pack", "-o", dir, filepath.Join(dir, "acme"))
	if _, err := os.Stat(filepath.Join(dir, "acme.wasm")); err != nil {
		t.Error(err)
	}
}

// walkModule makes a module like this one.
func walkModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	sdk, err := filepath.Abs("../sdk")
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "go.mod"), bytes.ReplaceAll(gomod, []byte("=> ../sdk"), []byte("=> "+sdk)))
	gosum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "go.sum"), gosum)
	return dir
}

func writeFile(t *testing.T, file string, contents []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, contents, 0o600); err != nil {
		t.Fatal(err)
	}
}

func runIn(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
