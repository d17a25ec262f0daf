package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// refused is a callback in quarantine.
func refused(id, endpoint, reason string) host.Rejected {
	return host.Rejected{
		ID: id, Reason: reason, Kept: reason == "kept", Detail: "signature differs", Tenant: "acme", Endpoint: endpoint,
		Provider: "ottu", Plugin: "ottu@1", Count: 3, Last: time.Unix(9, 0),
		Callback: host.Callback{
			Method: "POST", Target: "/in/acme/pay", Headers: []host.Header{{Name: "a", Value: "b"}},
			Body: []byte("<body>"), Received: time.Unix(2, 0), Remote: netip.MustParseAddr("192.0.2.1"),
		},
	}
}

func outlined(id, endpoint, reason string, kept bool) string {
	return fmt.Sprintf(`"id":%q,"kept":%t,"reason":%q,"detail":"signature differs","tenant":"acme","endpoint":%q,"provider":"ottu",
		"plugin":"ottu@1","count":3,"first":"1970-01-01T00:00:02Z","last":"1970-01-01T00:00:09Z","bytes":6`, id, kept, reason, endpoint)
}

func quarantined() *ledger {
	l := newLedger()
	l.rejected = []host.Rejected{refused("q-1", "pay", "not-verified"), refused("k-2", "pay", "kept"), refused("q-3", "out", "not-verified")}
	return l
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	h := New(options(quarantined())).Handler()
	first, kept, third := outlined("q-1", "pay", "not-verified", false), outlined("k-2", "pay", "kept", true), outlined("q-3", "out", "not-verified", false)
	shown := func(kind string) string {
		return `{"kind":"` + kind + `","detail":"signature differs","plugin":"ottu@1","method":"POST","target":"/in/acme/pay",
			"headers":[{"name":"a","value":"b"}],"remote":"192.0.2.1","received":"1970-01-01T00:00:02Z","body":"<body>","evidence":[]}`
	}
	for request, want := range map[string]string{
		"GET /admin/v1/quarantine":                                      `{"quarantine":[{` + first + `},{` + kept + `},{` + third + `}],"next":""}`,
		"GET /admin/v1/quarantine?limit=2":                              `{"quarantine":[{` + first + `},{` + kept + `}],"next":"2"}`,
		"GET /admin/v1/quarantine?after=2":                              `{"quarantine":[{` + third + `}],"next":""}`,
		"GET /admin/v1/quarantine?reason=kept":                          `{"quarantine":[{` + kept + `}],"next":""}`,
		"GET /admin/v1/quarantine?tenant=acme&endpoint=out":             `{"quarantine":[{` + third + `}],"next":""}`,
		"GET /admin/v1/quarantine?tenant=other":                         `{"quarantine":[],"next":""}`,
		"GET /admin/v1/quarantine/q-1":                                  `{` + first + `,"callback":` + shown("rejected") + `}`,
		"GET /admin/v1/quarantine/k-2":                                  `{` + kept + `,"callback":` + shown("kept") + `}`,
		"GET /admin/v1/quarantine?tenant=acme&endpoint=out&reason=kept": `{"quarantine":[],"next":""}`,
	} {
		call(t, h, request, "", 200, want)
	}
}

