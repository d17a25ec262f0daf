package meter

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
)

// TestData_joins looks at the memory that a module begins with, and at how many
// segments are left: some are joined, and never so that a byte differs.
func TestData_joins(t *testing.T) {
	at := func(address int64, data string) []byte {
		b := append(sleb([]byte{0, opI32Const}, address), opEnd)
		return append(uleb(b, word(len(data))), data...)
	}
	passive := append([]byte{1}, 2, 'h', 'i')
	for name, tt := range map[string]struct {
		segments [][]byte
		want     int
	}{
		"neighbours":            {[][]byte{at(8, "ab"), at(10, "cd"), at(20, "ef")}, 1},
		"far apart":             {[][]byte{at(8, "ab"), at(10+gap, "cd"), at(13+2*gap, "ef")}, 2},
		"backwards":             {[][]byte{at(100, "ab"), at(8, "cd"), at(90, "ef"), at(200, "gh")}, 3},
		"backwards, then along": {[][]byte{at(100, "ab"), at(50, "cd"), at(110, "ef"), at(120, "gh")}, 3},
		"backwards and across":  {[][]byte{at(100, "ab"), at(50, strings.Repeat("x", 100)), at(40, "ef"), at(170, "gh")}, 4},
		"around":                {[][]byte{at(100, "ab"), at(90, "cd"), at(110, "ef")}, 3},
		"overlapping":           {[][]byte{at(8, "abcd"), at(10, "ef")}, 2},
		"empty":                 {[][]byte{at(8, ""), at(8, "ab"), at(10, "")}, 1},
		"passive":               {[][]byte{at(8, "ab"), passive, at(10, "cd")}, 3},
		"at the end":            {[][]byte{at(65534, "ab"), at(65536, "")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			code := bytes.Clone([]byte(header))
			section := func(id byte, body []byte) {
				code = append(uleb(append(code, id), word(len(body))), body...)
			}
			section(5, []byte{1, 0, 1})
			section(7, append([]byte{1, 6}, "memory\x02\x00"...))
			data := uleb(nil, word(len(tt.segments)))
			for _, s := range tt.segments {
				data = append(data, s...)
			}
			section(11, data)
			memory := func(of []byte) []byte {
				r := wazero.NewRuntime(t.Context())
				defer r.Close(t.Context())
				yield := r.NewHostModuleBuilder(ImportModule)
				yield.NewFunctionBuilder().WithFunc(func() {}).Export(ImportYield)
				if _, err := yield.Instantiate(t.Context()); err != nil {
					t.Fatal(err)
				}
				m, err := r.Instantiate(t.Context(), of)
				if err != nil {
					t.Fatal(err)
				}
				b, _ := m.Memory().Read(0, m.Memory().Size())
				return bytes.Clone(b)
			}
			got, err := Rewrite(code, Options{Slice: 1})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(memory(got.Code), memory(code)) {
				t.Error("the memory differs")
			}
			m := &module{}
			if err := m.split(got.Code); err != nil {
				t.Fatal(err)
			}
			r := &reader{b: m.sections[secData]}
			if n := r.count(); n != tt.want {
				t.Errorf("%d segments are left, want %d", n, tt.want)
			}
		})
	}
}
