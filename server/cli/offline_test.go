package cli

import (
	"net/url"
	"testing"
)

// Close makes a shelf a readable.
func (s *shelf) Close() error {
	s.closed = true
	return nil
}

func TestOverStore(t *testing.T) {
	s := newShelf()
	cl := overStore(s, "1.2.3", []string{"orders"})
	got, err := cl.events(t.Context(), url.Values{"limit": {"2"}})
	if err != nil || len(got.Events) != 2 || got.Events[0].fact.Type != "payment.pending" {
		t.Errorf("events = %+v, %v; want the first two", got, err)
	}
	if names, err := cl.sinks(t.Context()); err != nil || len(names) != 1 || names[0] != "orders" {
		t.Errorf("sinks = %v, %v; want orders", names, err)
	}
	var answer struct{ Redriven int }
	if err := cl.post(t.Context(), "/sinks/orders/deadletters/redrive", map[string][]string{"ids": {}}, &answer); err != nil || answer.Redriven != 3 {
		t.Errorf("redrive = %+v, %v; want 3", answer, err)
	}
	if _, err := cl.deadLetters(t.Context(), "nowhere", 1); err == nil || err.Error() != `sink "nowhere" is unknown` {
		t.Errorf("deadLetters of an unknown sink = %v", err)
	}
	if cl.live {
		t.Error("the client says that a server answers")
	}
	if err := cl.close(); err != nil || !s.closed {
		t.Errorf("close = %v, closed %v; want the store closed", err, s.closed)
	}
}
