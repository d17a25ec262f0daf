package intake

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

var codeOf = map[string]host.Code{
	"400": host.HeadMalformed, "408": host.RequestTimeout, "413": host.BodyTooLarge,
	"415": host.EncodingUnsupported, "431": host.HeadTooLarge,
}

// The request that follows in the same packet must neither be answered nor
// taken.
func TestHead_refused(t *testing.T) {
	t.Parallel()
	all := vectors()
	if len(all) < 110 {
		t.Errorf("%d vectors, want at least 110", len(all))
	}
	limits := testLimits
	limits.Read = 500 * time.Millisecond
	names := make(map[string]bool)
	for _, v := range all {
		if names[v.name] {
			t.Errorf("two vectors called %q", v.name)
		}
		names[v.name] = true
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, limits, nil)
			got := f.raw(t, v.wire+second)
			if v.status == "" {
				v.status = "400"
			}
			if !strings.HasPrefix(got, "HTTP/1.1 "+v.status+" ") {
				t.Errorf("answer = %q, want status %s", got, v.status)
			}
			if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
				t.Errorf("%d answers, want the refusal alone:\n%s", n, got)
			}
			if !strings.Contains(got, "\r\nConnection: close\r\n") {
				t.Errorf("the connection is not closed:\n%s", got)
			}
			code := codeOf[v.status]
			if v.name == "101 fields" || v.name == "1000 fields" {
				code = host.HeadTooMany
			}
			want := string(host.Failure(code).Body)
			if strings.HasPrefix(v.wire, "HEAD ") {
				want = ""
			}
			if _, body, _ := strings.Cut(got, "\r\n\r\n"); body != want {
				t.Errorf("body = %q, want %q", body, want)
			}
			if accepts := strings.Contains(got, "\r\nAccept-Encoding: gzip, deflate, identity\r\n"); accepts != (v.status == "415") {
				t.Errorf("codings told: %t in %q", accepts, got)
			}
			if cbs := f.callbacks(); len(cbs) != 0 {
				t.Errorf("%d callbacks went through: %+v", len(cbs), cbs[0])
			}
			if f.log.Len() != 0 {
				t.Errorf("log = %s, want nothing", f.log)
			}
			if diff := cmp.Diff([]host.Code{code}, f.codes); diff != "" {
				t.Errorf("refused codes (-want +got):\n%s", diff)
			}
		})
	}
}

// What fasthttp refuses today is refused by our own judge as well.
func TestField(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", "\r\n", "X-Sig: a", "X-Sig: a\n", "X-Sig\r\n", ": a\r\n", "X Sig: a\r\n", "X-Sig : a\r\n", " X-Sig: a\r\n",
		"X-Sig\x00: a\r\n", "X-\xc3\xa4: a\r\n", "X/Sig: a\r\n", "X-Sig: a\x00\r\n", "X-Sig: a\nb\r\n", "X-Sig: a\rb\r\n",
		"X-Sig: a\x0bb\r\n", "X-Sig: a\x1b\r\n", "X-Sig: a\x7f\r\n",
	} {
		if name, value, _, ok := field([]byte(raw)); ok {
			t.Errorf("field(%q) = %q: %q, want none", raw, name, value)
		}
	}
	name, value, rest, ok := field([]byte("X-Sig:\t a\tb \r\n\r\n"))
	if string(name) != "X-Sig" || string(value) != "a\tb" || string(rest) != "\r\n" || !ok {
		t.Errorf("field = %q, %q, %q, %t", name, value, rest, ok)
	}
}
