package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/postern/postern/host"
)

// Format is how an event stands in a request.
type Format string

// The formats.
const (
	// Structured has the whole event in the body, as CloudEvents JSON.
	Structured Format = "structured"
	// Binary has the data in the body and every other attribute in a header
	// "ce-…", by the HTTP binding of CloudEvents. A signature speaks for the body
	// and the id alone: a receiver that goes by the headers trusts TLS.
	Binary Format = "binary"
	// Data has the data in the body, and of the rest only the id, in webhook-id.
	Data Format = "data"
)

// check reports a format that there is not.
func (f Format) check() error {
	switch f {
	case "", Structured, Binary, Data:
		return nil
	}
	return fmt.Errorf("format: %q is unknown; write structured, binary or data", string(f))
}

// write makes the body of a request, and puts into its header what says what
// the body is.
func (f Format) write(ev *host.Event, h http.Header) ([]byte, error) {
	whole, err := ev.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if f == "" || f == Structured {
		h.Set("Content-Type", "application/cloudevents+json")
		return whole, nil
	}
	var attributes map[string]json.RawMessage
	if err := json.Unmarshal(whole, &attributes); err != nil {
		return nil, err
	}
	var kind string
	if err := json.Unmarshal(attributes["datacontenttype"], &kind); err != nil {
		return nil, err
	}
	h.Set("Content-Type", kind)
	body := attributes["data"]
	delete(attributes, "data")
	delete(attributes, "datacontenttype")
	for name, value := range attributes {
		if f == Binary {
			h.Set("ce-"+name, headerText(value))
		}
	}
	return body, nil
}

// headerText is the value of an attribute as a header has it: percent-encoded
// where it is no printable ASCII, and a space, a quote or a percent sign.
func headerText(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return string(value) // true or false
	}
	var out strings.Builder
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
