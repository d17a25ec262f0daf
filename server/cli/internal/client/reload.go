package client

import (
	"context"
	"net/http"

	"github.com/postern/postern/server/admin"
)

// Reload has the server read its configuration and plugins again, and returns what
// that changed, a line each. The error has a line for each reason why it refused.
func (c *Client) Reload(ctx context.Context) ([]string, error) {
	var got struct {
		Changes []string `json:"changes"`
	}
	err := c.do(ctx, http.MethodPost, "/reload", nil, &got)
	return got.Changes, err
}

// Preview is what the server would change if it read its configuration and its
// plugins again.
func (c *Client) Preview(ctx context.Context) (admin.Difference, error) {
	var d admin.Difference
	err := c.get(ctx, "/reload", nil, &d)
	return d, err
}
