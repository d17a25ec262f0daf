package stock

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (p *Program) rollback() *cobra.Command {
	return &cobra.Command{
		Use:   "rollback <plugin>",
		Short: "Make the version before the current one current again",
		Long: `Makes the version current again that was current before, and has a server that
is running take it. The one that was current stays and can be named, or
installed again.`,
		Args: p.Takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := p.ref(args[0])
			if err != nil {
				return err
			}
			if ref.Pinned() {
				return p.Usage(fmt.Errorf("%s names a version: rollback takes the plugin's name alone", ref))
			}
			cfg, s, err := p.open(c)
			if err != nil {
				return err
			}
			now, err := s.Rollback(ref.Name)
			if err != nil {
				return err
			}
			out := made{described: describe(now.Plugin), Before: now.Before.Version}
			if out.Server, err = p.reload(c.Context(), cfg, now.Undo); err != nil {
				return err
			}
			if p.JSON() {
				return p.json(&out)
			}
			sc := p.Screen()
			step(sc, "shelf", fmt.Sprintf("%s is current, in place of %s", now.Plugin, now.Before.Version))
			p.printReloaded(sc, cfg, out.Server, now.Plugin)
			return nil
		},
	}
}
