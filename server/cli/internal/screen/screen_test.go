package screen

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// in is the environment as a screen asks for it.
func in(environ []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, kv := range environ {
			if k, v, ok := strings.Cut(kv, "="); ok && k == name {
				return v, true
			}
		}
		return "", false
	}
}

func TestScreen_fit(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		fd      int
		want    Screen
	}{
		{"no terminal: nothing is cut or coloured", nil, -1, Screen{}},
		{"COLUMNS counts anywhere", []string{"COLUMNS=72"}, -1, Screen{width: 72}},
		{"nonsense in COLUMNS is passed over", []string{"COLUMNS=-5"}, -1, Screen{}},
		// A descriptor that is no terminal has no size: the colours are what
		// the caller's look at the terminal decided.
		{"a terminal has colours", nil, 1 << 20, Screen{colour: true}},
		{"but not with NO_COLOR", []string{"NO_COLOR=1"}, 1 << 20, Screen{}},
		{"an empty NO_COLOR is none", []string{"NO_COLOR="}, 1 << 20, Screen{colour: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := (&Screen{}).fit(in(tt.environ), tt.fd)
			if *got != tt.want {
				t.Errorf("fit = %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestPaint(t *testing.T) {
	on, off := &Screen{colour: true}, &Screen{}
	if got, want := on.Paint(Bad, "x"), "\x1b[31mx\x1b[0m"; got != want {
		t.Errorf("Paint on a terminal = %q, want %q", got, want)
	}
	if got := off.Paint(Bad, "x"); got != "x" {
		t.Errorf("Paint elsewhere = %q, want %q", got, "x")
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
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// ids fills a table as "events list" does.
func ids() *Table {
	t := &Table{Columns: []Column{
		{Title: "ID"},
		{Title: "TYPE", Least: 12},
		{Title: "AMOUNT", Right: true, Drop: true},
		{Title: "SUBJECT", Least: 8, Drop: true},
	}}
	t.Add(Text(strings.Repeat("a", 26)), Text("payment.succeeded").In(Good), Text("15.250 KWD"),
		Text("a subject that is as long as some providers make theirs, 60 or so"))
	t.Add(Text(strings.Repeat("b", 26)), Text("payment.failed").In(Bad), Text("5 KWD"), Text("B"))
	return t
}

func TestTable(t *testing.T) {
	var all strings.Builder
	for _, s := range []Screen{{}, {width: 80}, {width: 80, colour: true}, {width: 50}, {width: 20}} {
		var out bytes.Buffer
		s.w = &out
		ids().Print(&s)
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
	file := filepath.Join("testdata", "table.golden")
	if *update {
		if err := os.WriteFile(file, []byte(all.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), all.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestField(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{w: &out, colour: true}
	s.Field("type", Text("a\x1bb").In(Odd))
	s.Field("none", Text("").In(Odd))
	if got, want := out.String(), "\x1b[2m  type        \x1b[0m\x1b[33ma\\x1bb\x1b[0m\n"; got != want {
		t.Errorf("Field = %q, want %q", got, want)
	}
}

func TestCommand(t *testing.T) {
	const line = "postern events show x"
	for _, tt := range []struct {
		width      int
		name, want string
	}{
		{0, "see it: ", "see it: " + line + "\n"},
		{29, "see it: ", "see it: " + line + "\n"},
		{28, "see it: ", "see it:\n  " + line + "\n"},
		{10, "  try     ", "  try\n    " + line + "\n"},
		{10, "   ", "   " + line + "\n"},
	} {
		var out bytes.Buffer
		(&Screen{w: &out, width: tt.width}).Command(tt.name, line)
		if got := out.String(); got != tt.want {
			t.Errorf("Command(%q) at width %d = %q, want %q", tt.name, tt.width, got, tt.want)
		}
	}
}

func TestBlock(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":[1.50]}`:   "  {\n    \"a\": [\n      1.50\n    ]\n  }\n",
		"a=1\r\nb\x1b=2": "  a=1\n  b\\x1b=2\n",
		"\xff\xfe":       "  2 bytes that are no text; --json shows them\n",
	} {
		var out bytes.Buffer
		(&Screen{w: &out}).Block([]byte(in))
		if got := out.String(); got != want {
			t.Errorf("Block(%q) = %q, want %q", in, got, want)
		}
	}
}
