package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) deadLettersCommand() *cobra.Command {
	c := group("deadletters", "See what was given up, and deliver it again",
		p.deadLettersList(), p.deadLettersRedrive())
	dataFlag(c)
	return c
}

func (p *program) deadLettersList() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "list [sink]",
		Short: "List dead letters of one sink or of all, the oldest first",
		Args:  takes(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit %d: must be 1 or more", limit)}
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			sinks := args
			if len(args) == 0 {
				if sinks, err = cl.Sinks(c.Context()); err != nil {
					return err
				}
				if len(sinks) == 0 {
					return errors.New("no sink is configured here: name one")
				}
			}
			var all []client.Letter
			for _, sink := range sinks {
				some, err := cl.DeadLetters(c.Context(), sink, limit-len(all))
				if client.NotFound(err) && len(args) == 0 {
					// Configured, and no server has had it yet.
					continue
				}
				if err != nil {
					return ofSink(sink, err)
				}
				if all = append(all, some...); len(all) >= limit {
					break
				}
			}
			return p.printLetters(c, all)
		},
	}
	c.Flags().IntVar(&limit, "limit", 100, "the most dead letters to list")
	return c
}

// ofSink says of which sink err speaks, where it does not.
func ofSink(sink string, err error) error {
	if client.NotFound(err) {
		return fmt.Errorf("sink %q is unknown", sink)
	}
	return err
}

func (p *program) printLetters(c *cobra.Command, all []client.Letter) error {
	if p.asJSON {
		for i := range all {
			if err := jsonLine(p.stdout, &all[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		p.screen().Printf("no dead letters\n")
		return nil
	}
	t := screen.Table{Columns: []screen.Column{
		{Title: "EVENT"},
		{Title: "SINK", Least: 8},
		{Title: "DIED", Right: true},
		{Title: "TRIES", Right: true},
		{Title: "REASON", Least: 10, End: true},
	}}
	for i := range all {
		l := &all[i]
		t.Add(screen.Text(l.Fact.ID), screen.Text(l.Sink), screen.Text(show.Age(p.now().Sub(l.Died))).In(screen.Faint),
			screen.Text(strconv.Itoa(l.Attempts)), screen.Text(l.Reason).In(screen.Bad))
	}
	s := p.screen()
	t.Print(s)
	s.Printf("\n")
	seen := map[string]bool{}
	for i := range all {
		if sink := all[i].Sink; !seen[sink] {
			seen[sink] = true
			s.Command("deliver again: ", p.command(append([]string{"deadletters", "redrive", sink, "--all"}, p.samePlace(c)...)...))
		}
	}
	return nil
}

func (p *program) deadLettersRedrive() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "redrive <sink> [id…]",
		Short: "Make dead letters due again: those with these ids, or all",
		Args:  takes(1, math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			sink, ids := args[0], append([]string{}, args[1:]...)
			if all == (len(ids) > 0) {
				return usageError{errors.New("name the events' ids, or say --all (one of the two)")}
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			n, err := cl.Redrive(c.Context(), sink, ids...)
			if err != nil {
				return ofSink(sink, err)
			}
			return p.printRedriven(cl, sink, n, len(ids))
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every dead letter of the sink")
	return c
}

func (p *program) printRedriven(cl *client.Client, sink string, n, asked int) error {
	if p.asJSON {
		return jsonLine(p.stdout, map[string]any{"sink": sink, "redriven": n})
	}
	s := p.screen()
	s.Printf("%s of sink %s due again\n", show.Count(n, "dead letter"), screen.Clean(sink))
	if asked > n {
		s.Printf("%d of the %s name no dead letter of it\n", asked-n, show.Count(asked, "id"))
	}
	if n > 0 && !cl.Live() {
		s.Printf("no server is running: they go out when one is\n")
	}
	return nil
}
