package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server/cli/internal/author"
	"github.com/postern/postern/server/cli/internal/screen"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	// exitTrouble is that of diff(1), for "config diff".
	exitTrouble = 2
)

// defaultConfig is the file that is read where none is named.
const defaultConfig = "postern.yaml"

// Call is one call of the command line. Every field but Name and Version is
// required.
type Call struct {
	// Name is what the program was called by, a path or a name on the PATH: the
	// commands that it proposes begin with it. Empty means "postern".
	Name string
	// Args are the arguments without the program's own name.
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Environ is in the form of [os.Environ].
	Environ []string
	// Version is what the build calls itself; empty means to look into the
	// binary.
	Version string
}

// Main runs the command and returns the exit code. It blocks until the command
// ends; SIGINT and SIGTERM end one that would run on, and the second such
// signal ends the process at once.
func Main(call Call) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// With the handler gone the second signal has its default effect.
	context.AfterFunc(ctx, stop)
	p := &program{
		stdin: call.Stdin, stdout: call.Stdout, stderr: call.Stderr, environ: call.Environ,
		name: call.Name, version: readVersions(call.Version), now: time.Now,
	}
	return p.run(ctx, call.Args)
}

// program is one run of the command line: where it reads and writes, and the
// flags that all commands share.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
	// name is the program's, as it was called; see [program.command].
	name    string
	version versions
	now     func() time.Time
	// configFile is --config; asJSON is --json.
	configFile string
	asJSON     bool
}

func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	// Never nil: cobra would take the process's own.
	root.SetArgs(append([]string{}, args...))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var quiet silentError
	if !errors.As(err, &quiet) && !errors.As(err, new(author.Told)) {
		printError(p.stderr, err)
	}
	var usage usageError
	var trouble troubleError
	switch {
	case errors.As(err, &usage), errors.As(err, new(author.Misuse)):
		return exitUsage
	case errors.As(err, &trouble):
		return exitTrouble
	}
	return exitFailed
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "postern",
		Short: "Takes in callbacks of many providers, verifies, keeps and hands them on",
		Long: `Postern takes in the callbacks of many providers, verifies each one with its
provider's plugin, keeps the events durably and hands them on to sinks.

  ` + p.command("demo") + `     see it work, on a port and in a directory of its own
  ` + p.command("init") + `     write a first configuration
  ` + p.command("serve") + `    take callbacks in`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: p.command()},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          known,
		RunE:          showHelp,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	// Cobra's own lets the lines run as long as they are.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %q", err, c.CommandPath()+" --help")}
	})
	root.PersistentFlags().StringVar(&p.configFile, "config", defaultConfig, "the configuration `file`")
	root.PersistentFlags().BoolVar(&p.asJSON, "json", false, "write JSON for programs")
	root.AddCommand(
		p.initCommand(), p.serveCommand(), p.demoCommand(), p.sendCommand(),
		p.eventsCommand(), p.sinksCommand(), p.deadLettersCommand(), p.quarantineCommand(), p.replayCommand(),
		p.storeCommand(), p.pluginCommand(), p.configCommand(), p.versionCommand(),
	)
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: known, RunE: showHelp}
	c.AddCommand(commands...)
	return c
}

func showHelp(c *cobra.Command, _ []string) error { return c.Help() }

// known refuses an argument where a command's name is expected, naming the
// nearest one.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	// Cobra's default, two edits, is set only for the root.
	c.SuggestionsMinimumDistance = 3
	text := fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf("; did you mean %q?", near[0])
	} else {
		text += fmt.Sprintf("; see %q", c.CommandPath()+" --help")
	}
	return usageError{errors.New(text)}
}

// takes refuses any other number of arguments than least to most, showing how
// the command is called.
func takes(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return usageError{fmt.Errorf("usage: %s %s", c.Parent().CommandPath(), c.Use)}
	}
}

// usageError is a command line that was not understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// silentError makes the command fail with everything said already.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

// printError writes one line for each problem.
func printError(w io.Writer, err error) {
	for _, line := range config.Lines(err) {
		_, _ = fmt.Fprintln(w, "postern: "+screen.Clean(line))
	}
}

// getenv returns the last value of a variable, as a shell would see it, and
// whether it is set.
func (p *program) getenv(name string) (string, bool) {
	for i := len(p.environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(p.environ[i], "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

func (p *program) screen() *screen.Screen { return screen.New(p.stdout, p.getenv) }

// jsonLine writes v as one line of JSON.
func jsonLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// jsonLines writes each of several as one line of JSON.
func jsonLines[T any](p *program, all []T) error {
	for i := range all {
		if err := jsonLine(p.stdout, &all[i]); err != nil {
			return err
		}
	}
	return nil
}
