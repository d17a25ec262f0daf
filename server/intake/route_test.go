package intake

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/postern/postern/host"
)

// An endpoint that has gone by the time its callback is there is looked up again, and
// the callback counts once.
func TestRoute_goesWhileTheBodyComes(t *testing.T) {
	t.Parallel()
	gate := NewGate(nil, nil, Limit{PerSecond: 1e-6, Burst: 1})
	var looked, begun, ended int
	f := start(t, testLimits, func(f *fixture) {
		lookup := f.o.Lookup
		f.o.Lookup = func(tenant, name string) (Route, bool) {
			looked++
			gone := looked <= 2
			r, ok := lookup(tenant, name)
			r.Gate = gate
			r.Begin = func() bool {
				begun++
				return !gone
			}
			r.End = func() { ended++ }
			return r, ok
		}
	})
	f.ingest = func(*host.Callback) host.Answer {
		if ended != 0 {
			t.Error("the endpoint was let go of before its callback was judged")
		}
		return host.Answer{}
	}
	res, err := http.Post("http://"+f.addr+"/in/acme/pay", "text/plain", strings.NewReader("a"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	got := fmt.Sprint(res.StatusCode, looked, begun, ended, len(f.callbacks()))
	if want := "200 3 3 1 1"; got != want {
		t.Errorf("status, lookups, begun, ended, callbacks = %s, want %s", got, want)
	}
}

// One that has gone for good is answered as what was never there.
func TestRoute_goesForGood(t *testing.T) {
	t.Parallel()
	there := true
	f := start(t, testLimits, func(f *fixture) {
		lookup := f.o.Lookup
		f.o.Lookup = func(tenant, name string) (Route, bool) {
			r, ok := lookup(tenant, name)
			r.Begin = func() bool {
				there = false
				return false
			}
			return r, ok && there
		}
	})
	res, err := http.Post("http://"+f.addr+"/in/acme/pay", "text/plain", strings.NewReader("a"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound || len(f.callbacks()) != 0 {
		t.Errorf("answered %d, %d callbacks; want 404 and none", res.StatusCode, len(f.callbacks()))
	}
}
