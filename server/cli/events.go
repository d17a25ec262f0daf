package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
)

func amount(f *client.Fact) string {
	if f.Data.Amount.Value == "" {
		return ""
	}
	return f.Data.Amount.Value + " " + f.Data.Amount.Currency
}

// kind is the type with its mark, in the colour of both.
func kind(f *client.Fact) screen.Cell {
	switch {
	case f.Conflict:
		// First, so that no narrow screen cuts it off.
		return screen.Text("! " + f.Type).In(screen.Odd)
	case f.Data.Status == "succeeded":
		return screen.Text(f.Type).In(screen.Good)
	case f.Data.Status == "failed":
		return screen.Text(f.Type).In(screen.Bad)
	}
	return screen.Text(f.Type)
}

// where is the endpoint without its leading slash, as it is written in --endpoint.
func where(f *client.Fact) string {
	if f.Source != "" && f.Source[0] == '/' {
		return f.Source[1:]
	}
	return f.Source
}

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
		for i := range got {
			if err := jsonLine(p.stdout, &got[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(got) == 0 {
		p.screen().Printf("no events\n")
		return nil
	}
	t := screen.Table{Columns: []screen.Column{
		{Title: "ID"},
		{Title: "AGE", Right: true},
		{Title: "ENDPOINT", Least: 14},
		{Title: "TYPE", Least: 19},
		{Title: "AMOUNT", Right: true, Drop: true},
		{Title: "SUBJECT", Least: 8, Drop: true},
	}}
	for i := range got {
		f := &got[i].Fact
		t.Add(screen.Text(f.ID), screen.Text(age(p.now().Sub(f.Received))).In(screen.Faint),
			screen.Text(where(f)), kind(f), screen.Text(amount(f)), screen.Text(f.Subject))
	}
	s := p.screen()
	t.Print(s)
	if slices.ContainsFunc(got, func(e client.Stored) bool { return e.Fact.Conflict }) {
		s.Printf("! conflict: an event with the same dedup key and other content came before it\n")
	}
	return nil
}

// age is a time span in its largest whole unit.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}
