package stock

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/screen"
)

func (p *Program) remove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove <plugin>",
		Short: "Take a version away that no endpoint uses",
		Args:  p.Takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := p.ref(args[0])
			if err != nil {
				return err
			}
			cfg, s, err := p.open(c)
			if err != nil {
				return err
			}
			all, err := s.List()
			if err != nil {
				return err
			}
			for i := range all {
				e := &all[i]
				if e.Name != ref.Name || ref.Pinned() && e.Version != ref.Version && e.Sum != ref.Sum {
					continue
				}
				if names := users(cfg, &e.Plugin, e.Current); len(names) > 0 {
					return fmt.Errorf("%s is used by %s: have them name another plugin or version first", &e.Plugin, strings.Join(names, ", "))
				}
			}
			plugin, err := s.Remove(ref)
			if err != nil {
				return err
			}
			if p.JSON() {
				return p.json(describe(plugin))
			}
			p.Screen().Printf("%s removed\n", screen.Clean(plugin.String()))
			return nil
		},
	}
}
