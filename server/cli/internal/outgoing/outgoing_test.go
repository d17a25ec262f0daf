package outgoing

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

func TestParse(t *testing.T) {
	got, err := Parse([]byte("# a payment\n\nPOST /in/main/ottu?x=1 HTTP/1.1\r\nX-A: one \nhost: elsewhere\nX-A:two\nContent-Length: 9\n\n{\"a\":1}\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &host.Callback{
		Method: "POST", Target: "/in/main/ottu?x=1",
		Headers: []host.Header{{Name: "X-A", Value: "one"}, {Name: "X-A", Value: "two"}},
		Body:    []byte("{\"a\":1}\n\n"),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b host.Callback) bool {
		return a.Method == b.Method && a.Target == b.Target && cmp.Equal(a.Headers, b.Headers) && cmp.Equal(a.Body, b.Body)
	})); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
}

func TestParse_refuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "it has no request line",
		"# only a comment\n":        "it has no request line",
		"POST":                      `its request line "POST" is not METHOD /path`,
		"POST elsewhere\n":          `its request line "POST elsewhere" is not METHOD /path`,
		"GET / HTTP/1.1\nX A: 1\n":  `header "X A: 1" is not "Name: value"`,
		"GET / HTTP/1.1\nnothing\n": `header "nothing" is not "Name: value"`,
	} {
		if _, err := Parse([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("Parse(%q) = %v, want %q", in, err, want)
		}
	}
}
