package webhook

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

// TestSink_binary reads the request back as the HTTP binding says, into what the
// structured format would have had.
func TestSink_binary(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	c.Format = Binary
	var got http.Header
	r.set(func(_ http.ResponseWriter, req *http.Request) bool { got = req.Header; return true })
	batch := sinktest.Batch(0, 1)
	ev := &batch[0].Event
	ev.Subject, ev.Sandbox = "Zürich 100% \"net\"\r\nHost: x", true
	if errs := open(t, c).Deliver(t.Context(), batch); errs != nil {
		t.Fatal(errs)
	}
	attributes := map[string]any{"datacontenttype": got.Get("Content-Type"), "data": any(json.RawMessage(r.received(t)[0]))}
	for name, values := range got {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-")
		if !ok {
			continue
		}
		text, err := url.PathUnescape(values[0])
		if err != nil || len(values) != 1 {
			t.Errorf("%s = %q: %v, want one percent-encoded value", name, values, err)
		}
		if attributes[attribute] = text; text == "true" {
			attributes[attribute] = true
		}
	}
	read := func(b []byte, err error) (out map[string]any) {
		t.Helper()
		if err == nil {
			err = json.Unmarshal(b, &out)
		}
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if diff := cmp.Diff(read(ev.MarshalJSON()), read(json.Marshal(attributes))); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if want := "Z%C3%BCrich%20100%25%20%22net%22%0D%0AHost:%20x"; got.Get("ce-subject") != want {
		t.Errorf("ce-subject = %q, want %q", got.Get("ce-subject"), want)
	}
}

func TestSink_dataAlone(t *testing.T) {
	t.Parallel()
	r, c := newReceiver(t)
	c.Format = Data
	var got http.Header
	r.set(func(_ http.ResponseWriter, req *http.Request) bool { got = req.Header; return true })
	if err := deliver(t, open(t, c)); err != nil {
		t.Fatal(err)
	}
	ev := sinktest.Event(0)
	if diff := cmp.Diff(string(ev.Data), string(r.received(t)[0])); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if got.Get("Content-Type") != "application/json" || got.Get("webhook-id") != ev.ID() {
		t.Errorf("Content-Type, webhook-id = %q, %q", got.Get("Content-Type"), got.Get("webhook-id"))
	}
	for name := range got {
		if strings.HasPrefix(strings.ToLower(name), "ce-") {
			t.Errorf("there is a header %s", name)
		}
	}
}

func TestFormat_refuses(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{URL: "https://x", Secrets: []string{secret(0)}, Format: "raw"}); err == nil || !strings.Contains(err.Error(), `format: "raw" is unknown`) {
		t.Errorf("New with another format = %v, want a refusal", err)
	}
	ev := sinktest.Event(0)
	ev.Data = json.RawMessage("{")
	for _, f := range []Format{Structured, Binary, Data} {
		c := configFor("http://127.0.0.1:1")
		c.Format = f
		batch := sinktest.Batch(0, 1)
		batch[0].Event = ev
		if errs := open(t, c).Deliver(t.Context(), batch); len(errs) != 1 || !host.IsPermanent(errs[0]) {
			t.Errorf("%s: errors of data that is no JSON = %v, want a permanent one", f, errs)
		}
	}
}
