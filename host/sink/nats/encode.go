package nats

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/postern/postern/host"
)

const contentType = "Content-Type"

// encodeError says that an event cannot be written; no retry mends that.
type encodeError struct{ error }

// encode lays out an event by the CloudEvents NATS binding.
func (s *Sink) encode(ev *host.Event) (*nats.Msg, error) {
	body, err := ev.MarshalJSON()
	if err != nil {
		return nil, encodeError{fmt.Errorf("encode event: %w", err)}
	}
	m := nats.NewMsg(s.subject.of(ev))
	if s.format != Binary {
		m.Header.Set(contentType, "application/cloudevents+json")
		m.Data = body
		return m, nil
	}
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(body, &attributes); err != nil {
		return nil, encodeError{fmt.Errorf("encode event: %w", err)}
	}
	for name, value := range attributes {
		if name == "data" {
			m.Data = value
			continue
		}
		m.Header.Set("ce-"+name, header(value))
	}
	m.Header.Set(contentType, "application/json")
	return m, nil
}

// header is an attribute's value as a header has it, encoded as the HTTP
// binding says.
func header(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return string(value) // true, false or a number
	}
	return escape(text, func(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '%' })
}
