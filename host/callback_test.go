package host

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func tokens(values ...string) [][]byte {
	var out [][]byte
	for _, v := range values {
		out = append(out, []byte(v))
	}
	return out
}

// TestInvariant8_tokensAreMaskedBeforeThePlugin sends tokens in every place,
// right and wrong: none is seen by the plugin, the store or the log.
func TestInvariant8_tokensAreMaskedBeforeThePlugin(t *testing.T) {
	all := []Token{
		{Name: "head", In: InHeader, Key: "X-Key", Values: tokens("head-secret", "head-older")},
		{Name: "query", In: InQuery, Key: "key", Values: tokens("query secret")},
		{Name: "path", In: InPath, Values: tokens("path-secret")},
		{Name: "unbound", In: InHeader, Key: "X-Other"},
	}
	const right = "/in/acme/pay/path-secret?a=1&key=query%20secret&b=2"
	for name, tt := range map[string]struct {
		target  string
		headers []Header
		status  int
		which   int
	}{
		"all right":       {right, []Header{{"x-key", "head-secret"}, {"x-other", "unbound-secret"}}, 200, 0},
		"rotated":         {right, []Header{{"X-Key", "head-older"}}, 200, 1},
		"header missing":  {right, nil, 401, 0},
		"header wrong":    {right, []Header{{"X-Key", "head-secretX"}}, 401, 0},
		"header empty":    {right, []Header{{"X-Key", ""}}, 401, 0},
		"header repeated": {right, []Header{{"X-Key", "head-secret"}, {"X-Key", "head-secret"}}, 401, 0},
		"query missing":   {"/in/acme/pay/path-secret", []Header{{"X-Key", "head-secret"}}, 401, 0},
		"query repeated":  {right + "&key=query%20secret", []Header{{"X-Key", "head-secret"}}, 401, 0},
		"query wrong":     {"/in/acme/pay/path-secret?key=other-secret", []Header{{"X-Key", "head-secret"}}, 401, 0},
		"path missing":    {"/in/acme/pay?key=query%20secret", []Header{{"X-Key", "head-secret"}}, 401, 0},
		"path empty":      {"/in/acme/pay/?key=query%20secret", []Header{{"X-Key", "head-secret"}}, 401, 0},
		"path wrong":      {"/in/acme/pay/near-secret?key=query%20secret", []Header{{"X-Key", "head-secret"}}, 401, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipeline()
			p.ep.Tokens = all
			cb := &Callback{
				Method: "POST", Target: tt.target, PublicURL: "https://pay.example" + tt.target, Headers: tt.headers,
			}
			if got := p.host.Ingest(context.Background(), p.ep, cb); got.Status != tt.status {
				t.Errorf("status = %d, want %d", got.Status, tt.status)
			}
			if ran := p.plugin.seen != nil; ran != (tt.status == 200) {
				t.Errorf("plugin ran = %v", ran)
			}
			var kept Callback
			if tt.status == 200 {
				kept = p.store.records[0].Callback
				if e := kept.Tokens; len(e) != 3 || e[0].Value != tt.which || e[0].Algorithm != StaticToken || e[0].Covers != CoversNone {
					t.Errorf("evidence = %+v", e)
				}
			} else {
				kept = p.store.rejected[0].Callback
			}
			for _, where := range []string{fmt.Sprintf("%+v", kept), p.log.String()} {
				if strings.Contains(where, "secret") || strings.Contains(where, "head-older") {
					t.Errorf("a token's value stands in %s", where)
				}
			}
		})
	}
}

func TestMask_namesTheToken(t *testing.T) {
	ep := &Endpoint{Tokens: []Token{
		{Name: "k", In: InQuery, Key: "key", Values: tokens("v")},
		{Name: "p", In: InPath, Values: tokens("w")},
	}}
	cb := &Callback{Target: "/in/a/b/w?x=1&key=v", PublicURL: "https://h/in/a/b/w?x=1&key=v"}
	if !ep.maskTokens(cb) {
		t.Fatal("the tokens did not match")
	}
	const want = "/in/a/b/[token:p]?x=1&key=[token:k]"
	if cb.Target != want || cb.PublicURL != "https://h"+want {
		t.Errorf("target %q, URL %q, want %q", cb.Target, cb.PublicURL, want)
	}
}

func TestMask_everyCopyInTheURL(t *testing.T) {
	ep := &Endpoint{Tokens: []Token{{Name: "p", In: InPath, Values: tokens("w")}}}
	cb := &Callback{Target: "/in/a/b/w", PublicURL: "https://h/in/a/b/w/in/a/b/w"}
	ep.maskTokens(cb)
	if want := "https://h/in/a/b/[token:p]/in/a/b/[token:p]"; cb.PublicURL != want {
		t.Errorf("URL %q, want %q", cb.PublicURL, want)
	}
}

func TestCallback_header(t *testing.T) {
	cb := &Callback{Headers: []Header{{"A", "1"}, {"b", "2"}, {"a", "3"}}}
	for i, want := range []string{"1", "3"} {
		if got, ok := cb.Header("a", i); !ok || got != want {
			t.Errorf("Header(a, %d) = %q %v, want %q", i, got, ok, want)
		}
	}
	if _, ok := cb.Header("a", 2); ok {
		t.Error("Header(a, 2) is there")
	}
}
