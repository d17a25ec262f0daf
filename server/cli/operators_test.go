package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postern/postern/host"
)

// tell notes what was asked of the store.
func (s *shelf) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf(format, args...))
}

// Sinks implements [admin.Queue]: "ledger" is left from an earlier
// configuration, and "never-seen" was never subscribed.
func (s *shelf) Sinks(context.Context) ([]string, error) {
	return []string{"archive", "ledger", "orders"}, nil
}

// knows is an error about a sink that was never subscribed.
func (s *shelf) knows(sink string) error {
	if sinks, _ := s.Sinks(context.Background()); !slices.Contains(sinks, sink) {
		return host.ErrNotFound
	}
	return nil
}

// do notes what was asked of a sink.
func (s *shelf) do(sink, format string, args ...any) error {
	if err := s.knows(sink); err != nil {
		return err
	}
	s.tell(format, args...)
	return nil
}

// Unsubscribe implements [admin.Queue].
func (s *shelf) Unsubscribe(_ context.Context, sink string) error {
	return s.do(sink, "forget %s", sink)
}

// Pause implements [admin.Queue].
func (s *shelf) Pause(_ context.Context, sink string) error { return s.do(sink, "pause %s", sink) }

// Resume implements [admin.Queue].
func (s *shelf) Resume(_ context.Context, sink string) error { return s.do(sink, "resume %s", sink) }

// Discard implements [admin.Queue].
func (s *shelf) Discard(_ context.Context, sink string, ids ...string) (int, error) {
	if len(ids) == 0 {
		return len(s.dead), s.do(sink, "discard all of %s", sink)
	}
	return 1, s.do(sink, "discard of %s: %s", sink, strings.Join(ids, " "))
}

// Replay implements [admin.Queue].
func (s *shelf) Replay(_ context.Context, sink string, from, to host.Cursor) error {
	if err := s.do(sink, "replay to %s: %q to %q", sink, from, to); err != nil {
		return err
	}
	s.replay = &host.Replay{From: from, To: to, At: from}
	return nil
}

// StopReplay implements [admin.Queue].
func (s *shelf) StopReplay(_ context.Context, sink string) error {
	s.replay = nil
	return s.do(sink, "stop the replay to %s", sink)
}

// Lag implements [admin.Queue].
func (s *shelf) Lag(_ context.Context, sink string) (host.Lag, error) {
	if err := s.knows(sink); err != nil {
		return host.Lag{}, err
	}
	switch sink {
	case "orders":
		return host.Lag{Records: 12, Leased: 4, Retrying: 2, Parked: 1, Dead: len(s.dead), Replay: s.replay}, nil
	case "ledger":
		return host.Lag{Records: 40312, Retrying: 1, Dead: 2, Paused: true}, nil
	}
	return host.Lag{}, nil
}

// Status implements [host.Store].
func (s *shelf) Status(context.Context) (host.Status, error) { return s.status, nil }

// List implements [host.Quarantine]; its cursors count.
func (s *shelf) List(_ context.Context, want host.Wanted, after host.Cursor, n int) ([]host.Rejected, host.Cursor, error) {
	from, _ := strconv.Atoi(string(after))
	var found []host.Rejected
	for i := from; i < len(s.rejected); i++ {
		if len(found) == n {
			return found, host.Cursor(strconv.Itoa(i)), nil
		}
		r := s.rejected[i]
		if (want.Tenant == "" || want.Tenant == r.Tenant) && (want.Endpoint == "" || want.Endpoint == r.Endpoint) &&
			(want.Reason == "" || want.Reason == r.Reason) {
			found = append(found, r)
		}
	}
	return found, "", nil
}

// Get implements [host.Quarantine].
func (s *shelf) Get(_ context.Context, id string) (*host.Rejected, error) {
	for i := range s.rejected {
		if s.rejected[i].ID == id {
			return &s.rejected[i], nil
		}
	}
	return nil, host.ErrNotFound
}

// Drop implements [host.Quarantine].
func (s *shelf) Drop(ctx context.Context, id string) error {
	if _, err := s.Get(ctx, id); err != nil {
		return err
	}
	s.tell("drop %s", id)
	return nil
}
