package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/postern/postern/host"
)

// Stored is an event as the admin routes give it.
type Stored struct {
	Seq    uint64 `json:"seq"`
	Cursor string `json:"cursor"`
	// Event is the CloudEvent byte for byte, and Fact what is read of it.
	Event json.RawMessage `json:"event"`
	Fact  Fact            `json:"-"`
}

// Fact is what people are shown of a CloudEvent.
type Fact struct {
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
	// Annotations are what guards added, by name.
	Annotations map[string]string `json:"-"`
}

func (f *Fact) read(event []byte) error {
	if err := json.Unmarshal(event, f); err != nil {
		return fmt.Errorf("understand an event of the server's answer: %w", err)
	}
	var all map[string]any
	if err := json.Unmarshal(event, &all); err != nil {
		return fmt.Errorf("understand an event of the server's answer: %w", err)
	}
	f.Annotations = make(map[string]string)
	for name, value := range all {
		if text, ok := value.(string); ok && host.IsAnnotation(name) {
			f.Annotations[name] = text
		}
	}
	return nil
}

// Whole is one event with the callback it came in.
type Whole struct {
	Stored
	// Callback is nil where it is no longer there.
	Callback *Recorded `json:"callback"`
	// Answer is the server's, byte for byte.
	Answer json.RawMessage `json:"-"`
}

// Recorded is a callback as the admin routes give it, tokens masked.
type Recorded struct {
	Kind     string          `json:"kind"`
	Detail   string          `json:"detail"`
	Plugin   string          `json:"plugin"`
	Method   string          `json:"method"`
	Target   string          `json:"target"`
	Headers  []host.Header   `json:"headers"`
	Remote   string          `json:"remote"`
	Received time.Time       `json:"received"`
	Evidence []host.Evidence `json:"evidence"`
	Body     string          `json:"body"`
	// Bytes is the body where it is not UTF-8.
	Bytes []byte       `json:"body_base64"`
	Aside []host.Aside `json:"aside"`
}

// Page are events in their order, and the cursor behind the last.
type Page struct {
	Events []Stored `json:"events"`
	Next   string   `json:"next"`
}

// perPage is how many entries are asked for at once.
const perPage = 100

// Filter chooses events; what is empty chooses all. A Type "payment.*" takes a
// family.
type Filter struct {
	Tenant, Provider, Type string
}

func (f Filter) query() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"tenant": f.Tenant, "provider": f.Provider, "type": f.Type} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return q
}

// Events are at most n events behind the cursor after (empty: from the end), in
// order of intake or the newest first.
func (c *Client) Events(ctx context.Context, f Filter, n int, newest bool, after string) ([]Stored, error) {
	q := f.query()
	q.Set("newest", strconv.FormatBool(newest))
	if after != "" {
		q.Set("after", after)
	}
	var all []Stored
	for {
		q.Set("limit", strconv.Itoa(min(n-len(all), perPage)))
		got, err := c.page(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, got.Events...)
		if len(all) >= n || len(got.Events) == 0 || got.Next == "" {
			return all, nil
		}
		q.Set("after", got.Next)
	}
}

func (c *Client) page(ctx context.Context, query url.Values) (Page, error) {
	var got Page
	if err := c.get(ctx, "/events", query, &got); err != nil {
		return Page{}, err
	}
	for i := range got.Events {
		e := &got.Events[i]
		if err := e.Fact.read(e.Event); err != nil {
			return Page{}, err
		}
	}
	return got, nil
}

// Newest is the cursor of the newest event, empty if there is none.
func (c *Client) Newest(ctx context.Context) (string, error) {
	got, err := c.Events(ctx, Filter{}, 1, true, "")
	if err != nil || len(got) == 0 {
		return "", err
	}
	return got[0].Cursor, nil
}

// Since is a page of events behind the cursor; its Next is never before it.
func (c *Client) Since(ctx context.Context, f Filter, after string) (Page, error) {
	q := f.query()
	q.Set("limit", strconv.Itoa(perPage))
	if after != "" {
		q.Set("after", after)
	}
	got, err := c.page(ctx, q)
	if got.Next == "" {
		got.Next = after
		if n := len(got.Events); n > 0 {
			got.Next = got.Events[n-1].Cursor
		}
	}
	return got, err
}

// Event is one event. See [NotFound].
func (c *Client) Event(ctx context.Context, id string) (*Whole, error) {
	var w Whole
	if err := c.get(ctx, "/events/"+url.PathEscape(id), nil, &w.Answer); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(w.Answer, &w); err != nil {
		return nil, fmt.Errorf("understand the server's answer: %w", err)
	}
	return &w, w.Fact.read(w.Event)
}
