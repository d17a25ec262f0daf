package sdktest

import (
	"strings"
	"testing"

	"github.com/postern/postern/sdk/internal/abi"
)

// TestHeld has everything that counts towards the 64 MiB, with the last byte of
// them and with one more.
func TestHeld(t *testing.T) {
	for name, c := range map[string]struct {
		bytes int // that the call holds
		call  func(h *host) int32
	}{
		"bytes":             {3, func(h *host) int32 { return h.Bytes(abi.Hex, "616263") }},
		"signed_bytes":      {3, func(h *host) int32 { return h.SignedBytes(0, "abc") }},
		"decrypt, 2 values": {32, func(h *host) int32 { return h.Decrypt("cipher", testIV, 1) }},
		"encrypt":           {32, func(h *host) int32 { return h.Encrypt("cipher", testIV, 1) }},
		"set":               {6, func(h *host) int32 { return h.Set(abi.FieldProviderData, `[ 12 ]`) }},
		"map":               {8, func(h *host) int32 { return h.Map(abi.FieldProviderData, 0, "") }},
		"view":              {200, func(h *host) int32 { return h.View(abi.ViewJSON, 2) }},
		"view, form":        {400, func(h *host) int32 { return h.View(abi.ViewForm, 2) }},
		"view, sealed":      {1600, func(h *host) int32 { return h.View(abi.ViewJSON, 3) }},
		"set_aside":         {6, func(h *host) int32 { return h.SetAside(0, "/n", "why") }},
	} {
		for room, want := range map[int]bool{c.bytes: true, c.bytes - 1: false} {
			h := newHost(t, `{"n":"abcd"}`)
			h.signing = true
			h.View(abi.ViewJSON, 0)
			h.Bytes(abi.Raw, "0123456789abcdef")
			h.Bytes(abi.Raw, `["a=1&b=2"]`)
			h.Decrypt("cipher", testIV, 1)
			h.SignedBegin("key")
			h.EventBegin(-1)
			if name == "map" {
				h.views[0].root = &node{kind: abi.KindString, json: `"abcdef"`}
			}
			h.held = maxHeld - room
			got := c.call(h)
			if (got >= 0) != want || (!want && got != abi.Limit) {
				t.Errorf("%s with room for %d bytes = %d, want it taken: %v", name, room, got, want)
			}
			if left := maxHeld - h.held; want && left != 0 {
				t.Errorf("%s: %d bytes are left, want none", name, left)
			}
		}
	}
}

// TestSigned_thatIsShort: what is left of refused bytes must not pass for the
// whole.
func TestSigned_thatIsShort(t *testing.T) {
	h := newHost(t, "")
	h.signing = true
	s := h.SignedBegin("key")
	h.held = maxHeld
	if got := h.SignedBytes(s, "x"); got != abi.Limit {
		t.Fatalf("signed_bytes = %d, want LIMIT", got)
	}
	if got := h.SignedBytes(s, ""); got != 0 {
		t.Errorf("signed_bytes of none = %d, want 0", got)
	}
	if got := h.SignedCheck(s, "", abi.Raw); got != abi.Limit {
		t.Errorf("signed_check = %d, want LIMIT", got)
	}
	if got := h.Sign(s, abi.Hex, nil); got != abi.Limit {
		t.Errorf("sign = %d, want LIMIT", got)
	}
	if got := h.Sign(h.SignedBegin("key"), abi.Hex, nil); got != abi.Invalid {
		t.Errorf("sign of nothing = %d, want INVALID", got)
	}
}

func TestDecrypt_atMost16KiB(t *testing.T) {
	h := newHost(t, "")
	for size, want := range map[int]bool{16 << 10: true, 16<<10 + 16: false, 16<<10 + 1: false} {
		got := h.Decrypt("cipher", testIV, h.Bytes(abi.Raw, strings.Repeat("x", size)))
		code := abi.Limit
		if size%16 != 0 {
			code = abi.Malformed
		}
		if (got >= 0) != want || (!want && got != code) {
			t.Errorf("decrypt of %d bytes = %d, want it taken: %v", size, got, want)
		}
	}
}

// TestSame_atMost64KiB counts the value as it was sent, not what stands around
// it.
func TestSame_atMost64KiB(t *testing.T) {
	const frame = `{"a":""}`
	for size, want := range map[int]int32{64 << 10: abi.Unverified, 64<<10 + 1: abi.Limit} {
		h := newHost(t, "  "+strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1)+"\n")
		outer := h.View(abi.ViewJSON, 0)
		inner := h.View(abi.ViewJSON, h.Decrypt("cipher", testIV, h.Bytes(abi.Base64, sealedObject)))
		if got := h.Same(outer, inner, "data"); got != want {
			t.Errorf("same with %d bytes = %d, want %d", size, got, want)
		}
		if got := h.Same(outer, outer, "data"); got != abi.Invalid {
			t.Errorf("same of two open views of %d bytes = %d, want INVALID", size, got)
		}
	}
}

