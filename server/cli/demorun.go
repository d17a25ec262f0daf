package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/cases"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/show"
)

// try sends one callback and reads from the store what became of it.
func (d *demo) try(ctx context.Context, c *cases.Case) (cases.Result, error) {
	r := cases.Result{Provider: c.Provider, Case: c.Name, Want: c.Want}
	act := d.send
	if c.From == cases.FromOperator {
		act = d.release
	}
	if err := act(ctx, c, &r); err != nil {
		return r, err
	}
	page, err := d.stored.Since(ctx, client.Filter{}, d.after)
	if err != nil {
		return r, err
	}
	d.after = page.Next
	var types []string
	for i := range page.Events {
		f := &page.Events[i].Fact
		r.Events = append(r.Events, f.ID)
		types = append(types, f.Type)
	}
	r.Got.Type = strings.Join(slices.Compact(types), ", ")
	return r, nil
}

// send sends the case's callback, and notes what the server saw of it.
func (d *demo) send(ctx context.Context, c *cases.Case, r *cases.Result) error {
	text, err := c.Text()
	if err != nil {
		return err
	}
	cb, err := outgoing.Parse(text)
	if err != nil {
		return fmt.Errorf("read the case: %w", err)
	}
	got, err := d.sender(c).Send(ctx, cb)
	if err != nil {
		return err
	}
	r.Got.Status, r.Got.Became = got.Status, cases.Refused
	select {
	case seen := <-d.seen: // it came before the answer
		r.Got.Became = cases.Became(seen)
	default: // the intake did not let it in
	}
	return nil
}

// release releases what the guards of the case's endpoint hold, as an operator
// would, and notes what the store did with it.
func (d *demo) release(ctx context.Context, c *cases.Case, r *cases.Result) error {
	which := client.Chosen{Filter: client.Wanted{Endpoint: c.Provider, Reason: host.ReasonHeld}}
	return d.stored.Quarantined(ctx, "release", which, func(got client.Result) error {
		r.Got.Status = http.StatusOK
		r.Got.Became = strings.TrimPrefix(got.Detail, "1 ")
		return nil
	})
}

func (d *demo) sender(c *cases.Case) *outgoing.Sender {
	switch c.From {
	case cases.FromForger:
		return d.forgers[c.Provider]
	case cases.FromStranger:
		return d.strangers[c.Provider]
	case cases.FromNobody:
		s := *d.genuine[c.Provider]
		s.Plugin = nil
		return &s
	case cases.FromProvider, cases.FromOperator:
	}
	return d.genuine[c.Provider]
}

// How long the demo waits for the sink, and how often it looks.
const (
	sinkTimeout = 10 * time.Second
	sinkEvery   = 20 * time.Millisecond
)

// collect waits for what must be delivered, stops the server, so that nothing
// more comes, and reads what the sink's file has.
func (d *demo) collect(ctx context.Context, results []cases.Result) error {
	ctx, cancel := context.WithTimeout(ctx, sinkTimeout)
	defer cancel()
	ticker := time.NewTicker(sinkEvery)
	defer ticker.Stop()
	for waiting := true; waiting; {
		ids, err := d.delivered()
		if err != nil {
			return err
		}
		waiting = false
		for i := range results {
			waiting = waiting || results[i].Want.Delivered && len(results[i].Events) > 0 && !results[i].In(ids)
		}
		select {
		case <-ctx.Done():
			waiting = false
		case <-ticker.C:
		}
	}
	if err := d.close(ctx); err != nil {
		return fmt.Errorf("stop the demo's server: %w", err)
	}
	ids, err := d.delivered()
	if err != nil {
		return err
	}
	for i := range results {
		r := &results[i]
		r.Got.Delivered = r.In(ids)
		r.OK = r.Got == r.Want
	}
	return nil
}

// delivered are the ids in the sink's file.
func (d *demo) delivered() (map[string]bool, error) {
	text, err := os.ReadFile(d.sinkFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the sink's file: %w", err)
	}
	ids := map[string]bool{}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			// Still being written.
			break
		}
		var event struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("read the sink's file: %w", err)
		}
		ids[event.ID] = true
	}
	return ids, nil
}

// printDemo shows the results; one that is not as it must be fails the command.
func (p *program) printDemo(results []cases.Result, plugins string) error {
	unmet := 0
	for i := range results {
		if !results[i].OK {
			unmet++
		}
	}
	if p.asJSON {
		for i := range results {
			if err := jsonLine(p.stdout, &results[i]); err != nil {
				return err
			}
		}
	} else {
		show.Demo(p.screen(), results)
	}
	if unmet > 0 {
		return fmt.Errorf("%d of %s not as it must be", unmet, show.Count(len(results), "callback"))
	}
	if !p.asJSON {
		p.screen().Command("next: ", p.nextAfterDemo(plugins))
	}
	return nil
}
