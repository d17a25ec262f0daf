package host

import (
	"context"
	"fmt"
	"net/url"
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

// TestInvariant8_tokensThatProxiesRepeat: what stood in a token's place stands
// nowhere else either, right or wrong; what is too short to be looked for alone
// is found in the target around it.
func TestInvariant8_tokensThatProxiesRepeat(t *testing.T) {
	const value, key = "path-secret-of-today", "test-key-current"
	mac := SignToken([]byte(key), "inv-1")
	path := []Token{{Name: "p", In: InPath, Values: tokens(value)}}
	query := []Token{{Name: "q", In: InQuery, Key: "key", Values: tokens("query secret")}}
	signed := []Token{{Name: "s", In: InPath, Values: tokens(key), Signed: true}}
	for name, tt := range map[string]struct {
		tokens         []Token
		target, header string
		wantTarget     string
		want           string
	}{
		"path":                    {path, "/in/a/b/" + value + "?x=1", "/in/a/b/" + value + "?x=1", "/in/a/b/[token:p]?x=1", "/in/a/b/[token:p]?x=1"},
		"path in a URL":           {path, "/in/a/b/" + value, "https://h/in/a/b/" + value + "#f", "/in/a/b/[token:p]", "https://h/in/a/b/[token:p]#f"},
		"value alone":             {path, "/in/a/b/" + value, "t=" + value + "; u=" + value, "/in/a/b/[token:p]", "t=[token:p]; u=[token:p]"},
		"twice in the target":     {path, "/in/a/b/" + value + "?t=" + value, "", "/in/a/b/[token:p]?t=[token:p]", ""},
		"wrong":                   {path, "/in/a/b/wrong-one", "/in/a/b/wrong-one wrong-one", "/in/a/b/[token:p]", "/in/a/b/[token:p] [token:p]"},
		"unbound":                 {[]Token{{Name: "q", In: InQuery, Key: "key"}}, "/in/a/b?key=unbound-secret", "x unbound-secret", "/in/a/b?key=[token:q]", "x [token:q]"},
		"query":                   {query, "/in/a/b?key=query%20secret", "/in/a/b?key=query%20secret", "/in/a/b?key=[token:q]", "/in/a/b?key=[token:q]"},
		"query as it stood":       {query, "/in/a/b?key=query%20secret", "k=query%20secret", "/in/a/b?key=[token:q]", "k=[token:q]"},
		"query decoded":           {query, "/in/a/b?key=query%20secret", "key: query secret", "/in/a/b?key=[token:q]", "key: [token:q]"},
		"header":                  {[]Token{{Name: "h", In: InHeader, Key: "Authorization", Values: tokens(value)}}, "/in/a/b", "Bearer " + value, "/in/a/b", "Bearer [token:h]"},
		"short":                   {path, "/in/a/b/abc?x=abc", "abc https://h/in/a/b/abc?x=abc", "/in/a/b/[token:p]?x=abc", "abc https://h/in/a/b/[token:p]?x=abc"},
		"short, the path":         {path, "/in/a/b/abc?x=1", "abc /in/a/b/abc", "/in/a/b/[token:p]?x=1", "abc /in/a/b/[token:p]"},
		"of seven":                {path, "/in/a/b/1234567", "1234567", "/in/a/b/[token:p]", "1234567"},
		"of eight":                {path, "/in/a/b/12345678", "12345678", "/in/a/b/[token:p]", "[token:p]"},
		"empty":                   {path, "/in/a/b/", "/in/a/b/c", "/in/a/b/[token:p]", "/in/a/b/c"},
		"none":                    {path, "/in/a/b", "/in/a/b", "/in/a/b", "/in/a/b"},
		"signed":                  {signed, "/in/a/b/inv-1." + mac, "/in/a/b/inv-1." + mac + " " + mac, "/in/a/b/inv-1.[token:s]", "/in/a/b/inv-1.[token:s] [token:s]"},
		"signed, wrong":           {signed, "/in/a/b/inv-2." + mac, "/in/a/b/inv-2." + mac + " " + mac, "/in/a/b/[token:s]", "/in/a/b/[token:s] [token:s]"},
		"what the mask has in it": {path, "/in/a/b/[token:p", "[token:p", "/in/a/b/[token:p]", "[token:p"},
	} {
		cb := &Callback{Target: tt.target, PublicURL: "https://h" + tt.target, Headers: []Header{
			{"Authorization", value}, {"X-Original-URI", tt.header}, {"X-Forwarded-Uri", tt.header},
		}}
		(&Endpoint{Tokens: tt.tokens}).maskTokens(cb)
		for _, h := range cb.Headers[1:] {
			if h.Value != tt.want {
				t.Errorf("%s: header = %q, want %q", name, h.Value, tt.want)
			}
		}
		if cb.Target != tt.wantTarget || cb.PublicURL != "https://h"+tt.wantTarget {
			t.Errorf("%s: target = %q, URL %q, want %q", name, cb.Target, cb.PublicURL, tt.wantTarget)
		}
	}
}

// TestMask_ofManyStaysSmall: a callback may carry hundreds of a token's
// parameter. What each left is masked in one go: a mask grows no mask.
func TestMask_ofManyStaysSmall(t *testing.T) {
	const name = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	var query, header strings.Builder
	for i := range 600 {
		value := strings.Repeat("a", 7) + fmt.Sprint(i)
		fmt.Fprintf(&query, "&key=%s&key=%s", value, strings.Repeat("a", 8+i%20))
		header.WriteString(value)
	}
	cb := &Callback{Target: "/in/a/b?" + query.String(), Headers: []Header{{"Referer", header.String()}}}
	(&Endpoint{Tokens: []Token{{Name: name, In: InQuery, Key: "key"}}}).maskTokens(cb)
	want := strings.Repeat("[token:"+name+"]", 600)
	if got := cb.Headers[0].Value; got != want {
		t.Errorf("header of %d bytes, want %d", len(got), len(want))
	}
}

// TestInvariant8_signedTokens: the text of a right one stays, its MAC never
// does; of a wrong one nothing stays.
func TestInvariant8_signedTokens(t *testing.T) {
	const key, old = "test-key-current", "test-key-of-old."
	signed := func(key, text string) string { return text + "." + SignToken([]byte(key), text) }
	for name, tt := range map[string]struct {
		sent   []string
		masked string
		which  int
	}{
		"right":        {[]string{signed(key, "inv-1")}, "inv-1.[token:k]", 0},
		"older key":    {[]string{signed(old, "inv-1")}, "inv-1.[token:k]", 1},
		"dots":         {[]string{signed(key, "a.b")}, "a.b.[token:k]", 0},
		"other key":    {[]string{signed("test-key-not-it.", "inv-1")}, "[token:k]", -1},
		"other text":   {[]string{"inv-2." + SignToken([]byte(key), "inv-1")}, "[token:k]", -1},
		"no text":      {[]string{signed(key, "")}, "[token:k]", -1},
		"the key":      {[]string{key}, "[token:k]", -1},
		"upper case":   {[]string{strings.ToUpper(signed(key, "inv-1"))}, "[token:k]", -1},
		"not its form": {[]string{signed(key, "inv 1")}, "[token:k]", -1},
		"too long":     {[]string{signed(key, strings.Repeat("x", 129))}, "[token:k]", -1},
		"missing":      {nil, "", -1},
		"repeated":     {[]string{signed(key, "inv-1"), signed(key, "inv-1")}, "inv-1.[token:k]", -1},
	} {
		for _, in := range []Place{InHeader, InQuery, InPath} {
			if in == InPath && len(tt.sent) != 1 {
				continue
			}
			cb, stands := placed(in, tt.sent)
			ep := &Endpoint{Tokens: []Token{{Name: "k", In: in, Key: "X-Key", Values: tokens(key, old), Signed: true}}}
			if got := ep.maskTokens(cb); got != (tt.which >= 0) {
				t.Errorf("%s, place %d: matched = %v", name, in, got)
			}
			for _, got := range stands() {
				if got != tt.masked {
					t.Errorf("%s, place %d: masked = %q, want %q", name, in, got, tt.masked)
				}
			}
			if tt.which < 0 {
				if len(cb.Tokens) != 0 || len(cb.TokenTexts) != 0 {
					t.Errorf("%s, place %d: evidence %+v, texts %q", name, in, cb.Tokens, cb.TokenTexts)
				}
				continue
			}
			want := Evidence{Secret: "k", Value: tt.which, Algorithm: SignedToken, Covers: CoversNone}
			if len(cb.Tokens) != 1 || cb.Tokens[0] != want || cb.TokenTexts["k"]+".[token:k]" != tt.masked {
				t.Errorf("%s, place %d: evidence %+v, texts %q", name, in, cb.Tokens, cb.TokenTexts)
			}
		}
	}
	if SignedToken.Strength() != Bearer {
		t.Errorf("strength = %v, want bearer: who has the URL may use it", SignedToken.Strength())
	}
}

// placed is a callback with values in a place, and what stands there later.
func placed(in Place, values []string) (cb *Callback, stands func() []string) {
	cb = &Callback{Target: "/in/a/b"}
	switch in {
	case InHeader:
		for _, v := range values {
			cb.Headers = append(cb.Headers, Header{"x-key", v})
		}
	case InQuery:
		cb.Target += "?" + url.Values{"X-Key": values}.Encode()
	case InPath:
		cb.Target += "/" + values[0]
	case InAny:
	}
	return cb, func() []string {
		var now []string
		for _, h := range cb.Headers {
			now = append(now, h.Value)
		}
		if _, query, ok := strings.Cut(cb.Target, "?"); ok && query != "" {
			for part := range strings.SplitSeq(query, "&") {
				_, v, _ := strings.Cut(part, "=")
				now = append(now, v)
			}
		}
		if rest, ok := strings.CutPrefix(cb.Target, "/in/a/b/"); ok {
			now = append(now, rest)
		}
		return now
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

// A token whose place nobody knows is found by its value, and never asked for.
func TestInvariant8_tokensAnywhere(t *testing.T) {
	t.Parallel()
	ep := &Endpoint{Tokens: []Token{{Name: "key", In: InAny, Values: [][]byte{[]byte("new-value-0001"), []byte("old value 0002")}}}}
	for _, tt := range []struct {
		target, header         string
		wantTarget, wantHeader string
		evidence               int
	}{
		{"/in/a/b?k=1", "other", "/in/a/b?k=1", "other", 0},
		{"/in/a/b", "new-value-0001", "/in/a/b", "[token:key]", 1},
		{"/in/a/b?k=old%20value+0002&n=1", "old value 0002", "/in/a/b?k=[token:key]&n=1", "[token:key]", 1},
	} {
		cb := &Callback{Target: tt.target, Headers: []Header{{Name: "X-Key", Value: tt.header}}}
		if !ep.maskTokens(cb) {
			t.Errorf("%s %s is refused", tt.target, tt.header)
		}
		if cb.Target != tt.wantTarget || cb.Headers[0].Value != tt.wantHeader || len(cb.Tokens) != tt.evidence {
			t.Errorf("%s %s = %s %s with %v", tt.target, tt.header, cb.Target, cb.Headers[0].Value, cb.Tokens)
		}
	}
}
