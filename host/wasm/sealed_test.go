package wasm

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/manifest/secret"
)

// vectorsOf reads a file of sdk/testdata.
func vectorsOf[V any](t *testing.T, file string, least int) []V {
	t.Helper()
	text, err := os.ReadFile("../../sdk/testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []V
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < least {
		t.Fatalf("%d vectors, want at least %d", len(vectors), least)
	}
	return vectors
}

// cipherVector is an entry of ciphers.json; sdk/testdata/README.md.
type cipherVector struct {
	Name, Use, Form, IV, Outer, Except, Result string

	Keys       []string
	Ciphertext []byte
	Text       *string
	Value      int
}

func TestCipherVectors(t *testing.T) {
	for _, v := range vectorsOf[cipherVector](t, "ciphers.json", 100) {
		t.Run(v.Name, func(t *testing.T) {
			declared := fmt.Sprintf(`[{"name":"k","use":%q,"form":%q}]`, v.Use, v.Form)
			b := Binding{Secrets: map[string][]string{"k": v.Keys}}
			if v.Result == "key-refused" {
				if _, err := load(t, declared).Bind(b); err == nil {
					t.Error("Bind takes the keys")
				} else if strings.Contains(err.Error(), "test-key") {
					t.Errorf("a key stands in the error %q", err)
				}
				return
			}
			v.compare(t, drive(t, declared, b, callback(v.Outer)))
		})
	}
}

func (v *cipherVector) compare(t *testing.T, d *driver) {
	t.Helper()
	given := d.do("bytes", encodingRaw, string(v.Ciphertext))
	sealed := d.do("decrypt", "k", v.IV, given)
	if v.Result == "malformed" {
		if sealed != malformed {
			t.Errorf("decrypt = %d, want %d", sealed, malformed)
		}
		return
	}
	if sealed < 0 {
		t.Fatalf("decrypt = %d, want a handle", sealed)
	}
	var got code
	if v.Text != nil {
		other := d.do("bytes", encodingRaw, *v.Text)
		d.want(invalid, "same_bytes", given, other)
		got = d.do("same_bytes", other, sealed)
	} else {
		inner := d.do("view", viewJSON, sealed)
		if inner < 0 {
			t.Fatalf("view = %d, want a handle", inner)
		}
		got = d.do("same", d.do("view", viewJSON, 0), inner, v.Except)
	}
	var want []host.Evidence
	wantCode := unverified
	if v.Result == "evidence" {
		want = []host.Evidence{{Secret: "k", Value: v.Value, Algorithm: host.Algorithm(v.Use), Covers: host.CoversFields}}
		wantCode = 0
	} else {
		d.want(denied, "read", sealed, 0, 0, 64)
	}
	if diff := cmp.Diff(want, d.finish(host.Ignore).Evidence); got != wantCode || diff != "" {
		t.Errorf("compared = %d, want %d; evidence (-want +got):\n%s", got, wantCode, diff)
	}
}

const cipherSecret = `[{"name":"k","use":"aes-128-cbc","form":"utf8"},{"name":"mac","use":"hmac-sha256","form":"utf8","optional":true},
	{"name":"other","use":"aes-128-cbc","form":"utf8","optional":true}]`

var cipherBinding = Binding{Secrets: map[string][]string{"k": {"test-key-current", "test-key-of-old."}, "mac": {"test-key"}}}

const (
	testIV = "1234567890123456"
	// Under the older key: {"a":"b","n":1}, by openssl.
	sealedJSON = "p96kQdRzWogTAfVzbtChUA=="
)

// TestSealed_tellsNothing: before it proved anything a decryption answers no
// question, right or wrong; afterwards it is bytes like any other.
func TestSealed_tellsNothing(t *testing.T) {
	right, err := base64.StdEncoding.DecodeString(sealedJSON)
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Repeat("wrong-ciphertext", 2)
	for name, ciphertext := range map[string]string{"right": string(right), "wrong": wrong} {
		t.Run(name, func(t *testing.T) {
			d := drive(t, cipherSecret, cipherBinding, callback(`{"n":1,"a":"b","sum":"x"}`))
			outer := d.do("view", viewJSON, 0)
			sealed := d.do("decrypt", "k", testIV, d.do("bytes", encodingRaw, ciphertext))
			inner := d.do("view", viewJSON, sealed)
			d.want(inner, "view", viewJSON, sealed)
			d.want(0, "event_begin", -1)
			ask := func(want code) {
				for _, call := range [][]any{
					{"read", sealed, 0, 0, 64},
					{"hash", hashSHA256, sealed, 0, 64},
					{"kind", inner, ""},
					{"get", inner, "/a", 0, 64},
					{"len", inner, ""},
					{"name_at", inner, "", 0, 0, 64},
					{"map", fieldProviderData, inner, ""},
					{"set_aside", inner, "", "why"},
				} {
					got := d.do(call[0].(string), call[1:]...) //nolint:forcetypeassert // the list above
					if (got == denied) != (want == denied) || (want != denied && got < 0) {
						t.Errorf("%v = %d, want %d", call, got, want)
					}
				}
			}
			ask(denied)
			d.want(denied, "view", viewForm, sealed)
			d.want(denied, "decrypt", "k", testIV, sealed)
			d.want(denied, "same", inner, inner, "sum")
			d.want(invalid, "same", outer, outer, "sum")
			d.want(invalid, "same", outer, 9, "sum")
			d.want(invalid, "same", 9, inner, "sum")
			d.want(denied, "same_bytes", sealed, sealed)
			d.want(invalid, "same_bytes", 0, 1)
			d.want(invalid, "same_bytes", 0, 9)
			d.want(unverified, "same", outer, inner, "")
			d.want(unverified, "same_bytes", sealed, 0)
			ask(denied)
			if name == "wrong" {
				d.want(unverified, "same", outer, inner, "sum")
				ask(denied)
				return
			}
			d.want(0, "same", outer, inner, "sum")
			ask(ok)
			d.want(invalid, "same", outer, inner, "sum")
			if got, _ := d.text("get", inner, "/a"); got != "b" {
				t.Errorf("get = %q, want b", got)
			}
			want := []host.Evidence{{Secret: "k", Value: 1, Algorithm: host.AES128CBC, Covers: host.CoversFields}}
			if diff := cmp.Diff(want, d.finish(host.Ignore).Evidence); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSealed_bytesThatAreNoJSON: their view was given before anyone knew, and
// answers once they proved something.
func TestSealed_bytesThatAreNoJSON(t *testing.T) {
	d := signer(t, cipherSecret, cipherBinding, callback("not JSON"))
	sealed := d.do("decrypt", "k", testIV, d.do("encrypt", "k", testIV, 0))
	inner := d.do("view", viewJSON, sealed)
	d.want(denied, "kind", inner, "")
	d.want(0, "same_bytes", 0, sealed)
	d.want(malformed, "kind", inner, "")
	d.want(inner, "view", viewJSON, sealed)
	if got, _ := d.text("read", sealed, 0); got[:8] != "not JSON" {
		t.Errorf("read = %q, want the text", got)
	}
}

func TestDecrypt_limits(t *testing.T) {
	d := drive(t, cipherSecret, cipherBinding, callback(""))
	given := d.do("bytes", encodingRaw, strings.Repeat("x", 1<<10))
	d.want(denied, "decrypt", "unknown", testIV, given)
	d.want(denied, "decrypt", "mac", testIV, given)
	d.want(denied, "decrypt", "other", testIV, given) // declared and not bound
	d.want(denied, "signed_begin", "k")               // a cipher makes no MAC
	d.want(invalid, "decrypt", "k", testIV, 9)
	longest := d.do("bytes", encodingRaw, strings.Repeat("x", maxCiphertext))
	longer := d.do("bytes", encodingRaw, strings.Repeat("x", maxCiphertext+secret.BlockSize))
	if c := d.do("decrypt", "k", testIV, longest); c < 0 {
		t.Errorf("decrypt of %d bytes = %d, want a handle", maxCiphertext, c)
	}
	d.want(overLimit, "decrypt", "k", testIV, longer)
	d.in.guest.start(d.in.guest.plugin, d.in.guest.cb)
	d.in.tank.Fill(1 << 40)
	d.next = 1024
	given = d.do("bytes", encodingRaw, strings.Repeat("x", 1<<10))
	for range maxOpened {
		if c := d.do("decrypt", "k", testIV, given); c < 0 {
			t.Fatalf("decrypt = %d, want a handle", c)
		}
	}
	d.want(overLimit, "decrypt", "k", testIV, given)
	// What is sealed is held, once for each value.
	if want := (1 + 2*maxOpened) << 10; d.in.guest.held != want {
		t.Errorf("%d bytes are held, want %d", d.in.guest.held, want)
	}
	d.in.guest.start(d.in.guest.plugin, d.in.guest.cb)
	d.in.tank.Fill(1 << 40)
	d.in.guest.held = maxHeld - 2<<10
	given = d.do("bytes", encodingRaw, strings.Repeat("x", 1<<10))
	d.want(overLimit, "decrypt", "k", testIV, given)
}

func TestSame_limit(t *testing.T) {
	for name, tt := range map[string]struct {
		length int
		want   code
	}{
		"the longest": {maxCompared, unverified},
		"one more":    {maxCompared + 1, overLimit},
	} {
		const frame = `{"a":""}`
		d := drive(t, cipherSecret, cipherBinding, callback(" "+frame[:6]+strings.Repeat("x", tt.length-len(frame))+frame[6:]))
		sealed := d.do("decrypt", "k", testIV, d.do("bytes", encodingRaw, strings.Repeat("x", 16)))
		if got := d.do("same", d.do("view", viewJSON, 0), d.do("view", viewJSON, sealed), ""); got != tt.want {
			t.Errorf("%s: same = %d, want %d", name, got, tt.want)
		}
	}
}

// TestSame_theOuterIsDigestedOnce whatever the inner is: its length is an
// attacker's, and a second time would tell that the padding was right or wrong.
// Every large object in a document takes a slice, so that allocations count digests.
func TestSame_theOuterIsDigestedOnce(t *testing.T) {
	const objects = 200
	object := "{"
	for name := 'a'; name < 'z'; name++ {
		object += fmt.Sprintf(`%q:1,`, string(name))
	}
	object += `"z":1}`
	outer := `{"list":[` + strings.Repeat(object+",", objects-1) + object + `]}`
	d := signer(t, cipherSecret, Binding{Secrets: map[string][]string{"k": {"test-key-current"}}}, callback(outer))
	of := d.do("view", viewJSON, 0)
	// The last byte of each says how much of it is padding. 9 is right; 10 is
	// wrong, and takes the brace.
	allocated := func(plain string) float64 {
		block := d.do("encrypt", "k", testIV, d.do("bytes", encodingRaw, plain))
		whole := d.in.guest.chunks[block].bytes[:secret.BlockSize]
		sealed := d.do("decrypt", "k", testIV, d.do("bytes", encodingRaw, string(whole)))
		inner := d.do("view", viewJSON, sealed)
		if c := d.in.guest.chunks[sealed].seal.candidates[0]; (c.view != nil) != strings.HasSuffix(plain, "\x09") {
			t.Fatalf("%q is parsed: %v", plain, c.view != nil)
		}
		return testing.AllocsPerRun(10, func() { d.want(unverified, "same", of, inner, "sum") })
	}
	right := allocated(`{"a":1}` + strings.Repeat("\x09", 9))
	wrong := allocated(`{"a":1}` + strings.Repeat("\x09", 8) + "\x0a")
	for name, got := range map[string]float64{"right": right, "wrong": wrong} {
		if digests := int(got) / objects; digests != 1 {
			t.Errorf("%s padding: %v allocations are %d digests of the outer, want 1", name, got, digests)
		}
	}
}

// signer is a driver in postern_sign.
func signer(t *testing.T, secrets string, b Binding, cb *host.Callback) *driver {
	t.Helper()
	d := drive(t, secrets, b, cb)
	d.in.guest.signs, d.in.guest.spoken = &host.Callback{}, map[string]string{}
	return d
}

// TestEncrypt_givesWhatOpensslGives holds it against every vector whose padding
// is its cipher's own.
func TestEncrypt_givesWhatOpensslGives(t *testing.T) {
	tried := 0
	for _, v := range vectorsOf[cipherVector](t, "ciphers.json", 100) {
		if v.Result != "evidence" || v.Value != 0 || v.Text == nil {
			continue
		}
		tried++
		d := signer(t, fmt.Sprintf(`[{"name":"k","use":%q,"form":%q}]`, v.Use, v.Form),
			Binding{Secrets: map[string][]string{"k": v.Keys}}, callback(*v.Text))
		made := d.do("encrypt", "k", v.IV, 0)
		if got := d.in.guest.chunks[made].bytes; string(got) != string(v.Ciphertext) {
			t.Errorf("%s: encrypt = %x, want %x", v.Name, got, v.Ciphertext)
		}
		d.want(malformed, "encrypt", "k", "short", 0)
		d.want(denied, "encrypt", "other", v.IV, 0)
		d.in.guest.signs = nil
		d.want(denied, "encrypt", "k", v.IV, 0)
	}
	if tried < 3 {
		t.Errorf("%d vectors, want some", tried)
	}
}

// TestSealed_everyCandidateIsJudged: neither an earlier match nor wrong padding
// is a shorter way, to yes or to no.
func TestSealed_everyCandidateIsJudged(t *testing.T) {
	keys := []string{"test-key-current", "test-key-of-old.", "test-key-older.."}
	d := signer(t, cipherSecret, Binding{Secrets: map[string][]string{"k": keys}}, callback(`{"a":1}`))
	d.want(0, "view", viewJSON, 0)
	sealed := d.do("decrypt", "k", testIV, d.do("encrypt", "k", testIV, 0))
	d.do("view", viewJSON, sealed)
	judged := 0
	got := d.in.guest.unseal(uint32(sealed), func(c *candidate) int {
		judged++
		return c.right
	})
	if got != 0 || judged != len(keys) {
		t.Errorf("unseal = %d after %d of %d candidates, want 0 after all", got, judged, len(keys))
	}

	// A text whose padding is wrong is stripped, parsed and compared like any
	// other: the padding is looked at last.
	plain := `{"a":1234567}` + "\x01\x02\x03"
	block := d.do("encrypt", "k", testIV, d.do("bytes", encodingRaw, plain))
	whole := d.in.guest.chunks[block].bytes
	cut := d.do("bytes", encodingRaw, string(whole[:len(whole)-16]))
	sealed = d.do("decrypt", "k", testIV, cut)
	d.do("view", viewJSON, sealed)
	candidates := d.in.guest.chunks[sealed].seal.candidates
	if c := candidates[0]; c.right != 0 || c.view == nil || string(c.text) != `{"a":1234567}` {
		t.Errorf("candidate = %q, right %d, parsed %v; want it stripped and parsed", c.text, c.right, c.view != nil)
	}
	for i := range candidates {
		if len(candidates[i].text) == len(plain) {
			t.Errorf("candidate %d is not stripped", i)
		}
	}
}
