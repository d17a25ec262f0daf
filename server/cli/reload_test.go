package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/outgoing"
	"github.com/postern/postern/server/cli/internal/show"
)

// hangUp has the server that this process runs read its configuration again,
// and waits until its log has another line with the text.
func hangUp(t *testing.T, logs *watched, want string) {
	t.Helper()
	before := strings.Count(logs.String(), want)
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	bound := time.After(time.Minute)
	for strings.Count(logs.String(), want) == before {
		select {
		case <-tick.C:
		case <-bound:
			t.Fatalf("waited in vain for %q; the log:\n%s", want, logs)
		}
	}
}

const (
	reloaded    = `configuration reloaded`
	notReloaded = `configuration not reloaded`
)

func TestServe_reload(t *testing.T) {
	file, _, logs := served(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Wrong in two ways, and in one that a restart would take.
	write(t, file, strings.NewReplacer("{plugin: ottu,", "{plugin: ottu, settings: {ack_status: 299},",
		"sinks:", "log: {level: debug}\nsinks:", "hmac-key: env:OTTU_HMAC_KEY", "hmac-kye: env:OTTU_HMAC_KEY").Replace(string(text)))
	hangUp(t, logs, notReloaded)
	until := time.After(time.Minute)
	for strings.Count(logs.String(), notReloaded) < 4 {
		select {
		case <-until:
			t.Fatalf("the log:\n%s", logs)
		case <-time.After(5 * time.Millisecond):
		}
	}
	for _, want := range []string{
		"changed, and taken by a restart only: log.level", "tenants.main.endpoints.ottu.secrets.hmac-key: ",
		"tenants.main.endpoints.ottu.secrets.hmac-kye: ", "tenants.main.endpoints.ottu.settings.ack_status: ",
	} {
		if !strings.Contains(logs.String(), `"problem":"`+want) {
			t.Errorf("the log has no problem %q:\n%s", want, logs)
		}
	}
	sent := posternIn(t, testBody, serveEnviron, "send", "ottu", "--data", "-", "--config", file)
	if sent.code == exitDone {
		t.Errorf("send with a broken configuration = %+v, want an error", sent)
	}
	// Broken YAML is refused as well.
	write(t, file, "tenants: [")
	hangUp(t, logs, notReloaded)

	write(t, file, strings.Replace(string(text), "{plugin: ottu,", "{plugin: ottu, settings: {ack_status: 201},", 1))
	hangUp(t, logs, reloaded)
	sent = posternIn(t, testBody, serveEnviron, "send", "ottu", "--data", "-", "--config", file)
	if sent.code != exitDone || !strings.HasPrefix(sent.stdout, "201 Created  ") {
		t.Errorf("send after the reload = %+v, want 201", sent)
	}
	if !strings.Contains(logs.String(), `"changed":["main/ottu: settings.ack_status"]`) {
		t.Errorf("the log does not say what changed:\n%s", logs)
	}
	if strings.Contains(logs.String(), testKey) || strings.Contains(logs.String(), testToken) {
		t.Errorf("the log shows a secret:\n%s", logs)
	}
}

// rotated are the endpoints of the rotation: what is rotated at each, and a
// callback with a place for its own id.
var rotated = []struct {
	endpoint, plugin, secret, body string
}{
	{"hmac", "ottu", "hmac-key", `{"session_id":"s","order_no":"o","reference_number":"%s","result":"success","state":"paid","amount":"1.000","currency_code":"KWD"}`},
	{"header", "wibmo", "customer-id", `{"customerId":"c","urn":"1","prepaidTransactionId":"%s","transactionType":"CR","transactionNarration":"n","transactionAmount":5000,"transactionClosingBalance":12500,"transactionDateTime":"20260115150130","transactionStatus":"SUCCESS","implId":"i","implType":"t"}`},
	{"path", "ottu", "path", `{"session_id":"s","order_no":"o","reference_number":"%s","result":"success","state":"paid","amount":"1.000","currency_code":"KWD"}`},
}

// The lists of values before, during and after the rotation. A token in a path
// has at least 16 characters.
const (
	oldValue, newValue = "test-old-0123456789abcdef", "test-new-0123456789abcdef"
	oldOnly            = `["value:` + oldValue + `"]`
	newAndOld          = `["value:` + newValue + `", "value:` + oldValue + `"]`
	newOnly            = `["value:` + newValue + `"]`
)

// fleet are senders that go on until they are stopped.
type fleet struct {
	t       *testing.T
	stop    chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	// sent is the phase in which a callback got its 2xx, by its id.
	sent map[string]string
}

// start sends callbacks signed with the newest values of cfg, two at a time for
// each endpoint.
func (f *fleet) start(cfg *config.Config, base, phase string) {
	f.t.Helper()
	rt, err := outgoing.OpenRuntime(f.t.Context(), cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = rt.Close(f.t.Context()) })
	for _, r := range rotated {
		e := cfg.Tenants["main"].Endpoints[r.endpoint]
		plugin, err := outgoing.BindSigner(f.t.Context(), rt, cfg, &e)
		if err != nil {
			f.t.Fatal(err)
		}
		for c := range 2 {
			s := &outgoing.Sender{
				Where: "main/" + r.endpoint, Endpoint: &e, Plugin: plugin, Base: base,
				HTTP: &http.Client{Timeout: time.Minute, Transport: &http.Transport{}},
			}
			f.running.Go(func() {
				defer s.HTTP.CloseIdleConnections()
				for n := 0; ; n++ {
					select {
					case <-f.stop:
						return
					default:
					}
					id := fmt.Sprintf("%s-%s-%d-%d", r.endpoint, phase, c, n)
					got, err := s.Send(f.t.Context(), &host.Callback{Method: "POST", Body: fmt.Appendf(nil, r.body, id)})
					if err != nil || got.Status/100 != 2 {
						f.t.Errorf("%s: %d (%v), signed with a value that is valid", id, got.Status, err)
						return
					}
					f.mu.Lock()
					f.sent[id] = phase
					f.mu.Unlock()
				}
			})
		}
	}
}

