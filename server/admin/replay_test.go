package admin

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

const replayERP = "POST /admin/v1/sinks/erp/replay"

func TestReplay(t *testing.T) {
	t.Parallel()
	a, b := string(host.CursorAt(3, 0)), string(host.CursorAt(4, 0))
	for body, want := range map[string]string{
		`{"from":"` + a + `","to":"` + b + `"}`: fmt.Sprintf("replay erp %q %q", a, b),
		`{"from":"` + a + `"}`:                  fmt.Sprintf(`replay erp %q ""`, a),
		`{"to":"` + b + `"}`:                    fmt.Sprintf(`replay erp "" %q`, b),
		`{"all":true}`:                          `replay erp "" ""`,
	} {
		l, woken := newLedger(), 0
		o := options(l)
		o.Wake = func() { woken++ }
		var asked struct{ From, To string }
		fmt.Sscanf(want, "replay erp %q %q", &asked.From, &asked.To)
		call(t, New(o).Handler(), replayERP, body, 200, fmt.Sprintf(`{"sink":"erp","from":%q,"to":%q}`, asked.From, asked.To))
		if diff := cmp.Diff([]string{want}, l.asked); diff != "" || woken != 1 {
			t.Errorf("%s: woken %d times, asked of the queue (-want +got):\n%s", body, woken, diff)
		}
	}
}

func TestReplay_refused(t *testing.T) {
	t.Parallel()
	a := string(host.CursorAt(3, 0))
	const ways = `give "from" and "to", "since" and "until", or "all": true (one of the three)`
	for _, c := range []struct{ body, message string }{
		{"", ways},
		{"{}", ways},
		{`{"from":""}`, ways},
		{`{"from":"` + a + `","all":true}`, ways},
		{`{"from":"` + a + `","since":"1h"}`, ways},
		{`{"form":"` + a + `"}`, `the body is not of the form {"from":"…","to":"…"}, {"since":"…","until":"…"} or {"all":true}`},
		{`{"from":"3"}`, "from is no cursor; take one from the events' list"},
		{`{"to":"x"}`, "to is no cursor; take one from the events' list"},
		{`{"from":"` + a + `","to":"` + a + `"}`, "from is not before to, so that there is nothing between them"},
		{`{"since":"yesterday"}`, `since is "yesterday"; use a time like 2026-01-31T08:00:00Z, or how long ago like 90m, 6h or 7d`},
		{`{"until":"-1h"}`, `until is "-1h"; use a time like 2026-01-31T08:00:00Z, or how long ago like 90m, 6h or 7d`},
		{`{"since":"2026-01-31"}`, `since is "2026-01-31"; use a time like 2026-01-31T08:00:00Z, or how long ago like 90m, 6h or 7d`},
		{`{"since":"1h","until":"2h"}`, "since is not before until, so that there is nothing between them"},
		{`{"until":"1970-01-01T00:00:02Z"}`, "no event that is stored was received in that time"},
		{`{"since":"1h"}`, "no event that is stored was received in that time"},
	} {
		l := newLedger()
		l.Reader = &journal{events: l.events}
		o := options(l)
		o.Reader = l.Reader
		call(t, New(o).Handler(), replayERP, c.body, 400, fmt.Sprintf(`{"error":{"code":"request.invalid","message":%q}}`, c.message))
		if l.asked != nil {
			t.Errorf("%s: asked of the queue: %q, want nothing", c.body, l.asked)
		}
	}
	l := newLedger()
	call(t, New(options(l)).Handler(), "POST /admin/v1/sinks/other/replay", `{"all":true}`, 404, `{"error":{"code":"not-found","message":"no sink has this name"}}`)
	const busy = `{"error":{"code":"replay.busy","message":"a replay of sink erp is under way; stop it, or wait for its end"}}`
	l.err = fmt.Errorf("replay: %w", host.ErrBusy)
	o := options(l)
	o.Queue = unread{o.Queue}
	call(t, New(o).Handler(), replayERP, `{"all":true}`, 409, busy)
	l.err, l.lag.Replay = nil, &host.Replay{}
	call(t, New(options(l)).Handler(), replayERP, `{"since":"1h"}`, 409, busy)
}

// unread has a lag, whatever else fails.
type unread struct{ Queue }

func (unread) Lag(context.Context, string) (host.Lag, error) { return host.Lag{}, nil }

// journal is a log of events received when the test says, in its order.
type journal struct {
	host.Reader
	events []host.StoredEvent
	// pages are how many were read; cancel, if set, is called before the second.
	pages  int
	cancel func()
}

// received makes a journal of events received so many seconds after at.
func received(at time.Time, seconds ...int) *journal {
	j := &journal{}
	for i, s := range seconds {
		j.events = append(j.events, host.StoredEvent{
			Seq: uint64(i + 1), Cursor: host.CursorAt(uint64(i+1), 0), Event: host.Event{Received: at.Add(time.Duration(s) * time.Second)},
		})
	}
	return j
}