func TestOutHeader_refuses(t *testing.T) {
	h := newHost(t, "")
	h.out = &request{}
	if got := h.OutHeader("Name", "value"); got != abi.Denied {
		t.Errorf("out_header while judging = %d, want DENIED", got)
	}
	h.signing = true
	for _, f := range []field{{"", "x"}, {"A\n", "x"}, {"A", "x\r\ny: z"}, {"A", "\x00"}, {"A", "é"}, {"é", "x"}, {"A", "\x7f"}} {
		if got := h.OutHeader(f.name, f.value); got != abi.Invalid {
			t.Errorf("out_header(%q, %q) = %d, want INVALID", f.name, f.value, got)
		}
	}
	if got := h.OutHeader("A", ""); got != 0 || len(h.out.headers) != 1 {
		t.Errorf("out_header = %d with headers %v, want one", got, h.out.headers)
	}
}

// TestPlace_unboundTokens: one place has one mask, the first token's, and an
// endpoint that binds no token of the path has no segment to mask.
func TestPlace_unboundTokens(t *testing.T) {
	one := &secret{Name: "one", Use: "token", In: "header:X-T", Optional: true}
	two := &secret{Name: "two", Use: "signed-token", Form: "utf8", In: "header:x-t", Optional: true}
	inPath := &secret{Name: "path", Use: "token", In: "path", Optional: true}
	var c testCase
	if err := c.place([]*secret{one, two, inPath}); err != nil {
		t.Fatal(err)
	}
	r := &request{target: "/in/a/b/order", headers: []field{{"X-T", "v"}}}
	for _, s := range c.tokens {
		r.take(s)
	}
	if r.target != "/in/a/b/order" || r.headers[0].value != "[token:one]" {
		t.Errorf("masked: %s, %v, want the path as it is and [token:one]", r.target, r.headers)
	}
}

// TestWipe: a proxy may have repeated a token, alone or with the path; what is
// short is masked with the whole path only.
func TestWipe(t *testing.T) {
	path := &secret{Name: "path", Use: "token", In: "path"}
	query := &secret{Name: "query", Use: "token", In: "query:k"}
	once := &secret{Name: "once", Use: signedToken, Form: "utf8", In: "path"}
	if err := once.bind([]string{"test-key-of-token"}); err != nil {
		t.Fatal(err)
	}
	mac := once.tokenMAC(0, "order-1")
	for name, c := range map[string]struct {
		secret              *secret
		target, header      string
		wantTarget, wantHdr string
	}{
		"alone":          {path, "/in/a/b/test-path-token-0001", "x test-path-token-0001", "/in/a/b/[token:path]", "x [token:path]"},
		"in the query":   {path, "/in/a/b/test-path-token-0001?t=test-path-token-0001", "", "/in/a/b/[token:path]?t=[token:path]", ""},
		"short, whole":   {path, "/in/a/b/abc?x=abc", "https://h/in/a/b/abc?x=abc abc", "/in/a/b/[token:path]?x=abc", "https://h/in/a/b/[token:path]?x=abc abc"},
		"short, path":    {path, "/in/a/b/abc?x=abc", "/in/a/b/abc", "/in/a/b/[token:path]?x=abc", "/in/a/b/[token:path]"},
		"raw":            {query, "/a?k=test%2Dtoken", "test%2Dtoken test-token", "/a?k=[token:query]", "[token:query] [token:query]"},
		"repeated":       {query, "/a?k=test-one&k=test-two", "test-one test-two", "/a?k=[token:query]&k=[token:query]", "[token:query] [token:query]"},
		"signed":         {once, "/in/a/b/order-1." + mac, "order-1." + mac + " " + mac, "/in/a/b/order-1.[token:once]", "order-1.[token:once] [token:once]"},
		"signed, wrong":  {once, "/in/a/b/order-2." + mac, "order-2." + mac + " " + mac, "/in/a/b/[token:once]", "[token:once] [token:once]"},
		"of the mask":    {path, "/in/a/b/[token:p", "[token:p]", "/in/a/b/[token:path]", "[token:p]"},
		"seven":          {query, "/a?k=1234567", "1234567", "/a?k=[token:query]", "1234567"},
		"short, query":   {query, "/a/b/c?k=1", "/a/b/c?k=1 1", "/a/b/c?k=[token:query]", "/a/b/c?k=[token:query] 1"},
		"longest first":  {query, "/a?k=test-one&k=test-one-more", "test-one-more", "/a?k=[token:query]&k=[token:query]", "[token:query]"},
		"nothing masked": {query, "/in/a/b", "/in/a/b", "/in/a/b", "/in/a/b"},
	} {
		r := &request{target: c.target, headers: []field{{"X-Original", c.header}}}
		r.take(c.secret)
		r.wipe(c.target)
		if r.target != c.wantTarget || r.headers[0].value != c.wantHdr {
			t.Errorf("%s: %q, %q, want %q, %q", name, r.target, r.headers[0].value, c.wantTarget, c.wantHdr)
		}
	}
}
