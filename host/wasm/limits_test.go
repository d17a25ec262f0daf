package wasm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/content"
)

// largest is the most that a view is made of: the largest body that an intake
// takes where nobody says otherwise, which is the cap of an encoded one too.
const largest = content.Most

// TestLargestBody_failsNoPlugin sends every plugin a body at the limit, as it
// is and gzipped, each of its members large in turn and all of them together. A
// plugin that ran out of memory would be "unable", and where that keeps, an
// unsigned body would be stored and answered like a good one.
func TestLargestBody_failsNoPlugin(t *testing.T) {
	modules, err := filepath.Glob("../../plugins/dist/*.wasm")
	if err != nil || len(modules) == 0 {
		t.Fatalf("%d modules, err %v (build them with: make plugins)", len(modules), err)
	}
	r := newRuntime(t, Options{})
	for _, module := range modules {
		m, err := r.Load(t.Context(), module)
		if err != nil {
			t.Fatal(err)
		}
		if m.Manifest().Guard {
			continue
		}
		goldens, err := ReadGoldens(module)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for i := range goldens {
			swell(t, m, &goldens[i], seen)
		}
		t.Logf("%s: %d bodies of %d bytes, plain and gzipped", filepath.Base(module), len(seen), largest)
		if len(seen) == 0 {
			t.Errorf("%s: no golden has a body to swell", module)
		}
	}
}

// swell judges a golden's callback with each member large that was not yet, for
// its secrets, and all of them for its settings.
func swell(t *testing.T, m *Module, g *Golden, seen map[string]bool) {
	t.Helper()
	p, err := m.Bind(Binding{Secrets: g.Secrets, Settings: g.Settings, Unverified: g.Unverified})
	if err != nil {
		t.Fatal(err)
	}
	ep := &host.Endpoint{Plugin: p, Tokens: p.Tokens(), Unverified: g.Unverified}
	for member, body := range swollen(request(t, g).Body) {
		what := fmt.Sprint(slices.Sorted(maps.Keys(g.Secrets)), member)
		if member == "*" {
			what += fmt.Sprint(g.Settings)
		}
		if seen[what] {
			continue
		}
		seen[what] = true
		for _, encoding := range []string{"", "gzip"} {
			cb := request(t, g)
			cb.Body = body
			if encoding != "" {
				cb.Body = zipped(t, body)
				cb.Headers = append(cb.Headers, host.Header{Name: "Content-Encoding", Value: encoding})
			}
			if _, err := ep.Judge(t.Context(), cb); err != nil {
				t.Errorf("%s, %s of %d bytes %s: %v", g.Name, member, len(body), encoding, err)
			}
		}
	}
}

// swollen are bodies at the limit by what is large in them: the one member, or
// all of them alike ("*").
func swollen(body []byte) map[string][]byte {
	var whole any
	if json.Unmarshal(body, &whole) != nil {
		return nil
	}
	list, _ := whole.([]any)
	object, _ := whole.(map[string]any)
	if len(list) > 0 {
		object, _ = list[0].(map[string]any)
	}
	out := make(map[string][]byte)
	fill := func(name string, members ...string) {
		kept := maps.Clone(object)
		defer maps.Copy(object, kept)
		for _, m := range members {
			object[m] = ""
		}
		room := largest - len(encoded(whole))
		for _, m := range members {
			object[m] = strings.Repeat("x", room/len(members))
		}
		out[name] = encoded(whole)
	}
	members := slices.Sorted(maps.Keys(object))
	for _, m := range members {
		fill(m, m)
	}
	if len(members) > 0 {
		fill("*", members...)
	}
	return out
}

func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// zipped is a body that decodes to its limit: the gzip header has something in
// it that makes it large enough for the ratio.
func zipped(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	z.Extra = make([]byte, math.MaxUint16)
	if _, err := z.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := content.Decode([]string{"gzip"}, b.Bytes()); err != nil || len(got) != len(body) {
		t.Fatalf("%d bytes decode to %d, err %v; want %d", b.Len(), len(got), err, len(body))
	}
	return b.Bytes()
}