func (j *journal) Range(ctx context.Context, p host.Page) ([]host.StoredEvent, host.Cursor, error) {
	if j.pages++; j.pages > 1 && j.cancel != nil {
		j.cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if !p.Newest || !p.Filter.Unverified || !p.Filter.Conflicts {
		return nil, "", fmt.Errorf("asked for %+v, want all of it from the end", p)
	}
	var found []host.StoredEvent
	for i := range slices.Backward(j.events) {
		if len(found) < p.Limit && (p.After == "" || j.events[i].Cursor < p.After) {
			found = append(found, j.events[i])
		}
	}
	next := p.After
	if len(found) > 0 {
		next = found[len(found)-1].Cursor
	}
	return found, next, nil
}

func TestRangeOf(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	many := make([]int, 3*maxLimit)
	for i := range many {
		many[i] = 600 + i
	}
	for _, c := range []struct {
		name         string
		log          []int
		since, until int // seconds after at; -1 for none
		from, to     int // places in the log, from 1; 0 for the end of it
	}{
		{"since, in the middle", []int{0, 100, 200, 300}, 150, -1, 3, 0},
		{"since is when one was received", []int{0, 100, 200, 300}, 200, -1, 3, 0},
		{"since before all", []int{0, 100, 200}, -1000, -1, 1, 0},
		{"until, in the middle", []int{0, 100, 200, 300}, -1, 150, 0, 3},
		{"until is when one was received", []int{0, 100, 200, 300}, -1, 200, 0, 3},
		{"until after all", []int{0, 100}, -1, 1000, 0, 0},
		{"both", []int{0, 100, 200, 300, 400}, 100, 300, 2, 4},
		// 130 was committed before 120, and 190 behind 200.
		{"overtaken at since", []int{0, 130, 120, 200}, 125, -1, 2, 0},
		{"overtaken at until", []int{0, 100, 200, 190, 300}, 50, 195, 2, 5},
		{"over pages", slices.Concat([]int{0, 300}, many), 300, 500, 2, 3},
		{"over pages to the oldest", many, 601, -1, 2, 0},
	} {
		l := newLedger()
		o := options(l)
		o.Reader = received(at, c.log...)
		body := map[string]string{}
		if c.since != -1 {
			body["since"] = at.Add(time.Duration(c.since) * time.Second).Format(time.RFC3339)
		}
		if c.until != -1 {
			body["until"] = at.Add(time.Duration(c.until) * time.Second).Format(time.RFC3339)
		}
		place := func(n int) host.Cursor {
			if n == 0 {
				return ""
			}
			return host.CursorAt(uint64(n), 0)
		}
		text := fmt.Sprintf(`{"since":%q,"until":%q}`, body["since"], body["until"])
		rec := httptest.NewRecorder()
		New(o).Handler().ServeHTTP(rec, httptest.NewRequest("POST", "/admin/v1/sinks/erp/replay", strings.NewReader(text)))
		want := []string{fmt.Sprintf("replay erp %q %q", place(c.from), place(c.to))}
		if diff := cmp.Diff(want, l.asked); diff != "" {
			t.Errorf("%s: %s; asked of the queue (-want +got):\n%s", c.name, rec.Body, diff)
		}
	}
}

// The walk ends with the request, and before it takes too long.
func TestRangeOf_bounded(t *testing.T) {
	t.Parallel()
	at := time.Now()
	j := received(at, make([]int, 3*maxLimit)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j.cancel = cancel
	l := newLedger()
	o := options(l)
	o.Reader = j
	rec := httptest.NewRecorder()
	New(o).Handler().ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "POST", "/admin/v1/sinks/erp/replay", strings.NewReader(`{"since":"1h"}`)))
	if rec.Code == 200 || j.pages != 2 || l.asked != nil {
		t.Errorf("a request that ended = %d after %d pages, asked %q; want an error after 2 and nothing", rec.Code, j.pages, l.asked)
	}
	o.Reader = endless{page: make([]host.StoredEvent, maxLimit)}
	call(t, New(o).Handler(), replayERP, `{"since":"1h"}`, 400, `{"error":{"code":"request.invalid",
		"message":"there are too many events since then to look through; give from and to, which the events' list has"}}`)
}

// endless is a log without an oldest event, each being a page of it.
type endless struct{ page []host.StoredEvent }

func (e endless) Range(_ context.Context, p host.Page) ([]host.StoredEvent, host.Cursor, error) {
	for i := range e.page {
		e.page[i] = host.StoredEvent{Cursor: host.CursorAt(1, 0), Event: host.Event{Received: time.Now()}}
	}
	return e.page[:p.Limit], host.CursorAt(1, 0), nil
}

func (endless) Callback(context.Context, uint64) (*host.Record, error) { return nil, host.ErrNotFound }

func (endless) Event(context.Context, string) (host.StoredEvent, error) {
	return host.StoredEvent{}, host.ErrNotFound
}

func (endless) Timeline(context.Context, string, string) ([]host.StoredEvent, error) { return nil, nil }

func (endless) Search(context.Context, string, host.Page) ([]host.StoredEvent, host.Cursor, error) {
	return nil, "", nil
}
