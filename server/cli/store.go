package cli

import (
	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) storeCommand() *cobra.Command {
	c := group("store", "See how the store is doing", p.storeStatus())
	dataFlag(c)
	return c
}

func (p *program) storeStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how large and how full the store is, and what is damaged",
		Args:  takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			at, err := p.place(c)
			if err != nil {
				return err
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			status, err := cl.Status(c.Context())
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, status)
			}
			s := p.screen()
			show.Store(s, p.now(), at.Dir, status)
			if status.Kept > 0 {
				s.Printf("\n")
				s.Command("see what was kept: ", p.onward(c, "quarantine", "list", "--reason", "kept"))
			}
			if status.Held > 0 {
				s.Printf("\n")
				s.Command("see what is held: ", p.onward(c, "quarantine", "list", "--reason", "held"))
			}
			return nil
		},
	}
}
