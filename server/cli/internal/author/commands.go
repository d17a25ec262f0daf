package author

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/screen"
)

// Misuse is a command line that was not understood.
type Misuse struct{ error }

func (m Misuse) Unwrap() error { return m.error }

// Told makes a command fail with everything said already.
type Told struct{ error }

// Desk is what the commands share with the rest of the command line.
type Desk struct {
	Stdout, Stderr io.Writer
	// Environ is in the form of [os.Environ].
	Environ []string
	Screen  func() *screen.Screen
	// JSON says that programs read the output; it is asked when a command runs.
	JSON func() bool
	// Command is a command line of this program as one types it.
	Command func(words ...string) string
	Now     func() time.Time
}

// Writing is the group that the commands are shown in.
const Writing = "writing"

// Commands are "new", "build" and "test", of the group [Writing], which the
// caller adds to their parent.
func (d *Desk) Commands() []*cobra.Command {
	all := []*cobra.Command{d.newCommand(), d.buildCommand(), d.testCommand()}
	for _, c := range all {
		c.GroupID = Writing
	}
	return all
}

// takes refuses any other number of arguments than least to most.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return Misuse{fmt.Errorf("usage: %s %s", c.Parent().CommandPath(), c.Use)}
	}
}

// folderIn is the plugin's folder among the arguments: this one where there is
// none.
func folderIn(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return filepath.Clean(args[0])
}

func (d *Desk) tools() Toolchain { return Toolchain{Environ: d.Environ, Errors: d.Stderr} }

func (d *Desk) write(v any) error {
	e := json.NewEncoder(d.Stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (d *Desk) newCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "new <name>",
		Short: "Begin a plugin in Go, in a folder of its own",
		Long: `Makes a folder that builds and tests without this repository and without a
network: a provider that signs by HMAC-SHA256, its goldens, and Postern's SDK.
Go compiles it. A folder that exists is left alone.`,
		Example: "  " + d.Command("plugin", "new", "acme"),
		Args:    takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := New(dir, args[0])
			if err != nil {
				return err
			}
			if d.JSON() {
				return d.write(map[string]string{"folder": path})
			}
			s := d.Screen()
			s.Printf("made %s\n\n", screen.Clean(path))
			s.Printf("  %-34s what the provider sends, and what it means\n", "provider.go")
			s.Printf("  %-34s its name, its secrets\n", "plugin.json")
			s.Printf("  %-34s a callback, and what must become of it\n\n", "testdata/paid.http, .golden.json")
			s.Command("try it: ", d.Command("plugin", "test", path))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "the `directory` to make it in")
	return c
}

func (d *Desk) buildCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "build [folder]",
		Short: "Compile a plugin, with its manifest and goldens in it",
		Long: `Compiles the plugin in a folder, this one if none is named, for WebAssembly and
puts its manifest and its goldens into the module, dist/NAME.wasm in the folder.
The same sources and the same Go give the same bytes.`,
		Example: "  " + d.Command("plugin", "build", "acme"),
		Args:    takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := folderIn(args)
			if !c.Flags().Changed("out") {
				out = filepath.Join(dir, "dist")
			}
			tools := d.tools()
			file, err := tools.Build(c.Context(), dir, out, false)
			if err != nil {
				return err
			}
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			if d.JSON() {
				return d.write(map[string]any{"file": file, "bytes": info.Size()})
			}
			s := d.Screen()
			s.Printf("built %s, %s\n", screen.Clean(file), size(info.Size()))
			s.Command("install it: ", d.Command("plugin", "install", file))
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `directory` to write to, if not dist in the folder")
	return c
}

func (d *Desk) testCommand() *cobra.Command {
	var update bool
	var sign []string
	c := &cobra.Command{
		Use:   "test [folder | file.wasm]",
		Short: "Run a plugin's goldens through the sandbox",
		Long: `Compiles the plugin in a folder, this one if none is named, or takes a module as
it is, and runs each of its goldens as the server runs a callback: in the
sandbox, metered. What came out is compared whole with what the golden expects.

FUEL is what judging it burnt, in units of about one instruction, MEMORY how
much the plugin had when it was done.

--update writes what came out into the goldens, and makes one for each
testdata/NAME.http that has none: read the differences before you keep them.
--sign has the plugin itself sign testdata/NAME.http, with the golden's secrets:
a signature made elsewhere is the better examination.`,
		Example: "  " + d.Command("plugin", "test", "acme") + "\n  " + d.Command("plugin", "test", "acme", "--sign", "paid", "--update"),
		Args:    takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			t := &Trial{Target: folderIn(args), Update: update, Sign: sign, Tools: d.tools(), Now: d.Now()}
			report, err := t.Run(c.Context())
			if err != nil {
				return err
			}
			if d.JSON() {
				err = d.write(report)
			} else {
				d.print(report, t)
			}
			if report.Failed > 0 {
				return errors.Join(Told{fmt.Errorf("%d goldens failed", report.Failed)}, err)
			}
			return err
		},
	}
	c.Flags().BoolVar(&update, "update", false, "write what came out into the goldens")
	c.Flags().StringArrayVar(&sign, "sign", nil, "sign the request of the case with this `name` first; may be repeated")
	return c
}

