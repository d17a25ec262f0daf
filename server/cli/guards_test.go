package cli

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// guarded is the same wibmo endpoint at several tenants, each with guards of its own.
const guarded = `
  %s:
    endpoints:
      wallet:
        plugin: wibmo
        secrets: {customer-id: "value:test-customer", client-id: "value:test-client", bank-id: "value:0000"}
        guards: [%s]
`

// tenantGuards are the tenants of TestGuards, and what each asks for.
var tenantGuards = [][2]string{
	{"plain", ""},
	{"annotates", `{plugin: require-header, settings: {name: X-Gateway, values: [blue]}}, {plugin: hold-amount, settings: {limits: {INR: "50"}}}`},
	{"holds", `{plugin: require-header, settings: {name: X-Gateway}}, {plugin: hold-amount, settings: {limits: {INR: "49.99"}}}`},
	{"rejects", `{plugin: require-header, settings: {name: X-Gateway, values: [green]}}`},
	// Whatever holds, who comes after may still reject.
	{"both", `{plugin: hold-amount, settings: {limits: {INR: "1"}}}, {plugin: require-header, settings: {name: X-Gateway, values: [green]}}`},
}

// guardedServer serves tenantGuards and returns its configuration, where it
// listens, and the file of its sink.
func guardedServer(t *testing.T) (file, base, sink string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "guards")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := ln.Addr().String()
	_ = ln.Close()
	file, sink = filepath.Join(dir, "postern.yaml"), filepath.Join(dir, "events.ndjson")
	var tenants strings.Builder
	for _, of := range tenantGuards {
		tenants.WriteString(strings.Replace(strings.Replace(guarded, "%s", of[0], 1), "%s", of[1], 1))
	}
	tenants.WriteString(`
  acme:
    endpoints:
      wallet:
        plugin: wibmo-acme
        provider: wibmo
        secrets: {gateway-key: "value:test-gateway-key", client-id: "value:test-client"}
`)
	write(t, file, `
intake: {listen: "`+listen+`"}
admin: {listen: "127.0.0.1:0"}
store: {path: `+filepath.Join(dir, "data")+`}
plugins: {path: `+plugins(t)+`, cache: `+plugins(t)+`/cache}
tenants:`+tenants.String()+`
sinks:
  events: {type: file, path: `+sink+`, from: oldest}
`)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	serveFile(t, file)
	return file, "http://" + listen, sink
}

const walletBody = `{"customerId":"000000000001","prepaidTransactionId":"1000001","transactionType":"CR","transactionAmount":5000,"transactionDateTime":"20260102083405","transactionStatus":"SUCCESS"}`

// post sends the wallet's callback to a tenant.
func post(t *testing.T, base, tenant string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/in/"+tenant+"/wallet", strings.NewReader(walletBody))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-Consumer-Custom-ID": "test-customer", "clientId": "test-client", "bankId": "0000", "X-Gateway": "blue",
	} {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, b.String()
}

// delivered reads what the sink's file has by tenant, once it has so many lines.
func deliveredByTenant(t *testing.T, sink string, lines int) map[string]map[string]any {
	t.Helper()
	late := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		text, _ := os.ReadFile(sink)
		if bytes.Count(text, []byte("\n")) >= lines {
			all := make(map[string]map[string]any)
			for line := range bytes.Lines(text) {
				var ev map[string]any
				if err := json.Unmarshal(line, &ev); err != nil {
					t.Fatal(err)
				}
				all[ev["tenant"].(string)] = ev
			}
			if len(all) != lines {
				t.Fatalf("the sink has events of %d tenants, want %d:\n%s", len(all), lines, text)
			}
			return all
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the sink has\n%s\nwant %d events", text, lines)
		}
	}
}

