package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/postern/postern/host"
)

// sinkNow is a sink as it is doing.
type sinkNow struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
	// Filter is nil for a sink that is no longer configured.
	Filter *host.Filter `json:"filter,omitempty"`
	// Configured is false for one that the store still knows: what it has not had
	// is held back for it. Nil where nobody here knows the configuration.
	Configured *bool    `json:"configured,omitempty"`
	Lag        host.Lag `json:"lag"`
}

func (a *Admin) sinks(r *http.Request) (any, error) {
	if _, err := readQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	subscribed, err := a.subscribed(r.Context())
	if err != nil {
		return nil, err
	}
	out := make([]sinkNow, 0, len(a.o.Sinks))
	for i := range a.o.Sinks {
		s := &a.o.Sinks[i]
		out = append(out, sinkNow{Name: s.Name, Type: s.Type, Filter: &s.Filter, Configured: known(true)})
	}
	for _, name := range subscribed {
		if a.configured(name) {
			continue
		}
		left := sinkNow{Name: name}
		if !a.o.SinksUnknown {
			left.Configured = known(false)
		}
		out = append(out, left)
	}
	for i := range out {
		out[i].Lag, err = a.o.Queue.Lag(r.Context(), out[i].Name)
		if err != nil && !errors.Is(err, host.ErrNotFound) {
			return nil, ofSink("read the lag", out[i].Name, err)
		}
	}
	return map[string]any{"sinks": out}, nil
}

func known(b bool) *bool { return &b }

// subscribed are the sinks that the store knows; none where it cannot say.
func (a *Admin) subscribed(ctx context.Context) ([]string, error) {
	names, err := a.o.Queue.Sinks(ctx)
	if err != nil && !errors.Is(err, host.ErrUnsupported) {
		return nil, fmt.Errorf("list the sinks: %w", err)
	}
	return names, nil
}

func (a *Admin) configured(sink string) bool {
	return slices.ContainsFunc(a.o.Sinks, func(s Sink) bool { return s.Name == sink })
}

// ofSink wraps an error of the queue about one sink.
func ofSink(doing, sink string, err error) error {
	if errors.Is(err, host.ErrNotFound) {
		return notFound("no sink has this name")
	}
	return fmt.Errorf("%s of sink %s: %w", doing, sink, err)
}

// forget unsubscribes a sink that is no longer configured, so that nothing is
// held back for it any more.
func (a *Admin) forget(r *http.Request) (any, error) {
	sink := r.PathValue("sink")
	if err := bare(r); err != nil {
		return nil, err
	}
	switch {
	case a.o.SinksUnknown:
		return nil, conflict("sink.unknown", "nobody here knows which sinks are configured; name the configuration, or ask the running server")
	case a.configured(sink):
		return nil, conflict("sink.configured", "sink %s is configured; take it out of the configuration, restart, and then forget it", sink)
	}
	// It says what goes with the sink, and whether there is one: an engine may
	// forget a stranger in silence.
	lag, err := a.o.Queue.Lag(r.Context(), sink)
	if err != nil {
		return nil, ofSink("read the lag", sink, err)
	}
	if err := a.o.Queue.Unsubscribe(r.Context(), sink); err != nil {
		return nil, ofSink("forget the subscription", sink, err)
	}
	return map[string]any{"sink": sink, "lag": lag}, nil
}

func (a *Admin) pause(r *http.Request) (any, error) {
	return a.setPaused(r, true, "pause the deliveries", a.o.Queue.Pause)
}

func (a *Admin) resume(r *http.Request) (any, error) {
	return a.setPaused(r, false, "resume the deliveries", a.o.Queue.Resume)
}

func (a *Admin) setPaused(r *http.Request, paused bool, doing string, set func(context.Context, string) error) (any, error) {
	sink := r.PathValue("sink")
	if err := bare(r); err != nil {
		return nil, err
	}
	if err := set(r.Context(), sink); err != nil {
		return nil, ofSink(doing, sink, err)
	}
	a.o.Wake()
	return map[string]any{"sink": sink, "paused": paused}, nil
}
