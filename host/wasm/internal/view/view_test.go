package view

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// vector is one document of sdk/testdata/views.json; its README says what the
// members mean.
type vector struct {
	Name    string  `json:"name"`
	View    string  `json:"view"`
	Input   *string `json:"input"`
	Hex     string  `json:"hex"`
	Refused bool    `json:"refused"`
	Paths   []struct {
		Path    string   `json:"path"`
		Code    string   `json:"code"`
		Kind    string   `json:"kind"`
		Text    *string  `json:"text"`
		TextHex *string  `json:"text_hex"`
		Len     *int     `json:"len"`
		Names   []string `json:"names"`
	} `json:"paths"`
}

var kinds = map[Kind]string{
	Absent: "absent", Null: "null", Boolean: "boolean", Number: "number",
	String: "string", Array: "array", Object: "object",
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("../../../../sdk/testdata/views.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) < 60 {
		t.Fatalf("%d vectors, want at least 60", len(vs))
	}
	return vs
}

func (v *vector) bytes(t testing.TB) []byte {
	t.Helper()
	if v.Input != nil {
		return []byte(*v.Input)
	}
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(kind string, doc []byte) (*View, error) {
	if kind == "form" {
		return Form(doc)
	}
	return JSON(doc)
}

func TestVectors(t *testing.T) {
	for _, vec := range vectors(t) {
		t.Run(vec.Name, func(t *testing.T) {
			v, err := parse(vec.View, vec.bytes(t))
			if got := err != nil; got != vec.Refused {
				t.Fatalf("refused = %v, want %v", got, vec.Refused)
			}
			if vec.View != "form" && IsJSON(vec.bytes(t)) == vec.Refused {
				t.Errorf("IsJSON = %v, want %v", !vec.Refused, vec.Refused)
			}
			for _, p := range vec.Paths {
				if p.Code == "MALFORMED" {
					if IsPointer([]byte(p.Path)) {
						t.Errorf("%q is taken for a pointer", p.Path)
					}
					continue
				}
				if got := kinds[v.Kind([]byte(p.Path))]; got != p.Kind {
					t.Errorf("kind of %q = %s, want %s", p.Path, got, p.Kind)
				}
				text, ok := v.Text([]byte(p.Path))
				want, wantOK := wantText(t, p.Text, p.TextHex)
				if string(text) != want || ok != wantOK {
					t.Errorf("text of %q = %q %v, want %q %v", p.Path, text, ok, want, wantOK)
				}
				n, ok := v.Len([]byte(p.Path))
				if ok != (p.Len != nil) || (ok && n != *p.Len) {
					t.Errorf("len of %q = %d %v, want %v", p.Path, n, ok, p.Len)
				}
				for i, name := range p.Names {
					if got, ok := v.NameAt([]byte(p.Path), i); !ok || got != name {
						t.Errorf("name %d of %q = %q %v, want %q", i, p.Path, got, ok, name)
					}
				}
				if got, ok := v.NameAt([]byte(p.Path), len(p.Names)); ok {
					t.Errorf("name %d of %q = %q, want none", len(p.Names), p.Path, got)
				}
			}
		})
	}
}

func wantText(t *testing.T, text, hexText *string) (string, bool) {
	t.Helper()
	switch {
	case text != nil:
		return *text, true
	case hexText != nil:
		b, err := hex.DecodeString(*hexText)
		if err != nil {
			t.Fatal(err)
		}
		return string(b), true
	}
	return "", false
}

func TestLargeObjectsAndArraysAreIndexed(t *testing.T) {
	var members, elements []string
	for i := range 1000 {
		members = append(members, fmt.Sprintf(`"k%d":%d`, i, i))
		elements = append(elements, fmt.Sprint(i))
	}
	v, err := JSON([]byte(`{"o":{` + strings.Join(members, ",") + `},"a":[` + strings.Join(elements, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		for _, path := range []string{fmt.Sprintf("/o/k%d", i), fmt.Sprintf("/a/%d", i)} {
			if got, ok := v.Text([]byte(path)); !ok || string(got) != fmt.Sprint(i) {
				t.Fatalf("%s = %q %v, want %d", path, got, ok, i)
			}
		}
	}
	if got, ok := v.NameAt([]byte("/o"), 999); !ok || got != "k999" {
		t.Errorf("name 999 = %q %v", got, ok)
	}
}

// TestBounds: what anyone may send must not take up the memory of many.
func TestBounds(t *testing.T) {
	for name, tt := range map[string]struct {
		kind  string
		doc   string
		taken bool
	}{
		"values":           {"json", "[" + strings.Repeat("1,", maxValues-2) + "1]", true},
		"one value more":   {"json", "[" + strings.Repeat("1,", maxValues-1) + "1]", false},
		"names alike":      {"json", alike() + `"b":1}`, true},
		"and one twice":    {"json", alike() + `"a00007z":1}`, false},
		"fields":           {"form", strings.Repeat("a&", maxFields), true},
		"one field more":   {"form", strings.Repeat("a&", maxFields+1), false},
		"a million":        {"json", "[" + strings.Repeat("1,", 1<<19) + "1]", false},
		"a million fields": {"form", strings.Repeat("a&", 1<<19), false},
	} {
		if _, err := parse(tt.kind, []byte(tt.doc)); (err == nil) != tt.taken {
			t.Errorf("%s: err = %v, want taken %v", name, err, tt.taken)
		}
	}
}

// alike is the begin of an object of as many members as may be, but one, whose
// names have their tag in common.
func alike() string {
	var b strings.Builder
	for i := range maxValues - 2 {
		fmt.Fprintf(&b, `,"a%05dz":1`, i)
	}
	return "{" + b.String()[1:] + ","
}

func TestFormAsJSON(t *testing.T) {
	v, err := Form([]byte(`b=1&a=x+y&b=%22&c`))
	if err != nil {
		t.Fatal(err)
	}
	got, _ := v.JSON([]byte(""))
	if want := `{"b":["1","\""],"a":"x y","c":""}`; string(got) != want {
		t.Errorf("JSON = %s, want %s", got, want)
	}
}

// FuzzJSON holds the parser to a library's: both take the same documents, and
// read the same of them.
func FuzzJSON(f *testing.F) {
	for _, vec := range vectors(f) {
		if vec.View == "json" {
			f.Add(vec.bytes(f))
		}
	}
	for _, doc := range []string{
		"[" + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth), strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		manyNames(linear) + `"k0":0}`, manyNames(linear-1) + `"k":0}`, manyNames(linear+5) + `"k7":0}`, manyNames(linear+5) + `"\u006b7":0}`,
		`"\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `"\ud83d\u0041"`, `"\uD83D\uDE0`, `"\uzzzz"`, "\x00", "1\x00", "{\"a\":1,}", "[1,]", "[,]", "{,}",
		"-", "-0", "01", "1.", ".1", "1e", "1e+", "1E-5", "0e0", "tru", "nulll", "\ufeff1", "\"\x7f\"", "\"\x1f\"", "\xff", "\"\xed\xa0\x80\"", " 1 \t\r\n", "1 2",
		"{\"\":\"\",\"a\":\"" + strings.Repeat("x", 14) + "é\"}", `"1234567\"#234567\\]"`, `{"a1z":1,"a2z":2,"a\u0031z":3}`, `{"`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(agree)
}

// manyNames is the begin of an object of n members.
func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":%d`, i, i)
	}
	return "{" + b.String()[1:] + ","
}

// BenchmarkJSON has the library beside it: "by" says which.
func BenchmarkJSON(b *testing.B) {
	library := func(doc []byte) bool { _, err := byLibrary(doc); return err == nil }
	for by, parse := range map[string]func([]byte) bool{"by=hand": IsJSON, "by=library": library} {
		b.Run(by, func(b *testing.B) { benchmark(b, parse) })
	}
}

func benchmark(b *testing.B, parse func([]byte) bool) {
	doc := []byte(`{"amount":"86.000","currency_code":"KWD","customer_first_name":"example","extra":{"a":"b"},"gateway_account":"credit-card","gateway_name":"mpgs","order_no":"4711","reference_number":"stage45F3C","result":"success","session_id":"8eea795ead6d7cda7d12414bbae6a396adfe4758","signature":"ee4a6bb00a75c7541b67d26ebf60243ca5652ef2b459f57c84d5586040952e9c","state":"paid","total_paid_amount":"86.000"}`)
	b.ReportAllocs()
	for b.Loop() {
		if !parse(doc) {
			b.Fatal("refused")
		}
	}
}
