package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func architecture(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestArchitecture_names resolves every `file#Name` of docs/architecture.md to
// a declaration in that file.
func TestArchitecture_names(t *testing.T) {
	named := regexp.MustCompile("`([a-z/_0-9]+\\.go)#(\\w+)`").FindAllStringSubmatch(architecture(t), -1)
	if len(named) < 20 {
		t.Fatalf("%d names found, want at least 20: the pattern no longer fits the document", len(named))
	}
	for _, n := range named {
		file, err := parser.ParseFile(token.NewFileSet(), n[1], nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", n[0], err)
			continue
		}
		if !declares(file, n[2]) {
			t.Errorf("%s does not declare %s", n[1], n[2])
		}
	}
}

func declares(file *ast.File, name string) bool {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.Name == name {
				return true
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && v.Names[0].Name == name {
					return true
				}
			}
		}
	}
	return false
}

// TestArchitecture_steps: one callback's way has ten steps, in order.
func TestArchitecture_steps(t *testing.T) {
	for i, row := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(architecture(t), -1) {
		if want := i + 1; row[1] != strings.TrimSpace(row[1]) || atoi(row[1]) != want {
			t.Errorf("step %s stands where %d should", row[1], want)
		}
		if i == 9 {
			return
		}
	}
	t.Error("there are fewer than ten steps")
}

func atoi(s string) int {
	n := 0
	for _, c := range s {
		n = 10*n + int(c-'0')
	}
	return n
}

// TestArchitecture_invariants: each invariant that the document claims has a
// comment at the line that upholds it and a test named after it; one that it
// does not claim yet has no test.
func TestArchitecture_invariants(t *testing.T) {
	upheld, tested := map[string]bool{}, map[string]bool{}
	comment := regexp.MustCompile(`// Invariant (\d+):`)
	test := regexp.MustCompile(`func TestInvariant(\d+)_`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pattern, into := comment, upheld
		if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") {
			pattern, into = test, tested
		}
		for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
			into[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(architecture(t), "\n## Invariants\n")
	claims := regexp.MustCompile(`(?m)^(\d+)\. (\*?)`).FindAllStringSubmatch(list, -1)
	if len(claims) != 14 {
		t.Fatalf("%d invariants listed, want 14", len(claims))
	}
	for _, c := range claims {
		n, claimed := c[1], c[2] == ""
		if tested[n] != claimed {
			t.Errorf("invariant %s: claimed %v, tested %v", n, claimed, tested[n])
		}
		if claimed && !upheld[n] {
			t.Errorf("invariant %s: no line says that it upholds it", n)
		}
	}
}