// TestHeldBytesAreLimited: however a guest has the host keep bytes, the sum is
// bounded; nothing else bounds these loops.
func TestHeldBytesAreLimited(t *testing.T) {
	item := `"` + strings.Repeat("x", 1<<20) + `"`
	d := drive(t, hmacSecret, hmacBinding, callback(item))
	d.in.api.Memory().Grow(20)
	for name, keep := range map[string]func() code{
		"bytes":        func() code { return d.do("bytes", encodingRaw, item) },
		"signed_bytes": func() code { return d.do("signed_bytes", 0, item) },
		"set":          func() code { d.do("event_begin", -1); return d.do("set", fieldProviderData, item) },
		"map":          func() code { d.do("event_begin", -1); return d.do("map", fieldProviderData, 0, "") },
		"set_aside":    func() code { return d.do("set_aside", 0, "", "") },
	} {
		d.in.guest.start(d.in.guest.plugin, d.in.guest.cb)
		d.in.tank.Fill(1 << 40)
		d.want(0, "signed_begin", "k")
		d.want(0, "view", viewJSON, 0)
		kept := 0
		for d.next = 1024; kept <= maxHeld>>20 && keep() >= 0; d.next = 1024 {
			kept++
		}
		if want := maxHeld / len(item); kept != want {
			t.Errorf("%s: %d items of a MiB were kept, want %d", name, kept, want)
		}
		if name == "signed_bytes" {
			d.want(overLimit, "signed_check", 0, bodyHMAC, encodingHex)
		}
	}
}

// TestSigned_growsByBytesOnly: saying nothing takes no memory, the body stands
// in it once, and of nothing said there is no MAC.
func TestSigned_growsByBytesOnly(t *testing.T) {
	d := signer(t, hmacSecret, hmacBinding, callback("body"))
	d.want(0, "signed_begin", "k")
	d.want(invalid, "signed_check", 0, bodyHMAC, encodingHex)
	d.want(invalid, "sign", 0, encodingHex, 0, 64)
	d.want(ok, "signed_bytes", 0, "")
	d.want(unverified, "signed_check", 0, bodyHMAC, encodingHex)
	for range 3 {
		d.want(ok, "signed_bytes", 0, "")
		d.want(ok, "signed_bytes", 0, "x")
	}
	d.want(1, "signed_begin", "k")
	d.want(ok, "signed_body", 1)
	d.want(ok, "signed_bytes", 1, "")
	d.want(invalid, "signed_body", 1)
	if got := len(d.in.guest.signed[0].parts); got != 1 {
		t.Errorf("%d parts, want 1", got)
	}
	if got := len(d.in.guest.signed[1].parts); got != 1 {
		t.Errorf("%d parts of the body, want 1", got)
	}
	if got := d.in.guest.held; got != 3 {
		t.Errorf("%d bytes are held, want 3", got)
	}
	// The second signed_body changed nothing.
	d.want(0, "signed_check", 1, bodyHMAC, encodingHex)
}

// TestHeldViewsAreCounted: a view takes many times its text, a sealed one by its
// length alone, whatever is in it.
func TestHeldViewsAreCounted(t *testing.T) {
	list := "[" + strings.Repeat("1,", 999) + "1]"
	form := strings.Repeat("a=1&", 1000)
	d := signer(t, cipherSecret, cipherBinding, callback(""))
	held := func(kind int, text string) int {
		of := d.do("bytes", encodingRaw, text)
		before := d.in.guest.held
		if c := d.do("view", kind, of); c < 0 {
			t.Fatalf("view = %d", c)
		}
		return d.in.guest.held - before
	}
	for name, tt := range map[string]struct{ got, least, most int }{
		"a list": {held(viewJSON, list), 1001 * 72, 1001 * 192},
		"a form": {held(viewForm, form), 1001 * 144, 1001 * 384},
		"a text": {held(viewJSON, `"`+strings.Repeat(",", 4000)+`"`), 1, 40 << 10},
	} {
		if tt.got < tt.least || tt.got > tt.most {
			t.Errorf("%s: %d bytes are held, want %d to %d", name, tt.got, tt.least, tt.most)
		}
	}
	var sealed []int
	for _, text := range []string{list, strings.Repeat("x", len(list))} {
		of := d.do("decrypt", "k", testIV, d.do("encrypt", "k", testIV, d.do("bytes", encodingRaw, text)))
		before := d.in.guest.held
		d.do("view", viewJSON, of)
		sealed = append(sealed, d.in.guest.held-before)
	}
	if sealed[0] != sealed[1] || sealed[0] < 2*1001*72 {
		t.Errorf("%d bytes are held for views of two candidates, want them alike", sealed)
	}
	d.in.guest.held = maxHeld - len(list)
	of := d.do("bytes", encodingRaw, list)
	d.want(overLimit, "view", viewJSON, of)
	d.in.guest.held = 0
	of = d.do("decrypt", "k", testIV, d.do("encrypt", "k", testIV, of))
	d.in.guest.held = maxHeld
	d.want(overLimit, "view", viewJSON, of)
}
