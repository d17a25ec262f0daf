package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Rejected is a callback in quarantine as the admin routes list it.
type Rejected struct {
	ID       string    `json:"id"`
	Kept     bool      `json:"kept"`
	Guard    string    `json:"guard,omitempty"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail,omitempty"`
	Tenant   string    `json:"tenant"`
	Endpoint string    `json:"endpoint"`
	Provider string    `json:"provider"`
	Plugin   string    `json:"plugin"`
	Count    uint64    `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Bytes    int       `json:"bytes"`
}

// WholeRejected is one of them with the callback itself.
type WholeRejected struct {
	Rejected

	// Facts are the events that are held.
	Facts    []Fact   `json:"-"`
	Callback Recorded `json:"callback"`
	// Answer is the server's, byte for byte.
	Answer json.RawMessage `json:"-"`
}

// Wanted chooses callbacks in quarantine; what is empty chooses all.
type Wanted struct {
	Tenant   string `json:"tenant,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Quarantine lists at most n, the oldest first.
func (c *Client) Quarantine(ctx context.Context, want Wanted, n int) ([]Rejected, error) {
	q := url.Values{}
	for k, v := range map[string]string{"tenant": want.Tenant, "endpoint": want.Endpoint, "reason": want.Reason} {
		if v != "" {
			q.Set(k, v)
		}
	}
	var all []Rejected
	for {
		q.Set("limit", strconv.Itoa(min(n-len(all), perPage)))
		var got struct {
			Quarantine []Rejected `json:"quarantine"`
			Next       string     `json:"next"`
		}
		if err := c.get(ctx, "/quarantine", q, &got); err != nil {
			return nil, err
		}
		all = append(all, got.Quarantine...)
		if got.Next == "" || len(got.Quarantine) == 0 || len(all) >= n {
			return all, nil
		}
		q.Set("after", got.Next)
	}
}

// Rejected is one callback in quarantine. See [NotFound].
func (c *Client) Rejected(ctx context.Context, id string) (*WholeRejected, error) {
	var w WholeRejected
	if err := c.get(ctx, "/quarantine/"+url.PathEscape(id), nil, &w.Answer); err != nil {
		return nil, err
	}
	var held struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := errors.Join(json.Unmarshal(w.Answer, &w), json.Unmarshal(w.Answer, &held)); err != nil {
		return nil, fmt.Errorf("understand the server's answer: %w", err)
	}
	w.Facts = make([]Fact, len(held.Events))
	for i, text := range held.Events {
		if err := w.Facts[i].read(text); err != nil {
			return nil, err
		}
	}
	return &w, nil
}

// Chosen says which callbacks in quarantine are meant: those with IDs, those
// that a Filter with a condition wants, or All.
type Chosen struct {
	IDs    []string
	Filter Wanted
	All    bool
}

// Results that are no success.
const (
	Failed    = "failed"
	NotThere  = "not-found"
	LeftThere = "left"
)

// Result is what came of one callback in quarantine.
type Result struct {
	ID string `json:"id"`
	// Result is what was done, "discarded" or "released", or of a retry what the callback became,
	// or one of the above.
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
	// Events are the ids of the events that it became.
	Events []string `json:"events,omitempty"`
}

// maxBatch is how many the routes take at a time.
const maxBatch = 100

// Quarantined does something, "retry", "release" or "discard", to callbacks in quarantine
// and tells each what came of one. It goes on over those that fail, and ends
// early with an error of its own or of each.
func (c *Client) Quarantined(ctx context.Context, do string, which Chosen, each func(Result) error) error {
	if len(which.IDs) > 0 {
		for ids := range slices.Chunk(which.IDs, maxBatch) {
			if _, err := c.batch(ctx, do, map[string]any{"ids": ids}, each); err != nil {
				return err
			}
		}
		return nil
	}
	body := map[string]any{"filter": which.Filter}
	if which.All {
		body = map[string]any{"all": true}
	}
	for {
		next, err := c.batch(ctx, do, body, each)
		if err != nil || next == "" {
			return err
		}
		body["after"] = next
	}
}

func (c *Client) batch(ctx context.Context, do string, body map[string]any, each func(Result) error) (next string, err error) {
	var got struct {
		Results []Result `json:"results"`
		Next    string   `json:"next"`
	}
	if err := c.do(ctx, http.MethodPost, "/quarantine/"+do, body, &got); err != nil {
		return "", err
	}
	for _, r := range got.Results {
		if err := each(r); err != nil {
			return "", err
		}
	}
	return got.Next, nil
}
