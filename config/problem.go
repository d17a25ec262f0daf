package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration. Its text holds no secret.
type Problem struct {
	// Path is the dotted key, or the file (with a line) where there is no key
	// to name.
	Path string
	// Text says what is wrong.
	Text string
	// Fix says what to do about it; empty where that is plain from Text.
	Fix string
}

// Error is "path: problem (fix)".
func (p *Problem) Error() string {
	if p.Fix == "" {
		return p.Path + ": " + p.Text
	}
	return p.Path + ": " + p.Text + " (" + p.Fix + ")"
}

// Problems are all problems that err joins.
func Problems(err error) []*Problem {
	var several interface{ Unwrap() []error }
	var one *Problem
	var all []*Problem
	switch {
	case errors.As(err, &several):
		for _, e := range several.Unwrap() {
			all = append(all, Problems(e)...)
		}
	case errors.As(err, &one):
		all = append(all, one)
	}
	return all
}

// Lines are what err says, a line each. A plugin that does not load has
// several reasons at one place: place and file are said before each.
func Lines(err error) []string {
	text := err.Error()
	for _, problem := range Problems(err) {
		first, rest, several := strings.Cut(problem.Text, "\n")
		file, _, found := strings.Cut(first, ".wasm: ")
		if several && found {
			common := problem.Path + ": " + file + ".wasm: "
			whole := problem.Path + ": " + first + "\n" + common + strings.ReplaceAll(rest, "\n", "\n"+common)
			text = strings.ReplaceAll(text, problem.Path+": "+problem.Text, whole)
		}
	}
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// problems collects what is wrong, so that an operator sees all of it at once.
type problems struct {
	list []*Problem
	// origin names the variable or flag that set a path, where it was not the
	// file.
	origin map[string]string
}

// add notes a problem. A path that has one already keeps the first: what could
// not be decoded is not judged again by its meaning.
func (ps *problems) add(path, text, fix string) {
	if slices.ContainsFunc(ps.list, func(p *Problem) bool { return p.Path == path }) {
		return
	}
	if from, ok := ps.origin[path]; ok {
		text += ", set by " + from
	}
	ps.list = append(ps.list, &Problem{Path: path, Text: text, Fix: fix})
}

// below reports whether something at path or under it is wrong already.
func (ps *problems) below(path string) bool {
	return slices.ContainsFunc(ps.list, func(p *Problem) bool {
		return p.Path == path || strings.HasPrefix(p.Path, path+".")
	})
}

// err is all problems in the order of their paths, nil for none.
func (ps *problems) err() error {
	slices.SortStableFunc(ps.list, func(a, b *Problem) int { return cmp.Compare(a.Path, b.Path) })
	errs := make([]error, len(ps.list))
	for i, p := range ps.list {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// choice notes a problem if got is none of the options.
func (ps *problems) choice(path, got string, options ...string) {
	if slices.Contains(options, got) {
		return
	}
	if got == "" {
		ps.add(path, "is missing", "one of "+strings.Join(options, ", "))
		return
	}
	ps.add(path, fmt.Sprintf("%q is unknown", got), suggest(got, options))
}

// suggest names the option nearest to got, or all of them if none is near.
func suggest(got string, options []string) string {
	options = slices.Sorted(slices.Values(options))
	best, least := "", 1+max(1, len(got)/3)
	for _, o := range options {
		if d := distance(got, o); d < least && d < len(o) {
			best, least = o, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(options) == 0 {
		return ""
	}
	return "known here: " + strings.Join(options, ", ")
}

// distance is the least number of bytes to insert, remove, replace or swap with
// the next to make b of a, upper and lower case being alike (optimal string
// alignment: no byte is touched twice).
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	last, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			replaced := row[j]
			if a[i] != b[j] {
				replaced++
			}
			next[j+1] = min(replaced, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], last[j-1]+1)
			}
		}
		last, row, next = row, next, last
	}
	return row[len(b)]
}
