package server

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm"
	"github.com/postern/postern/server/admin"
)

// replace has every module be of another version from now on.
func (w *world) replace(version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.version = " " + version
}

// freed are the modules that were freed, in order.
func (w *world) freed() []string {
	var all []string
	for _, line := range w.traced() {
		if module, ok := strings.CutPrefix(line, "freed "); ok {
			all = append(all, module)
		}
	}
	return all
}

// rereading starts a server that reads its configuration again where now points.
func (w *world) rereading(t *testing.T, now **config.Config) *Server {
	t.Helper()
	(*now).Reload.Watch = false
	s, err := start(context.Background(), *now, Options{Version: "1.2.3", Load: func() (*config.Config, error) { return *now, nil }}, w.parts())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(within(t)) })
	return s
}

// A callback that is under way ends with the version that it began with, which is
// freed once it has, and not before.
func TestSwitch_underWay(t *testing.T) {
	t.Parallel()
	w := newWorld()
	inside, leave := make(chan struct{}), make(chan struct{})
	w.plugin = func(key string) {
		if key == "1" {
			close(inside)
			<-leave
		}
	}
	cfg := testConfig(t)
	s := w.rereading(t, &cfg)
	first := make(chan int, 1)
	go func() {
		status, _, _ := post(s, "/in/acme/pay", "accept 1")
		first <- status
	}()
	<-inside
	w.replace("0.2.0")
	d, err := s.Reread(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"switched acme/pay: ottu@0.1.0+sha256:000000000000 -> ottu@0.2.0",
		"switched acme/tok: ottu@0.1.0+sha256:000000000000 -> ottu@0.2.0",
	}
	if diff := cmp.Diff(want, d.Lines()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if status, _, err := post(s, "/in/acme/pay", "accept 2"); err != nil || status != 201 {
		t.Errorf("after the switch = %d (%v)", status, err)
	}
	states := map[string]string{}
	for _, p := range s.Plugins() {
		states[p.Version] = p.State + " " + strings.Join(p.Endpoints, ",")
	}
	if diff := cmp.Diff(map[string]string{"ottu@0.1.0+sha256:000000000000": "draining ", "ottu@0.2.0": "live acme/pay,acme/tok"}, states); diff != "" {
		t.Errorf("plugins (-want +got):\n%s", diff)
	}
	if freed := w.freed(); freed != nil {
		t.Errorf("%v freed under a callback", freed)
	}
	close(leave)
	if status := <-first; status != 201 {
		t.Errorf("the callback under way = %d", status)
	}
	until(t, "the old version is freed", func() bool { return slices.Equal(w.freed(), []string{"ottu"}) })
	if all := s.Plugins(); len(all) != 1 {
		t.Errorf("%d plugins are loaded, want 1", len(all))
	}
	for seq, version := range map[uint64]string{1: "ottu@0.2.0", 2: "ottu@0.1.0+sha256:000000000000"} {
		rec, err := w.mem.Callback(t.Context(), seq)
		if err != nil || rec.Plugin != version {
			t.Errorf("record %d is by %v (%v), want %s", seq, rec.Plugin, err, version)
		}
	}
}

// What a refused or a looked-at reload has loaded is freed again, and a module that
// two tables hold stays for the one that is served.
func TestSwitch_refusedAndPreview(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.rereading(t, &cfg)
	w.replace("0.2.0")
	d, err := s.Preview(t.Context())
	if err != nil || len(d.Switched) != 2 || d.Problems != nil {
		t.Errorf("Preview = %+v, %v", d, err)
	}
	until(t, "what was looked at is freed", func() bool { return slices.Equal(w.freed(), []string{"ottu 0.2.0"}) })
	good := cfg
	cfg = with(good, func(all map[string]config.Endpoint) { all["gone"] = config.Endpoint{Plugin: "missing"} })
	if _, err := s.Reread(t.Context()); err == nil {
		t.Fatal("a reload with a plugin that is not there is taken")
	}
	until(t, "what was refused is freed", func() bool { return slices.Equal(w.freed(), []string{"ottu 0.2.0", "ottu 0.2.0"}) })
	if got := s.Plugins(); len(got) != 1 || got[0].Version != "ottu@0.1.0+sha256:000000000000" || len(got[0].Endpoints) != 2 {
		t.Errorf("plugins = %+v, want those of before", got)
	}
	// The same bytes again: nothing is loaded, nothing freed.
	w.mu.Lock()
	w.version = ""
	loads := len(w.loads)
	w.mu.Unlock()
	cfg = good
	for range 3 {
		if _, err := s.Reread(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(w.loads); got != loads || len(w.freed()) != 2 {
		t.Errorf("%d loads and %v freed by reloads of the same", got-loads, w.freed()[2:])
	}
}

// One wrong endpoint among five: nothing changes.
func TestReload_oneWrongOfFive(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := testConfig(t)
	s := w.rereading(t, &cfg)
	good := cfg
	cfg = with(good, func(all map[string]config.Endpoint) {
		acked("new")(all)
		for _, n := range []string{"a", "b", "c", "d"} {
			all[n] = all["pay"]
		}
		all["e"] = config.Endpoint{Plugin: "ottu", Settings: map[string]any{"colour": "red"}, Secrets: all["pay"].Secrets}
		delete(all, "tok")
	})
	status, body := overSocket(t, good.Store.Path, "POST", "/admin/v1/reload", "")
	want := `{"error":{"code":"reload.refused","message":"nothing has changed: tenants.acme.endpoints.e.settings.colour: is unknown"},` +
		`"problems":["tenants.acme.endpoints.e.settings.colour: is unknown"]}` + "\n"
	if status != 422 || body != want {
		t.Errorf("reload = %d %s\nwant 422 %s", status, body, want)
	}
	for path, want := range map[string]int{"/in/acme/pay": 201, "/in/acme/tok/let-me-in": 202, "/in/acme/a": 404, "/in/acme/e": 404} {
		if status, answer, err := post(s, path, "accept 1"); err != nil || status != want || answer == "new" {
			t.Errorf("%s = %d %s (%v), want %d as before", path, status, answer, err, want)
		}
	}
	// Without the wrong one all others are taken.
	four := *cfg
	cfg = with(&four, func(all map[string]config.Endpoint) { delete(all, "e") })
	status, body = overSocket(t, good.Store.Path, "POST", "/admin/v1/reload", "")
	var answer struct{ Changes []string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 {
		t.Fatalf("reload = %d %s", status, body)
	}
	if diff := cmp.Diff([]string{
		"added acme/a", "added acme/b", "added acme/c", "added acme/d", "removed acme/tok",
		"changed acme/pay: ack.content_type, ack.body",
	}, answer.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// Over the socket: what a reload would change, and what is loaded.
func TestServer_previewAndPlugins(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	s := newWorld().rereading(t, &cfg)
	good := cfg
	_, body := overSocket(t, good.Store.Path, "GET", "/admin/v1/reload", "")
	if want := `{"added":[],"removed":[],"changed":[],"switched":[],"unable":[],"restart":[],"problems":[]}` + "\n"; body != want {
		t.Errorf("preview of the same = %s", body)
	}
	next := with(good, func(all map[string]config.Endpoint) {
		pay := all["pay"]
		pay.Secrets = secrets("hmac-key", "test-new")
		all["pay"] = pay
		delete(all, "tok")
	})
	next.Log.Format, next.Admin.Listen = "text", "127.0.0.1:1"
	cfg = next
	_, body = overSocket(t, good.Store.Path, "GET", "/admin/v1/reload", "")
	want := `{"added":[],"removed":["acme/tok"],"changed":[{"name":"acme/pay","keys":["secrets.hmac-key"]}],"switched":[],"unable":[],` +
		`"restart":["admin.listen","log.format"],"problems":[]}` + "\n"
	if body != want {
		t.Errorf("preview = %s\nwant %s", body, want)
	}
	_, body = overSocket(t, good.Store.Path, "POST", "/admin/v1/reload", "")
	if !strings.Contains(body, `"problems":["changed, and taken by a restart only: admin.listen, log.format"]`) || strings.Contains(body, "test-new") {
		t.Errorf("reload = %s", body)
	}
	if status, _, err := post(s, "/in/acme/tok/let-me-in", "accept 1"); err != nil || status != 202 {
		t.Errorf("a preview took an endpoint out: %d (%v)", status, err)
	}
	_, body = overSocket(t, good.Store.Path, "GET", "/admin/v1/plugins", "")
	if !strings.HasPrefix(body, `{"plugins":[{"name":"ottu","version":"ottu@0.1.0+sha256:000000000000","sha256":"`) ||
		!strings.HasSuffix(body, `","endpoints":["acme/pay","acme/tok"],"instances":1,"state":"live"}]}`+"\n") {
		t.Errorf("plugins = %s", body)
	}
}

// An endpoint that is pinned to what is not there does not keep the others from
// starting; what comes to it is answered as what cannot be judged, and nothing that
// is bound to it is stored as it came.
func TestStart_withoutThePinnedVersion(t *testing.T) {
	t.Parallel()
	const secret, token = "test-static-token-0001", "test-path-token-0002"
	w := newWorld()
	cfg := with(testConfig(t), func(all map[string]config.Endpoint) {
		for n, unable := range map[string]string{"later": "", "kept": config.Keep} {
			all[n] = config.Endpoint{
				Plugin: "missing@1.2.0", Verification: config.Required, Unable: unable,
				Secrets: secrets("api-key", secret), Token: []config.Secret{config.NewSecret(token)},
			}
		}
	})
	s := w.rereading(t, &cfg)
	for path, want := range map[string]int{
		"/in/acme/pay": 201, "/in/acme/later/" + token: 503, "/in/acme/kept/" + token: 200, "/in/acme/kept/wrong-path-token": 401,
	} {
		if status, answer, err := post(s, path+"?key="+secret, "accept 1"); err != nil || status != want {
			t.Errorf("%s = %d %s (%v), want %d", path, status, answer, err, want)
		}
	}
	_, ready := overSocket(t, cfg.Store.Path, "GET", "/readyz", "")
	if !strings.Contains(ready, `"/acme/kept":"load plugin: there is no such module"`) || !strings.Contains(ready, `"ready":true`) {
		t.Errorf("readyz = %s", ready)
	}
	if _, metrics := overSocket(t, cfg.Store.Path, "GET", "/metrics", ""); !strings.Contains(metrics, `postern_plugin_out_of_service{endpoint="later",tenant="acme"} 1`) {
		t.Error("the metrics do not name the endpoint")
	}
	found, _, err := w.mem.List(t.Context(), host.Wanted{}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int{}
	for i := range found {
		r := &found[i]
		reasons[r.Endpoint+" "+r.Reason]++
		if strings.Contains(r.Callback.Target, secret) || strings.Contains(r.Callback.Target, token) {
			t.Errorf("stored as it came: %s", r.Callback.Target)
		}
		if r.Reason == host.ReasonKept && len(r.Evidence) != 2 {
			t.Errorf("kept with the evidence %v, want that of both tokens", r.Evidence)
		}
	}
	if diff := cmp.Diff(map[string]int{"later plugin-failed": 1, "kept kept": 1, "kept not-verified": 1}, reasons); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	// One more that lacks its plugin is taken; one that has its own is not given up.
	before := cfg
	cfg = with(before, func(all map[string]config.Endpoint) {
		all["also"] = config.Endpoint{Plugin: "missing@1.2.0"}
		pay := all["pay"]
		pay.Plugin = "missing@2.0.0"
		all["pay"] = pay
	})
	if _, err := s.Reread(t.Context()); err == nil || err.Error() != "tenants.acme.endpoints.pay.plugin: load plugin: there is no such module" {
		t.Errorf("Reread = %v, want that pay would have no plugin", err)
	}
	// It comes.
	cfg = with(before, func(all map[string]config.Endpoint) {
		later := all["later"]
		later.Plugin = "ottu@1.2.0"
		later.Secrets, later.Token = secrets("hmac-key", "k"), nil
		all["later"] = later
		delete(all, "kept")
	})
	d, err := s.Reread(t.Context())
	if want := []admin.Switch{{Endpoint: "acme/later", From: "none", To: "ottu@0.1.0+sha256:000000000000"}}; err != nil || !cmp.Equal(d.Switched, want) {
		t.Errorf("Reread = %+v, %v, want it switched from none", d, err)
	}
	if status, _, err := post(s, "/in/acme/later", "accept 9"); err != nil || status != 201 {
		t.Errorf("the endpoint that came alive = %d (%v)", status, err)
	}
}

// What would start without its plugin is a problem to who checks.
func TestCheck_withoutThePinnedVersion(t *testing.T) {
	t.Parallel()
	rt, err := wasm.New(t.Context(), wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rt.Close(t.Context()) }()
	cfg := testConfig(t)
	cfg.Plugins.Path, cfg.Sinks = t.TempDir(), nil
	cfg.Tenants = map[string]config.Tenant{"acme": {Endpoints: map[string]config.Endpoint{"pay": {Plugin: "ottu@1.2.0"}}}}
	err = Check(t.Context(), cfg, rt)
	if err == nil || !strings.HasPrefix(err.Error(), "tenants.acme.endpoints.pay.plugin: load plugin: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Check = %v, want the one problem", err)
	}
}
