package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/screen"
	"github.com/postern/postern/server/cli/internal/show"
)

// demoResult is what became of one case.
type demoResult struct {
	Provider string `json:"provider"`
	Case     string `json:"case"`
	// Events are the ids of the new ones.
	Events []string `json:"events,omitempty"`
	Got    outcome  `json:"got"`
	Want   outcome  `json:"want"`
	OK     bool     `json:"ok"`
}

// in reports whether there are new events and all are among ids.
func (r *demoResult) in(ids map[string]bool) bool {
	for _, id := range r.Events {
		if !ids[id] {
			return false
		}
	}
	return len(r.Events) > 0
}

// try sends one callback and reads from the store what became of it.
func (d *demo) try(ctx context.Context, c *demoCase) (demoResult, error) {
	r := demoResult{Provider: c.provider, Case: c.name, Want: c.want}
	text, err := demoRequests.ReadFile("demo/" + c.file)
	if err != nil {
		return r, err
	}
	cb, err := outgoing.Parse(text)
	if err != nil {
		return r, fmt.Errorf("read %s: %w", c.file, err)
	}
	got, err := d.sender(c).send(ctx, cb)
	if err != nil {
		return r, err
	}
	r.Got.Status, r.Got.Became = got.Status, refusedOutcome
	select {
	case seen := <-d.seen: // it came before the answer
		r.Got.Became = became(seen)
	default: // the intake did not let it in
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

// became is what the host saw become of a callback.
func became(o host.Observation) string {
	switch {
	case o.Kept:
		return host.Kept.String()
	case o.Failed:
		return refusedOutcome
	case o.Verdict == host.Ignore:
		return ignoredOutcome
	}
	var all []string
	number := map[string]int{}
	for _, d := range slices.Concat(o.Receipt.Events, o.Receipt.Aside) {
		if number[d.String()]++; number[d.String()] == 1 {
			all = append(all, d.String())
		}
	}
	if len(all) == 1 && number[all[0]] == 1 {
		return all[0]
	}
	for i, d := range all {
		all[i] = fmt.Sprintf("%d %s", number[d], d)
	}
	return strings.Join(all, ", ")
}

func (d *demo) sender(c *demoCase) *sender {
	switch c.from {
	case fromForger:
		return d.forgers[c.provider]
	case fromStranger:
		return d.strangers[c.provider]
	case fromNobody:
		s := *d.genuine[c.provider]
		s.plugin = nil
		return &s
	case fromProvider:
	}
	return d.genuine[c.provider]
}

// How long the demo waits for the sink, and how often it looks.
const (
	sinkTimeout = 10 * time.Second
	sinkEvery   = 20 * time.Millisecond
)

// collect waits for what must be delivered, stops the server, so that nothing
// more comes, and reads what the sink's file has.
func (d *demo) collect(ctx context.Context, results []demoResult) error {
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
			waiting = waiting || results[i].Want.Delivered && len(results[i].Events) > 0 && !results[i].in(ids)
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
		r.Got.Delivered = r.in(ids)
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
func (p *program) printDemo(results []demoResult, plugins string) error {
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
		p.demoTable(results)
	}
	if unmet > 0 {
		return fmt.Errorf("%d of %s not as it must be", unmet, show.Count(len(results), "callback"))
	}
	if !p.asJSON {
		p.screen().Command("next: ", p.nextAfterDemo(plugins))
	}
	return nil
}

func (p *program) demoTable(results []demoResult) {
	t := screen.Table{Columns: []screen.Column{
		{Title: "CALLBACK", Least: 12},
		{Title: "ANSWER"},
		{Title: "BECAME"},
		{Title: "EVENT", Least: 12},
		{Title: "SINK"},
		{Title: ""},
	}}
	totals := map[string]int{}
	delivered := 0
	for i := range results {
		r := &results[i]
		tally(totals, r.Got.Became)
		in := "-"
		if r.Got.Delivered {
			in = "yes"
			delivered += len(r.Events)
		} else if len(r.Events) > 0 {
			in = "no"
		}
		mark := screen.Text("ok").In(screen.Good)
		if !r.OK {
			mark = screen.Text("WRONG").In(screen.Bad)
		}
		kind := r.Got.Type
		if kind == "" {
			kind = "-"
		}
		if i == 0 || results[i-1].Provider != r.Provider {
			heading := make([]screen.Cell, len(t.Columns))
			heading[0] = screen.Text(r.Provider).In(screen.Bold)
			t.Add(heading...)
		}
		t.Add(screen.Text("  "+r.Case), screen.Text(strconv.Itoa(r.Got.Status)),
			screen.Text(r.Got.Became).In(toneOf(r.Got.Became)), screen.Text(kind), screen.Text(in), mark)
	}
	s := p.screen()
	t.Print(s)
	s.Printf("\n%s, %d of them refused, %d kept as they came, %d ignored\n",
		show.Count(len(results), "callback"), totals[refusedOutcome], totals[host.Kept.String()], totals[ignoredOutcome])
	s.Printf("%s stored, %d in the sink; %s, %s, %d set aside\n",
		show.Count(totals[host.Stored.String()], "event"), delivered, show.Count(totals[host.Duplicate.String()], "duplicate"),
		show.Count(totals[host.Conflicted.String()], "conflict"), totals[host.SetAside.String()])
	for i := range results {
		if r := &results[i]; !r.OK {
			s.Printf("%s\n  want %s\n  got  %s\n", s.Paint(screen.Bad, r.Provider+": "+r.Case), r.Want, r.Got)
		}
	}
}

// tally adds what became of a callback, as [became] writes it.
func tally(totals map[string]int, what string) {
	for part := range strings.SplitSeq(what, ", ") {
		number, disposition, several := strings.Cut(part, " ")
		if n, err := strconv.Atoi(number); several && err == nil {
			totals[disposition] += n
			continue
		}
		totals[part]++
	}
}

// String is the outcome in words.
func (o outcome) String() string {
	parts := []string{strconv.Itoa(o.Status), o.Became}
	if o.Type != "" {
		parts = append(parts, o.Type)
		if o.Delivered {
			parts = append(parts, "in the sink")
		} else {
			parts = append(parts, "not in the sink")
		}
	}
	return strings.Join(parts, ", ")
}

// toneOf is the colour of what became of a callback.
func toneOf(what string) screen.Tone {
	switch what {
	case host.Stored.String():
		return screen.Good
	case host.Conflicted.String():
		return screen.Odd
	}
	return screen.Faint
}
