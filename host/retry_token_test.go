package host

import (
	"fmt"
	"strings"
	"testing"
)

// TestReprocess_tokens sends tokens right and wrong, mends what can be mended,
// and runs what was stored again. Whatever comes of it, the plugin sees a
// token's evidence only if the host found the token right.
func TestReprocess_tokens(t *testing.T) {
	const right, other = "token-of-today", "token-of-others"
	static := func(values ...string) Token {
		return Token{Name: "t", In: InHeader, Key: "X-T", Values: tokens(values...)}
	}
	speaks := func(values ...string) Token {
		return Token{Name: "s", In: InQuery, Key: "k", Values: tokens(values...), Signed: true}
	}
	ticket := "inv-7." + SignToken([]byte("key"), "inv-7")
	const cannot = "cannot be compared again"
	for name, tt := range map[string]struct {
		then, now    []Token
		header, path string
		keep         bool // the callback is kept, else refused for its signature
		detail       string
		value        int // of the evidence, when it is taken
	}{
		"right":                       {then: []Token{static(right)}, now: []Token{static(right)}, header: right},
		"right, an older value":       {then: []Token{static(other, right)}, now: []Token{static(other, right)}, header: right, value: 1},
		"right, rotated since":        {then: []Token{static(right)}, now: []Token{static(other)}, header: right},
		"right, kept":                 {then: []Token{static(right)}, now: []Token{static(right)}, header: right, keep: true},
		"wrong":                       {then: []Token{static(right)}, now: []Token{static(right)}, header: other, detail: cannot},
		"wrong, bound since":          {then: []Token{static(right)}, now: []Token{static(other)}, header: other, detail: cannot},
		"missing":                     {then: []Token{static(right)}, now: []Token{static(right)}, detail: "missing or wrong"},
		"sent as its mask":            {then: []Token{static(right)}, now: []Token{static(right)}, header: "[token:t]", detail: cannot},
		"unbound then, bound now":     {then: []Token{static()}, now: []Token{static(right)}, header: right, detail: cannot},
		"declared since, right":       {now: []Token{static(right)}, header: right},
		"declared since, wrong":       {now: []Token{static(right)}, header: other, detail: "missing or wrong"},
		"declared since, as its mask": {now: []Token{static(right)}, header: "[token:t]", detail: cannot},
		"right, unbound since":        {then: []Token{static(right)}, now: []Token{static()}, header: right, detail: "no token t"},
		"right, unbound since, kept":  {then: []Token{static(right)}, now: []Token{static()}, header: right, keep: true},
		"right, undeclared since":     {then: []Token{static(right)}, header: right, detail: "no token t"},
		"right, undeclared, kept":     {then: []Token{static(right)}, header: right, keep: true},
		"another kind of token": {
			then: []Token{static(right)}, now: []Token{{Name: "t", In: InHeader, Key: "X-T", Values: tokens(right), Signed: true}},
			header: right, detail: cannot,
		},
		"moved to another place": {
			then: []Token{static(right)}, now: []Token{{Name: "t", In: InHeader, Key: "X-Other", Values: tokens(right)}},
			header: right, detail: "missing or wrong",
		},
		"signed, right":            {then: []Token{speaks("key")}, now: []Token{speaks("key")}, path: ticket},
		"signed, right, kept":      {then: []Token{speaks("key")}, now: []Token{speaks("key")}, path: ticket, keep: true},
		"signed, wrong":            {then: []Token{speaks("key")}, now: []Token{speaks("key")}, path: "inv-8" + ticket[5:], detail: cannot},
		"signed, as its mask":      {then: []Token{speaks("key")}, now: []Token{speaks("key")}, path: "inv-8.[token:s]", detail: cannot},
		"signed, the mask, before": {now: []Token{speaks("key")}, path: "inv-8.[token:s]", detail: cannot},
		"signed, declared since":   {now: []Token{speaks("key")}, path: ticket},
		"two, one of them wrong": {
			then: []Token{static(right), speaks("key")}, now: []Token{static(right), speaks("key")},
			header: right, path: "inv-8.x", detail: cannot,
		},
		"two, the wrong one unbound": {
			then: []Token{static(right), speaks("key")}, now: []Token{static(right), speaks()}, header: right, path: "inv-8.x",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounter()
			cb := signed("right", 0)
			if tt.header != "" {
				cb.Headers = append(cb.Headers, Header{"X-T", tt.header})
			}
			if tt.path != "" {
				cb.Target += "?k=" + tt.path
			}
			if tt.keep {
				c.ep.Unable, c.plugin.fails = Keep, Errorf(PluginFailed, "trapped")
			}
			c.ep.Tokens, c.plugin.secret = tt.then, "mistyped"
			c.Ingest(t.Context(), c.ep, cb)
			r := c.store.only(t)
			if r.Kept != tt.keep {
				t.Fatalf("kept %v", r.Kept)
			}
			before := fmt.Sprintf("%+v", *r)

			c.ep.Tokens, c.plugin.secret, c.plugin.fails = tt.now, "right", nil
			asks, text := "t", ""
			if tt.header == "" {
				asks = "s"
			}
			if len(tt.path) > 0 && tt.header == "" {
				text = "inv-7"
			}
			c.plugin.tokens, c.plugin.seen = []string{asks}, nil
			got := c.run(t)
			if after := fmt.Sprintf("%+v", *r); after != before {
				t.Errorf("what was stored became %s", after)
			}
			if tt.detail != "" {
				c.wantStays(t, got, "not-verified", tt.detail)
				if tt.detail != "no token t" && c.plugin.seen != nil {
					t.Error("the plugin ran")
				}
				return
			}
			if got.Kind != Accepted || len(c.store.rejected) != 0 {
				t.Fatalf("reprocessed %+v, %d left", got, len(c.store.rejected))
			}
			rec := c.store.records[len(c.store.records)-1]
			if e := rec.Evidence[0]; e.Secret != asks || e.Value != tt.value || e.Covers != CoversNone {
				t.Errorf("evidence %+v", rec.Evidence)
			}
			seen := c.plugin.seen[0]
			if seen.TokenTexts[asks] != text || len(seen.TokenTexts) > 1 {
				t.Errorf("texts %v, want %q", seen.TokenTexts, text)
			}
			// Invariant 8, also for a token that nobody knew when it came.
			for _, where := range []string{fmt.Sprintf("%+v", seen), fmt.Sprintf("%+v", rec.Callback), c.log.String()} {
				for _, secret := range []string{right, other, ticket[6:]} {
					if strings.Contains(where, secret) {
						t.Errorf("a token's value stands in %s", where)
					}
				}
			}
		})
	}
}
