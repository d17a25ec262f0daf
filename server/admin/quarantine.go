package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/host"
)

// listAtOnce is how many rejected callbacks are asked of the store at a time:
// each comes with its body. maxBatch is how many one request may act on, so
// that it ends in time.
const (
	listAtOnce = 20
	maxBatch   = 100
)

// rejected is a callback in quarantine, without what was in it.
type rejected struct {
	ID   string `json:"id"`
	Kept bool   `json:"kept"`
	// Guard is the one that holds it; empty if none does.
	Guard    string `json:"guard,omitempty"`
	Reason   string `json:"reason"`
	Detail   string `json:"detail,omitempty"`
	Tenant   string `json:"tenant"`
	Endpoint string `json:"endpoint"`
	Provider string `json:"provider"`
	Plugin   string `json:"plugin"`
	// Count is how often the like came, First and Last when.
	Count uint64    `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Bytes is how long the body is.
	Bytes int `json:"bytes"`
}

func outline(r *host.Rejected) rejected {
	out := rejected{
		ID: r.ID, Kept: r.Kept, Reason: r.Reason, Detail: r.Detail,
		Tenant: r.Tenant, Endpoint: r.Endpoint, Provider: r.Provider, Plugin: r.Plugin,
		Count: r.Count, First: r.Callback.Received.UTC(), Last: r.Last.UTC(), Bytes: len(r.Callback.Body),
	}
	if r.Held != nil {
		out.Guard = r.Held.Guard
	}
	return out
}

func (a *Admin) quarantine(r *http.Request) (any, error) {
	given, err := readQuery(r.URL.RawQuery, "tenant", "endpoint", "reason", "after", "limit")
	if err != nil {
		return nil, err
	}
	page := host.Page{Limit: defaultLimit}
	for _, name := range []string{"after", "limit"} {
		if value, ok := given[name]; ok {
			if err := readParameter(&page, name, value); err != nil {
				return nil, err
			}
		}
	}
	want := host.Wanted{Tenant: given["tenant"], Endpoint: given["endpoint"], Reason: given["reason"]}
	out := []rejected{}
	next, err := a.walkQuarantine(r.Context(), want, page.After, page.Limit, func(r *host.Rejected) {
		out = append(out, outline(r))
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"quarantine": out, "next": next}, nil
}

// walkQuarantine visits at most n of what is wanted, and returns the cursor to
// go on from, empty at the end.
func (a *Admin) walkQuarantine(ctx context.Context, want host.Wanted, after host.Cursor, n int, visit func(*host.Rejected)) (host.Cursor, error) {
	for n > 0 {
		found, next, err := a.o.Quarantine.List(ctx, want, after, min(n, listAtOnce))
		if err != nil {
			return "", fmt.Errorf("read the quarantine: %w", err)
		}
		for i := range found {
			visit(&found[i])
		}
		// A page may have fewer, or none, and not be the last.
		if next == "" || next == after {
			return "", nil
		}
		n, after = n-len(found), next
	}
	return after, nil
}

// rejectedID is the form of the ids that stores give.
var rejectedID = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func (a *Admin) rejected(r *http.Request) (any, error) {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	found, err := a.o.Quarantine.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, ofQuarantine("read", err)
	}
	shown := describe(&host.Record{
		Detail: found.Detail, Plugin: found.Plugin, Callback: found.Callback, Evidence: found.Evidence,
	})
	shown.Kind = "rejected"
	var events []host.Event
	if found.Kept {
		shown.Kind = host.Kept.String()
	}
	if found.Held != nil {
		shown.Kind, shown.Aside, events = host.Held.String(), found.Held.Aside, found.Held.Events
	}
	return struct {
		rejected
		// Events are those that are held, as they will be delivered.
		Events   []host.Event `json:"events,omitempty"`
		Callback callback     `json:"callback"`
	}{outline(found), events, shown}, nil
}

func ofQuarantine(doing string, err error) error {
	if errors.Is(err, host.ErrNotFound) {
		return notFound("nothing in quarantine has this id")
	}
	return fmt.Errorf("%s from the quarantine: %w", doing, err)
}

func (a *Admin) dropRejected(r *http.Request) (any, error) {
	id := r.PathValue("id")
	if err := bare(r); err != nil {
		return nil, err
	}
	if err := a.o.Quarantine.Drop(r.Context(), id); err != nil {
		return nil, ofQuarantine("discard", err)
	}
	return map[string]string{"id": id, "result": resultDiscarded}, nil
}

// chosen says which callbacks in quarantine a request is about: exactly one of
// IDs, a Filter with a condition in it, and All.
type chosen struct {
	IDs    []string `json:"ids"`
	Filter *struct {
		Tenant   string `json:"tenant"`
		Endpoint string `json:"endpoint"`
		Reason   string `json:"reason"`
	} `json:"filter"`
	All bool `json:"all"`
	// After goes on behind an earlier answer's next; not with IDs.
	After host.Cursor `json:"after"`
}

const chosenForm = `{"ids":["…"]}, {"filter":{"tenant":"…","endpoint":"…","reason":"…"}} or {"all":true}`

func readChosen(r *http.Request) (*chosen, error) {
	var c chosen
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if err := readBody(r, &c, chosenForm); err != nil {
		return nil, err
	}
	ways := 0
	for _, given := range []bool{len(c.IDs) > 0, c.want() != host.Wanted{}, c.All} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, invalid(`give "ids", a "filter" with a condition in it, or "all": true (one of the three)`)
	case len(c.IDs) > maxBatch:
		return nil, invalid("ids: there are %d, at most %d may stand in one request", len(c.IDs), maxBatch)
	case len(c.IDs) > 0 && c.After != "":
		return nil, invalid("after goes with a filter or all, not with ids")
	case len(c.After) > maxCursor:
		return nil, badCursor()
	}
	for _, id := range c.IDs {
		if !rejectedID.MatchString(id) {
			return nil, invalid("ids: %q is no id of the quarantine", id)
		}
	}
	return &c, nil
}

func (c *chosen) want() host.Wanted {
	if c.Filter == nil {
		return host.Wanted{}
	}
	return host.Wanted{Tenant: c.Filter.Tenant, Endpoint: c.Filter.Endpoint, Reason: c.Filter.Reason}
}

// What came of one callback in quarantine.
const (
	resultDiscarded = "discarded"
	resultReleased  = "released"
	resultNotFound  = "not-found"
	resultLeft      = "left"
	resultFailed    = "failed"
)

// result is what came of one of them.
type result struct {
	ID string `json:"id"`
	// Result is one of the above or, of a retry, the [host.Kind] of what the
	// callback became.
	Result string `json:"result"`
	// Detail says why it was left or failed, or what the store did with the events.
	Detail string `json:"detail,omitempty"`
	// Events are the ids of the events that it became.
	Events []string `json:"events,omitempty"`
}

// failed is the result of an error.
func failed(id string, err error) result {
	if errors.Is(err, host.ErrNotFound) {
		return result{ID: id, Result: resultNotFound}
	}
	return result{ID: id, Result: resultFailed, Detail: err.Error()}
}

// each acts on what a request is about, one after the other, and goes on over
// those that fail. A filter is followed for one batch; next, if not empty, is
// where the following one begins. Of what a filter found act is told whether it
// was kept or is held: waits is its reason then.
func (a *Admin) each(r *http.Request, act func(ctx context.Context, c *chosen, id, waits string) result) (any, error) {
	c, err := readChosen(r)
	if err != nil {
		return nil, err
	}
	type one struct {
		id, waits string
	}
	var all []one
	for _, id := range c.IDs {
		all = append(all, one{id: id})
	}
	var next host.Cursor
	if len(c.IDs) == 0 {
		next, err = a.walkQuarantine(r.Context(), c.want(), c.After, maxBatch, func(r *host.Rejected) {
			found := one{id: r.ID}
			if r.Kept || r.Held != nil {
				found.waits = r.Reason
			}
			all = append(all, found)
		})
		if err != nil {
			return nil, err
		}
	}
	results := make([]result, 0, len(all))
	for _, o := range all {
		if err := r.Context().Err(); err != nil {
			return nil, fmt.Errorf("interrupted after %d of %d: %w", len(results), len(all), err)
		}
		results = append(results, act(r.Context(), c, o.id, o.waits))
	}
	return map[string]any{"results": results, "next": next}, nil
}

// discardRejected drops what was chosen. What was kept or is held was acknowledged
// and may be the only copy of a fact: that takes its id, or its reason.
func (a *Admin) discardRejected(r *http.Request) (any, error) {
	return a.each(r, func(ctx context.Context, c *chosen, id, waits string) result {
		if waits != "" && c.want().Reason == "" {
			return result{ID: id, Result: resultLeft, Detail: "it was " + waits + ", and acknowledged: name its id or its reason to discard it"}
		}
		if err := a.o.Quarantine.Drop(ctx, id); err != nil {
			return failed(id, err)
		}
		return result{ID: id, Result: resultDiscarded}
	})
}

// retryRejected runs what was chosen through the plugins again. What is left is
// still in quarantine.
func (a *Admin) retryRejected(r *http.Request) (any, error) {
	if a.o.Reprocess == nil {
		return nil, conflict("server.missing", "a retry needs plugins, which only a running server has; start the server and ask it")
	}
	answer, err := a.each(r, func(ctx context.Context, _ *chosen, id, _ string) result {
		rejected, err := a.o.Quarantine.Get(ctx, id)
		if err != nil {
			return failed(id, err)
		}
		out, err := a.o.Reprocess(ctx, rejected)
		if err != nil {
			return failed(id, err)
		}
		return reprocessed(id, &out)
	})
	a.o.Wake()
	return answer, err
}

// reprocessed is the result of a callback that was run again.
func reprocessed(id string, out *host.Reprocessed) result {
	if out.Kind == 0 {
		return result{ID: id, Result: resultLeft, Detail: strings.Trim(out.Reason+": "+out.Detail, ": ")}
	}
	return result{ID: id, Result: out.Kind.String(), Detail: counted(&out.Receipt), Events: out.Events}
}

// counted tells what the store did with the parts of a callback.
func counted(r *host.Receipt) string {
	number := map[string]int{}
	for _, d := range slices.Concat(r.Events, r.Aside) {
		number[d.String()]++
	}
	var dispositions []string
	for _, d := range slices.Sorted(maps.Keys(number)) {
		dispositions = append(dispositions, fmt.Sprintf("%d %s", number[d], d))
	}
	return strings.Join(dispositions, ", ")
}

// releaseHeld has what was chosen and is held delivered. No plugin is asked: what
// is released is what was completed when it came.
func (a *Admin) releaseHeld(r *http.Request) (any, error) {
	answer, err := a.each(r, func(ctx context.Context, _ *chosen, id, _ string) result {
		held, err := a.o.Quarantine.Get(ctx, id)
		if err != nil {
			return failed(id, err)
		}
		if held.Held == nil {
			return result{ID: id, Result: resultLeft, Detail: "no guard holds it; what was refused or kept is run again with retry"}
		}
		receipt, err := a.o.Release(ctx, held)
		if err != nil {
			return failed(id, err)
		}
		out := result{ID: id, Result: resultReleased, Detail: counted(&receipt)}
		for i, d := range receipt.Events {
			ev := held.Held.Events[i]
			ev.Conflict = d == host.Conflicted
			out.Events = append(out.Events, ev.ID())
		}
		return out
	})
	a.o.Wake()
	return answer, err
}
