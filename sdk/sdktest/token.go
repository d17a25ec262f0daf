package sdktest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"regexp"
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
	if len(found) != 1 {
		return token{}, false
	}
	t, ok := s.compare(found[0])
	if t.signed {
		r.swap(s, t.text+"."+mask)
	}
	return t, ok
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

// swap writes text wherever a token stands and returns what stood there.
func (r *request) swap(s *secret, text string) (found []string) {
	place, name, _ := strings.Cut(s.In, ":")
	switch place {
	case "header":
		for i, h := range r.headers {
			if strings.EqualFold(h.name, name) {
				found = append(found, h.value)
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

func (r *request) swapQuery(key, text string) (found []string) {
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
		found = append(found, plain)
	}
	r.target = path + "?" + strings.Join(parts, "&")
	return found
}

// swapPath speaks of the fourth segment, /in/tenant/endpoint/TOKEN.
func (r *request) swapPath(text string) []string {
	path, query, more := strings.Cut(r.target, "?")
	parts := strings.SplitN(path, "/", 5)
	if len(parts) != 5 {
		return nil
	}
	r.target = strings.Join(parts[:4], "/") + "/" + text
	if more {
		r.target += "?" + query
	}
	return []string{parts[4]}
}
