package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// letter is a dead letter as the admin routes give it.
type letter struct {
	Sink     string          `json:"sink"`
	Event    json.RawMessage `json:"event"`
	Attempts int             `json:"attempts"`
	First    time.Time       `json:"first_attempt"`
	Died     time.Time       `json:"died"`
	Reason   string          `json:"reason"`
}

// letters is one answer of the dead letters route.
type letters struct {
	DeadLetters []letter `json:"deadletters"`
	Next        string   `json:"next"`
}

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
			cl, err := p.client(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.close() }()
			sinks := args
			if len(args) == 0 {
				if sinks, err = cl.sinks(c.Context()); err != nil {
					return err
				}
				if len(sinks) == 0 {
					return errors.New("no sink is configured here: name one")
				}
			}
			var all []letter
			for _, sink := range sinks {
				some, err := cl.deadLetters(c.Context(), sink, limit-len(all))
				if isNotFound(err) && len(args) == 0 {
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
			return p.printLetters(all)
		},
	}
	c.Flags().IntVar(&limit, "limit", 100, "the most dead letters to list")
	return c
}

// ofSink says of which sink err speaks, where it does not.
func ofSink(sink string, err error) error {
	if isNotFound(err) {
		return fmt.Errorf("sink %q is unknown", sink)
	}
	return err
}

// sinks are the names of all sinks.
func (c *client) sinks(ctx context.Context) ([]string, error) {
	var got struct {
		Sinks []struct {
			Name string `json:"name"`
		} `json:"sinks"`
	}
	if err := c.get(ctx, "/sinks", nil, &got); err != nil {
		return nil, err
	}
	names := make([]string, len(got.Sinks))
	for i, s := range got.Sinks {
		names[i] = s.Name
	}
	return names, nil
}

// deadLetters reads pages until there are n or no more.
func (c *client) deadLetters(ctx context.Context, sink string, n int) ([]letter, error) {
	var all []letter
	q := url.Values{}
	for {
		q.Set("limit", strconv.Itoa(min(n-len(all), perPage)))
		var got letters
		err := c.get(ctx, "/sinks/"+url.PathEscape(sink)+"/deadletters", q, &got)
		if err != nil {
			return nil, err
		}
		all = append(all, got.DeadLetters...)
		if got.Next == "" || len(got.DeadLetters) == 0 || len(all) >= n {
			return all, nil
		}
		q.Set("after", got.Next)
	}
}

func (p *program) printLetters(all []letter) error {
	if p.asJSON {
		for i := range all {
			if err := jsonLine(p.stdout, &all[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		p.screen().printf("no dead letters\n")
		return nil
	}
	t := table{columns: []column{
		{title: "EVENT"},
		{title: "SINK", least: 8},
		{title: "DIED", right: true},
		{title: "TRIES", right: true},
		{title: "REASON", least: 10, end: true},
	}}
	for i := range all {
		s := stored{Event: all[i].Event}
		if err := s.read(); err != nil {
			return err
		}
		t.add(cell{text: s.fact.ID}, cell{text: all[i].Sink}, cell{age(p.now().Sub(all[i].Died)), faint},
			cell{text: strconv.Itoa(all[i].Attempts)}, cell{all[i].Reason, bad})
	}
	t.print(p.screen())
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
			cl, err := p.client(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.close() }()
			var got struct {
				Redriven int `json:"redriven"`
			}
			err = cl.post(c.Context(), "/sinks/"+url.PathEscape(sink)+"/deadletters/redrive",
				map[string][]string{"ids": ids}, &got)
			if err != nil {
				return ofSink(sink, err)
			}
			return p.printRedriven(cl, sink, got.Redriven, len(ids))
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every dead letter of the sink")
	return c
}

func (p *program) printRedriven(cl *client, sink string, n, asked int) error {
	if p.asJSON {
		return jsonLine(p.stdout, map[string]any{"sink": sink, "redriven": n})
	}
	s := p.screen()
	s.printf("%s of sink %s due again\n", count(n, "dead letter"), clean(sink))
	if asked > n {
		s.printf("%d of the %s name no dead letter of it\n", asked-n, count(asked, "id"))
	}
	if n > 0 && !cl.live {
		s.printf("no server is running: they go out when one is\n")
	}
	return nil
}

// count is "1 event", "2 events".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}
