package view

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// agree holds the parser to a library's: both take the document or neither, and
// what they read of it is the same, by whatever path it is asked for.
func agree(t *testing.T, doc []byte) {
	t.Helper()
	got, err := JSON(doc)
	want, wantErr := byLibrary(doc)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: err = %v, the library says %v", doc, err, wantErr)
	}
	if taken := err == nil; IsJSON(doc) != taken || (taken && !json.Valid(doc)) {
		t.Fatalf("%q: IsJSON and JSON, or encoding/json, disagree", doc)
	}
	if err != nil {
		return
	}
	if values := got.values(); !slices.Equal(values, want) {
		t.Errorf("%q (-library +got):\n%s", doc, cmp.Diff(want, values))
	}
	if got.Size() != perValue*len(want) {
		t.Errorf("%q: size = %d, want %d", doc, got.Size(), perValue*len(want))
	}
	if len(doc) < 1<<12 {
		found(t, got, want, 0, "")
	}
	got.Release()
}

// found looks for a value, and for all that is in it.
func found(t *testing.T, v *View, all []value, at int, path string) {
	t.Helper()
	want := all[at]
	text, has := want.Raw, true
	if want.Kind == Null {
		text, has = "", false
	}
	if want.Kind == String {
		b, err := jsontext.AppendUnquote(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	if got, ok := v.Text([]byte(path)); string(got) != text || ok != has || v.Kind([]byte(path)) != want.Kind {
		t.Errorf("%q: %q is %q %v of kind %d, want %q of kind %d", all[0].Raw, path, got, ok, v.Kind([]byte(path)), text, want.Kind)
	}
	i := 0
	for child := want.First; child != 0; child = all[child].Next {
		token := strings.NewReplacer("~", "~0", "/", "~1").Replace(all[child].Name)
		if want.Kind == Array {
			token = fmt.Sprint(i)
		}
		found(t, v, all, child, path+"/"+token)
		i++
	}
}

// TestStrings has every thing that a string may hold, or not, at every place of
// strings of every length about those that are read at once: as a value, as a
// name, and as the last that stands in the document.
func TestStrings(t *testing.T) {
	things := []string{
		`"`, `\`, `\"`, `\\`, `\/`, `\n`, `\x`, `\u00e9`, `\u00g9`, `\u00`, `\ud83d\ude00`, `\ud83d`, `\ude00`, `\ude00\ude00`, `\ud83d\ud83d`, `\ud83d\u0041`, `\ud83d\ue000`, `\ud83dxude00`,
		"\x00", "\x1f", " ", "!", "#", "[", "]", "\x7f", "\x80", "\x9f", "\xa0", "\xa2", "\xbf", "\xc0", "\xdc", "\xff",
		"é", "€", "😀", "\xe2\x82", "\xf0\x9f\x98", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80",
		`\"#`, `\\]`, "\x1f ", `"#`, `\]`, "é\"", "\xff\"", "é\\n", "~/", "/~1",
	}
	for n := range 41 {
		for at := range n + 1 {
			for _, thing := range things {
				s := strings.Repeat("a", at) + thing + strings.Repeat("b", n-at)
				for _, doc := range []string{`"` + s + `"`, `"` + s, `["` + s + `",1]`, `{"` + s + `":1}`, `{"k":[],"` + s + `":"` + s + `","z":{}}    `} {
					agree(t, []byte(doc))
				}
			}
		}
	}
}

// whole are documents of every kind of value.
func whole() []string {
	return []string{
		string(payment), `{"a":{"b":[true,false,null,-1.5e+10,0,12E-1]},"c\u00e9\"é":"x"}`, " [ 1 , { } , [ ] , \"\" ]\r\n\t ", `[[[]],{"a":{}},{"a":1,"b":{"a":1}}]`,
	}
}

func TestEveryEnd(t *testing.T) {
	for _, doc := range whole() {
		for n := range len(doc) + 1 {
			// Nothing behind the end is there to be read.
			agree(t, slices.Clip([]byte(doc[:n])))
			agree(t, []byte(doc)[:n])
		}
	}
}

func TestEveryByte(t *testing.T) {
	for _, doc := range whole()[1:] {
		for at := range len(doc) {
			for c := range 256 {
				other := []byte(doc)
				other[at] = byte(c)
				agree(t, other)
			}
		}
	}
}

// TestNamesAlike: names that have their tag in common are still told apart, and
// one that comes twice is found wherever it stands and however it is written.
func TestNamesAlike(t *testing.T) {
	for n := 1; n < linear+4; n++ {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("a%02dz", i)
			if tagOf([]byte(names[i])) != tagOf([]byte(names[0])) {
				t.Fatal("the names have no tag in common")
			}
		}
		agree(t, []byte(object(names)))
		for second := range names {
			for first := range second {
				twice := slices.Clone(names)
				twice[second] = names[first]
				agree(t, []byte(object(twice)))
				twice[second] = strings.Replace(names[first], "a", `\u0061`, 1)
				agree(t, []byte(object(twice)))
				twice[first], twice[second] = twice[second], twice[first]
				agree(t, []byte(object(twice)))
			}
		}
	}
	for _, names := range [][]string{{"", ""}, {"", "a"}, {"", `\u0000`}, {`\u0061`, `\u0062`, "b"}, {`\u0061`, `\u0062`, "c"}, {"k", "k\x7f", "K"}} {
		agree(t, []byte(object(names)))
	}
}

// object has members of the names as they are spelled; some have children, with a
// name that others have too.
func object(names []string) string {
	var b strings.Builder
	for i, name := range names {
		fmt.Fprintf(&b, `,"%s":%s`, name, []string{"1", `{"a07z":[2]}`, `""`}[i%3])
	}
	return "{" + b.String()[1:] + "}"
}

// TestPaths has what must be escaped at every place of a token.
func TestPaths(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for _, c := range []string{"/", "~", "~/", "a"} {
				name := strings.Repeat("x", at) + c + strings.Repeat("y", n-at-1)
				token := strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
				v, err := JSON([]byte(`{"` + name + `":{"a":0,"` + name + `b":1}}`))
				if err != nil {
					t.Fatal(err)
				}
				if got, ok := v.Text([]byte("/" + token + "/" + token + "b")); !ok || string(got) != "1" {
					t.Errorf("%q twice = %q %v", token, got, ok)
				}
				if v, err = Form([]byte("z=0&" + name + "=1&" + name + "=2")); err != nil {
					t.Fatal(err)
				}
				if got, ok := v.Text([]byte("/" + token + "/1")); !ok || string(got) != "2" {
					t.Errorf("%q of a form = %q %v", token, got, ok)
				}
			}
		}
	}
}
