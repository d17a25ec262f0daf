package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) eventsShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show <id>",
		Short: "Show one event and the callback it came in",
		Args:  takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := host.ParseID(args[0]); err != nil {
				return usageError{err}
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			w, err := cl.Event(c.Context(), args[0])
			if client.NotFound(err) {
				return fmt.Errorf("event %s is not stored here", args[0])
			}
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, w.Answer)
			}
			show.Event(p.screen(), w)
			return nil
		},
	}
}
