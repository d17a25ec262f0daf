package sdktest

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	postern "github.com/postern/postern/sdk"
	"github.com/postern/postern/sdk/internal/abi"
)

// Ciphertexts made by "openssl enc -aes-128-cbc", by the newest value of the
// secret "cipher" unless said, with this IV.
var testIV = []byte("test-iv-01234567")

const (
	// {"b":[1,{"y":"\u00e9","x":null}],"a":1.0}
	sealedObject    = "pS+i8JemuYvfmECFjXdfpcKmC4j4xDWI6BLsaRCq9lR+w6xdL+4YtK6RBwlsjnWd"
	sealedObjectOld = "CFYP6NlBosbYT+gkiLafmQdG0Jcdrls5DiaDb88AnC1Iiz6YDchAPbX+jA6Fd03R"
	sealedCut       = "nFPJCaHQF4iSDsGqqxiCEQ==" // {"a":1
	sealedArray     = "CEyYP64ipPVb72jG55J5Vw==" // [1]
	sealedHello     = "0iiTXz1KTm2MZ7WfjB5gnw==" // hello
	zeroHello       = "BE6UKAo2R0TnrWj+WysWWA==" // hello, filled with zero bytes
	zeroSixteen     = "CuzTncoAp0n14+XTp4fG1A==" // sixteen letters., not filled
)

const openObject = `"a":1.0,"b":[1,{"x":null,"y":"é"}]`

func sealed(t *testing.T, cb *postern.Callback, secret, text string) postern.Bytes {
	t.Helper()
	data, err := cb.Decode(text, postern.Base64)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := cb.Decrypt(secret, testIV, data)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestSame(t *testing.T) {
	for name, c := range map[string]struct {
		body, sealed, except string
		value                int // -1 for no evidence
	}{
		"order and escapes":    {`{"data":"x",` + openObject + `}`, sealedObject, "data", 0},
		"older value":          {`{` + openObject + `,"data":"x"}`, sealedObjectOld, "data", 1},
		"nothing left out":     {`{` + openObject + `}`, sealedObject, "", 0},
		"left out of both":     {`{"a":2,"b":[1,{"x":null,"y":"é"}]}`, sealedObject, "a", 0},
		"left out at the top":  {`{"a":1.0,"b":[1,{"x":1,"y":"é"}]}`, sealedObject, "x", -1},
		"not left out":         {`{"data":"x",` + openObject + `}`, sealedObject, "", -1},
		"another member":       {`{"c":1,` + openObject + `}`, sealedObject, "data", -1},
		"a member less":        {`{"a":1.0}`, sealedObject, "data", -1},
		"another number text":  {`{"a":1,"b":[1,{"x":null,"y":"é"}]}`, sealedObject, "data", -1},
		"a string of a number": {`{"a":"1.0","b":[1,{"x":null,"y":"é"}]}`, sealedObject, "data", -1},
		"order in an array":    {`{"a":1.0,"b":[{"x":null,"y":"é"},1]}`, sealedObject, "data", -1},
		"name in capitals":     {`{"A":1.0,"b":[1,{"x":null,"y":"é"}]}`, sealedObject, "data", -1},
		"another ciphertext":   {`{` + openObject + `}`, strings.Replace(sealedObject, "p", "q", 1), "", -1},
		"another padding":      {`{` + openObject + `}`, strings.Replace(sealedObject, "jnWd", "jnWe", 1), "", -1},
		"cut JSON":             {`{"a":1}`, sealedCut, "", -1},
		"arrays":               {`[1]`, sealedArray, "", -1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, c.body)
			abi.Use(h)
			cb := &postern.Callback{}
			outer, err := cb.JSON()
			if err != nil {
				t.Fatal(err)
			}
			inner, err := sealed(t, cb, "cipher", c.sealed).JSON()
			if err != nil {
				t.Fatalf("a view of sealed bytes: %v", err)
			}
			_, ok := cb.Same(outer, inner, c.except)
			var want []evidence
			if c.value >= 0 {
				want = []evidence{{"cipher", c.value, "aes-128-cbc", "fields"}}
			}
			if diff := cmp.Diff(want, h.evidence); ok != (c.value >= 0) || diff != "" {
				t.Errorf("Same = %v, evidence (-want +got):\n%s", ok, diff)
			}
			if text := inner.Text("/a"); ok != (text != "") {
				t.Errorf("Same = %v and then the inner view gives %q", ok, text)
			}
		})
	}
}

