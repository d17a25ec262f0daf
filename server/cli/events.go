package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// stored is an event as the admin routes give it: Event as sent, and fact what
// is shown of it.
type stored struct {
	Seq    uint64          `json:"seq"`
	Cursor string          `json:"cursor"`
	Event  json.RawMessage `json:"event"`
	fact   fact
}

// fact is what people are shown of a CloudEvent.
type fact struct {
	ID         string    `json:"id"`
	Source     string    `json:"source"`
	Type       string    `json:"type"`
	Subject    string    `json:"subject"`
	Time       time.Time `json:"time"`
	Received   time.Time `json:"receivedtime"`
	Tenant     string    `json:"tenant"`
	Provider   string    `json:"provider"`
	VerifiedBy string    `json:"verifiedby"`
	Covers     string    `json:"covers"`
	DedupKey   string    `json:"dedupkey"`
	Conflict   bool      `json:"conflict"`
	Confirm    string    `json:"confirm"`
	Sandbox    bool      `json:"sandbox"`
	Data       struct {
		Status         string `json:"status"`
		ProviderStatus string `json:"provider_status"`
		Amount         struct {
			Value    string `json:"value"`
			Currency string `json:"currency"`
		} `json:"amount"`
		References struct {
			Merchant string `json:"merchant"`
			Provider string `json:"provider"`
			Bank     string `json:"bank"`
		} `json:"references"`
		Method       string          `json:"method"`
		Party        string          `json:"party"`
		ProviderData json.RawMessage `json:"provider_data"`
	} `json:"data"`
}

// read fills fact.
func (s *stored) read() error {
	if err := json.Unmarshal(s.Event, &s.fact); err != nil {
		return fmt.Errorf("read event at %s: %w", s.Cursor, err)
	}
	return nil
}

func (f *fact) amount() string {
	if f.Data.Amount.Value == "" {
		return ""
	}
	return f.Data.Amount.Value + " " + f.Data.Amount.Currency
}

// kind is the type with its mark, and the colour of both.
func (f *fact) kind() cell {
	switch {
	case f.Conflict:
		// First, so that no narrow screen cuts it off.
		return cell{"! " + f.Type, odd}
	case f.Data.Status == "succeeded":
		return cell{f.Type, good}
	case f.Data.Status == "failed":
		return cell{f.Type, bad}
	}
	return cell{text: f.Type}
}

// where is the endpoint without its leading slash, as it is written in --endpoint.
func (f *fact) where() string {
	if f.Source != "" && f.Source[0] == '/' {
		return f.Source[1:]
	}
	return f.Source
}

// page is one answer of the events route.
type page struct {
	Events []stored `json:"events"`
	Next   string   `json:"next"`
}

// perPage is how many entries are asked for at once.
const perPage = 100

// upTo asks for pages until there are n events or no more.
func (c *client) upTo(ctx context.Context, n int, query url.Values) ([]stored, error) {
	var all []stored
	for {
		query.Set("limit", strconv.Itoa(min(n-len(all), perPage)))
		got, err := c.events(ctx, query)
		if err != nil {
			return nil, err
		}
		all = append(all, got.Events...)
		if len(all) >= n || len(got.Events) == 0 || got.Next == "" {
			return all, nil
		}
		query.Set("after", got.Next)
	}
}

func (c *client) events(ctx context.Context, query url.Values) (page, error) {
	var got page
	if err := c.get(ctx, "/events", query, &got); err != nil {
		return page{}, err
	}
	for i := range got.Events {
		if err := got.Events[i].read(); err != nil {
			return page{}, err
		}
	}
	return got, nil
}

func (p *program) eventsCommand() *cobra.Command {
	c := group("events", "Look at what is stored", p.eventsList(), p.eventsShow(), p.eventsTail())
	dataFlag(c)
	return c
}

// filter are the flags that choose events.
type filter struct {
	limit                  int
	tenant, provider, kind string
}

func (f *filter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.tenant, "tenant", "", "only events of this tenant")
	c.Flags().StringVar(&f.provider, "provider", "", "only events of this provider")
	c.Flags().StringVar(&f.kind, "type", "", "only events of this type; \"payment.*\" takes a family")
}

func (f *filter) query() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"tenant": f.tenant, "provider": f.provider, "type": f.kind} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.limit > 0 {
		q.Set("limit", strconv.Itoa(f.limit))
	}
	return q
}

func (p *program) eventsList() *cobra.Command {
	var f filter
	var newest bool
	var after string
	c := &cobra.Command{
		Use:   "list",
		Short: "List events, the newest first",
		Args:  takes(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if f.limit < 1 {
				return usageError{fmt.Errorf("--limit %d: must be 1 or more", f.limit)}
			}
			q := f.query()
			q.Set("newest", strconv.FormatBool(newest))
			if after != "" {
				q.Set("after", after)
			}
			cl, err := p.client(c)
			if err != nil {
				return err
			}
			defer func() { _ = cl.close() }()
			got, err := cl.upTo(c.Context(), f.limit, q)
			if err != nil {
				return err
			}
			return p.printEvents(got)
		},
	}
	f.flags(c)
	c.Flags().IntVar(&f.limit, "limit", 20, "the most events to list")
	c.Flags().BoolVar(&newest, "newest", true, "the newest first; --newest=false begins with the oldest")
	c.Flags().StringVar(&after, "after", "", "go on behind this `cursor`, which --json shows")
	return c
}

func (p *program) printEvents(got []stored) error {
	if p.asJSON {
		for i := range got {
			if err := jsonLine(p.stdout, &got[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if len(got) == 0 {
		p.screen().printf("no events\n")
		return nil
	}
	t := table{columns: []column{
		{title: "ID"},
		{title: "AGE", right: true},
		{title: "ENDPOINT", least: 14},
		{title: "TYPE", least: 19},
		{title: "AMOUNT", right: true, drop: true},
		{title: "SUBJECT", least: 8, drop: true},
	}}
	for i := range got {
		f := &got[i].fact
		t.add(cell{text: f.ID}, cell{age(p.now().Sub(f.Received)), faint},
			cell{text: f.where()}, f.kind(), cell{text: f.amount()}, cell{text: f.Subject})
	}
	s := p.screen()
	t.print(s)
	if slices.ContainsFunc(got, func(e stored) bool { return e.fact.Conflict }) {
		s.printf("! conflict: an event with the same dedup key and other content came before it\n")
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
