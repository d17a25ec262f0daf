package cli

import (
	"github.com/spf13/cobra"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) sinksCommand() *cobra.Command {
	c := group("sinks", "See how far sinks are, pause and forget them",
		p.sinksList(), p.sinksPause(), p.sinksResume(), p.sinksForget())
	dataFlag(c)
	return c
}

func (p *program) sinksList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the sinks and how far each is behind",
		Args:  takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			all, err := cl.Sinks(c.Context())
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLines(p, all)
			}
			s := p.screen()
			show.Sinks(s, all)
			p.sinkHints(c, s, all)
			return nil
		},
	}
}

// sinkHints say what can be done about sinks that need something.
func (p *program) sinkHints(c *cobra.Command, s *screen.Screen, all []client.Sink) {
	for i := range all {
		sink, name := &all[i], screen.Clean(all[i].Name)
		if show.Left(sink) {
			s.Printf("\n%s is not configured any more: what it has not had is held back for it\n", name)
			s.Command("forget it: ", p.onward(c, "sinks", "forget", sink.Name))
			continue
		}
		if sink.Lag.Paused {
			s.Printf("\n")
			s.Command("resume "+name+": ", p.onward(c, "sinks", "resume", sink.Name))
		}
		if sink.Lag.Dead > 0 {
			s.Printf("\n")
			s.Command("see what "+name+" gave up: ", p.onward(c, "deadletters", "list", sink.Name))
		}
	}
}

// onSink is a command that does something to one sink, and shows what came of
// it.
func (p *program) onSink(use, short, long string, do func(c *cobra.Command, cl *client.Client, sink string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use + " <sink>",
		Short: short,
		Long:  long,
		Args:  takes(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := p.open(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.Close() }()
			return ofSink(args[0], do(c, cl, args[0]))
		},
	}
}

func (p *program) sinksPause() *cobra.Command {
	return p.onSink("pause", "Deliver nothing to a sink until it is resumed", `Delivers nothing to a sink until it is resumed, over restarts too. What is
under way ends. What waits for the sink is held back however old it is:
retention removes nothing that a paused sink has not had.`,
		func(c *cobra.Command, cl *client.Client, sink string) error {
			if err := cl.Pause(c.Context(), sink); err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, map[string]any{"sink": sink, "paused": true})
			}
			s := p.screen()
			s.Printf("sink %s is paused: nothing is delivered to it\n", screen.Clean(sink))
			s.Command("go on: ", p.onward(c, "sinks", "resume", sink))
			return nil
		})
}

func (p *program) sinksResume() *cobra.Command {
	return p.onSink("resume", "Deliver to a paused sink again", "", func(c *cobra.Command, cl *client.Client, sink string) error {
		if err := cl.Resume(c.Context(), sink); err != nil {
			return err
		}
		if p.asJSON {
			return jsonLine(p.stdout, map[string]any{"sink": sink, "paused": false})
		}
		s := p.screen()
		s.Printf("sink %s goes on\n", screen.Clean(sink))
		sayIdle(s, cl)
		return nil
	})
}

// sayIdle says that nothing goes out for now.
func sayIdle(s *screen.Screen, cl *client.Client) {
	if !cl.Live() {
		s.Printf("no server is running: deliveries go out when one is\n")
	}
}

func (p *program) sinksForget() *cobra.Command {
	return p.onSink("forget", "Forget a sink that is not configured any more", `Forgets a sink that is not configured any more: its place in the log, its
retries and its dead letters. Until then what it has not had is held back for
it, however old it is. A sink of the same name that is configured later is a
new one.`,
		func(c *cobra.Command, cl *client.Client, sink string) error {
			lag, err := cl.Forget(c.Context(), sink)
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, map[string]any{"sink": sink, "lag": lag})
			}
			p.screen().Printf("sink %s is forgotten; with it went %s\n", screen.Clean(sink), went(&lag))
			return nil
		})
}

// went is what was lost with a sink.
func went(lag *host.Lag) string {
	return show.Count(lag.Leased+lag.Retrying+lag.Parked, "delivery") + " under way and " +
		show.Count(lag.Dead, "dead letter") + ", and " + show.Count(lag.Records, "record") + " it had not seen"
}