// print shows a table of all goldens, then each difference.
func (d *Desk) print(r *Report, t *Trial) {
	s := d.Screen()
	s.Printf("%s %s\n\n", screen.Clean(r.Plugin), screen.Clean(r.Version))
	table := screen.Table{Columns: []screen.Column{
		{Title: "GOLDEN"},
		{Title: "RESULT"},
		{Title: "VERDICT", Least: 8},
		{Title: "FUEL", Right: true, Drop: true},
		{Title: "MEMORY", Right: true, Drop: true},
	}}
	tones := map[string]screen.Tone{Passed: screen.Good, Failed: screen.Bad, Updated: screen.Odd, Made: screen.Odd}
	counts := make(map[string]int)
	for i := range r.Goldens {
		o := &r.Goldens[i]
		counts[o.Became]++
		fuel, memory := "-", "-"
		if o.Fuel > 0 {
			fuel, memory = strconv.FormatInt(o.Fuel, 10), size(o.Memory)
		}
		table.Add(screen.Text(o.Name), screen.Text(o.Became).In(tones[o.Became]), screen.Text(o.Verdict),
			screen.Text(fuel), screen.Text(memory))
	}
	table.Print(s)
	for i := range r.Goldens {
		printOutcome(s, &r.Goldens[i])
	}
	var sums []string
	for _, became := range []string{Passed, Updated, Made, Failed} {
		if n := counts[became]; n > 0 {
			sums = append(sums, strconv.Itoa(n)+" "+became)
		}
	}
	s.Printf("\n%s\n", strings.Join(sums, ", "))
	if r.Failed > 0 && !t.Update && t.bare != nil && !strings.HasSuffix(t.Target, ".wasm") {
		s.Command("if that is what it should say: ", d.Command("plugin", "test", t.Target, "--update"))
	}
}

// printOutcome shows what one golden has to tell beyond its line.
func printOutcome(s *screen.Screen, o *Outcome) {
	if o.Became == Passed && !o.Signed {
		return
	}
	s.Printf("\n%s\n", s.Paint(screen.Bold, screen.Clean(o.Name+": "+o.About)))
	if o.Signed {
		s.Printf("  signed testdata/%s%s\n", o.Name, requestSuffix)
	}
	if o.Error != "" {
		for line := range strings.Lines(o.Error) {
			s.Printf("  %s\n", s.Paint(screen.Bad, screen.Clean(strings.TrimSpace(line))))
		}
	}
	was, is := "expected", "got"
	if o.Became == Updated || o.Became == Made {
		was, is = "was", "is now"
	}
	for _, diff := range o.Differences {
		s.Printf("  %s\n", screen.Clean(diff.name()))
		printValue(s, was, diff.Expected, screen.Faint)
		printValue(s, is, diff.Got, screen.Plain)
	}
	for _, line := range o.Log {
		s.Printf("  log: %s\n", screen.Clean(line))
	}
}

// short is how long a value may be beside its word.
const short = 60

// printValue shows one side of a difference, spread out where it is long.
func printValue(s *screen.Screen, word string, value json.RawMessage, tone screen.Tone) {
	if len(value) == 0 {
		value = json.RawMessage("nothing")
	}
	var b bytes.Buffer
	if len(value) <= short || json.Indent(&b, value, "", "  ") != nil {
		s.Printf("    %-9s %s\n", word, s.Paint(tone, screen.Clean(string(value))))
		return
	}
	s.Printf("    %s\n", word)
	for line := range strings.Lines(b.String()) {
		s.Printf("      %s\n", s.Paint(tone, screen.Clean(strings.TrimSuffix(line, "\n"))))
	}
}

func (d *Difference) name() string {
	if d.Member == "" {
		return "the whole"
	}
	return d.Member
}

// size is a number of bytes as it is read.
func size(n int64) string {
	const kib, mib = 1 << 10, 1 << 20
	if n < mib {
		return strconv.FormatInt(n/kib, 10) + " KiB"
	}
	return strconv.FormatFloat(float64(n)/mib, 'f', 1, 64) + " MiB"
}
