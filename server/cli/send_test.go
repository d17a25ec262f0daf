package cli

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/config"
)

func twoEndpoints() *config.Config {
	cfg := config.Default()
	cfg.Tenants = map[string]config.Tenant{"main": {Endpoints: map[string]config.Endpoint{
		"a": {Plugin: "ottu"}, "b": {Plugin: "ottu"}, "c": {Plugin: "wibmo"},
	}}}
	return cfg
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		where, plugin string
		want, err     string
	}{
		{"", "wibmo", "main/c", ""},
		{"main/b", "ottu", "main/b", ""},
		{"main/b", "", "main/b", ""},
		{"", "ottu", "", "several endpoints fit: say --endpoint, one of main/a, main/b, main/c"},
		{"main/x", "ottu", "", `there is no endpoint "main/x"; there are: main/a, main/b, main/c`},
		{"", "stripe", "", `no endpoint uses the plugin "stripe"; there are: main/a, main/b, main/c`},
	} {
		got, err := choose(twoEndpoints(), tt.where, tt.plugin)
		switch {
		case tt.err != "":
			if err == nil || err.Error() != tt.err {
				t.Errorf("choose(%q, %q) = %v, want %q", tt.where, tt.plugin, err, tt.err)
			}
		case err != nil || got.Where != tt.want:
			t.Errorf("choose(%q, %q) = %v, %v; want %q", tt.where, tt.plugin, got, err, tt.want)
		}
	}
	if _, err := choose(config.Default(), "", "ottu"); err == nil {
		t.Error("choose without endpoints = nil, want an error")
	}
}

func TestPluginIn(t *testing.T) {
	for in, want := range map[string]string{
		"ottu": "ottu",
		filepath.Join("plugins", "ottu", "testdata", "paid.http"): "ottu",
		"paid.http":                       "",
		filepath.Join("x", "paid.http"):   "",
		filepath.Join(".", "demo", "a.b"): "",
	} {
		if got := pluginIn(in); got != want {
			t.Errorf("pluginIn(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestInvariant8_sendErrorHidesToken(t *testing.T) {
	dir := plugins(t)
	file := filepath.Join(t.TempDir(), "postern.yaml")
	write(t, file, "plugins: {path: "+dir+", cache: "+dir+"/cache}\nstore: {path: "+t.TempDir()+"}\ntenants: {main: {endpoints: "+
		"{ottu: {plugin: ottu, token: "+testToken+", secrets: {hmac-key: value:x}}}}}\n")
	got := postern(t, []string{}, "send", "ottu", "--config", file, "--data", "{}", "--url", "http://127.0.0.1:1/")
	want := result{exitFailed, "", "postern: post to http://127.0.0.1:1/in/main/ottu: dial tcp 127.0.0.1:1: connect: connection refused\n"}
	if got != want {
		t.Errorf("send = %+v, want %+v", got, want)
	}
}

// A server that points elsewhere is not followed: the path is the token's.
func TestInvariant8_sendFollowsNoRedirect(t *testing.T) {
	asked := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path + r.Referer():
		default: // once is enough to know
		}
	}))
	defer elsewhere.Close()
	dir := plugins(t)
	file := filepath.Join(t.TempDir(), "postern.yaml")
	for _, status := range []int{301, 302, 303, 307, 308} {
		first := http.RedirectHandler(elsewhere.URL, status)
		for _, server := range []*httptest.Server{httptest.NewServer(first), httptest.NewTLSServer(first)} {
			tls := ""
			if cert := server.Certificate(); cert != nil {
				tls = "intake: {tls: {cert: " + writeCertificate(t, cert.Raw) + ", key: none}}\n"
			}
			write(t, file, tls+"plugins: {path: "+dir+", cache: "+dir+"/cache}\nstore: {path: "+t.TempDir()+"}\ntenants: {main: {endpoints: "+
				"{ottu: {plugin: ottu, token: "+testToken+", secrets: {hmac-key: value:x}}}}}\n")
			got := postern(t, []string{}, "send", "ottu", "--config", file, "--data", "{}", "--url", server.URL)
			server.Close()
			if got.code != exitFailed || !strings.Contains(got.stdout, "a redirect, not followed: ") || strings.Contains(got.stdout, testToken) {
				t.Errorf("send to a %d = %+v, want a failure that says that it is not followed", status, got)
			}
		}
	}
	select {
	case path := <-asked:
		t.Errorf("the other server was asked for %s", path)
	default:
	}
}

// A body that the plugin cannot sign is not posted, and what to do is said.
func TestSend_cannotSign(t *testing.T) {
	dir := plugins(t)
	file := filepath.Join(t.TempDir(), "postern.yaml")
	write(t, file, "plugins: {path: "+dir+", cache: "+dir+"/cache}\nstore: {path: "+t.TempDir()+"}\ntenants: {main: {endpoints: "+
		"{ottu: {plugin: ottu, secrets: {hmac-key: value:x}}}}}\n")
	got := postern(t, []string{}, "send", "ottu", "--config", file, "--data", "x", "--url", "http://127.0.0.1:1")
	if got.code != exitFailed || !strings.Contains(got.stderr, "the plugin ottu cannot sign this callback: ") ||
		!strings.Contains(got.stderr, "post it as it is with --unsigned") || strings.Contains(got.stderr, "127.0.0.1") {
		t.Errorf("send = %+v, want that it cannot be signed", got)
	}
}
