package webhook

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"strings"
)

// masked stands where something secret stood.
const masked = "***"

const (
	// grain is how long a piece of a secret must be to be known as one. An
	// answer that was cut off, or that quotes a part, gives away less than that.
	grain = 8
	// leastHidden is how long a value must be to be a secret at all.
	leastHidden = 4
)

// hidden are the texts that must be shown nowhere. Letters of either case are
// the same to it.
type hidden struct {
	whole  []string            // shorter than grain
	pieces map[string]struct{} // every run of grain bytes of the others
}

// hide takes each text in all the forms in which an answer may quote it.
func hide(texts []string) hidden {
	h := hidden{pieces: make(map[string]struct{})}
	for _, text := range texts {
		if len(text) < leastHidden {
			continue
		}
		for _, form := range forms(text) {
			form = lower(form)
			if len(form) < grain {
				h.whole = append(h.whole, form)
			}
			for i := 0; i+grain <= len(form); i++ {
				h.pieces[form[i:i+grain]] = struct{}{}
			}
		}
	}
	return h
}

func forms(text string) []string {
	out := []string{text, url.QueryEscape(text), url.PathEscape(text), html.EscapeString(text)}
	if quoted, err := json.Marshal(text); err == nil {
		inner := string(quoted[1 : len(quoted)-1])
		out = append(out, inner, strings.ReplaceAll(inner, "/", `\/`))
	}
	return append(append(out, hex.EncodeToString([]byte(text))), inBase64(text)...)
}

// inBase64 is what base64 makes of a text that stands anywhere in another: three
// alignments, without the characters that its neighbours share.
func inBase64(text string) (out []string) {
	for before := range 3 {
		b := append(make([]byte, before), text...)
		from, to := (before*8+5)/6, len(b)*8/6
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			out = append(out, e.EncodeToString(b)[from:to])
		}
	}
	return out
}

// mask puts three stars for whatever is hidden, and for each piece of it.
func (h hidden) mask(text string) string {
	low := lower(text)
	stars := make([]bool, len(text))
	mark := func(from, n int) {
		for i := range n {
			stars[from+i] = true
		}
	}
	for i := range len(low) {
		if i+grain <= len(low) {
			if _, ok := h.pieces[low[i:i+grain]]; ok {
				mark(i, grain)
			}
		}
		for _, w := range h.whole {
			if strings.HasPrefix(low[i:], w) {
				mark(i, len(w))
			}
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !stars[i]:
			out.WriteByte(text[i])
		case i == 0 || !stars[i-1]:
			out.WriteString(masked)
		}
	}
	return out.String()
}

// lower is strings.ToLower for ASCII alone, so that every byte keeps its place.
func lower(text string) string {
	b := []byte(text)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// ofURL is what of a URL may be secret: its path and its query, whole and in
// parts.
func ofURL(u *url.URL) []string {
	out := []string{u.Path, u.EscapedPath(), u.RawQuery, u.RequestURI()}
	out = append(out, strings.Split(u.EscapedPath(), "/")...)
	out = append(out, strings.Split(u.Path, "/")...)
	for part := range strings.FieldsFuncSeq(u.RawQuery, func(r rune) bool { return r == '&' || r == '=' || r == ';' }) {
		out = append(out, part)
		if plain, err := url.QueryUnescape(part); err == nil {
			out = append(out, plain)
		}
	}
	return out
}
