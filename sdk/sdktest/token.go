package sdktest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// docs/plugin-abi.md §2 and docs/goldens.md §2.

// token is a token that was right: which value it had and, of a signed one,
// what it speaks for.
type token struct {
	which  int
	text   string
	signed bool
}

var tokenText = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,128}$`)

// tokenMAC is what stands behind text and a point in a signed token.
func (s *secret) tokenMAC(i int, text string) string {
	h := hmac.New(sha256.New, s.keys[i])
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// compare tells whether what stood in the token's place is right.
func (s *secret) compare(got string) (token, bool) {
	t := token{signed: s.Use == signedToken}
	mac := got
	if point := strings.LastIndexByte(got, '.'); t.signed {
		if point < 0 || !tokenText.MatchString(got[:point]) {
			return token{}, false
		}
		t.text, mac = got[:point], got[point+1:]
	}
	for i, key := range s.keys {
		want := string(key)
		if t.signed {
			want = s.tokenMAC(i, t.text)
		}
		if hmac.Equal([]byte(want), []byte(mac)) {
			t.which = i
			return t, true
		}
	}
	return token{}, false
}

// place is where a token stands, equal for equal places.
func (s *secret) place() string {
	if name, ok := strings.CutPrefix(s.In, "header:"); ok {
		return "header:" + strings.ToLower(name)
	}
	return s.In
}

// take masks a token wherever it stands, and returns it if it stands once and
// is right.
func (r *request) take(s *secret) (token, bool) {
	mask := "[token:" + s.Name + "]"
	found := r.swap(s, mask)
	var t token
	var ok bool
	masked := mask
	if len(found) == 1 {
		t, ok = s.compare(found[0].plain)
	}
	if t.signed {
		masked = t.text + "." + mask
		r.swap(s, masked)
	}
	for _, was := range found {
		r.leave(was.raw, masked)
		r.leave(was.plain, masked)
		if s.Use == signedToken {
			r.leave(was.plain[strings.LastIndexByte(was.plain, '.')+1:], mask)
		}
	}
	return t, ok
}

// minTrace is the least length of what is looked for elsewhere.
const minTrace = 8

// leave notes what stood in a token's place and may stand elsewhere too.
func (r *request) leave(text, masked string) {
	if len(text) >= minTrace && !strings.Contains(masked, text) {
		r.traces = append(r.traces, [2]string{text, masked})
	}
}

// wipe masks what the tokens left in the headers and in the target, which
// was another before: a proxy may have repeated them.
func (r *request) wipe(before string) {
	path, _, _ := strings.Cut(before, "?")
	masked, _, _ := strings.Cut(r.target, "?")
	r.leave(before, r.target)
	r.leave(path, masked)
	slices.SortStableFunc(r.traces, func(a, b [2]string) int { return len(b[0]) - len(a[0]) })
	var list []string
	for _, pair := range r.traces {
		list = append(list, pair[0], pair[1])
	}
	masks := strings.NewReplacer(list...)
	for i := range r.headers {
		r.headers[i].value = masks.Replace(r.headers[i].value)
	}
	r.target = masks.Replace(r.target)
}

// put sets a token in the place where it belongs.
func (r *request) put(s *secret, text string) {
	if len(r.swap(s, text)) > 0 {
		return
	}
	path, query, more := strings.Cut(r.target, "?")
	place, name, _ := strings.Cut(s.In, ":")
	switch {
	case place == "header":
		r.headers = append(r.headers, field{name, text})
	case place == "path":
		if r.target = path + "/" + text; more {
			r.target += "?" + query
		}
	case more:
		r.target += "&" + url.QueryEscape(name) + "=" + text
	default:
		r.target += "?" + url.QueryEscape(name) + "=" + text
	}
}

// stood is what was in a token's place, as sent and decoded.
type stood struct{ raw, plain string }

// swap writes text wherever a token stands and returns what stood there.
func (r *request) swap(s *secret, text string) (found []stood) {
	place, name, _ := strings.Cut(s.In, ":")
	switch place {
	case "header":
		for i, h := range r.headers {
			if strings.EqualFold(h.name, name) {
				found = append(found, stood{h.value, h.value})
				r.headers[i].value = text
			}
		}
		return found
	case "query":
		return r.swapQuery(name, text)
	default:
		return r.swapPath(text)
	}
}

func (r *request) swapQuery(key, text string) (found []stood) {
	path, query, more := strings.Cut(r.target, "?")
	if !more {
		return nil
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err != nil || plain != key {
			continue
		}
		parts[i] = name + "=" + text
		plain, err := url.QueryUnescape(value)
		if err != nil {
			plain = ""
		}
		found = append(found, stood{value, plain})
	}
	r.target = path + "?" + strings.Join(parts, "&")
	return found
}

// swapPath speaks of the fourth segment, /in/tenant/endpoint/TOKEN.
func (r *request) swapPath(text string) []stood {
	path, query, more := strings.Cut(r.target, "?")
	parts := strings.SplitN(path, "/", 5)
	if len(parts) != 5 {
		return nil
	}
	r.target = strings.Join(parts[:4], "/") + "/" + text
	if more {
		r.target += "?" + query
	}
	return []stood{{parts[4], parts[4]}}
}
