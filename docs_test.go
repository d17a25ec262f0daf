package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// step is one command of a document and what it prints.
type step struct {
	line    int
	command string
	want    []string
}

// steps reads the ```console blocks of a document: a line that begins with "$ "
// is a command, what follows is its output, and "..." stands for any lines.
func steps(text string) []step {
	var found []step
	inside := false
	for i, line := range strings.Split(text, "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case line == "```console":
			inside = true
		case line == "```":
			inside = false
		case inside && isCommand:
			found = append(found, step{line: i + 1, command: command})
		case inside && len(found) > 0:
			last := &found[len(found)-1]
			last.want = append(last.want, line)
		}
	}
	return found
}

// changing is what no two runs print alike.
var changing = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\b[a-z2-7]{26}\b`), "<id>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d{4,5}\b`), "127.0.0.1:<port>"},
	{regexp.MustCompile(` +\d+ +\d+\.\d MiB`), " <fuel> <memory>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|s)\b`), "<time>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?`), "<when>"},
	{regexp.MustCompile(`sha256:[0-9a-f]{12}`), "sha256:<sum>"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "<hash>"},
	{regexp.MustCompile(` +`), " "},
}

func settled(line string) string {
	for _, c := range changing {
		line = c.pattern.ReplaceAllString(line, c.text)
	}
	return strings.TrimSpace(line)
}

// matches reports whether the wanted lines are the got ones, and if not which
// one is missing.
func matches(got string, want []string) (missing string, ok bool) {
	lines := strings.Split(strings.TrimRight(got, "\n"), "\n")
	skip := false
	at := 0
	for _, w := range want {
		if w == "..." {
			skip = true
			continue
		}
		for skip && at < len(lines) && settled(lines[at]) != settled(w) {
			at++
		}
		if at >= len(lines) || settled(lines[at]) != settled(w) {
			return w, false
		}
		at, skip = at+1, false
	}
	if !skip && at < len(lines) {
		return "the end, and there is: " + lines[at], false
	}
	return "", true
}

// copyTree copies what a clone would have, and what is about to be committed,
// to an empty directory.
func copyTree(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		info, err := os.Stat(name)
		if err != nil {
			continue // deleted and not yet committed
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// terminal is the growing output of a command that goes on.
type terminal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *terminal) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *terminal) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// TestDocs_readmes types the commands of README.md, then those of operations.md
// and of each plugin's page, in a fresh copy of the tree, in order, and compares
// what they print.
// `make run` goes on in the background until the end.
func TestDocs_readmes(t *testing.T) {
	dir := copyTree(t)
	typed(t, "README.md", dir, 4)
	typed(t, "docs/operations.md", dir, 4)
	plugins, err := filepath.Glob("plugins/*/README.md")
	if err != nil || len(plugins) < 5 {
		t.Fatalf("plugins' READMEs: %v, %v", plugins, err)
	}
	for _, file := range plugins {
		t.Run(file, func(t *testing.T) {
			if _, err := exec.LookPath("curl"); err != nil {
				t.Skip("its commands need curl, which is not installed here")
			}
			typed(t, file, dir, 2)
		})
	}
}

// typed types the commands of one document, of which there must be a number.
func typed(t *testing.T, file, dir string, least int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := steps(string(text))
	if len(all) < least {
		t.Fatalf("%d commands found in %s, want at least %d", len(all), file, least)
	}
	for _, s := range all {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.command)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "NO_COLOR=1", "OTTU_HMAC_KEY=for-the-test")
		if s.command == "make run" {
			background(t, cmd, s)
			t.Cleanup(cancel)
			continue
		}
		out, err := cmd.Output()
		cancel()
		if err != nil {
			t.Errorf("%s:%d: %s: %v\n%s", file, s.line, s.command, err, out)
			continue
		}
		if missing, ok := matches(string(out), s.want); !ok {
			t.Errorf("%s:%d: %s\nprints\n%s\nand not as written: %s", file, s.line, s.command, out, missing)
		}
	}
}

// background starts a server and waits until it has printed what is written.
func background(t *testing.T, cmd *exec.Cmd, s step) {
	t.Helper()
	var out terminal
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		<-ended
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	missing, ok := matches(out.text(), s.want)
	for !ok {
		select {
		case <-tick.C:
			missing, ok = matches(out.text(), s.want)
		case err := <-ended:
			ended <- err
			t.Fatalf("line %d: %s ended: %v\n%s\nnot printed: %s", s.line, s.command, err, out.text(), missing)
		case <-t.Context().Done():
			t.Fatalf("line %d: %s\nprints\n%s\nand not: %s", s.line, s.command, out.text(), missing)
		}
	}
}

// TestDocs_readmeIsShort: the first page says what it is.
func TestDocs_readmeIsShort(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > 150 {
		t.Errorf("README.md has %d lines, the limit is 150", n)
	}
	first := strings.Join(strings.SplitN(string(text), "\n", 41)[:40], "\n")
	for _, want := range []string{"**For** ", "**The guarantee.** ", "$ make demo", "$ make run"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first 40 lines of README.md do not have %q", want)
		}
	}
}

// TestDocs_links: every file that a document points to is there.
func TestDocs_links(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	plugins, err := filepath.Glob("plugins/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^):#]+)(#[^)]*)?\)`)
	for _, file := range append(append(files, plugins...), "README.md", "CONTRIBUTING.md", "SECURITY.md", "sdk/testdata/README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s points to %s: %v", file, m[1], err)
			}
		}
	}
}

// TestDocs_matching holds the comparison itself: one that takes anything
// proves nothing.
func TestDocs_matching(t *testing.T) {
	for _, tt := range []struct {
		got  string
		want []string
		ok   bool
	}{
		{"a\nb\n", []string{"a", "b"}, true},
		{"a\nb\n", []string{"a"}, false},
		{"a\n", []string{"a", "b"}, false},
		{"a\nb\nc\n", []string{"...", "c"}, true},
		{"a\nb\nc\n", []string{"a", "..."}, true},
		{"a\nc\n", []string{"...", "b", "..."}, false},
		{"on 127.0.0.1:12345 in 3.1ms\n", []string{"on 127.0.0.1:54321 in 2ms"}, true},
		{"covj6ebe32ppocmpagrcqzsjaq", []string{"txt7eqtvyxoqotyl53zodrnloi"}, true},
		{"401", []string{"200"}, false},
	} {
		if _, ok := matches(tt.got, tt.want); ok != tt.ok {
			t.Errorf("matches(%q, %q) = %v", tt.got, tt.want, ok)
		}
	}
	if got := fmt.Sprint(steps("x\n```console\n$ a\n1\n$ b\n```\n$ c\n")); got != "[{3 a [1]} {5 b []}]" {
		t.Errorf("steps = %s", got)
	}
}
