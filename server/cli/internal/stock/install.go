package stock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/shelf"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/screen"
)

// passed is a step that the module passed, and what there is to say of it.
type passed struct {
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// made is the answer of "install" and "rollback" for programs.
type made struct {
	described
	// Steps are those that were passed.
	Steps []passed `json:"steps,omitempty"`
	// Before is the version that was current, empty for none.
	Before string    `json:"before"`
	Server *reloaded `json:"server"`
}

// order is that of the steps that read a module; their names are those of a
// [wasm.Fault].
var order = []string{"size", "format", "ABI", "imports", "manifest"}

type installFlags struct{ downgrade, rekey bool }

func (p *Program) install() *cobra.Command {
	var f installFlags
	c := &cobra.Command{
		Use:   "install <file.wasm>",
		Short: "Prove a plugin, and make it the current version of its name",
		Long: `Checks a module step by step: its size, format, ABI, imports and manifest, its
SHA-256 and signature (FILE.minisig, if it is there), the meter, and then its
own goldens in the compiler and in the interpreter. Then it is put beside the
other versions in plugins.path, and is what its name means from then on; a
server that is running takes it. If that refuses, everything is as it was.`,
		Example: "  " + p.Command("plugin", "install", "ottu.wasm"),
		Args:    p.Takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			in := &installation{Program: p, installFlags: f, screen: p.Screen()}
			if err := in.run(c, args[0]); err != nil {
				return err
			}
			if p.JSON() {
				return p.json(&in.out)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&f.downgrade, "allow-downgrade", false, "take a version that is older than the current one")
	c.Flags().BoolVar(&f.rekey, "rekey", false, "take one whose events have other dedup keys: what comes again is new then")
	return c
}

// installation is one run of "install".
type installation struct {
	*Program
	installFlags
	screen *screen.Screen
	out    made
}

// passes notes a step, and shows it.
func (in *installation) passes(name, detail string) {
	in.out.Steps = append(in.out.Steps, passed{name, detail})
	if !in.JSON() {
		step(in.screen, name, detail)
	}
}

// fails names the step in the error.
func (in *installation) fails(name string, err error) error {
	if !in.JSON() {
		in.screen.Printf("%s\n", in.screen.Paint(screen.Bad, fmt.Sprintf("%-12srefused", name)))
	}
	return fmt.Errorf("%s: %s", name, strings.ReplaceAll(err.Error(), "\n", "\n"+name+": "))
}

func (in *installation) run(c *cobra.Command, file string) error {
	cfg, s, err := in.open(c)
	if err != nil {
		return err
	}
	code, sig, err := s.Take(file)
	switch {
	case errors.Is(err, shelf.ErrTooLarge):
		return in.fails(order[0], err)
	case err != nil:
		return in.fails("file", err)
	}
	if err := in.reads(code); err != nil {
		return err
	}
	plugin, err := s.Verify(code, sig)
	if err != nil {
		return in.fails("signature", err)
	}
	in.out.described = describe(plugin)
	in.passes("sha256", plugin.Sum)
	in.passes("signature", signature(plugin))
	if err := in.proves(c.Context(), cfg, s, plugin); err != nil {
		return err
	}
	now, err := s.Install(code, sig, shelf.Allow{Downgrade: in.downgrade})
	if err != nil {
		return in.fails("shelf", err)
	}
	detail := "the first of its name, in " + cfg.Plugins.Path
	if now.Before != nil {
		in.out.Before = now.Before.Version
		detail = "in place of " + now.Before.Version
	}
	in.passes("shelf", detail)
	if in.out.Server, err = in.reload(c.Context(), cfg, now.Undo); err != nil {
		return in.fails("server", err)
	}
	if !in.JSON() {
		in.printReloaded(in.screen, cfg, in.out.Server, plugin)
	}
	return nil
}

// reads makes the checks that need no compilation.
func (in *installation) reads(code []byte) error {
	m, err := wasm.Inspect(code)
	var fault *wasm.Fault
	details := []string{bytes(len(code)), "WebAssembly", "postern1", fmt.Sprintf("%d functions", len(wasm.Imports(code))), ""}
	if m != nil {
		details[4] = m.Name + " " + m.Version
	}
	for i, name := range order {
		// A fault of a later step, the meter's, shows in its sections already.
		if errors.As(err, &fault) && (string(fault.Step) == name || i > 0 && !slices.Contains(order, string(fault.Step))) {
			return in.fails(string(fault.Step), err)
		}
		in.passes(name, details[i])
	}
	return err
}

// proves runs the module, and compares it with the current version.
func (in *installation) proves(ctx context.Context, cfg *config.Config, s *shelf.Shelf, plugin *shelf.Plugin) error {
	rt, err := outgoing.OpenRuntime(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close(ctx) }()
	module, err := rt.LoadCode(ctx, plugin.Code)
	var fault *wasm.Fault
	switch {
	case errors.As(err, &fault):
		if fault.Step == "goldens" {
			in.passes("metering", "every instruction is paid for")
		}
		return in.fails(string(fault.Step), err)
	case err != nil:
		return in.fails("sandbox", err)
	}
	goldens, err := wasm.Goldens(plugin.Code)
	if err != nil {
		return in.fails("goldens", err)
	}
	in.passes("metering", "every instruction is paid for")
	in.passes("goldens", fmt.Sprintf("%d are judged as they say, in the compiler and in the interpreter", len(goldens)))
	return in.compares(ctx, s, rt, module, plugin)
}

// compares has the current version's goldens judged by both. A current version that
// cannot be used has taken nothing in.
func (in *installation) compares(ctx context.Context, s *shelf.Shelf, rt *wasm.Runtime, module *wasm.Module, plugin *shelf.Plugin) error {
	live, err := s.Read(host.Ref{Name: plugin.Name})
	if err != nil || live.Sum == plugin.Sum {
		return nil
	}
	old, err := rt.LoadCode(ctx, live.Code)
	if err != nil {
		return nil
	}
	goldens, err := wasm.Goldens(live.Code)
	if err != nil {
		return nil
	}
	names := module.Rekeyed(ctx, old, goldens)
	switch {
	case len(names) == 0:
		in.passes("dedup keys", "as those of "+live.Version)
	case in.rekey:
		in.passes("dedup keys", "others than those of "+live.Version+", as --rekey allows")
	default:
		return in.fails("dedup keys", fmt.Errorf("they are others than those of %s, in its goldens %s: a callback that comes again would be a second event; "+
			"if that is meant, say --rekey", live, strings.Join(names, ", ")))
	}
	return nil
}
