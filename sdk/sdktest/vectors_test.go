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