func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sent)
}

// some waits until each endpoint has taken callbacks of a phase.
func (f *fleet) some(phase string, n int) {
	f.t.Helper()
	bound := time.After(time.Minute)
	for {
		taken := map[string]int{}
		f.mu.Lock()
		for id, p := range f.sent {
			if p == phase {
				taken[strings.SplitN(id, "-", 2)[0]]++
			}
		}
		f.mu.Unlock()
		if taken["hmac"] >= n && taken["header"] >= n && taken["path"] >= n {
			return
		}
		select {
		case <-bound:
			f.t.Fatalf("%s: taken %v, want %d of each", phase, taken, n)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// A signing key, a token in a header and a token in the path are rotated under
// load: nothing that is signed with a value valid at its moment is refused,
// everything is stored once, and its record says with which value.
func TestServe_rotation(t *testing.T) {
	dir, err := os.MkdirTemp("", "rotation")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text := `
intake: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
store: {path: ` + filepath.Join(dir, "data") + `}
plugins: {path: ` + plugins(t) + `, cache: ` + plugins(t) + `/cache, pool: 4, wait: 30s}
tenants:
  main:
    endpoints:
      hmac: {plugin: ottu, secrets: {hmac-key: VALUES}}
      header: {plugin: wibmo, secrets: {customer-id: VALUES, client-id: "value:test-client", bank-id: "value:6060"}}
      path: {plugin: ottu, token: VALUES, secrets: {hmac-key: "value:test-key"}}
`
	file := filepath.Join(dir, "postern.yaml")
	with := func(values string) *config.Config {
		write(t, file, strings.ReplaceAll(text, "VALUES", values))
		cfg, err := config.Load(config.Options{File: file, Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	before := with(oldOnly)
	out, logs := serveFile(t, file)
	base := "http://" + between(out.String(), "in on http://", "\n")

	old := &fleet{t: t, stop: make(chan struct{}), sent: map[string]string{}}
	old.start(before, base, "old")
	old.some("old", 10)
	with(newAndOld)
	hangUp(t, logs, reloaded)
	// From here on both are valid: the senders change over one by one.
	next := &fleet{t: t, stop: make(chan struct{}), sent: map[string]string{}}
	during := with(newAndOld)
	next.start(during, base, "new")
	next.some("new", 10)
	both := old.count()
	close(old.stop)
	old.running.Wait()
	with(newOnly)
	hangUp(t, logs, reloaded)
	seen := next.count()
	next.some("new", seen/3+10)
	close(next.stop)
	next.running.Wait()
	t.Logf("%d callbacks with the old values (%d of them before the new ones), %d with the new: 0 refused", len(old.sent), both, len(next.sent))

	// The old values are worth nothing now.
	late := refusedNow(t, before, base)
	if diff := cmp.Diff(map[string]int{"hmac": 401, "header": 401, "path": 401}, late); diff != "" {
		t.Errorf("old values after the rotation (-want +got):\n%s", diff)
	}
	checkStored(t, filepath.Join(dir, "data"), old.sent, next.sent)
	for _, value := range []string{oldValue, newValue} {
		if strings.Contains(logs.String(), value) {
			t.Error("the log shows a secret")
		}
	}
}

// refusedNow sends one callback to each endpoint and returns the statuses.
func refusedNow(t *testing.T, cfg *config.Config, base string) map[string]int {
	t.Helper()
	rt, err := outgoing.OpenRuntime(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rt.Close(t.Context()) }()
	statuses := map[string]int{}
	for _, r := range rotated {
		e := cfg.Tenants["main"].Endpoints[r.endpoint]
		plugin, err := outgoing.BindSigner(t.Context(), rt, cfg, &e)
		if err != nil {
			t.Fatal(err)
		}
		s := &outgoing.Sender{Where: "main/" + r.endpoint, Endpoint: &e, Plugin: plugin, Base: base, HTTP: &http.Client{}}
		got, err := s.Send(t.Context(), &host.Callback{Method: "POST", Body: fmt.Appendf(nil, r.body, "late")})
		if err != nil {
			t.Fatal(err)
		}
		statuses[r.endpoint] = got.Status
	}
	return statuses
}

// checkStored reads every event: each callback that was acknowledged is there
// once, and its record says which value it was verified with.
func checkStored(t *testing.T, data string, old, next map[string]string) {
	t.Helper()
	cl := client.Socket(data)
	defer func() { _ = cl.Close() }()
	var stored []client.Stored
	for after := ""; ; {
		page, err := cl.Since(t.Context(), client.Filter{}, after)
		if err != nil {
			t.Fatal(err)
		}
		if stored = append(stored, page.Events...); len(page.Events) == 0 {
			break
		}
		after = page.Next
	}
	if len(stored) != len(old)+len(next) {
		t.Errorf("%d events are stored of %d callbacks with 2xx", len(stored), len(old)+len(next))
	}
	seen := map[string]int{}
	values := map[string]int{}
	for i := range stored {
		whole, err := cl.Event(t.Context(), stored[i].Fact.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rotated {
			if !strings.HasSuffix(show.Where(&whole.Fact), "/"+r.endpoint) {
				continue
			}
			id := idIn(whole.Callback.Body, r.endpoint)
			seen[id]++
			for _, e := range whole.Callback.Evidence {
				if e.Secret == r.secret {
					values[fmt.Sprintf("%s %d", strings.SplitN(id, "-", 3)[1], e.Value)]++
				}
			}
		}
	}
	for _, sent := range []map[string]string{old, next} {
		for id := range sent {
			if seen[id] != 1 {
				t.Errorf("%s got a 2xx and is stored %d times", id, seen[id])
			}
		}
	}
	// Alone, or behind the new one; the new one is always the first.
	if values["old 0"] == 0 || values["old 1"] == 0 || values["new 0"] == 0 || values["new 1"] != 0 ||
		values["old 0"]+values["old 1"]+values["new 0"] != len(stored) {
		t.Errorf("values by which the callbacks were verified: %v", values)
	}
	t.Logf("verified by (key, index among the values): %v", values)
}

// idIn finds the callback's own id in its body.
func idIn(body, endpoint string) string {
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader([]byte(body)))
	if err := dec.Decode(&fields); err != nil {
		return ""
	}
	for _, v := range fields {
		if id, ok := v.(string); ok && strings.HasPrefix(id, endpoint+"-") {
			return id
		}
	}
	return ""
}

func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}
