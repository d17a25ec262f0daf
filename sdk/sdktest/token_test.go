package sdktest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	postern "github.com/postern/postern/sdk"
	"github.com/postern/postern/sdk/internal/abi"
)

// MACs of order-1 made by "openssl dgst -sha256 -hmac".
const (
	orderMAC    = "3f537c97be65a7272ace8459fc92fa55a1a96be9726ed09a4b60c2401498e557" // test-key-of-token
	orderMACOld = "69d996d3d7202214e161226a54fc3b7cee0089f0bba2a9365b5b609b318830b2" // test-key-of-tokens-before
)

// TestTake_signedToken: of a right one the text stays, of a wrong one nothing.
func TestTake_signedToken(t *testing.T) {
	right := token{text: "order-1", signed: true}
	older := right
	older.which = 1
	const masked = "order-1.[token:t]"
	for name, c := range map[string]struct {
		in, head string
		want     token // no text where it is refused
		masked   string
	}{
		"path":            {"path", "/in/a/b/order-1." + orderMAC + "?x=1", right, "/in/a/b/" + masked + "?x=1"},
		"older value":     {"path", "/in/a/b/order-1." + orderMACOld, older, "/in/a/b/" + masked},
		"query":           {"query:k", "/in/a/b?k=order-1." + orderMAC + "&x", right, "/in/a/b?k=" + masked + "&x"},
		"header":          {"header:Key", "/\nKEY: order-1." + orderMAC, right, "/\nKEY: " + masked},
		"another text":    {"path", "/in/a/b/order-2." + orderMAC, token{}, "/in/a/b/[token:t]"},
		"another MAC":     {"path", "/in/a/b/order-1.0" + orderMAC[1:], token{}, "/in/a/b/[token:t]"},
		"capitals":        {"path", "/in/a/b/order-1." + strings.ToUpper(orderMAC), token{}, "/in/a/b/[token:t]"},
		"cut MAC":         {"path", "/in/a/b/order-1." + orderMAC[:63], token{}, "/in/a/b/[token:t]"},
		"no MAC":          {"path", "/in/a/b/order-1.", token{}, "/in/a/b/[token:t]"},
		"no text":         {"path", "/in/a/b/" + orderMAC, token{}, "/in/a/b/[token:t]"},
		"the key itself":  {"path", "/in/a/b/test-key-of-token", token{}, "/in/a/b/[token:t]"},
		"repeated query":  {"query:k", "/?k=order-1." + orderMAC + "&k=order-1." + orderMAC, token{}, "/?k=[token:t]&k=[token:t]"},
		"repeated header": {"header:K", "/\nK: order-1." + orderMAC + "\nk: x", token{}, "/\nK: [token:t]\nk: [token:t]"},
	} {
		t.Run(name, func(t *testing.T) {
			target, headers, _ := strings.Cut(c.head, "\n")
			r, err := parseRequest([]byte("POST " + target + " HTTP/1.1\n" + headers + "\n\n"))
			if headers == "" {
				r, err = parseRequest([]byte("POST " + target + " HTTP/1.1\n\n"))
			}
			if err != nil {
				t.Fatal(err)
			}
			s := &secret{Name: "t", Use: "signed-token", Form: "utf8", In: c.in}
			if err := s.bind([]string{"test-key-of-token", "test-key-of-tokens-before"}); err != nil {
				t.Fatal(err)
			}
			if got, ok := r.take(s); got != c.want || ok != c.want.signed {
				t.Errorf("take = %+v, %v, want %+v", got, ok, c.want)
			}
			target, headers, _ = strings.Cut(c.masked, "\n")
			want := "POST " + target + " HTTP/1.1\n" + headers
			if got := strings.TrimRight(string(r.text()), "\n"); got != strings.TrimRight(want, "\n") {
				t.Errorf("masked %q, want %q", got, want)
			}
		})
	}
}

// TestTokenText_form: whoever has the key may sign any text, the host takes
// only one that stands in a URL as it is.
func TestTokenText_form(t *testing.T) {
	s := &secret{Name: "t", Use: "signed-token", Form: "hex", In: "path"}
	if err := s.bind([]string{strings.Repeat("00ff", 8)}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"a": true, "A.b_c~d-9": true, "..": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a/b": false, "a%2F": false, "é": false, "a\n": false,
	} {
		if got, ok := s.compare(text + "." + s.tokenMAC(0, text)); ok != want || (ok && got.text != text) {
			t.Errorf("compare of %q = %+v, %v, want %v", text, got, ok, want)
		}
	}
}

