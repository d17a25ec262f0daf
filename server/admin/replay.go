package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/host"
)

// What finding the cursors of a time may cost.
const (
	maxWalk     = 1_000_000
	walkTimeout = 20 * time.Second
)

// asReceived is how far apart two events may stand in the log in another order
// than they were received in: callbacks overtake each other on the way to their
// commit, and clocks are set.
const asReceived = time.Minute

// toReplay says which events: from and to are cursors, since and until times or
// durations before now. All is everything stored.
type toReplay struct {
	From  host.Cursor `json:"from"`
	To    host.Cursor `json:"to"`
	Since string      `json:"since"`
	Until string      `json:"until"`
	All   bool        `json:"all"`
}

// replay begins to deliver a range of events to a sink again.
//
// A range in cursors is taken as it is. One in times is turned into cursors by
// walking the log from its newest event back, a page at a time, until what was
// received before the time is reached: the log is in the order of commits, which
// is nearly that of receipt, so that the range has every event received in the
// time and may have some more from just beside it. The walk ends with the
// request, after maxWalk events or after walkTimeout.
func (a *Admin) replay(r *http.Request) (any, error) {
	sink := r.PathValue("sink")
	want, err := readReplay(r)
	if err != nil {
		return nil, err
	}
	since, err := moment("since", want.Since, time.Now())
	if err != nil {
		return nil, err
	}
	until, err := moment("until", want.Until, time.Now())
	if err != nil {
		return nil, err
	}
	// Before the walk, which is long.
	if lag, err := a.o.Queue.Lag(r.Context(), sink); err != nil {
		return nil, ofSink("read the lag", sink, err)
	} else if lag.Replay != nil {
		return nil, busy(sink)
	}
	from, to := want.From, want.To
	if !since.IsZero() || !until.IsZero() {
		if from, to, err = a.rangeOf(r.Context(), since, until); err != nil {
			return nil, err
		}
	}
	err = a.o.Queue.Replay(r.Context(), sink, from, to)
	if errors.Is(err, host.ErrBusy) {
		return nil, busy(sink)
	}
	if err != nil {
		return nil, ofSink("begin a replay", sink, err)
	}
	a.o.Wake()
	return map[string]any{"sink": sink, "from": from, "to": to}, nil
}

func busy(sink string) error {
	return conflict("replay.busy", "a replay of sink %s is under way; stop it, or wait for its end", sink)
}

func readReplay(r *http.Request) (*toReplay, error) {
	var want toReplay
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if err := readBody(r, &want, `{"from":"…","to":"…"}, {"since":"…","until":"…"} or {"all":true}`); err != nil {
		return nil, err
	}
	ways := 0
	for _, given := range []bool{want.From != "" || want.To != "", want.Since != "" || want.Until != "", want.All} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return nil, invalid(`give "from" and "to", "since" and "until", or "all": true (one of the three)`)
	}
	for name, c := range map[string]host.Cursor{"from": want.From, "to": want.To} {
		if _, _, err := c.At(); err != nil || len(c) > maxCursor {
			return nil, invalid("%s is no cursor; take one from the events' list", name)
		}
	}
	if want.To != "" && want.To <= want.From {
		return nil, invalid("from is not before to, so that there is nothing between them")
	}
	return &want, nil
}

// moment reads a time, or how long before now it was. Empty is the zero time.
func moment(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	ago, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago <= 0 {
		return time.Time{}, invalid("%s is %q; use a time like 2026-01-31T08:00:00Z, or how long ago like 90m, 6h or 7d", name, text)
	}
	return now.Add(-ago), nil
}

// rangeOf is a range of the log that has every event received from since on and
// before until, either of which may be zero.
func (a *Admin) rangeOf(ctx context.Context, since, until time.Time) (from, to host.Cursor, err error) {
	if !until.IsZero() && !until.After(since) {
		return "", "", invalid("since is not before until, so that there is nothing between them")
	}
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	w := walk{since: since, until: until}
	page := host.Page{Newest: true, Limit: maxLimit, Filter: host.Filter{Unverified: true, Conflicts: true}}
	for seen := 0; ; {
		found, next, err := a.o.Reader.Range(ctx, page)
		seen += len(found)
		if errors.Is(err, context.DeadlineExceeded) || seen > maxWalk {
			return "", "", invalid("there are too many events since then to look through; give from and to, which the events' list has")
		}
		if err != nil {
			return "", "", fmt.Errorf("look through the events: %w", err)
		}
		for i := range found {
			if w.passes(found[i].Cursor, found[i].Event.Received) {
				return w.ends()
			}
		}
		if len(found) == 0 || next == "" {
			return w.ends()
		}
		page.After = next
	}
}

// walk goes through the log, the newest event first.
type walk struct {
	since, until time.Time
	from, to     host.Cursor
	// early says that an event received before until was passed, so that to is
	// known; any that one of the range was.
	early, any bool
}

// passes takes the next event, and says whether no older one can be in the range.
func (w *walk) passes(at host.Cursor, received time.Time) (done bool) {
	if !w.until.IsZero() && !received.Before(w.until) {
		if !w.early {
			w.to = at
		}
		return false
	}
	w.early = true
	if w.since.IsZero() {
		w.any = true
		return true // from the oldest
	}
	if !received.Before(w.since) {
		w.from, w.any = at, true
	}
	return received.Before(w.since.Add(-asReceived))
}

func (w *walk) ends() (from, to host.Cursor, err error) {
	if !w.any {
		return "", "", invalid("no event that is stored was received in that time")
	}
	return w.from, w.to, nil
}

func (a *Admin) stopReplay(r *http.Request) (any, error) {
	sink := r.PathValue("sink")
	if err := bare(r); err != nil {
		return nil, err
	}
	lag, err := a.o.Queue.Lag(r.Context(), sink)
	if err != nil {
		return nil, ofSink("read the lag", sink, err)
	}
	if lag.Replay == nil {
		return nil, conflict("replay.none", "no replay of sink %s is under way", sink)
	}
	if err := a.o.Queue.StopReplay(r.Context(), sink); err != nil {
		return nil, ofSink("stop the replay", sink, err)
	}
	return map[string]any{"sink": sink, "replay": lag.Replay}, nil
}
