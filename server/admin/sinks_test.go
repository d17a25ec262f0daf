package admin

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

const noLag = `{"records":0,"leased":0,"retrying":0,"parked":0,"dead":0,"paused":false}`

// eventID is the id of [event].
var eventID = host.Hash{1}.ID()

func TestSinks_left(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.subscribed, l.lag = []string{"erp", "left"}, host.Lag{}
	o := options(l)
	call(t, New(o).Handler(), "GET /admin/v1/sinks", "", 200, `{"sinks":[
		{"name":"erp","type":"webhook","filter":{},"configured":true,"lag":`+noLag+`},
		{"name":"left","configured":false,"lag":`+noLag+`}]}`)
	// Whoever has no configuration cannot say.
	o.Sinks, o.SinksUnknown = nil, true
	call(t, New(o).Handler(), "GET /admin/v1/sinks", "", 200,
		`{"sinks":[{"name":"erp","lag":`+noLag+`},{"name":"left","lag":`+noLag+`}]}`)
	call(t, New(o).Handler(), "DELETE /admin/v1/sinks/left", "", 409, `{"error":{"code":"sink.unknown",
		"message":"nobody here knows which sinks are configured; name the configuration, or ask the running server"}}`)
	if l.asked != nil {
		t.Errorf("asked of the queue: %q, want nothing", l.asked)
	}
}

// An engine that cannot list its sinks shows those of the configuration.
func TestSinks_unsupported(t *testing.T) {
	t.Parallel()
	o := options(newLedger())
	o.Queue = unlisted{o.Queue}
	call(t, New(o).Handler(), "GET /admin/v1/sinks", "", 200, `{"sinks":[{"name":"erp","type":"webhook","filter":{},"configured":true,
		"lag":{"records":4,"leased":0,"retrying":0,"parked":0,"dead":1,"paused":false}}]}`)
}

type unlisted struct{ Queue }

func (unlisted) Sinks(ctx context.Context) ([]string, error) { return host.Unsupported{}.Sinks(ctx) }

func TestSinks_told(t *testing.T) {
	t.Parallel()
	lag := `{"records":4,"leased":0,"retrying":0,"parked":0,"dead":1,"paused":false`
	replay := `{"from":"a","to":"b","at":"a","taken":0}`
	id := eventID
	for _, c := range []struct {
		request, body string
		status        int
		want          string
		asked         []string
	}{
		{"POST /admin/v1/sinks/erp/pause", "", 200, `{"sink":"erp","paused":true}`, []string{"pause erp"}},
		{"POST /admin/v1/sinks/erp/resume", "{}", 200, `{"sink":"erp","paused":false}`, []string{"resume erp"}},
		{"DELETE /admin/v1/sinks/left", "", 200, `{"sink":"left","lag":` + lag + `,"replay":` + replay + `}}`, []string{"unsubscribe left"}},
		{"DELETE /admin/v1/sinks/erp/replay", "", 200, `{"sink":"erp","replay":` + replay + `}`, []string{"stop replay erp"}},
		{"POST /admin/v1/sinks/erp/deadletters/discard", `{"ids":["` + id + `"]}`, 200, `{"discarded":7}`, []string{"discard erp [" + id + "]"}},
		{"POST /admin/v1/sinks/erp/deadletters/discard", `{"all":true}`, 200, `{"discarded":7}`, []string{"discard erp []"}},
		{"GET /admin/v1/sinks/erp/deadletters/" + id, "", 200, `{"sink":"erp","event":` + eventJSON + `,"attempts":2,
			"first_attempt":"0001-01-01T00:00:00Z","died":"0001-01-01T00:00:00Z","reason":"gone","answer":"410 Gone"}`, nil},
	} {
		l := newLedger()
		l.lag.Replay = &host.Replay{From: "a", To: "b", At: "a"}
		l.letters[0].Answer = "410 Gone"
		call(t, New(options(l)).Handler(), c.request, c.body, c.status, c.want)
		if diff := cmp.Diff(c.asked, l.asked); diff != "" {
			t.Errorf("%s: asked of the queue (-want +got):\n%s", c.request, diff)
		}
	}
}