func TestTokenText(t *testing.T) {
	h := newHost(t, "")
	abi.Use(h)
	cb := &postern.Callback{}
	if text, ok := cb.TokenText("once"); text != "order-1" || !ok {
		t.Errorf("TokenText = %q, %v, want order-1", text, ok)
	}
	if _, ok := cb.Token("once"); !ok {
		t.Error("a signed token gave no evidence")
	}
	want := []evidence{{"once", 0, "signed-token", "none"}}
	if diff := cmp.Diff(want, h.evidence); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	for _, name := range []string{"token", "key", "none"} {
		if text, ok := cb.TokenText(name); ok || text != "" {
			t.Errorf("TokenText(%s) = %q, want none", name, text)
		}
	}
}

const sharedPlace = `{"secrets":[
{"name":"fixed","use":"token","in":"header:Key","optional":true},
{"name":"once","use":"signed-token","form":"utf8","in":"header:KEY","optional":true}]}`

// TestJudge_onePlaceOfTwoTokens: the bound one is asked for and masks its
// place; where none is bound, the first masks it.
func TestJudge_onePlaceOfTwoTokens(t *testing.T) {
	for name, c := range map[string]struct{ secrets, value, want string }{
		"fixed is bound": {`{"fixed":["test-token"]}`, "test-token", "[token:fixed] fixed"},
		"once is bound":  {`{"once":["test-key-of-token"]}`, "order-1." + orderMAC, "order-1.[token:once] once"},
		"none is bound":  {`{}`, "order-1." + orderMAC, "[token:fixed]"},
		"wrong":          {`{"once":["test-key-of-token"]}`, "order-2." + orderMAC, "a static token is missing or wrong"},
		"of the other":   {`{"fixed":["test-token"]}`, "order-1." + orderMAC, "a static token is missing or wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			golden := `{"about":"x","received":"2026-01-02T03:04:05Z","unverified":true,"expect":{},"secrets":` + c.secrets + `}`
			tc, err := load(writePlugin(t, sharedPlace, "POST /in/a/b HTTP/1.1\nKey: "+c.value+"\n\n", golden), "case")
			if err != nil {
				t.Fatal(err)
			}
			postern.Register(postern.Plugin{Handle: func(cb *postern.Callback) postern.Verdict {
				said := cb.Header("Key")
				for _, name := range []string{"fixed", "once"} {
					if _, ok := cb.Token(name); ok {
						said += " " + name
					}
				}
				return cb.Reject(postern.NotVerified, said)
			}})
			if got := string(tc.judge(t)); !strings.Contains(got, `"detail":"`+c.want+`"`) {
				t.Errorf("result = %s, want the detail %q", got, c.want)
			}
		})
	}
}

