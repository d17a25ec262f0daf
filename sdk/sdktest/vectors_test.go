package sdktest

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/sdk/internal/abi"
)

func readVectors(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile("../testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// viewVector is an entry of views.json; sdk/testdata/README.md.
type viewVector struct {
	Name    string
	View    string
	Input   string
	Hex     string
	Refused bool
	Paths   []pathVector
}

type pathVector struct {
	Path    string
	Code    string
	Kind    string
	Text    *string
	TextHex string `json:"text_hex"`
	Len     *int32
	Names   *[]string
}

var kinds = map[string]int32{
	"absent": abi.KindAbsent, "null": abi.KindNull, "boolean": abi.KindBoolean, "number": abi.KindNumber,
	"string": abi.KindString, "array": abi.KindArray, "object": abi.KindObject,
}

func TestViews(t *testing.T) {
	var vectors []viewVector
	readVectors(t, "views.json", &vectors)
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
}

func (v *viewVector) check(t *testing.T) {
	doc := []byte(v.Input)
	if v.Hex != "" {
		var err error
		if doc, err = hex.DecodeString(v.Hex); err != nil {
			t.Fatal(err)
		}
	}
	h := &host{req: &request{body: doc}, chunks: []chunk{{bytes: doc}}}
	handle := h.View(map[string]int32{"json": abi.ViewJSON, "form": abi.ViewForm}[v.View], 0)
	if v.Refused {
		if handle != abi.Malformed {
			t.Errorf("view = %d, want MALFORMED", handle)
		}
		return
	}
	if handle < 0 {
		t.Fatalf("view = %d, want a handle", handle)
	}
	if again := h.View(h.views[0].kind, 0); again != handle {
		t.Errorf("view again = %d, want the same handle %d", again, handle)
	}
	for _, p := range v.Paths {
		if diff := cmp.Diff(p.want(t), ask(h, handle, p.Path)); diff != "" {
			t.Errorf("path %q (-want +got):\n%s", p.Path, diff)
		}
	}
}

// answers is what the four calls give for a path; a negative length is a code.
type answers struct {
	Kind    int32
	Text    string
	TextLen int32
	Len     int32
	Names   []string
	NoName  int32 // what name_at gives behind the last name
}

func ask(h *host, handle int32, path string) answers {
	out := make([]byte, 1<<16)
	a := answers{Kind: h.Kind(handle, path), TextLen: h.Get(handle, path, out), Len: h.Len(handle, path)}
	if a.TextLen > 0 {
		a.Text = string(out[:a.TextLen])
	}
	for i := int32(0); ; i++ {
		n := h.NameAt(handle, path, i, out)
		if n < 0 {
			a.NoName = n
			return a
		}
		a.Names = append(a.Names, string(out[:n]))
	}
}

func (p *pathVector) want(t *testing.T) answers {
	if p.Code != "" {
		if p.Code != "MALFORMED" {
			t.Fatalf("unknown code %s", p.Code)
		}
		return answers{abi.Malformed, "", abi.Malformed, abi.Malformed, nil, abi.Malformed}
	}
	kind, known := kinds[p.Kind]
	if !known {
		t.Fatalf("unknown kind %q", p.Kind)
	}
	without := abi.Malformed
	if kind == abi.KindAbsent || kind == abi.KindNull {
		without = abi.Absent
	}
	a := answers{Kind: kind, TextLen: abi.Absent, Len: without, NoName: without}
	if p.Text != nil {
		a.Text, a.TextLen = *p.Text, int32(len(*p.Text))
	}
	if p.TextHex != "" {
		b, err := hex.DecodeString(p.TextHex)
		if err != nil {
			t.Fatal(err)
		}
		a.Text, a.TextLen = string(b), int32(len(b))
	}
	if p.Len != nil {
		a.Len = *p.Len
	}
	if p.Names != nil {
		a.NoName = abi.Absent
		if len(*p.Names) > 0 {
			a.Names = *p.Names
		}
	}
	return a
}

// evidenceVector is an entry of evidence.json; sdk/testdata/README.md.
type evidenceVector struct {
	Name, Use, Form, Signed, Signature, Encoding, Result string

	Keys  []string
	Value int
}

var encodings = map[string]int32{
	"raw": abi.Raw, "hex": abi.Hex, "base64": abi.Base64, "base64url": abi.Base64URL,
}

func TestEvidence(t *testing.T) {
	var vectors []evidenceVector
	readVectors(t, "evidence.json", &vectors)
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
}

func (v *evidenceVector) check(t *testing.T) {
	s := &secret{Name: "key", Use: v.Use, Form: v.Form}
	err := s.bind(v.Keys)
	if refused := v.Result == "key-refused"; refused != (err != nil) {
		t.Fatalf("bind = %v, want refused %v", err, refused)
	}
	if err != nil {
		return
	}
	// The same text as guest bytes covers fields, as the body the body.
	for _, covers := range []string{"fields", "body"} {
		h := &host{secrets: map[string]*secret{"key": s}, req: &request{body: []byte(v.Signed)}}
		handle := h.SignedBegin("key")
		if covers == "body" {
			h.SignedBody(handle)
		} else {
			h.SignedBytes(handle, v.Signed)
		}
		got := h.SignedCheck(handle, v.Signature, encodings[v.Encoding])
		if v.Result == "unverified" {
			if got != abi.Unverified || h.evidence != nil {
				t.Errorf("signed_check = %d with evidence %v, want UNVERIFIED and none", got, h.evidence)
			}
			continue
		}
		want := []evidence{{"key", v.Value, v.Use, covers}}
		if diff := cmp.Diff(want, h.evidence, cmp.AllowUnexported(evidence{})); got != 0 || diff != "" {
			t.Errorf("signed_check = %d, evidence (-want +got):\n%s", got, diff)
		}
	}
}

// cipherVector is an entry of ciphers.json; sdk/testdata/README.md.
type cipherVector struct {
	Name, Use, Form, IV, Ciphertext, Outer, Except, Result string

	Keys  []string
	Text  *string
	Value int
}

func TestCiphers(t *testing.T) {
	var vectors []cipherVector
	readVectors(t, "ciphers.json", &vectors)
	if len(vectors) < 100 {
		t.Fatalf("%d vectors, want all", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
}

func (v *cipherVector) check(t *testing.T) {
	s := &secret{Name: "key", Use: v.Use, Form: v.Form}
	err := s.bind(v.Keys)
	if refused := v.Result == "key-refused"; refused != (err != nil) {
		t.Fatalf("bind = %v, want refused %v", err, refused)
	}
	if err != nil {
		return
	}
	h := &host{secrets: map[string]*secret{"key": s}, req: &request{}, chunks: []chunk{{}}}
	sealed := h.Decrypt("key", []byte(v.IV), h.Bytes(abi.Base64, v.Ciphertext))
	if v.Result == "malformed" {
		if sealed != abi.Malformed {
			t.Errorf("decrypt = %d, want MALFORMED", sealed)
		}
		return
	}
	if sealed < 0 {
		t.Fatalf("decrypt = %d, want a handle", sealed)
	}
	inner := h.View(abi.ViewJSON, sealed)
	if inner < 0 {
		t.Fatalf("view = %d, want a handle", inner)
	}
	var got int32
	if v.Text != nil {
		got = h.SameBytes(sealed, h.Bytes(abi.Raw, *v.Text))
	} else {
		got = h.Same(h.View(abi.ViewJSON, h.Bytes(abi.Raw, v.Outer)), inner, v.Except)
	}
	code, want := abi.Unverified, []evidence(nil)
	if v.Result == "evidence" {
		code, want = 0, []evidence{{"key", v.Value, v.Use, "fields"}}
	}
	if diff := cmp.Diff(want, h.evidence); got != code || diff != "" {
		t.Errorf("comparison = %d, want %d; evidence (-want +got):\n%s", got, code, diff)
	}
}

// tokenVector is an entry of tokens.json; sdk/testdata/README.md.
type tokenVector struct {
	Name, Use, Form, Token, Result, Masked string

	Keys  []string
	Text  *string
	Value int
}

func TestTokens(t *testing.T) {
	var vectors []tokenVector
	readVectors(t, "tokens.json", &vectors)
	if len(vectors) < 30 {
		t.Fatalf("%d vectors, want all", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
}

func (v *tokenVector) check(t *testing.T) {
	s := &secret{Name: "k", Use: v.Use, Form: v.Form, In: "path"}
	err := s.bind(v.Keys)
	if refused := v.Result == "key-refused"; refused != (err != nil) {
		t.Fatalf("bind = %v, want refused %v", err, refused)
	}
	if err != nil {
		return
	}
	r := &request{target: "/in/a/b/" + v.Token + "?x=1"}
	found, ok := r.take(s)
	if ok != (v.Result == "evidence") {
		t.Errorf("take = %v, want %s", ok, v.Result)
	}
	if want := "/in/a/b/" + v.Masked + "?x=1"; r.target != want {
		t.Errorf("masked = %s, want %s", r.target, want)
	}
	if !ok {
		return
	}
	h := &host{tokens: map[string]token{"k": found}}
	out := make([]byte, maxText)
	n := h.TokenText("k", out)
	if v.Text == nil {
		if n != abi.Denied {
			t.Errorf("token_text = %d, want DENIED", n)
		}
	} else if n < 0 || string(out[:n]) != *v.Text {
		t.Errorf("token_text = %d %q, want %q", n, out[:max(0, n)], *v.Text)
	}
	algorithm := map[string]string{"token": "static-token", "signed-token": "signed-token"}[v.Use]
	want := []evidence{{"k", v.Value, algorithm, "none"}}
	got := h.Token("k")
	if diff := cmp.Diff(want, h.evidence); got != 0 || diff != "" {
		t.Errorf("token = %d, evidence (-want +got):\n%s", got, diff)
	}
}
