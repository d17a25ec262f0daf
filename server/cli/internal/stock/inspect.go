package stock

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/host/shelf"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/cli/internal/screen"
)

// inspected is the answer of "inspect" for programs.
type inspected struct {
	described
	Path string `json:"path"`
	Size int    `json:"size"`
	// Problem is what is wrong with its signature, empty for nothing.
	Problem     string   `json:"problem,omitempty"`
	Summary     string   `json:"summary"`
	Methods     []string `json:"methods"`
	Secrets     []string `json:"secrets"`
	Imports     []string `json:"imports"`
	MemoryPages uint32   `json:"memory_pages"`
	Fuel        uint64   `json:"fuel"`
	Goldens     int      `json:"goldens"`
}

func (p *Program) inspect() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect <plugin | file.wasm>",
		Short: "Show what a plugin says of itself, without running it",
		Args:  p.Takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			_, s, err := p.open(c)
			if err != nil {
				return err
			}
			plugin, wrong, err := p.find(s, args[0])
			if err != nil {
				return err
			}
			out, err := inspectPlugin(plugin)
			if err != nil {
				return err
			}
			if wrong != nil {
				out.Problem = wrong.Error()
			}
			if p.JSON() {
				return p.json(out)
			}
			p.printInspected(out, plugin)
			return nil
		},
	}
}

// find reads what the argument names: a version on the shelf, or a file. The first
// error is of a file's signature alone.
func (p *Program) find(s *shelf.Shelf, what string) (plugin *shelf.Plugin, wrong, err error) {
	if !isFile(what) {
		ref, err := p.ref(what)
		if err != nil {
			return nil, nil, err
		}
		plugin, err = s.Read(ref)
		return plugin, nil, err
	}
	code, sig, err := s.Take(what)
	if err != nil {
		return nil, nil, err
	}
	plugin, wrong = s.Verify(code, sig)
	if plugin == nil {
		return nil, nil, fmt.Errorf("%s: %w", what, wrong)
	}
	plugin.Path = what
	return plugin, wrong, nil
}

func inspectPlugin(plugin *shelf.Plugin) (*inspected, error) {
	m, err := wasm.Inspect(plugin.Code)
	if err != nil {
		return nil, err
	}
	goldens, err := wasm.Goldens(plugin.Code)
	if err != nil {
		return nil, err
	}
	out := &inspected{
		described: describe(plugin), Path: plugin.Path, Size: len(plugin.Code), Summary: m.Summary, Methods: m.Methods, Secrets: []string{},
		Imports: append([]string{}, wasm.Imports(plugin.Code)...), MemoryPages: m.MemoryPages, Fuel: m.Fuel, Goldens: len(goldens),
	}
	for i := range m.Secrets {
		out.Secrets = append(out.Secrets, m.Secrets[i].Name)
	}
	return out, nil
}

func (p *Program) printInspected(out *inspected, plugin *shelf.Plugin) {
	s := p.Screen()
	s.Printf("%s  %s\n", s.Paint(screen.Bold, screen.Clean(plugin.String())), screen.Clean(out.Summary))
	signer := screen.Text(signature(plugin))
	if out.Problem != "" {
		signer = screen.Text(out.Problem).In(screen.Bad)
	}
	wish := func(n uint64, unit string) string {
		if n == 0 {
			return "as configured"
		}
		return fmt.Sprint(n) + unit
	}
	s.Field("file", screen.Text(out.Path))
	s.Field("sha256", screen.Text(out.SHA256))
	s.Field("size", screen.Text(bytes(out.Size)))
	s.Field("signature", signer)
	s.Field("methods", screen.Text(strings.Join(out.Methods, ", ")))
	s.Field("secrets", screen.Text(strings.Join(out.Secrets, ", ")))
	s.Field("memory", screen.Text(wish(uint64(out.MemoryPages), " pages of 64 KiB")))
	s.Field("fuel", screen.Text(wish(out.Fuel, " for a callback")))
	s.Field("goldens", screen.Text(fmt.Sprint(out.Goldens)))
	s.Field("imports", screen.Text(strings.Join(out.Imports, ", ")))
}
