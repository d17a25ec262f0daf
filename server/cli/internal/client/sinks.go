package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/postern/postern/host"
)

// Sink is a sink as the admin routes give it.
type Sink struct {
	Name   string          `json:"name"`
	Type   string          `json:"type,omitempty"`
	Filter json.RawMessage `json:"filter,omitempty"`
	// Configured is nil where nobody knows.
	Configured *bool    `json:"configured,omitempty"`
	Lag        host.Lag `json:"lag"`
}

// ofSink is a route below a sink's.
func ofSink(sink, rest string) string { return "/sinks/" + url.PathEscape(sink) + rest }

// Sinks are the configured sinks, and those that the store still knows.
func (c *Client) Sinks(ctx context.Context) ([]Sink, error) {
	var got struct {
		Sinks []Sink `json:"sinks"`
	}
	err := c.get(ctx, "/sinks", nil, &got)
	return got.Sinks, err
}

// Pause stops leasing to a sink. See [NotFound].
func (c *Client) Pause(ctx context.Context, sink string) error {
	return c.do(ctx, http.MethodPost, ofSink(sink, "/pause"), nil, &json.RawMessage{})
}

// Resume undoes Pause. See [NotFound].
func (c *Client) Resume(ctx context.Context, sink string) error {
	return c.do(ctx, http.MethodPost, ofSink(sink, "/resume"), nil, &json.RawMessage{})
}

// Forget unsubscribes a sink that is not configured, and returns how far behind
// it was. See [NotFound].
func (c *Client) Forget(ctx context.Context, sink string) (host.Lag, error) {
	var got struct {
		Lag host.Lag `json:"lag"`
	}
	err := c.do(ctx, http.MethodDelete, ofSink(sink, ""), nil, &got)
	return got.Lag, err
}

// Range says which events to replay: From and To are cursors, Since and Until
// times or durations before now, All is everything. One of the three ways.
type Range struct {
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Since string `json:"since,omitempty"`
	Until string `json:"until,omitempty"`
	All   bool   `json:"all,omitempty"`
}

// Replay begins to deliver a range of events to a sink again, and returns its
// cursors; an empty one is the oldest event, or the newest. See [NotFound].
func (c *Client) Replay(ctx context.Context, sink string, r Range) (from, to string, err error) {
	var got Range
	err = c.do(ctx, http.MethodPost, ofSink(sink, "/replay"), r, &got)
	return got.From, got.To, err
}

// StopReplay ends a replay, and returns how far it was. See [NotFound].
func (c *Client) StopReplay(ctx context.Context, sink string) (*host.Replay, error) {
	var got struct {
		Replay *host.Replay `json:"replay"`
	}
	err := c.do(ctx, http.MethodDelete, ofSink(sink, "/replay"), nil, &got)
	return got.Replay, err
}

// Status is how the store is doing.
func (c *Client) Status(ctx context.Context) (*host.Status, error) {
	var got host.Status
	if err := c.get(ctx, "/store", nil, &got); err != nil {
		return nil, err
	}
	return &got, nil
}
