package admin

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/postern/postern/host"
)

// note writes down what the ledger was told to do, of a sink that it knows.
func (l *ledger) note(sink, format string, args ...any) error {
	if sink != "erp" && sink != "left" {
		return host.ErrNotFound
	}
	l.asked = append(l.asked, fmt.Sprintf(format, args...))
	return l.err
}

func (l *ledger) Sinks(context.Context) ([]string, error) { return l.subscribed, l.err }

func (l *ledger) Unsubscribe(_ context.Context, sink string) error {
	return l.note(sink, "unsubscribe %s", sink)
}

func (l *ledger) Pause(_ context.Context, sink string) error { return l.note(sink, "pause %s", sink) }

func (l *ledger) Resume(_ context.Context, sink string) error { return l.note(sink, "resume %s", sink) }

func (l *ledger) Discard(_ context.Context, sink string, ids ...string) (int, error) {
	return 7, l.note(sink, "discard %s %v", sink, ids)
}

func (l *ledger) Replay(_ context.Context, sink string, from, to host.Cursor) error {
	return l.note(sink, "replay %s %q %q", sink, from, to)
}

func (l *ledger) StopReplay(_ context.Context, sink string) error {
	return l.note(sink, "stop replay %s", sink)
}

// List pages through the rejected by their place. What has "damaged" in its id
// is left out, and ends its page.
func (l *ledger) List(_ context.Context, want host.Wanted, after host.Cursor, n int) ([]host.Rejected, host.Cursor, error) {
	from, _ := strconv.Atoi(string(after))
	var found []host.Rejected
	for i := from; i < len(l.rejected); i++ {
		if len(found) == n {
			return found, host.Cursor(strconv.Itoa(i)), l.err
		}
		r := l.rejected[i]
		if strings.Contains(r.ID, "damaged") {
			return found, host.Cursor(strconv.Itoa(i + 1)), l.err
		}
		if (want.Tenant == "" || want.Tenant == r.Tenant) && (want.Endpoint == "" || want.Endpoint == r.Endpoint) &&
			(want.Reason == "" || want.Reason == r.Reason) {
			found = append(found, r)
		}
	}
	return found, "", l.err
}

func (l *ledger) Get(_ context.Context, id string) (*host.Rejected, error) {
	for i := range l.rejected {
		if l.rejected[i].ID == id {
			return &l.rejected[i], l.err
		}
	}
	return nil, host.ErrNotFound
}

// Drop cannot drop what has "stuck" in its id.
func (l *ledger) Drop(ctx context.Context, id string) error {
	if strings.Contains(id, "stuck") {
		return host.Errorf(host.StoreUnavailable, "drop %s: disk gone", id)
	}
	if _, err := l.Get(ctx, id); err != nil {
		return err
	}
	l.asked = append(l.asked, "drop "+id)
	return nil
}

func (l *ledger) Status(context.Context) (host.Status, error) { return l.status, l.err }
