package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) eventsCommand() *cobra.Command {
	c := group("events", "Look at what is stored", p.eventsList(), p.eventsShow(), p.eventsTail())
	dataFlag(c)
	return c
}

// filterFlags are the flags that choose events.
func filterFlags(c *cobra.Command, f *client.Filter) {
	c.Flags().StringVar(&f.Tenant, "tenant", "", "only events of this tenant")
	c.Flags().StringVar(&f.Provider, "provider", "", "only events of this provider")
	c.Flags().StringVar(&f.Type, "type", "", "only events of this type; \"payment.*\" takes a family")
}

func (p *program) eventsList() *cobra.Command {
	var f client.Filter
	var limit int
	var newest bool
	var after string
	c := &cobra.Command{
		Use:   "list",
		Short: "List events, the newest first",
		Args:  takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit %d: must be 1 or more", limit)}
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			got, err := cl.Events(c.Context(), f, limit, newest, after)
			if err != nil {
				return err
			}
			return p.printEvents(got)
		},
	}
	filterFlags(c, &f)
	c.Flags().IntVar(&limit, "limit", 20, "the most events to list")
	c.Flags().BoolVar(&newest, "newest", true, "the newest first; --newest=false begins with the oldest")
	c.Flags().StringVar(&after, "after", "", "go on behind this `cursor`, which --json shows")
	return c
}

func (p *program) printEvents(got []client.Stored) error {
	if p.asJSON {
		return jsonLines(p, got)
	}
	show.Events(p.screen(), p.now(), got)
	return nil
}
