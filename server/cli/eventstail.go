package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// tailEvery is how often the tail asks for what is new.
const tailEvery = 500 * time.Millisecond

func (p *program) eventsTail() *cobra.Command {
	var f filter
	var stopAfter int
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print events as they come in, until interrupted",
		Args:  takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := p.client(c)
			if err != nil {
				return ignoreEnd(c.Context(), err)
			}
			defer func() { _ = cl.close() }()
			if !cl.live {
				return errors.New("no server is running on this data directory: nothing will come in")
			}
			return p.tail(c.Context(), cl, f, stopAfter)
		},
	}
	f.flags(c)
	c.Flags().IntVar(&stopAfter, "limit", 0, "stop after so many events; 0 goes on")
	return c
}

// tail prints events newer than now until ctx ends or so many were printed.
func (p *program) tail(ctx context.Context, cl *client, f filter, stopAfter int) error {
	after, err := cl.newest(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	printed := 0
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for {
		got, err := cl.since(ctx, f, after)
		if absent(err) {
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

// newest is the cursor of the newest event, empty if there is none.
func (c *client) newest(ctx context.Context) (string, error) {
	q := (&filter{limit: 1}).query()
	q.Set("newest", "true")
	got, err := c.events(ctx, q)
	if err != nil || len(got.Events) == 0 {
		return "", err
	}
	return got.Events[0].Cursor, nil
}

// since asks for a page of events behind the cursor; its Next is never behind
// it.
func (c *client) since(ctx context.Context, f filter, after string) (page, error) {
	f.limit = perPage
	q := f.query()
	if after != "" {
		q.Set("after", after)
	}
	got, err := c.events(ctx, q)
	if got.Next == "" {
		got.Next = after
		if n := len(got.Events); n > 0 {
			got.Next = got.Events[n-1].Cursor
		}
	}
	return got, err
}

// ignoreEnd makes an interrupted question a normal end.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tailLine prints one event in a form that does not change with those after it.
func (p *program) tailLine(s *stored) error {
	if p.asJSON {
		return jsonLine(p.stdout, s)
	}
	f, out := &s.fact, p.screen()
	kind := f.kind()
	line := fmt.Sprintf("  %-14s  ", clean(f.where()))
	out.printf("%s  %s%s%s", out.paint(faint, f.Received.UTC().Format("15:04:05")), f.ID, line,
		out.paint(kind.tone, clean(kind.text)))
	if a := f.amount(); a != "" {
		out.printf("  %s", clean(a))
	}
	out.printf("\n")
	return nil
}
