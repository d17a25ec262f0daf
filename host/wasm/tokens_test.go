package wasm

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/token"
)

// tokenVector is an entry of tokens.json; sdk/testdata/README.md.
type tokenVector struct {
	Name, Use, Form, Token, Result, Masked string

	Keys  []string
	Text  *string
	Value int
}

// watcher is a plugin that keeps what it was given.
type watcher struct{ seen *host.Callback }

func (w *watcher) Handle(_ context.Context, cb *host.Callback) (host.Result, error) {
	w.seen = cb
	return host.Result{Verdict: host.Ignore}, nil
}

func TestTokenVectors(t *testing.T) {
	for _, v := range vectorsOf[tokenVector](t, "tokens.json", 30) {
		t.Run(v.Name, func(t *testing.T) {
			declared := fmt.Sprintf(`[{"name":"k","use":%q,"form":%q,"in":"path"}]`, v.Use, v.Form)
			if v.Form == "" {
				declared = strings.ReplaceAll(declared, `"form":"",`, "")
			}
			b := Binding{Secrets: map[string][]string{"k": v.Keys}}
			p, err := load(t, declared).Bind(b)
			if refused := v.Result == "key-refused"; (err != nil) != refused {
				t.Fatalf("Bind = %v, want refused %v", err, refused)
			}
			if err != nil {
				if strings.Contains(err.Error(), "test-") {
					t.Errorf("a value stands in the error %q", err)
				}
				return
			}
			w := &watcher{}
			cb := &host.Callback{Method: "POST", Target: "/in/t/e/" + v.Token + "?a=1"}
			ep := &host.Endpoint{Plugin: w, Tokens: p.Tokens(), Unverified: true}
			if _, err := ep.Judge(t.Context(), cb); err != nil {
				t.Fatal(err)
			}
			if want := "/in/t/e/" + v.Masked + "?a=1"; cb.Target != want {
				t.Errorf("masked = %q, want %q", cb.Target, want)
			}
			if ran := w.seen != nil; ran != (v.Result == "evidence") {
				t.Fatalf("the plugin ran = %v, want %s", ran, v.Result)
			}
			if w.seen != nil {
				v.ask(t, drive(t, declared, b, cb))
			}
		})
	}
}

func (v *tokenVector) ask(t *testing.T, d *driver) {
	t.Helper()
	if got, c := d.text("token_text", "k"); v.Text != nil && got != *v.Text || v.Text == nil && c != denied {
		t.Errorf("token_text = %q %d, want %v", got, c, v.Text)
	}
	d.want(denied, "token_text", "other", 0, 64)
	d.want(0, "token", "k")
	algorithm := host.StaticToken
	if v.Text != nil {
		algorithm = host.SignedToken
	}
	want := []host.Evidence{{Secret: "k", Value: v.Value, Algorithm: algorithm, Covers: host.CoversNone}}
	if diff := cmp.Diff(want, d.finish(host.Ignore).Evidence); diff != "" {
		t.Error(diff)
	}
}

// twoTokens may stand in one place; an endpoint binds one of them.
const twoTokens = `[{"name":"fixed","use":"token","in":"header:X-Key","optional":true},
	{"name":"each","use":"signed-token","form":"utf8","in":"header:x-key","optional":true}]`

func TestTokens_oneOfTwoInAPlace(t *testing.T) {
	m := load(t, twoTokens)
	const fixed, key = "test-token-of-today", "test-key-current"
	for name, tt := range map[string]struct {
		given map[string][]string
		names []string
		value string
	}{
		"fixed":   {map[string][]string{"fixed": {fixed}}, []string{"fixed"}, fixed},
		"each":    {map[string][]string{"each": {key}}, []string{"each"}, "inv-1." + host.SignToken([]byte(key), "inv-1")},
		"neither": {nil, []string{"fixed"}, "anything"},
	} {
		p, err := m.Bind(Binding{Secrets: tt.given})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, token := range p.Tokens() {
			names = append(names, token.Name)
		}
		if diff := cmp.Diff(tt.names, names); diff != "" {
			t.Errorf("%s: tokens (-want +got):\n%s", name, diff)
		}
		w := &watcher{}
		cb := &host.Callback{Headers: []host.Header{{Name: "X-KEY", Value: tt.value}}}
		if _, err := (&host.Endpoint{Plugin: w, Tokens: p.Tokens(), Unverified: true}).Judge(t.Context(), cb); err != nil {
			t.Fatal(err)
		}
		if w.seen == nil {
			t.Errorf("%s: the right token is refused", name)
		}
		if got, mask := cb.Headers[0].Value, "[token:"+tt.names[0]+"]"; strings.TrimPrefix(got, "inv-1.") != mask {
			t.Errorf("%s: the token stands as %q, want %q", name, got, mask)
		}
	}
	_, err := m.Bind(Binding{Secrets: map[string][]string{"fixed": {fixed}, "each": {key}}})
	if want := "secrets.each: stands in the same place as secrets.fixed; set one of the two"; err == nil || err.Error() != want {
		t.Errorf("Bind = %v, want %q", err, want)
	}
}

func TestOutToken(t *testing.T) {
	const secrets = `[{"name":"each","use":"signed-token","form":"utf8","in":"path","optional":true},
		{"name":"mac","use":"hmac-sha256","form":"utf8"},{"name":"unbound","use":"signed-token","form":"utf8","in":"query:t","optional":true}]`
	const newest = "test-key-current"
	b := Binding{Secrets: map[string][]string{"each": {newest, "test-key-of-old."}, "mac": {"test-key"}}, Signing: true}
	d := signer(t, secrets, b, callback(""))
	d.want(denied, "out_token", "unknown", "inv-1")
	d.want(denied, "out_token", "mac", "inv-1")
	d.want(denied, "out_token", "unbound", "inv-1")
	d.want(malformed, "out_token", "each", "")
	d.want(malformed, "out_token", "each", "a/b")
	d.want(malformed, "out_token", "each", strings.Repeat("x", 129))
	d.want(ok, "out_token", "each", "inv-0")
	d.want(ok, "out_token", "each", "inv-1")
	out := &host.Callback{Target: "/in/t/e", PublicURL: "https://h/base/in/t/e"}
	if err := token.Put(out, d.in.guest.plugin.Tokens(), d.in.guest.spoken); err != nil {
		t.Fatal(err)
	}
	want := "/in/t/e/inv-1." + host.SignToken([]byte(newest), "inv-1")
	if out.Target != want || out.PublicURL != "https://h/base"+want {
		t.Errorf("target = %q, URL %q, want both to end in %q", out.Target, out.PublicURL, want)
	}
	d.in.guest.signs = nil
	d.want(denied, "out_token", "each", "inv-1")

	p, err := load(t, secrets).Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	// The counting guest signs nothing, so it says no text.
	const why = "the plugin did not say what the signed token each speaks for (out_token)"
	if _, err := p.Sign(t.Context(), callback("")); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("Sign = %v, want %q", err, why)
	}
}