// What is refused changes nothing.
func TestSinks_refused(t *testing.T) {
	t.Parallel()
	const discard = "POST /admin/v1/sinks/erp/deadletters/discard"
	noSink := `{"error":{"code":"not-found","message":"no sink has this name"}}`
	oneOfTwo := `{"error":{"code":"request.invalid","message":"give \"ids\", or \"all\": true (one of the two)"}}`
	for _, c := range []struct {
		request, body string
		status        int
		want          string
	}{
		{"POST /admin/v1/sinks/other/pause", "", 404, noSink},
		{"POST /admin/v1/sinks/other/resume", "", 404, noSink},
		{"DELETE /admin/v1/sinks/other/replay", "", 404, noSink},
		{"POST /admin/v1/sinks/other/deadletters/discard", `{"all":true}`, 404, noSink},
		{"GET /admin/v1/sinks/other/deadletters/" + eventID, "", 404, noSink},
		{"GET /admin/v1/sinks/erp/deadletters/x", "", 404, `{"error":{"code":"not-found","message":"no dead letter of this sink has this event id"}}`},
		{"GET /admin/v1/sinks?limit=1", "", 400, `{"error":{"code":"request.invalid","message":"this route takes no parameters"}}`},
		{"POST /admin/v1/sinks/erp/pause?for=1h", "", 400, `{"error":{"code":"request.invalid","message":"this route takes no parameters"}}`},
		{"POST /admin/v1/sinks/erp/pause", `{"for":"1h"}`, 400, `{"error":{"code":"request.invalid","message":"the body is not of the form {}: this route takes nothing"}}`},
		{"DELETE /admin/v1/sinks/erp", "", 409, `{"error":{"code":"sink.configured","message":"sink erp is configured; take it out of the configuration, restart, and then forget it"}}`},
		{"DELETE /admin/v1/sinks/erp/replay", "", 409, `{"error":{"code":"replay.none","message":"no replay of sink erp is under way"}}`},
		{discard, "", 400, oneOfTwo},
		{discard, "{}", 400, oneOfTwo},
		{discard, `{"ids":[]}`, 400, oneOfTwo},
		{discard, `{"ids":["` + eventID + `"],"all":true}`, 400, oneOfTwo},
		{discard, `{"ids":["x"]}`, 400, `{"error":{"code":"request.invalid","message":"ids: event id \"x\" is not 26 characters of a-z and 2-7"}}`},
		{"GET /admin/v1/store?all=1", "", 400, `{"error":{"code":"request.invalid","message":"this route takes no parameters"}}`},
	} {
		l := newLedger()
		call(t, New(options(l)).Handler(), c.request, c.body, c.status, c.want)
		if l.asked != nil {
			t.Errorf("%s %s: asked of the queue: %q, want nothing", c.request, c.body, l.asked)
		}
	}
}

// A dead letter is found on whichever page it is.
func TestDeadLetter_pages(t *testing.T) {
	t.Parallel()
	o := options(newLedger())
	o.Queue = paged{o.Queue}
	call(t, New(o).Handler(), "GET /admin/v1/sinks/erp/deadletters/"+host.Hash{2}.ID(), "", 404,
		`{"error":{"code":"not-found","message":"no dead letter of this sink has this event id"}}`)
	call(t, New(o).Handler(), "GET /admin/v1/sinks/erp/deadletters/"+eventID, "", 200, `{"sink":"erp","event":`+eventJSON+`,"attempts":9,
		"first_attempt":"0001-01-01T00:00:00Z","died":"0001-01-01T00:00:00Z","reason":""}`)
}

// paged has its only dead letter on the third page.
type paged struct{ Queue }

func (paged) DeadLetters(_ context.Context, _ string, after host.Cursor, _ int) ([]host.DeadLetter, host.Cursor, error) {
	other := host.DeadLetter{Event: host.Event{Key: host.Hash{9}}}
	switch after {
	case "":
		return []host.DeadLetter{other}, "2", nil
	case "2":
		return []host.DeadLetter{other}, "3", nil
	}
	return []host.DeadLetter{{Sink: "erp", Event: event(), Attempts: 9}}, "", nil
}

func TestStore(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.status = host.Status{Engine: "bolt", Full: "the disk is full", Bytes: 5, Segments: 2, Damaged: []string{"seg/1.db"}}
	call(t, New(options(l)).Handler(), "GET /admin/v1/store", "", 200, `{"engine":"bolt","full":"the disk is full","bytes":5,"free":0,
		"segments":2,"kept":0,"held":0,"quarantined":0,"damaged":["seg/1.db"]}`)
	o := options(l)
	o.Status, o.Quarantine = nil, nil
	call(t, New(o).Handler(), "GET /admin/v1/store", "", 501,
		`{"error":{"code":"unsupported","message":"read the store's status: status: not supported by this store"}}`)
	call(t, New(o).Handler(), "GET /admin/v1/quarantine", "", 501,
		`{"error":{"code":"unsupported","message":"read the quarantine: list the quarantine: not supported by this store"}}`)
}