func TestSame_emptyViews(t *testing.T) {
	h := newHost(t, `{`+openObject+`}`)
	abi.Use(h)
	cb := &postern.Callback{}
	outer, _ := cb.JSON()
	inner, _ := sealed(t, cb, "cipher", sealedObject).JSON()
	for _, views := range [][2]postern.View{{}, {outer, {}}, {{}, inner}, {outer, outer}, {inner, inner}, {inner, outer}} {
		if _, ok := cb.Same(views[0], views[1], ""); ok || h.evidence != nil {
			t.Errorf("Same(%v) = %v with evidence %v", views, ok, h.evidence)
		}
	}
}

func TestSameBytes(t *testing.T) {
	for name, c := range map[string]struct {
		secret, sealed, text string
		ok                   bool
	}{
		"PKCS#7":               {"cipher", sealedHello, "hello", true},
		"zero bytes":           {"zero", zeroHello, "hello", true},
		"whole block":          {"zero", zeroSixteen, "sixteen letters.", true},
		"another text":         {"cipher", sealedHello, "hallo", false},
		"the start of it":      {"cipher", sealedHello, "hell", false},
		"nothing":              {"cipher", sealedHello, "", false},
		"padding not taken":    {"zero", zeroHello, "hello\x00", false},
		"padding of the other": {"cipher", zeroHello, "hello", false},
		"wrong padding taken":  {"cipher", zeroHello, "hello" + strings.Repeat("\x00", 11), false},
	} {
		for _, swapped := range []bool{false, true} {
			h := newHost(t, "body")
			abi.Use(h)
			cb := &postern.Callback{}
			a := sealed(t, cb, c.secret, c.sealed)
			b, _ := cb.Decode(c.text, postern.Raw)
			inner := a
			if swapped {
				a, b = b, a
			}
			_, ok := cb.SameBytes(a, b)
			if ok != c.ok || (len(h.evidence) == 1) != c.ok {
				t.Errorf("%s: SameBytes = %v with evidence %v, want %v", name, ok, h.evidence, c.ok)
			}
			if got := string(inner.Read()); c.ok && got != c.text || !c.ok && got != "" {
				t.Errorf("%s: then it reads %q", name, got)
			}
		}
	}
}

// TestDecrypt_isSealed: until a comparison gave evidence, every use tells the
// guest the same, whatever came out.
func TestDecrypt_isSealed(t *testing.T) {
	for _, text := range []string{sealedObject, sealedHello, zeroHello, sealedCut} {
		h := newHost(t, `{"a":1}`)
		abi.Use(h)
		bytes := h.Bytes(abi.Base64, text)
		plain := h.Decrypt("cipher", testIV, bytes)
		other := h.Decrypt("cipher", testIV, bytes)
		view, body := h.View(abi.ViewJSON, plain), h.View(abi.ViewJSON, 0)
		if view < 0 || h.View(abi.ViewJSON, plain) != view {
			t.Fatalf("view = %d, want one handle", view)
		}
		h.signing = true
		h.EventBegin(-1)
		for name, got := range map[string]int32{
			"read":             h.Read(plain, 0, make([]byte, 8)),
			"hash":             h.Hash(abi.SHA256, plain, make([]byte, 64)),
			"view as form":     h.View(abi.ViewForm, plain),
			"decrypt":          h.Decrypt("cipher", testIV, plain),
			"encrypt":          h.Encrypt("cipher", testIV, plain),
			"kind":             h.Kind(view, "/a"),
			"get":              h.Get(view, "", make([]byte, 8)),
			"len":              h.Len(view, ""),
			"name_at":          h.NameAt(view, "", 0, make([]byte, 8)),
			"map":              h.Map(abi.FieldProviderData, view, ""),
			"set_aside":        h.SetAside(view, "", "why"),
			"same as outer":    h.Same(view, body, ""),
			"same of itself":   h.Same(view, view, ""),
			"same_bytes twice": h.SameBytes(plain, other),
		} {
			if got != abi.Denied {
				t.Errorf("%s of %s = %d, want DENIED", name, text, got)
			}
		}
		if got := h.Same(body, view, ""); got != abi.Unverified {
			t.Errorf("same of %s = %d, want UNVERIFIED", text, got)
		}
		if got := h.SameBytes(0, plain); got != abi.Unverified {
			t.Errorf("same_bytes of %s = %d, want UNVERIFIED", text, got)
		}
		if h.evidence != nil {
			t.Errorf("evidence %v out of nothing", h.evidence)
		}
	}
}

