package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

func (p *program) replayCommand() *cobra.Command {
	c := group("replay", "Deliver a range of events to a sink again",
		p.replayStart(), p.replayStatus(), p.replayStop())
	dataFlag(c)
	return c
}

func (p *program) replayStart() *cobra.Command {
	var r client.Range
	c := p.onSink("start", "Begin to deliver a range of events to a sink again",
		`Begins to deliver events to a sink again, beside what is new: those from --from
on and before --to, which are cursors, or those received from --since on and
before --until, which are times (2026-01-31T08:00:00Z) or how long ago (90m,
6h, 7d). Left out, they are the oldest and the newest event. The events have
the ids that they had; the sink's filter holds as it is now. One replay of a
sink at a time.

Times become cursors by looking through the log from its end, so that those of
long ago take a while, and some events from just beside them may come too.`,
		func(c *cobra.Command, cl *client.Client, sink string) error {
			from, to, err := cl.Replay(c.Context(), sink, r)
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, map[string]any{"sink": sink, "from": from, "to": to})
			}
			s := p.screen()
			s.Printf("a replay to sink %s has begun: from %s to %s\n", screen.Clean(sink),
				screen.Clean(show.Bound(from, "the oldest event")), screen.Clean(show.Bound(to, "the newest")))
			sayIdle(s, cl)
			s.Command("how far: ", p.onward(c, "replay", "status", sink))
			return nil
		})
	c.Flags().StringVar(&r.From, "from", "", "the first event, as a `cursor`, which events list --json shows")
	c.Flags().StringVar(&r.To, "to", "", "the event to end before, as a `cursor`")
	c.Flags().StringVar(&r.Since, "since", "", "a `time`, or how long ago")
	c.Flags().StringVar(&r.Until, "until", "", "a `time`, or how long ago")
	c.Flags().BoolVar(&r.All, "all", false, "everything that is stored")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		ways := 0
		for _, given := range []bool{r.From != "" || r.To != "", r.Since != "" || r.Until != "", r.All} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			return usageError{errors.New("give --from and --to, --since and --until, or --all (one of the three)")}
		}
		return run(c, args)
	}
	return c
}

func (p *program) replayStatus() *cobra.Command {
	return p.onSink("status", "Show how far a replay is", "", func(c *cobra.Command, cl *client.Client, sink string) error {
		all, err := cl.Sinks(c.Context())
		if err != nil {
			return err
		}
		for i := range all {
			if all[i].Name != sink {
				continue
			}
			replay := all[i].Lag.Replay
			if p.asJSON {
				return jsonLine(p.stdout, map[string]any{"sink": sink, "replay": replay})
			}
			if replay == nil {
				p.screen().Printf("no replay to sink %s is under way\n", screen.Clean(sink))
				return nil
			}
			show.Replay(p.screen(), sink, replay)
			return nil
		}
		return unknownSink(sink)
	})
}

func (p *program) replayStop() *cobra.Command {
	return p.onSink("stop", "End a replay", `Ends a replay: nothing more is taken from its range. What was taken is
delivered, unless it was never leased.`,
		func(c *cobra.Command, cl *client.Client, sink string) error {
			replay, err := cl.StopReplay(c.Context(), sink)
			if err != nil {
				return err
			}
			if p.asJSON {
				return jsonLine(p.stdout, map[string]any{"sink": sink, "replay": replay})
			}
			p.screen().Printf("the replay to sink %s is stopped; %s of it were taken\n", screen.Clean(sink), show.Count(replay.Taken, "event"))
			return nil
		})
}
