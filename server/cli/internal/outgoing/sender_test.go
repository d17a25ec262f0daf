package outgoing

import (
	"testing"

	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
)

func TestAddress(t *testing.T) {
	s := &Sender{Where: "main/ottu", Endpoint: &config.Endpoint{
		PublicURL: "https://hooks.example.com",
		Token:     []config.Secret{config.NewSecret("new"), config.NewSecret("old")},
	}}
	in := &host.Callback{Method: "POST", Target: "/anything/at/all?x=%20&y", Body: []byte("{}")}
	got := s.address(in)
	if want := "/in/main/ottu/new?x=%20&y"; got.Target != want || got.PublicURL != "https://hooks.example.com"+want {
		t.Errorf("address = %s, %s; want %s", got.Target, got.PublicURL, want)
	}
	if h, _ := got.Header("content-type", 0); h != "application/json" {
		t.Errorf("address set Content-Type %q, want application/json", h)
	}
	if in.Target != "/anything/at/all?x=%20&y" || len(in.Headers) != 0 {
		t.Errorf("address changed the callback it was given: %+v", in)
	}
}

func TestBaseOf(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080",
		":8080":          "http://127.0.0.1:8080",
		"0.0.0.0:80":     "http://127.0.0.1:80",
		"[::]:80":        "http://127.0.0.1:80",
		"[::1]:80":       "http://[::1]:80",
		"example:80":     "http://example:80",
	} {
		if got := BaseOf(in); got != want {
			t.Errorf("BaseOf(%q) = %q, want %q", in, got, want)
		}
	}
}