func TestDecrypt_refuses(t *testing.T) {
	h := newHost(t, strings.Repeat("x", 16))
	abi.Use(h)
	cb := &postern.Callback{}
	odd, _ := cb.Decode("seventeen letters", postern.Raw)
	none, _ := cb.Decode("", postern.Raw)
	bad, _ := cb.Decode("xx", postern.Hex)
	for name, c := range map[string]struct {
		secret string
		iv     []byte
		bytes  postern.Bytes
		want   error
	}{
		"unknown secret": {"none", testIV, cb.Body(), postern.ErrDenied},
		"a MAC":          {"key", testIV, cb.Body(), postern.ErrDenied},
		"a token":        {"once", testIV, cb.Body(), postern.ErrDenied},
		"short IV":       {"cipher", testIV[:15], cb.Body(), postern.ErrMalformed},
		"no IV":          {"cipher", nil, cb.Body(), postern.ErrMalformed},
		"part of blocks": {"cipher", testIV, odd, postern.ErrMalformed},
		"no block":       {"cipher", testIV, none, postern.ErrMalformed},
		"failed Decode":  {"cipher", testIV, bad, postern.ErrInvalid},
	} {
		got, err := cb.Decrypt(c.secret, c.iv, c.bytes)
		if !errors.Is(err, c.want) || got.Read() != nil {
			t.Errorf("%s: Decrypt = %q, %v, want nothing and %v", name, got.Read(), err, c.want)
		}
		// What came with an error is not the body.
		if _, err := got.JSON(); !errors.Is(err, postern.ErrInvalid) {
			t.Errorf("%s: JSON of nothing: %v, want ErrInvalid", name, err)
		}
	}
	if signature := cb.Signed("cipher"); h.signed != nil {
		t.Errorf("a cipher signs: %v", signature)
	}
	for range maxDecrypts {
		if _, err := cb.Decrypt("cipher", testIV, cb.Body()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cb.Decrypt("cipher", testIV, cb.Body()); !errors.Is(err, postern.ErrLimit) {
		t.Errorf("decryption %d: %v, want ErrLimit", maxDecrypts+1, err)
	}
}

// TestEncrypt holds encrypt to openssl, and decrypt to encrypt.
func TestEncrypt(t *testing.T) {
	h := newHost(t, "hello")
	h.signing = true
	abi.Use(h)
	u := &postern.Unsigned{}
	for _, c := range []struct{ secret, text, want string }{
		{"cipher", "hello", sealedHello},
		{"cipher", `{"a":1`, sealedCut},
		{"zero", "hello", zeroHello},
		{"zero", "sixteen letters.", zeroSixteen},
	} {
		plain, _ := u.Decode(c.text, postern.Raw)
		got, err := u.Encrypt(c.secret, testIV, plain)
		if text := toText(abi.Base64, got.Read()); err != nil || text != c.want {
			t.Errorf("Encrypt(%s, %q) = %s, %v, want %s", c.secret, c.text, text, err, c.want)
		}
		sealed, err := u.Decrypt(c.secret, testIV, got)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := u.SameBytes(sealed, plain); !ok {
			t.Errorf("Decrypt does not undo Encrypt(%s, %q)", c.secret, c.text)
		}
	}
	if _, err := u.Encrypt("key", testIV, u.Body()); !errors.Is(err, postern.ErrDenied) {
		t.Errorf("Encrypt with a MAC: %v, want ErrDenied", err)
	}
	if _, err := u.Encrypt("cipher", testIV[1:], u.Body()); !errors.Is(err, postern.ErrMalformed) {
		t.Errorf("Encrypt with a short IV: %v, want ErrMalformed", err)
	}
}

func TestBind_cipherKeys(t *testing.T) {
	for name, c := range map[string]struct {
		form, value string
		key         string // in hex, "" where it is refused
	}{
		"utf8":            {"utf8", "test-key-0123456", "746573742d6b65792d30313233343536"},
		"utf8, short":     {"utf8", "test-key", ""},
		"hex":             {"hex", "746573742D6B65792D30313233343536", "746573742d6b65792d30313233343536"},
		"hex, 32 bytes":   {"hex", strings.Repeat("00", 32), ""},
		"sha1":            {"sha1", "test-key", ""},
		"md5":             {"md5", "test-key", "53136271c432a1af377c3806c3112ddf"},
		"sha256-16":       {"sha256-16", "test-key", "62af8704764faf8ea82fc61ce9c4c390"},
		"utf8-16, short":  {"utf8-16", "test-key", "746573742d6b65790000000000000000"},
		"utf8-16, long":   {"utf8-16", "test-key-0123456789", "746573742d6b65792d30313233343536"},
		"utf8-16, empty":  {"utf8-16", "", ""},
		"no such form":    {"utf8-32", "test-key", ""},
		"empty sha256-16": {"sha256-16", "", ""},
	} {
		s := &secret{Name: "k", Use: "aes-128-cbc", Form: c.form}
		err := s.bind([]string{c.value})
		if (err == nil) != (c.key != "") {
			t.Errorf("%s: bind = %v", name, err)
			continue
		}
		if err == nil {
			if got := toText(abi.Hex, s.keys[0]); got != c.key {
				t.Errorf("%s: key %s, want %s", name, got, c.key)
			}
		}
	}
}
