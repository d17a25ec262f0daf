package cli

import (
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

// screen is where a command writes for people. A width of zero means that
// nothing is cut.
type screen struct {
	w      io.Writer
	width  int
	colour bool
}

// screen looks at the standard output: a terminal has a width and colours
// (unless NO_COLOR is set), anything else gets plain, whole lines. COLUMNS
// gives a width in either case.
func (p *program) screen() *screen {
	s := &screen{w: p.stdout}
	fd := -1
	if f, ok := p.stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fd = int(f.Fd())
	}
	return s.fit(p, fd)
}

// fit takes the terminal with this descriptor, -1 for none.
func (s *screen) fit(p *program, fd int) *screen {
	if fd >= 0 {
		s.colour = true
		if w, _, err := term.GetSize(fd); err == nil {
			s.width = w
		}
	}
	if v, _ := p.getenv("COLUMNS"); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n > 0 {
			s.width = n
		}
	}
	if v, _ := p.getenv("NO_COLOR"); v != "" {
		s.colour = false
	}
	return s
}

func (s *screen) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.w, format, args...) }

// tone is what a text's colour says.
type tone string

// The tones, as ANSI codes.
const (
	plain tone = ""
	good  tone = "32"
	bad   tone = "31"
	odd   tone = "33"
	faint tone = "2"
	bold  tone = "1"
)

func (s *screen) paint(t tone, text string) string {
	if !s.colour || t == plain || text == "" {
		return text
	}
	return "\x1b[" + string(t) + "m" + text + "\x1b[0m"
}

// clean makes text from outside safe for a terminal: what is no printable
// character stands as its escape, so that a callback's field can neither move
// the cursor nor colour the screen.
func clean(text string) string {
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

// jsonLine writes v as one line of JSON.
func jsonLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