func TestQuarantine_discard(t *testing.T) {
	t.Parallel()
	const left = `"result":"left","detail":"it was kept, and acknowledged: name its id or its reason to discard it"}`
	for _, c := range []struct {
		request, body, want string
		dropped             []string
	}{
		{"DELETE /admin/v1/quarantine/q-1", "", `{"id":"q-1","result":"discarded"}`, []string{"drop q-1"}},
		{"POST /admin/v1/quarantine/discard", `{"ids":["q-3","gone","stuck","k-2"]}`, `{"next":"","results":[
			{"id":"q-3","result":"discarded"},{"id":"gone","result":"not-found"},
			{"id":"stuck","result":"failed","detail":"drop stuck: disk gone"},{"id":"k-2","result":"discarded"}]}`, []string{"drop q-3", "drop k-2"}},
		{"POST /admin/v1/quarantine/discard", `{"all":true}`, `{"next":"","results":[
			{"id":"q-1","result":"discarded"},{"id":"k-2",` + left + `,{"id":"q-3","result":"discarded"}]}`, []string{"drop q-1", "drop q-3"}},
		{"POST /admin/v1/quarantine/discard", `{"filter":{"endpoint":"pay"}}`, `{"next":"","results":[
			{"id":"q-1","result":"discarded"},{"id":"k-2",` + left + `]}`, []string{"drop q-1"}},
		{"POST /admin/v1/quarantine/discard", `{"filter":{"endpoint":"pay","reason":"kept"}}`, `{"next":"","results":[
			{"id":"k-2","result":"discarded"}]}`, []string{"drop k-2"}},
		{"POST /admin/v1/quarantine/discard", `{"all":true,"after":"2"}`, `{"next":"","results":[
			{"id":"q-3","result":"discarded"}]}`, []string{"drop q-3"}},
	} {
		l := quarantined()
		call(t, New(options(l)).Handler(), c.request, c.body, 200, c.want)
		if diff := cmp.Diff(c.dropped, l.asked); diff != "" {
			t.Errorf("%s %s: dropped (-want +got):\n%s", c.request, c.body, diff)
		}
	}
}

func TestQuarantine_retry(t *testing.T) {
	t.Parallel()
	const retry = "POST /admin/v1/quarantine/retry"
	const became = `{"id":"k-2","result":"accepted","detail":"1 duplicate, 1 set-aside, 2 stored","events":["a","b","c"]}`
	l, woken := quarantined(), 0
	o := options(l)
	o.Wake = func() { woken++ }
	var tried []string
	o.Reprocess = func(_ context.Context, r *host.Rejected) (host.Reprocessed, error) {
		tried = append(tried, r.ID)
		switch r.ID {
		case "q-1":
			return host.Reprocessed{Verdict: host.Reject, Reason: "not-verified", Detail: "signature differs"}, nil
		case "k-2":
			return host.Reprocessed{Kind: host.Accepted, Events: []string{"a", "b", "c"}, Receipt: host.Receipt{
				Events: []host.Disposition{host.Stored, host.Duplicate, host.Stored}, Aside: []host.Disposition{host.SetAside},
			}}, nil
		case "i-4":
			return host.Reprocessed{Kind: host.Ignored}, nil
		}
		return host.Reprocessed{}, host.Errorf(host.PluginBusy, "no instance is free")
	}
	l.rejected = append(l.rejected, refused("i-4", "out", "malformed"))
	h := New(o).Handler()
	call(t, h, retry, `{"ids":["k-2","gone"]}`, 200, `{"next":"","results":[`+became+`,{"id":"gone","result":"not-found"}]}`)
	call(t, h, retry, `{"all":true}`, 200, `{"next":"","results":[{"id":"q-1","result":"left","detail":"not-verified: signature differs"},
		`+became+`,{"id":"q-3","result":"failed","detail":"no instance is free"},{"id":"i-4","result":"ignored"}]}`)
	if diff := cmp.Diff([]string{"k-2", "q-1", "k-2", "q-3", "i-4"}, tried); diff != "" || woken != 2 {
		t.Errorf("woken %d times, tried (-want +got):\n%s", woken, diff)
	}
	// It is the server that has the plugins.
	o.Reprocess = nil
	call(t, New(o).Handler(), retry, `{"all":true}`, 409, `{"error":{"code":"server.missing",
		"message":"a retry needs plugins, which only a running server has; start the server and ask it"}}`)
}

// A page that ends early hides nothing of what is behind it.
func TestQuarantine_shortPages(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.rejected = []host.Rejected{
		refused("damaged-1", "pay", "kept"), refused("q-2", "pay", "malformed"), refused("damaged-3", "pay", "kept"), refused("q-4", "pay", "malformed"),
	}
	call(t, New(options(l)).Handler(), "POST /admin/v1/quarantine/discard", `{"all":true}`, 200,
		`{"next":"","results":[{"id":"q-2","result":"discarded"},{"id":"q-4","result":"discarded"}]}`)
}

