package host

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Callback is one HTTP request of a provider, byte for byte but for tokens.
// It owns its memory: nothing in it is shared with the server's buffers, and
// nobody writes to it once [Host.Ingest] has masked its tokens.
type Callback struct {
	// Method is the request method as sent ("POST").
	Method string
	// Target is the request target as sent: path and query, undecoded.
	// Tokens in it stand as "[token:name]" once masked.
	Target string
	// PublicURL is the URL under which the provider knows the endpoint
	// (scheme, authority, path, query), for schemes that sign it. It is built
	// from configuration and Target, never from a header.
	PublicURL string
	// Headers are in wire order, repeats included, names as sent.
	Headers []Header
	// Body is the body as sent: never decoded, never re-serialised.
	Body []byte
	// Received is when the request was read whole. It is the only clock a
	// plugin sees.
	Received time.Time
	// Remote is the client's address; the zero Addr means unknown.
	Remote netip.Addr
	// Tokens are the evidence of the endpoint's static tokens, one for each
	// bound [Token], filled by [Host.Ingest] before the plugin runs.
	Tokens []Evidence
	// TokenTexts are what the endpoint's signed tokens speak for, by the token's
	// name, filled with Tokens and as good as they are. They are not stored: they
	// stand before the mask.
	TokenTexts map[string]string
}

// Header is one header field of a callback.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Header returns the value of the i-th field called name (case-insensitive)
// and whether there is one.
func (c *Callback) Header(name string, i int) (string, bool) {
	for _, h := range c.Headers {
		if !strings.EqualFold(h.Name, name) {
			continue
		}
		if i == 0 {
			return h.Value, true
		}
		i--
	}
	return "", false
}

// Place says where a static token stands in a callback.
type Place uint8

// The places of a token.
const (
	InHeader Place = iota + 1 // a header field's value
	InQuery                   // a query parameter's value
	InPath                    // the last path segment, /in/{tenant}/{endpoint}/{token}
	// InAny is not known: a header or a query parameter. What is one of the values
	// is masked and is evidence, and one is never asked for.
	InAny
)

// Token is a credential that a provider sends as it is. The host
// compares it, in constant time, before any plugin runs, and masks it: the
// value reaches neither the sandbox nor the store.
type Token struct {
	// Name is the secret's name; the masked value reads "[token:name]".
	Name string
	// In and Key say where it stands; Key is the header's or the parameter's
	// name and unused for InPath.
	In  Place
	Key string
	// Values are the accepted values, the newest first; several for rotation.
	// None of them is empty: config refuses that. No values at all means that
	// the token is not bound: it is masked and not asked for.
	Values [][]byte
	// Signed says that Values are keys and that what stands in the place is
	// TEXT.MAC: a text of 1 to 128 characters ([IsTokenText]) and the lower-case
	// hexadecimal HMAC-SHA256 of it. The text is no secret and stays.
	Signed bool
}

func (t *Token) mask() string { return "[token:" + t.Name + "]" }

func (t *Token) algorithm() Algorithm {
	if t.Signed {
		return SignedToken
	}
	return StaticToken
}

// match compares every bound value, so that the time taken does not tell which
// one was near, and returns the index of the one that is equal, -1 for none,
// and of a signed token the text that it speaks for.
func (t *Token) match(got string) (which int, text string) {
	mac := got
	if t.Signed {
		text, mac, _ = cutLast(got, '.')
	}
	which = -1
	for i, v := range t.Values {
		right := v
		if t.Signed {
			right = []byte(SignToken(v, text))
		}
		if subtle.ConstantTimeCompare(right, []byte(mac)) == 1 && which < 0 {
			which = i
		}
	}
	if t.Signed && !IsTokenText(text) || which < 0 {
		return -1, ""
	}
	return which, text
}

// Matches says that got is right for one of the bound values. It compares in
// constant time.
func (t *Token) Matches(got string) bool {
	which, _ := t.match(got)
	return which >= 0
}

// cutLast is [strings.Cut] at the last separator; without one all is behind it.
func cutLast(s string, separator byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, separator)
	return s[:max(i, 0)], s[i+1:], i >= 0
}

