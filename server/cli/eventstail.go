package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

// tailEvery is how often the tail asks for what is new.
const tailEvery = 500 * time.Millisecond

func (p *program) eventsTail() *cobra.Command {
	var f client.Filter
	var stopAfter int
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they come in, until interrupted",
		Args:  takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := p.open(c)
			if err != nil {
				return ignoreEnd(c.Context(), err)
			}
			defer func() { _ = cl.Close() }()
			if !cl.Live() {
				return errors.New("no server is running on this data directory: nothing will come in" + p.serveHint(c))
			}
			return p.tail(c.Context(), cl, f, stopAfter)
		},
	}
	filterFlags(c, &f)
	c.Flags().IntVar(&stopAfter, "limit", 0, "stop after so many events; 0 goes on")
	return c
}

// tail prints events newer than now until ctx ends or so many were printed.
func (p *program) tail(ctx context.Context, cl *client.Client, f client.Filter, stopAfter int) error {
	after, err := cl.Newest(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	printed := 0
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for {
		got, err := cl.Since(ctx, f, after)
		if client.Absent(err) {
			return errors.New("the server has stopped")
		}
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		for i := range got.Events {
			if err := p.tailLine(&got.Events[i]); err != nil {
				return err
			}
			if printed++; printed == stopAfter {
				return nil
			}
		}
		after = got.Next
		if len(got.Events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// ignoreEnd makes an interrupted question a normal end.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tailLine prints one event in a form that does not change with those after it.
func (p *program) tailLine(s *client.Stored) error {
	if p.asJSON {
		return jsonLine(p.stdout, s)
	}
	f, out := &s.Fact, p.screen()
	line := fmt.Sprintf("  %-14s  ", screen.Clean(show.Where(f)))
	out.Printf("%s  %s%s%s", out.Paint(screen.Faint, f.Received.UTC().Format("15:04:05")), f.ID, line, out.Show(show.Kind(f)))
	if a := show.Amount(f); a != "" {
		out.Printf("  %s", screen.Clean(a))
	}
	out.Printf("\n")
	return nil
}
