package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// move is one thing that a walk has its reader do: type a command, or put lines
// into a file.
type move struct {
	step

	file  string
	lines []string
	diff  bool
}

// movesIn are those of a document, in order, up to a heading. A block under a
// line that is a file's name alone, in backquotes, is the file, or, of the kind
// diff, a change of it.
func movesIn(text, until string) []move {
	text, _, _ = strings.Cut(text, until)
	var all []move
	commands := steps(text)
	file, kind := "", ""
	for i, line := range strings.Split(text, "\n") {
		name, isName := strings.CutPrefix(line, "`")
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && kind == "" && fence != "":
			kind = fence
			if file != "" {
				all = append(all, move{file: file, diff: kind == "diff"})
			}
		case isFence:
			if fence == "" && kind == "" {
				kind = "text"
				continue
			}
			file, kind = "", ""
		case kind != "" && file != "":
			all[len(all)-1].lines = append(all[len(all)-1].lines, line)
		case kind == "console" && len(commands) > 0 && commands[0].line == i+1:
			all = append(all, move{step: commands[0]})
			commands = commands[1:]
		case isName && kind == "" && strings.HasSuffix(name, "`") && !strings.Contains(name, " "):
			file = strings.TrimSuffix(name, "`")
		}
	}
	return all
}

// typed is how many lines the move has its reader type.
func (m *move) typed() int {
	if m.file == "" {
		return 1
	}
	n := 0
	for _, line := range m.lines {
		if !m.diff || strings.HasPrefix(line, "+") {
			n++
		}
	}
	return n
}

// move does a move that is a file.
func (w *workbench) move(m *move) {
	w.t.Helper()
	if !m.diff {
		w.write(m.file, strings.Join(m.lines, "\n")+"\n")
		return
	}
	var old, fresh []string
	for _, line := range m.lines {
		if line == "" {
			line = " "
		}
		if line[0] != '+' {
			old = append(old, line[1:])
		}
		if line[0] != '-' {
			fresh = append(fresh, line[1:])
		}
	}
	w.edit(m.file, strings.Join(old, "\n"), strings.Join(fresh, "\n"))
}

// TestDocs_writeAPlugin does what docs/write-a-plugin.md says, outside this
// repository and without a network: a provider that Postern has never seen is
// written, tested and added to a server that runs throughout, and its callback
// is accepted.
func TestDocs_writeAPlugin(t *testing.T) {
	text, err := os.ReadFile("docs/write-a-plugin.md")
	if err != nil {
		t.Fatal(err)
	}
	w := &workbench{t, t.TempDir()}
	buildPostern(t, w.dir)
	// The document has the default ports, which may be somebody else's here.
	env := append(offline(w.dir), "POSTERN__INTAKE__LISTEN="+freePort(t), "POSTERN__ADMIN__LISTEN="+freePort(t))
	commands, lines := 0, 0
	for _, m := range movesIn(string(text), "\n## What else ") {
		lines += m.typed()
		if m.file != "" {
			w.move(&m)
			continue
		}
		commands++
		w.command(&m, env)
	}
	if commands < 8 || commands > 12 || lines > 40 {
		t.Errorf("the walk has %d commands and %d lines to type, commands included; want 8 to 12, and at most 40", commands, lines)
	}
}

// command types one and compares what it prints. What serves goes on in the
// background; what follows a change of the configuration is asked again until
// the server has taken it.
func (w *workbench) command(m *move, env []string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	run := func() (string, error) {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", m.command)
		cmd.Dir, cmd.Env = w.dir, env
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		return out.String() + errs.String(), err
	}
	if strings.Contains(m.command, "postern serve") {
		cmd := exec.CommandContext(w.t.Context(), "/bin/sh", "-c", m.command)
		cmd.Dir, cmd.Env = w.dir, env
		background(w.t, cmd, m.step)
		return
	}
	out, err := run()
	for strings.HasPrefix(m.command, "postern send ") && err != nil && ctx.Err() == nil && strings.Contains(out, "404") {
		out, err = run()
	}
	if err != nil {
		w.t.Fatalf("write-a-plugin.md:%d: %s: %v\n%s", m.line, m.command, err, out)
	}
	if missing, ok := matches(out, m.want); !ok && (out != "" || len(m.want) > 0) {
		w.t.Errorf("write-a-plugin.md:%d: %s\nprints\n%s\nand not as written: %s", m.line, m.command, out, missing)
	}
}
