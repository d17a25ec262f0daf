package stock

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/host/shelf"
	"github.com/postern/postern/server/cli/internal/screen"
)

// listed is one version for programs.
type listed struct {
	described
	Current   bool     `json:"current"`
	Endpoints []string `json:"endpoints"`
	// Problem is why it would not be loaded, empty if it would.
	Problem string `json:"problem,omitempty"`
}

func (p *Program) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the plugins and their versions, and which endpoints use them",
		Long: `Lists every version in the plugins' directory, verified as serve would. What a
bare name means is current.`,
		Args: p.Takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, s, err := p.open(c)
			if err != nil {
				return err
			}
			all, err := s.List()
			if err != nil {
				return err
			}
			used := make(map[string]bool)
			rows := make([]listed, len(all))
			for i := range all {
				e := &all[i]
				rows[i] = listed{described: describe(&e.Plugin), Current: e.Current, Endpoints: users(cfg, &e.Plugin, e.Current)}
				if e.Err != nil {
					rows[i].Problem = e.Err.Error()
				}
				for _, name := range rows[i].Endpoints {
					used[name] = true
				}
			}
			if p.JSON() {
				for i := range rows {
					if err := p.json(&rows[i]); err != nil {
						return err
					}
				}
				return nil
			}
			p.printList(cfg.Plugins.Path, all, rows)
			sc := p.Screen()
			refs := references(cfg)
			for _, name := range sortedNames(refs) {
				if !used[name] {
					sc.Printf("%s %s names %s, which is not here\n", sc.Paint(screen.Odd, "missing:"), name, refs[name])
				}
			}
			return nil
		},
	}
}

func (p *Program) printList(dir string, all []shelf.Entry, rows []listed) {
	s := p.Screen()
	if len(rows) == 0 {
		s.Printf("no plugins in %s\n", screen.Clean(dir))
		s.Command("put one in: ", p.Command("plugin", "install", "FILE.wasm"))
		return
	}
	t := screen.Table{Columns: []screen.Column{
		{Title: "PLUGIN", Least: 8}, {Title: "VERSION"}, {Title: ""}, {Title: "SHA256"}, {Title: "SIGNED BY", Drop: true}, {Title: "ENDPOINTS", Least: 9},
	}}
	for i := range rows {
		r := &rows[i]
		mark, tone := "", screen.Plain
		if r.Current {
			mark = "current"
		}
		if r.Problem != "" {
			tone = screen.Bad
		}
		signer := r.Signer
		if signer == "" {
			signer = "-"
		}
		t.Add(screen.Text(r.Name).In(tone), screen.Text(or(r.Version, "?")), screen.Text(mark), screen.Text(or(fmt.Sprintf("%.12s", r.SHA256), "?")),
			screen.Text(signer), screen.Text(or(strings.Join(r.Endpoints, ", "), "-")))
	}
	t.Print(s)
	for i := range all {
		if all[i].Err == nil {
			continue
		}
		for line := range strings.Lines(rows[i].Problem) {
			s.Printf("%s %s\n", s.Paint(screen.Bad, "refused:"), screen.Clean(strings.TrimSpace(line)))
		}
	}
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