// TestSign_putsSignedTokensIn: the plugin says the text, the host makes the
// rest, and the static token stays as the request has it.
func TestSign_putsSignedTokensIn(t *testing.T) {
	const golden = `{"about":"x","received":"2026-01-02T03:04:05Z","secrets":{"once":["test-key-of-token","test-key-of-tokens-before"],"fixed":["test-token"],"cipher":["test-key-0123456"]},"expect":{}}`
	postern.Register(postern.Plugin{
		Handle: func(cb *postern.Callback) postern.Verdict { return cb.Accept() },
		Sign: func(u *postern.Unsigned) error {
			sealed, err := u.Encrypt("cipher", testIV, u.Body())
			if err != nil {
				return err
			}
			u.SetBody(string(sealed.Read()))
			u.SetToken("once", "order-1")
			return nil
		},
	})
	body, err := fromText(abi.Base64, sealedHello)
	if err != nil {
		t.Fatal(err)
	}
	const token = "order-1." + orderMAC
	for name, c := range map[string]struct{ in, request, want string }{
		"path":         {"path", "POST /in/a/b/old?x=1 HTTP/1.1\nKey: test-token\n", "POST /in/a/b/" + token + "?x=1 HTTP/1.1\nKey: test-token\n"},
		"no path":      {"path", "POST /in/a/b?x=1 HTTP/1.1\n", "POST /in/a/b/" + token + "?x=1 HTTP/1.1\n"},
		"query":        {"query:k", "POST /in/a/b?k=old HTTP/1.1\n", "POST /in/a/b?k=" + token + " HTTP/1.1\n"},
		"no query":     {"query:k", "POST /in/a/b HTTP/1.1\n", "POST /in/a/b?k=" + token + " HTTP/1.1\n"},
		"other query":  {"query:k", "POST /in/a/b?x HTTP/1.1\n", "POST /in/a/b?x&k=" + token + " HTTP/1.1\n"},
		"header":       {"header:Once", "POST /in/a/b HTTP/1.1\nONCE: old\nKey: test-token\n", "POST /in/a/b HTTP/1.1\nONCE: " + token + "\nKey: test-token\n"},
		"no header":    {"header:Once", "POST /in/a/b HTTP/1.1\n", "POST /in/a/b HTTP/1.1\nOnce: " + token + "\n"},
		"two to judge": {"header:Once", "POST /in/a/b HTTP/1.1\nOnce: a\nOnce: b\n", "POST /in/a/b HTTP/1.1\nOnce: " + token + "\nOnce: " + token + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := strings.Replace(sharedPlace, "header:KEY", c.in, 1)
			manifest = strings.Replace(manifest, `"secrets":[`, `"secrets":[{"name":"cipher","use":"aes-128-cbc","form":"utf8"},`, 1)
			got := string(Sign(t, writePlugin(t, manifest, c.request+"\nbody", golden), "case", []byte("hello")))
			if want := c.want + "\n" + string(body); got != want {
				t.Errorf("Sign = %q\nwant   %q", got, want)
			}
		})
	}
}

// TestSpeak: a signed token that is bound and not spoken for is forgotten; one
// that is spoken for and not bound is not put in.
func TestSpeak(t *testing.T) {
	bound := &secret{Name: "t", Use: "signed-token", Form: "utf8", In: "path"}
	if err := bound.bind([]string{"test-key-of-token"}); err != nil {
		t.Fatal(err)
	}
	free := &secret{Name: "t", Use: "signed-token", Form: "utf8", In: "path"}
	for name, c := range map[string]struct {
		secret *secret
		spoken map[string]string
		target string // "" where it is refused
	}{
		"both":         {bound, map[string]string{"t": "order-1"}, "/in/a/b/order-1." + orderMAC},
		"not spoken":   {bound, nil, ""},
		"not bound":    {free, map[string]string{"t": "order-1"}, "/in/a/b"},
		"none of both": {free, nil, "/in/a/b"},
	} {
		h := &host{spoken: c.spoken, out: &request{target: "/in/a/b"}}
		err := (&testCase{tokens: []*secret{c.secret}}).speak(h)
		if (err != nil) != (c.target == "") || (err == nil && h.out.target != c.target) {
			t.Errorf("%s: speak = %v with target %s, want %q", name, err, h.out.target, c.target)
		}
	}
}

func TestOutToken_refuses(t *testing.T) {
	h := newHost(t, "")
	h.signing, h.spoken = true, make(map[string]string)
	h.secrets["later"] = &secret{Name: "later", Use: "signed-token", Form: "utf8", In: "path", Optional: true}
	for name, c := range map[string]struct {
		secret, text string
		want         int32
	}{
		"a static token": {"token", "order-1", abi.Denied},
		"a MAC":          {"key", "order-1", abi.Denied},
		"unknown":        {"none", "order-1", abi.Denied},
		"no text":        {"once", "", abi.Malformed},
		"a slash":        {"once", "a/b", abi.Malformed},
		"right":          {"once", "order-1", 0},
		"not bound":      {"later", "order-1", 0},
	} {
		if got := h.OutToken(c.secret, c.text); got != c.want {
			t.Errorf("%s: out_token = %d, want %d", name, got, c.want)
		}
	}
	abi.Use(h)
	postern.Register(postern.Plugin{
		Handle: func(cb *postern.Callback) postern.Verdict { return cb.Accept() },
		Sign: func(u *postern.Unsigned) error {
			u.SetToken("once", "a/b")
			return nil
		},
	})
	if code := abi.SignExport(); code != abi.Malformed {
		t.Errorf("postern_sign = %d, want MALFORMED: the token was not set", code)
	}
}
