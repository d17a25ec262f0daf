package cli

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) deadLettersCommand() *cobra.Command {
	c := group("deadletters", "See what was given up, and deliver it again",
		p.deadLettersList(), p.deadLettersShow(), p.deadLettersRedrive(), p.deadLettersDiscard())
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
				if sinks, err = sinkNames(c.Context(), cl); err != nil {
					return err
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

// sinkNames are those of all sinks, of which there must be one.
func sinkNames(ctx context.Context, cl *client.Client) ([]string, error) {
	all, err := cl.Sinks(ctx)
	if err == nil && len(all) == 0 {
		err = errors.New("no sink is configured here: name one")
	}
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Name
	}
	return names, err
}

// ofSink says of which sink err speaks, where it does not.
func ofSink(sink string, err error) error {
	if client.NotFound(err) {
		return unknownSink(sink)
	}
	return err
}

func unknownSink(sink string) error { return fmt.Errorf("sink %q is unknown", sink) }

func (p *program) printLetters(c *cobra.Command, all []client.Letter) error {
	if p.asJSON {
		return jsonLines(p, all)
	}
	s := p.screen()
	show.Letters(s, p.now(), all)
	if len(all) > 0 {
		s.Printf("\n")
	}
	seen := map[string]bool{}
	for i := range all {
		if sink := all[i].Sink; !seen[sink] {
			seen[sink] = true
			s.Command("deliver again: ", p.onward(c, "deadletters", "redrive", sink, "--all"))
		}
	}
	return nil
}

func (p *program) deadLettersShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show <sink> <id>",
		Short: "Show one dead letter, and what the other side last said",
		Args:  takes(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			sink, id := args[0], args[1]
			if _, err := host.ParseID(id); err != nil {
				return usageError{err}
			}
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			l, err := cl.DeadLetter(c.Context(), sink, id)
			if client.NotFound(err) {
				return fmt.Errorf("sink %q has no dead letter %s", sink, id)
			}
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, l)
			}
			s := p.screen()
			show.Letter(s, l)
			s.Printf("\n")
			s.Command("its callback:  ", p.onward(c, "events", "show", id))
			s.Command("deliver again: ", p.onward(c, "deadletters", "redrive", sink, id))
			s.Command("give it up:    ", p.onward(c, "deadletters", "discard", sink, id))
			return nil
		},
	}
}

func (p *program) deadLettersRedrive() *cobra.Command {
	return p.deadLettersDo("redrive", "redriven", "Make dead letters due again: those with these ids, or all", (*client.Client).Redrive,
		func(cl *client.Client, s *screen.Screen, sink string, n int) {
			s.Printf("%s of sink %s due again\n", show.Count(n, "dead letter"), sink)
			if n > 0 && !cl.Live() {
				s.Printf("no server is running: they go out when one is\n")
			}
		})
}

func (p *program) deadLettersDiscard() *cobra.Command {
	return p.deadLettersDo("discard", "discarded", "Drop dead letters for good: those with these ids, or all", (*client.Client).Discard,
		func(_ *client.Client, s *screen.Screen, sink string, n int) {
			s.Printf("%s of sink %s dropped\n", show.Count(n, "dead letter"), sink)
		})
}

// deadLettersDo is a command that does something to dead letters, and says to
// how many.
func (p *program) deadLettersDo(
	use, done, short string,
	do func(cl *client.Client, ctx context.Context, sink string, ids ...string) (int, error),
	say func(cl *client.Client, s *screen.Screen, sink string, n int),
) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   use + " <sink> [id…]",
		Short: short,
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
			n, err := do(cl, c.Context(), sink, ids...)
			if err != nil {
				return ofSink(sink, err)
			}
			if p.asJSON {
				return jsonLine(p.stdout, map[string]any{"sink": sink, done: n})
			}
			s := p.screen()
			say(cl, s, screen.Clean(sink), n)
			if len(ids) > n {
				s.Printf("%d of the %s name no dead letter of it\n", len(ids)-n, show.Count(len(ids), "id"))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every dead letter of the sink")
	return c
}
