// Package screen writes for people: texts that are safe for a terminal, in its
// width and with its colours.
package screen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Screen is where a command writes. Errors of the writer are lost. Make one
// with [New]; it is not safe for concurrent use.
type Screen struct {
	w io.Writer
	// width of zero means that nothing is cut.
	width  int
	colour bool
}

// New looks at w: a terminal has a width and colours (unless NO_COLOR is set),
// anything else gets plain, whole lines. COLUMNS gives a width in either case.
// The variables are asked of getenv.
func New(w io.Writer, getenv func(name string) (value string, set bool)) *Screen {
	s := &Screen{w: w}
	fd := -1
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fd = int(f.Fd())
	}
	return s.fit(getenv, fd)
}

// fit takes the terminal with this descriptor, -1 for none.
func (s *Screen) fit(getenv func(string) (string, bool), fd int) *Screen {
	if fd >= 0 {
		s.colour = true
		if w, _, err := term.GetSize(fd); err == nil {
			s.width = w
		}
	}
	if v, _ := getenv("COLUMNS"); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n > 0 {
			s.width = n
		}
	}
	if v, _ := getenv("NO_COLOR"); v != "" {
		s.colour = false
	}
	return s
}

// Printf writes what must be safe already: see [Clean].
func (s *Screen) Printf(format string, args ...any) { _, _ = fmt.Fprintf(s.w, format, args...) }

// Tone is what a text's colour says; the zero Tone is none.
type Tone string

// The tones, as ANSI codes.
const (
	Plain Tone = ""
	Good  Tone = "32"
	Bad   Tone = "31"
	Odd   Tone = "33"
	Faint Tone = "2"
	Bold  Tone = "1"
)

// Paint colours text where there are colours.
func (s *Screen) Paint(t Tone, text string) string {
	if !s.colour || t == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(t) + "m" + text + "\x1b[0m"
}

// Clean makes text from outside safe for a terminal: what is no printable
// character stands as its escape, so that a callback's field can neither move
// the cursor nor colour the screen.
func Clean(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// Cell is a text and what its colour says. Make one with [Text].
type Cell struct {
	text string
	tone Tone
}

// Text is a cell without a colour. The text need not be clean.
func Text(text string) Cell { return Cell{text: text} }

// In is the cell in a colour.
func (c Cell) In(t Tone) Cell { return Cell{c.text, t} }

// Show is the cell's text, clean and coloured.
func (s *Screen) Show(c Cell) string { return s.Paint(c.tone, Clean(c.text)) }

// Field writes a name and its value on a line, or nothing where the value has
// no text.
func (s *Screen) Field(name string, value Cell) {
	if value.text != "" {
		s.Printf("%s%s\n", s.Paint(Faint, fmt.Sprintf("  %-12s", name)), s.Show(value))
	}
}

// Command writes a command line to type behind its name, or below it where the
// two do not fit: what is typed is never cut, and whole where it can be.
func (s *Screen) Command(name, line string) {
	line = Clean(line)
	bare := strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name + line); s.width > 0 && n > s.width && bare != "" {
		indent, _, _ := strings.Cut(name, bare)
		s.Printf("%s%s\n", indent, bare)
		name = indent + "  "
	}
	s.Printf("%s%s\n", name, line)
}

// Block writes bytes indented: JSON spread out, other text as it is, and what
// is no text by its length.
func (s *Screen) Block(b []byte) {
	var spread bytes.Buffer
	if json.Indent(&spread, b, "", "  ") == nil {
		b = spread.Bytes()
	}
	if !utf8.Valid(b) {
		s.Printf("  %d bytes that are no text; --json shows them\n", len(b))
		return
	}
	for line := range strings.Lines(string(b)) {
		s.Printf("  %s\n", Clean(strings.TrimRight(line, "\r\n")))
	}
}