// maxTokenText bounds what a signed token may speak for.
const maxTokenText = 128

// IsTokenText reports whether text is 1 to 128 of the characters that stand in
// a URL as they are: A-Z a-z 0-9 . _ ~ -.
func IsTokenText(text string) bool {
	return text != "" && len(text) <= maxTokenText && IsUnreserved(text)
}

// IsUnreserved reports whether text stands in a URL as it is: nothing but A-Z
// a-z 0-9 . _ ~ - (RFC 3986 §2.3).
func IsUnreserved(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == '~', c == '-':
		default:
			return false
		}
	}
	return true
}

// SignToken is the MAC of a signed token: who has it may speak for text.
func SignToken(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// Unable says what becomes of a callback when Postern itself cannot judge it.
type Unable uint8

// The ways to be unable. The zero value is Retry.
const (
	// Retry answers 503 with Retry-After: the provider sends it again.
	Retry Unable = iota
	// Keep stores the raw callback as a record to be reprocessed and answers
	// as if it had been accepted, for providers that do not retry.
	Keep
)

// Endpoint is one intake URL: a tenant and a name, with everything needed to
// judge what arrives there. It is immutable once serving.
type Endpoint struct {
	Tenant   string
	Name     string
	Provider string
	// Plugin is the provider's module with this endpoint's secrets and settings,
	// or a tenant's in its place.
	Plugin Plugin
	// PluginVersion names the module for the record: "ottu@0.1.0+sha256:…".
	PluginVersion string
	// Guards judge what the plugin accepted, in this order.
	Guards []BoundGuard
	// Tokens must all match before the plugin runs, those that are bound.
	Tokens []Token
	// Unverified accepts events without evidence (verification: none).
	Unverified bool
	// Unable is what to do when the plugin fails.
	Unable Unable
	// Ack is sent where the plugin names no ack of its own. A zero Status
	// means 200.
	Ack Answer
	// RejectStatus is the status of a rejection; zero means by its reason
	// (401 not verified, 400 otherwise).
	RejectStatus int
}

// Source is the CloudEvents source of the endpoint's events.
func (e *Endpoint) Source() string { return "/" + e.Tenant + "/" + e.Name }

// maskTokens compares every token of the endpoint with what the callback
// carries, masks them all in the callback, matching or not, and returns the
// evidence and whether all matched.
//
// Invariant 8: a secret that travels as it is stands as "[token:name]" from
// here on, in the sandbox, the store and every log, also where a proxy on the
// way repeated it. Of a signed token that is right the text stays:
// "TEXT.[token:name]".
func (e *Endpoint) maskTokens(cb *Callback) bool {
	all := true
	cb.Tokens, cb.TokenTexts = nil, nil
	var gone traces
	before := cb.Target
	for i := range e.Tokens {
		t := &e.Tokens[i]
		which, text := -1, ""
		found := t.take(cb, func(raw, got string) string {
			masked := t.mask()
			if which, text = t.match(got); which >= 0 && t.Signed {
				masked = text + "." + t.mask()
			}
			gone.leave(t, raw, got, masked)
			return masked
		})
		if len(t.Values) == 0 || t.In == InAny && !found {
			continue
		}
		if !found || which < 0 {
			all = false
			continue
		}
		if t.Signed {
			if cb.TokenTexts == nil {
				cb.TokenTexts = make(map[string]string)
			}
			cb.TokenTexts[t.Name] = text
		}
		cb.Tokens = append(cb.Tokens, Evidence{
			Secret: t.Name, Value: which, Algorithm: t.algorithm(), Covers: CoversNone,
		})
	}
	gone.wipe(cb, before)
	return all
}

// traces are the texts that a masked token can have left elsewhere in a
// callback, and what is to stand for each.
type traces struct{ pairs [][2]string }

// minTrace is how long a text must be to be looked for alone: a wrong token of
// three characters would tear every header to pieces.
const minTrace = 8

// leave notes what stood in a token's place, raw and decoded, and of a signed
// token the MAC in it.
func (g *traces) leave(t *Token, raw, got, masked string) {
	g.add(raw, masked)
	g.add(got, masked)
	if t.Signed {
		_, mac, _ := cutLast(got, '.')
		g.add(mac, t.mask())
	}
}

// add passes over what the mask itself has in it: it tells nothing more.
func (g *traces) add(text, masked string) {
	if len(text) >= minTrace && !strings.Contains(masked, text) {
		g.pairs = append(g.pairs, [2]string{text, masked})
	}
}

// wipe masks what the tokens left in the headers and the target: proxies add
// the path and the URL as they came (X-Original-URI, X-Forwarded-Uri, Referer).
// Before is the target as it was: it and its path are looked for whole, however
// short the token in it is.
func (g *traces) wipe(cb *Callback, before string) {
	if cb.Target != before {
		path, _, _ := strings.Cut(before, "?")
		maskedPath, _, _ := strings.Cut(cb.Target, "?")
		g.add(before, cb.Target)
		if path != maskedPath {
			g.add(path, maskedPath)
		}
	}
	if !g.stand(cb) {
		return
	}
	// The longest first: a shorter one may stand in it. All in one go: what a
	// mask has in it is not looked through again.
	slices.SortStableFunc(g.pairs, func(a, b [2]string) int { return len(b[0]) - len(a[0]) })
	var list []string
	for _, pair := range g.pairs {
		list = append(list, pair[0], pair[1])
	}
	masks := strings.NewReplacer(list...)
	for i := range cb.Headers {
		cb.Headers[i].Value = masks.Replace(cb.Headers[i].Value)
	}
	cb.retarget(masks.Replace(cb.Target))
}

// stand reports whether any of the texts is still there, as good as never, or
// whether there are too many to look for one by one.
func (g *traces) stand(cb *Callback) bool {
	const few = 16
	for _, pair := range g.pairs {
		in := func(h Header) bool { return strings.Contains(h.Value, pair[0]) }
		if len(g.pairs) > few || strings.Contains(cb.Target, pair[0]) || slices.ContainsFunc(cb.Headers, in) {
			return true
		}
	}
	return false
}

// take puts what mask makes of the token's value in cb in its place, and
// reports whether there is exactly one. A repeated header or parameter is no
// token: two parties could read it differently. The mask is given the value as
// it stands there and decoded.
func (t *Token) take(cb *Callback, mask func(raw, got string) string) bool {
	switch t.In {
	case InHeader:
		return t.takeHeader(cb, mask)
	case InQuery:
		return takeQuery(cb, func(name string) bool { return name == t.Key }, mask) == 1
	case InPath:
		return t.takePath(cb, mask)
	case InAny:
		return t.takeAny(cb, mask)
	}
	return false
}

func (t *Token) takeAny(cb *Callback, mask func(raw, got string) string) bool {
	found := false
	ours := func(raw, got string) string {
		if which, _ := t.match(got); which < 0 {
			return raw
		}
		found = true
		return mask(raw, got)
	}
	for i := range cb.Headers {
		cb.Headers[i].Value = ours(cb.Headers[i].Value, cb.Headers[i].Value)
	}
	takeQuery(cb, func(string) bool { return true }, ours)
	return found
}

func (t *Token) takeHeader(cb *Callback, mask func(raw, got string) string) bool {
	n := 0
	for i := range cb.Headers {
		if h := &cb.Headers[i]; strings.EqualFold(h.Name, t.Key) {
			h.Value = mask(h.Value, h.Value)
			n++
		}
	}
	return n == 1
}

// takeQuery masks the parameters whose name is one, and counts them.
func takeQuery(cb *Callback, one func(name string) bool, mask func(raw, got string) string) int {
	path, query, ok := strings.Cut(cb.Target, "?")
	if !ok {
		return 0
	}
	n := 0
	parts := strings.Split(query, "&")
	for i, part := range parts {
		rawName, rawValue, _ := strings.Cut(part, "=")
		if name, err := url.QueryUnescape(rawName); err != nil || !one(name) {
			continue
		}
		n++
		value, err := url.QueryUnescape(rawValue)
		if err != nil {
			value = ""
		}
		parts[i] = rawName + "=" + mask(rawValue, value)
	}
	cb.retarget(path + "?" + strings.Join(parts, "&"))
	return n
}

// pathPrefix is the number of slashes before the token: /in/tenant/endpoint/.
const pathPrefix = 4

func (t *Token) takePath(cb *Callback, mask func(raw, got string) string) bool {
	path, query, hasQuery := strings.Cut(cb.Target, "?")
	parts := strings.SplitN(path, "/", pathPrefix+1)
	if len(parts) != pathPrefix+1 {
		return false
	}
	parts[pathPrefix] = mask(parts[pathPrefix], parts[pathPrefix])
	masked := strings.Join(parts, "/")
	if hasQuery {
		masked += "?" + query
	}
	cb.retarget(masked)
	return true
}

// retarget puts the masked target in place of the target, everywhere: a
// configured URL that itself ends in a token has the target in it twice.
func (c *Callback) retarget(masked string) {
	c.PublicURL = strings.ReplaceAll(c.PublicURL, c.Target, masked)
	c.Target = masked
}

// Algorithm names what a callback was verified with. The names are those of
// an event's "verifiedby".
type Algorithm string

// The algorithms known so far.
const (
	None        Algorithm = "none"
	StaticToken Algorithm = "static-token"
	// SignedToken is a token that speaks for a text: TEXT.MAC.
	SignedToken Algorithm = "signed-token"
	HMACSHA1    Algorithm = "hmac-sha1"
	HMACSHA256  Algorithm = "hmac-sha256"
	HMACSHA384  Algorithm = "hmac-sha384"
	HMACSHA512  Algorithm = "hmac-sha512"
	RSAPKCS1v15 Algorithm = "rsa-pkcs1v15-sha256"
	ECDSAP256   Algorithm = "ecdsa-p256-sha256"
	Ed25519     Algorithm = "ed25519"
	AES128CBC   Algorithm = "aes-128-cbc"
	// AES128CBCZero is AES128CBC with zero bytes as padding.
	AES128CBCZero Algorithm = "aes-128-cbc-zero"
)

// Strength orders the ways of verification for the scope of dedup keys.
type Strength uint8

// Strengths, weakest first.
const (
	Unproven      Strength = iota // no evidence
	Bearer                        // a static credential was shown
	Cryptographic                 // a signature or a cipher was checked
)

// Strength of an algorithm.
func (a Algorithm) Strength() Strength {
	switch a {
	case None, "":
		return Unproven
	case StaticToken, SignedToken:
		return Bearer
	default:
		return Cryptographic
	}
}

// Covers says which bytes of the callback an evidence speaks for.
type Covers uint8

// What an evidence covers.
const (
	CoversNone   Covers = iota // nothing of the body: a credential was shown beside it
	CoversFields               // some fields of the body, as the plugin put them together
	CoversBody                 // the whole body
)

// String is the value of an event's "covers".
func (c Covers) String() string {
	switch c {
	case CoversFields:
		return "fields"
	case CoversBody:
		return "body"
	case CoversNone:
	}
	return "none"
}

// MarshalJSON writes the name.
func (c Covers) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// UnmarshalJSON reads the name; an unknown one counts as none.
func (c *Covers) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*c = CoversNone
	for _, known := range []Covers{CoversFields, CoversBody} {
		if s == known.String() {
			*c = known
		}
	}
	return nil
}

// Evidence is what the host itself saw of a callback's verification: that,
// with what, and over which bytes. A plugin can ask for one and can never
// make one.
type Evidence struct {
	// Secret is the name of the secret, never its value.
	Secret string `json:"secret"`
	// Value is the index of the bound value that matched (0 is the newest).
	Value int `json:"value"`
	// Algorithm is what was checked.
	Algorithm Algorithm `json:"algorithm"`
	// Covers says which bytes it speaks for.
	Covers Covers `json:"covers"`
}