// One request acts on a bounded number, and says where the next one begins.
func TestQuarantine_discardInBatches(t *testing.T) {
	t.Parallel()
	l := newLedger()
	for i := range maxBatch + 5 {
		l.rejected = append(l.rejected, refused(fmt.Sprintf("q-%d", i), "pay", "not-verified"))
	}
	h := New(options(l)).Handler()
	ask := func(body string) (n int, next string) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("POST", "/admin/v1/quarantine/discard", strings.NewReader(body)))
		var got struct {
			Results []result
			Next    string
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != 200 {
			t.Fatalf("discard = %d %s", rec.Code, rec.Body)
		}
		return len(got.Results), got.Next
	}
	n, next := ask(`{"filter":{"endpoint":"pay"}}`)
	if n != maxBatch || next == "" {
		t.Fatalf("the first batch = %d, next %q; want %d and a cursor", n, next, maxBatch)
	}
	if n, next := ask(`{"filter":{"endpoint":"pay"},"after":"` + next + `"}`); n != 5 || next != "" {
		t.Errorf("the second batch = %d, next %q; want 5 and none", n, next)
	}
	if len(l.asked) != maxBatch+5 || l.asked[maxBatch] != fmt.Sprintf("drop q-%d", maxBatch) {
		t.Errorf("%d dropped, want each once", len(l.asked))
	}
}

func TestQuarantine_refused(t *testing.T) {
	t.Parallel()
	const discard = "POST /admin/v1/quarantine/discard"
	const ways = `give "ids", a "filter" with a condition in it, or "all": true (one of the three)`
	const form = `the body is not of the form {"ids":["…"]}, {"filter":{"tenant":"…","endpoint":"…","reason":"…"}} or {"all":true}`
	for _, c := range []struct {
		request, body string
		status        int
		code, message string
	}{
		{"GET /admin/v1/quarantine?provider=ottu", "", 400, "request.invalid", `parameter "provider" is unknown; known here: after, endpoint, limit, reason, tenant`},
		{"GET /admin/v1/quarantine?limit=501", "", 400, "request.invalid", `limit is "501"; use a number from 1 to 500`},
		{"GET /admin/v1/quarantine/gone", "", 404, "not-found", "nothing in quarantine has this id"},
		{"GET /admin/v1/quarantine/q-1?raw=1", "", 400, "request.invalid", "this route takes no parameters"},
		{"DELETE /admin/v1/quarantine/gone", "", 404, "not-found", "nothing in quarantine has this id"},
		{"DELETE /admin/v1/quarantine/stuck", "", 503, "store.unavailable", "discard from the quarantine: drop stuck: disk gone"},
		{"DELETE /admin/v1/quarantine/q-1", `{"all":true}`, 400, "request.invalid", "the body is not of the form {}: this route takes nothing"},
		{discard, "", 400, "request.invalid", ways},
		{discard, "{}", 400, "request.invalid", ways},
		{discard, `{"filter":{}}`, 400, "request.invalid", ways},
		{discard, `{"ids":[]}`, 400, "request.invalid", ways},
		{discard, `{"ids":["q-1"],"all":true}`, 400, "request.invalid", ways},
		{discard, `{"filter":{"tenant":"acme"},"all":true}`, 400, "request.invalid", ways},
		{discard, `{"filter":{"provider":"x"}}`, 400, "request.invalid", form},
		{discard, `{"ids":["../x"]}`, 400, "request.invalid", `ids: "../x" is no id of the quarantine`},
		{discard, `{"ids":["q-1"],"after":"2"}`, 400, "request.invalid", "after goes with a filter or all, not with ids"},
		{discard, `{"ids":["q-1"` + strings.Repeat(`,"q-1"`, maxBatch) + `]}`, 400, "request.invalid", "ids: there are 101, at most 100 may stand in one request"},
		{discard, `{"all":true,"after":"` + strings.Repeat("a", maxCursor+1) + `"}`, 400, "request.invalid", "after is no cursor; take one from an earlier answer"},
		{discard + "?all=true", "", 400, "request.invalid", "this route takes no parameters"},
	} {
		l := quarantined()
		want, _ := json.Marshal(map[string]any{"error": map[string]string{"code": c.code, "message": c.message}})
		call(t, New(options(l)).Handler(), c.request, c.body, c.status, string(want))
		if l.asked != nil {
			t.Errorf("%s %s: asked of the store: %q, want nothing", c.request, c.body, l.asked)
		}
	}
}
