package author

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDifferences(t *testing.T) {
	for _, tt := range []struct {
		about, expected, got string
		want                 []string
	}{
		{"white space is none", `{"a": [1, 2]}`, `{"a":[1,2]}`, nil},
		{"a member deep inside", `{"events":[{"a":1},{"b":{"c":"x"}}]}`, `{"events":[{"a":1},{"b":{"c":"y"}}]}`, []string{`events[1].b.c: "x" | "y"`}},
		{"only expected", `{"a":1,"b":{"c":2}}`, `{"a":1}`, []string{`b: {"c":2} | `}},
		{"only got", `{"a":1}`, `{"a":1,"b":[2]}`, []string{`b:  | [2]`}},
		{"an element more", `[1]`, `[1,{"a":2}]`, []string{`[1]:  | {"a":2}`}},
		{"another kind", `{"a":[1]}`, `{"a":{"0":1}}`, []string{`a: [1] | {"0":1}`}},
		{"a number's text", `{"a":1.50}`, `{"a":1.5}`, []string{`a: 1.50 | 1.5`}},
		{"the order of members", `{"d":{"a":1,"b":2}}`, `{"d":{"b":2,"a":1}}`, []string{`d: {"a":1,"b":2} | {"b":2,"a":1}`}},
		{"an escape", `{"a":"\u00e9"}`, `{"a":"é"}`, []string{`a: "\u00e9" | "é"`}},
		{"nothing yet", `{}`, `{"verdict":"accept"}`, []string{`verdict:  | "accept"`}},
		{"several, in the order of what is expected", `{"b":1,"a":2}`, `{"c":3,"a":4,"b":5}`, []string{`b: 1 | 5`, `a: 2 | 4`, `c:  | 3`}},
	} {
		t.Run(tt.about, func(t *testing.T) {
			var got []string
			for _, d := range Differences([]byte(tt.expected), []byte(tt.got)) {
				got = append(got, fmt.Sprintf("%s: %s | %s", d.Member, d.Expected, d.Got))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzDifferences holds that there is no difference between equal texts only.
func FuzzDifferences(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":null}]}`), []byte(`{"a":[1,{"b":0}],"c":"\ud83d\ude00"}`))
	f.Add([]byte(`{"a":1,"a":2}`), []byte(`{"a":1,"a":3}`))
	f.Add([]byte(`[]`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if !json.Valid(a) || !json.Valid(b) {
			t.Skip("no JSON")
		}
		equal := bytes.Equal(compact(a), compact(b))
		if found := Differences(a, b); (len(found) == 0) != equal {
			t.Errorf("Differences(%s, %s) = %v, equal %v", a, b, found, equal)
		}
	})
}

func TestSplit_givesBackWhatWasCarried(t *testing.T) {
	bare := []byte("\x00asm\x01\x00\x00\x00\x00\x04\x03abc\x01\x01\x00")
	in := []*golden{{Name: "a", HTTP: []byte("POST / HTTP/1.1\n\n\x00\xff"), Text: json.RawMessage(`{"about":"<a>"}`)}}
	module, err := carry(bare, in)
	if err != nil {
		t.Fatal(err)
	}
	got, goldens, err := split(module)
	if err != nil || !bytes.Equal(got, bare) {
		t.Fatalf("split = %q, %v; want the module it was carried by", got, err)
	}
	if diff := cmp.Diff(in, goldens, cmp.AllowUnexported(golden{})); diff != "" {
		t.Errorf("goldens (-want +got):\n%s", diff)
	}
	for n := range module {
		if n != len(bare) && n != len("\x00asm\x01\x00\x00\x00") && n != len(bare)-len("\x01\x01\x00") {
			if _, _, err := split(module[:n]); err == nil {
				t.Errorf("split takes the first %d bytes of %d", n, len(module))
			}
		}
	}
}

// TestExpecting writes the result and leaves every other byte.
func TestExpecting(t *testing.T) {
	g := &golden{Text: json.RawMessage("{\r\n\t\"about\": \"\\u0061\",\n \"expect\"  : {\"expect\":1} ,\"z\":[ 1 ]}")}
	got, err := g.expecting([]byte(`{"verdict":"accept"}`))
	want := "{\r\n\t\"about\": \"\\u0061\",\n \"expect\"  : {\n    \"verdict\": \"accept\"\n  } ,\"z\":[ 1 ]}"
	if err != nil || string(got) != want {
		t.Errorf("expecting = %q, %v; want %q", got, err, want)
	}
	g.Text = json.RawMessage(`{"about":"expect"}`)
	if _, err := g.expecting([]byte(`{}`)); err == nil || !strings.Contains(err.Error(), `"expect": {}`) {
		t.Errorf("expecting without the member: %v", err)
	}
}
