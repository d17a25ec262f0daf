package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScreen_fit(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		fd      int
		want    screen
	}{
		{"no terminal: nothing is cut or coloured", nil, -1, screen{}},
		{"COLUMNS counts anywhere", []string{"COLUMNS=72"}, -1, screen{width: 72}},
		{"nonsense in COLUMNS is passed over", []string{"COLUMNS=-5"}, -1, screen{}},
		// A descriptor that is no terminal has no size: the colours are what
		// the caller's look at the terminal decided.
		{"a terminal has colours", nil, 1 << 20, screen{colour: true}},
		{"but not with NO_COLOR", []string{"NO_COLOR=1"}, 1 << 20, screen{}},
		{"an empty NO_COLOR is none", []string{"NO_COLOR="}, 1 << 20, screen{colour: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := (&screen{}).fit(&program{environ: tt.environ}, tt.fd)
			if *got != tt.want {
				t.Errorf("fit = %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestPaint(t *testing.T) {
	on, off := &screen{colour: true}, &screen{}
	if got, want := on.paint(bad, "x"), "\x1b[31mx\x1b[0m"; got != want {
		t.Errorf("paint on a terminal = %q, want %q", got, want)
	}
	if got := off.paint(bad, "x"); got != "x" {
		t.Errorf("paint elsewhere = %q, want %q", got, "x")
	}
}

// A callback's text must not reach the terminal as commands to it.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcode 15.00": "plain ünïcode 15.00",
		"\x1b[2Jgone":         `\x1b[2Jgone`,
		"a\nb\tc":             `a\nb\tc`,
		"\u202egpj.exe":       `\u202egpj.exe`,
		"bad \xff byte":       `bad \ufffd byte`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// ids fills a table as "events list" does.
func ids() *table {
	t := &table{columns: []column{
		{title: "ID"},
		{title: "TYPE", least: 12},
		{title: "AMOUNT", right: true, drop: true},
		{title: "SUBJECT", least: 8, drop: true},
	}}
	t.add(cell{text: strings.Repeat("a", 26)}, cell{"payment.succeeded", good}, cell{text: "15.250 KWD"},
		cell{text: "a subject that is as long as some providers make theirs, 60 or so"})
	t.add(cell{text: strings.Repeat("b", 26)}, cell{"payment.failed", bad}, cell{text: "5 KWD"}, cell{text: "B"})
	return t
}

func TestTable(t *testing.T) {
	var all strings.Builder
	for _, s := range []screen{{}, {width: 80}, {width: 80, colour: true}, {width: 50}, {width: 20}} {
		var out bytes.Buffer
		s.w = &out
		ids().print(&s)
		for line := range strings.Lines(out.String()) {
			line = strings.TrimRight(line, "\n")
			if strings.HasSuffix(line, " ") {
				t.Errorf("width %d: line %q ends in a space", s.width, line)
			}
			if n := utf8.RuneCountInString(line); s.width >= 50 && !s.colour && n > s.width {
				t.Errorf("width %d: a line has %d characters: %q", s.width, n, line)
			}
		}
		if strings.Count(out.String(), strings.Repeat("a", 26)) != 1 {
			t.Errorf("width %d: the id is not whole:\n%s", s.width, out.String())
		}
		all.WriteString(out.String() + "\n")
	}
	golden(t, "table", all.String())
}