// TestGuards sends the same callback to tenants with different guards: at one it
// is accepted and annotated, at one held and delivered once it is released, at one
// rejected with its reason in quarantine.
func TestGuards(t *testing.T) {
	file, base, sink := guardedServer(t)
	for tenant, want := range map[string]int{"plain": 200, "annotates": 200, "holds": 200, "rejects": 403, "both": 403} {
		// Twice: what a guard made of it, it makes of it again.
		for range 2 {
			if got, body := post(t, base, tenant); got != want || got == 403 && !strings.Contains(body, `"guard.rejected"`) {
				t.Errorf("%s: %d %s, want %d", tenant, got, body, want)
			}
		}
	}
	events := deliveredByTenant(t, sink, 2)
	const note = "requireheadervalue"
	if got := events["annotates"][note]; got != "blue" {
		t.Errorf("annotation %v, want blue", got)
	}
	// But for that, the guarded event is the one that nobody guards.
	for name, value := range events["annotates"] {
		switch name {
		case note, "id", "dedupkey", "source", "tenant", "receivedtime":
			continue
		}
		if a, b := jsonOf(t, value), jsonOf(t, events["plain"][name]); a != b {
			t.Errorf("%s is %s where guards are, and %s where none is", name, a, b)
		}
	}
	if len(events["annotates"]) != len(events["plain"])+1 {
		t.Errorf("attributes %v, want one more than %v", events["annotates"], events["plain"])
	}

	listed := postern(t, nil, "quarantine", "list", "--config", file)
	for _, want := range []string{
		"held-", "holds/wallet", "held", "50.00 INR is above the limit of 49.99",
		"rejects/wallet", "guard-rejected", "require-header: the header X-Gateway has a value that is not among the settings",
		"both/wallet",
	} {
		if !strings.Contains(listed.stdout, want) {
			t.Errorf("quarantine list does not have %q:\n%s", want, listed.stdout)
		}
	}
	if n := strings.Count(listed.stdout, "\nheld-"); n != 1 {
		t.Errorf("%d are held, want one:\n%s", n, listed.stdout)
	}
	at := strings.Index(listed.stdout, "held-")
	id := strings.Fields(listed.stdout[at:])[0]
	shown := postern(t, nil, "quarantine", "show", id, "--config", file)
	for _, want := range []string{"hold-amount", "transfer.credited", "50.00 INR", note, "holdamountwhy", "acknowledged", "quarantine release " + id} {
		if !strings.Contains(shown.stdout, want) {
			t.Errorf("quarantine show does not have %q:\n%s", want, shown.stdout)
		}
	}
	// Nothing is mended by running it again, and nothing that is held is thrown
	// away with the rest.
	if again := postern(t, nil, "quarantine", "retry", id, "--config", file); !strings.Contains(again.stdout, "left  held: hold-amount") {
		t.Errorf("retry = %+v, want it left", again)
	}
	if all := postern(t, nil, "quarantine", "discard", "--tenant", "holds", "--config", file); !strings.Contains(all.stdout, "left  it was held, and acknowledged") {
		t.Errorf("discard = %+v, want it left", all)
	}

	released := postern(t, nil, proposed(t, shown.stdout, "release it:")...)
	if released.code != exitDone || !strings.Contains(released.stdout, id+"  released  1 stored") {
		t.Fatalf("release = %+v", released)
	}
	events = deliveredByTenant(t, sink, 3)
	if got := events["holds"]; got[note] != "blue" || got["holdamountwhy"] != "50.00 INR is above the limit of 49.99" {
		t.Errorf("the released event is %v, want both guards' annotations", got)
	}
	event, _ := events["holds"]["id"].(string)
	if look := postern(t, nil, "events", "show", event, "--config", file); !strings.Contains(look.stdout, "holdamountwhy: 50.00 INR is above the limit of 49.99") {
		t.Errorf("events show = %+v, want the annotation", look)
	}
	if got, _ := post(t, base, "holds"); got != 200 {
		t.Errorf("after its release: %d", got)
	}
	if left := postern(t, nil, "quarantine", "list", "--reason", "held", "--config", file); strings.Contains(left.stdout, id) {
		t.Errorf("it is still held:\n%s", left.stdout)
	}
	if gone := postern(t, nil, "quarantine", "release", id, "--config", file); gone.code != exitFailed || !strings.Contains(gone.stdout, "not-found") {
		t.Errorf("a second release = %+v", gone)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGuards_config names what is wrong with guards at their paths.
func TestGuards_config(t *testing.T) {
	file := withPlugins(t, `
tenants:
  t:
    endpoints:
      a: {plugin: require-header}
      b: {plugin: wibmo-acme, secrets: {gateway-key: "value:x", client-id: "value:test-client"}, guards: [{plugin: wibmo}, {plugin: hold-amount}, {plugin: gone}, {plugin: hold-amount, settings: {limits: {inr: 5}}}]}
`)
	got := postern(t, []string{}, "config", "check", file)
	lines := strings.Split(got.stderr, "\n")
	for _, want := range [][2]string{
		{"endpoints.a.plugin: ", "require-header is a guard: name it under guards, beside a provider's plugin"},
		{"endpoints.b.guards.0.plugin: ", "wibmo is a provider's plugin and no guard"},
		{"endpoints.b.guards.1.settings", "limits"},
		{"endpoints.b.guards.2.plugin: ", `there is no plugin "gone"`},
		{"endpoints.b.guards.3.settings", "inr"},
	} {
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want[0]) && strings.Contains(l, want[1]) }) {
			t.Errorf("config check does not say %q of %q:\n%s", want[1], want[0], got.stderr)
		}
	}
}

// TestReplacement has a tenant's own module speak for a provider.
func TestReplacement(t *testing.T) {
	file, _, sink := guardedServer(t)
	sent := posternIn(t, walletBody, nil, "send", "wibmo-acme", "--endpoint", "acme/wallet", "--config", file, "--data", "-")
	if sent.code != exitDone || !strings.HasPrefix(sent.stdout, "200 OK  ") {
		t.Fatalf("send = %+v, want 200", sent)
	}
	ev := deliveredByTenant(t, sink, 1)["acme"]
	if ev["provider"] != "wibmo" || ev["verifiedby"] != "hmac-sha256" || ev["covers"] != "body" || ev["type"] != "transfer.credited" {
		t.Errorf("event %v, want one of wibmo's with the evidence of the tenant's own rule", ev)
	}
}
