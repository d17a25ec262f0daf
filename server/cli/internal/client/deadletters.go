package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Letter is a dead letter as the admin routes give it.
type Letter struct {
	Sink     string          `json:"sink"`
	Event    json.RawMessage `json:"event"`
	Attempts int             `json:"attempts"`
	First    time.Time       `json:"first_attempt"`
	Died     time.Time       `json:"died"`
	Reason   string          `json:"reason"`
	// Answer is what the other side last said, empty for nothing.
	Answer string `json:"answer,omitempty"`
	// Fact is what is read of Event.
	Fact Fact `json:"-"`
}

// letters is one answer of the dead letters route.
type letters struct {
	DeadLetters []Letter `json:"deadletters"`
	Next        string   `json:"next"`
}

// DeadLetters are at most n of a sink, the oldest first. See [NotFound].
func (c *Client) DeadLetters(ctx context.Context, sink string, n int) ([]Letter, error) {
	var all []Letter
	q := url.Values{}
	for {
		q.Set("limit", strconv.Itoa(min(n-len(all), perPage)))
		var got letters
		err := c.get(ctx, ofSink(sink, "/deadletters"), q, &got)
		if err != nil {
			return nil, err
		}
		for i := range got.DeadLetters {
			l := &got.DeadLetters[i]
			if err := l.Fact.read(l.Event); err != nil {
				return nil, err
			}
		}
		all = append(all, got.DeadLetters...)
		if got.Next == "" || len(got.DeadLetters) == 0 || len(all) >= n {
			return all, nil
		}
		q.Set("after", got.Next)
	}
}

// Redrive makes dead letters of a sink due again, those of the events with
// these ids, or all if none is named, and returns how many. See [NotFound].
func (c *Client) Redrive(ctx context.Context, sink string, ids ...string) (int, error) {
	var got struct {
		Redriven int `json:"redriven"`
	}
	body := map[string][]string{"ids": append([]string{}, ids...)}
	err := c.do(ctx, http.MethodPost, ofSink(sink, "/deadletters/redrive"), body, &got)
	return got.Redriven, err
}

// DeadLetter is the dead letter of a sink with this event id. See [NotFound].
func (c *Client) DeadLetter(ctx context.Context, sink, id string) (*Letter, error) {
	var l Letter
	if err := c.get(ctx, ofSink(sink, "/deadletters/"+url.PathEscape(id)), nil, &l); err != nil {
		return nil, err
	}
	return &l, l.Fact.read(l.Event)
}

// Discard drops dead letters of a sink for good, those of the events with these
// ids, or all if none is named, and returns how many. See [NotFound].
func (c *Client) Discard(ctx context.Context, sink string, ids ...string) (int, error) {
	var got struct {
		Discarded int `json:"discarded"`
	}
	body := map[string]any{"all": true}
	if len(ids) > 0 {
		body = map[string]any{"ids": ids}
	}
	err := c.do(ctx, http.MethodPost, ofSink(sink, "/deadletters/discard"), body, &got)
	return got.Discarded, err
}
