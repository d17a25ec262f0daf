package content

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
)

func packed(t testing.TB, coding string, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if coding == "deflate" {
		w = zlib.NewWriter(&b)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecode(t *testing.T) {
	body := []byte(`{"a":"` + strings.Repeat("text ", 2000) + `"}`)
	gz, zl := packed(t, "gzip", body), packed(t, "deflate", body)
	broken := bytes.Clone(gz)
	broken[len(broken)-5] ^= 1 // in the CRC
	for name, tt := range map[string]struct {
		fields []string
		body   []byte
		taken  bool
	}{
		"none":                 {nil, body, true},
		"identity":             {[]string{"identity"}, body, true},
		"identity, other case": {[]string{" Identity\t"}, body, true},
		"gzip":                 {[]string{"gzip"}, gz, true},
		"gzip, other case":     {[]string{"GZip"}, gz, true},
		"deflate":              {[]string{"deflate"}, zl, true},
		"gzip as deflate":      {[]string{"deflate"}, gz, false},
		"deflate as gzip":      {[]string{"gzip"}, zl, false},
		"gzip of plain":        {[]string{"gzip"}, body, false},
		"deflate without zlib": {[]string{"deflate"}, zl[2:], false},
		"empty":                {[]string{""}, body, false},
		"unknown":              {[]string{"br"}, body, false},
		"other name of gzip":   {[]string{"x-gzip"}, gz, false},
		"two layers":           {[]string{"gzip, gzip"}, packed(t, "gzip", gz), false},
		"two, one identity":    {[]string{"gzip, identity"}, gz, false},
		"two fields":           {[]string{"gzip", "gzip"}, gz, false},
		"two fields of none":   {[]string{"identity", "identity"}, body, false},
		"cut short":            {[]string{"gzip"}, gz[:len(gz)-9], false},
		"without its length":   {[]string{"gzip"}, gz[:len(gz)-4], false},
		"wrong checksum":       {[]string{"gzip"}, broken, false},
		"something behind":     {[]string{"gzip"}, append(bytes.Clone(gz), 'x'), false},
		"another behind":       {[]string{"gzip"}, append(bytes.Clone(gz), gz...), false},
		"behind zlib":          {[]string{"deflate"}, append(bytes.Clone(zl), 'x'), false},
		"nothing at all":       {[]string{"gzip"}, nil, false},
	} {
		got, err := Decode(tt.fields, tt.body)
		switch {
		case tt.taken && (err != nil || !bytes.Equal(got, body)):
			t.Errorf("%s: %d bytes, err %v; want the body", name, len(got), err)
		case !tt.taken && (!errors.Is(err, ErrMalformed) || got != nil):
			t.Errorf("%s: %d bytes, err %v; want %v", name, len(got), err, ErrMalformed)
		}
	}
}

// noise is n bytes that no encoding makes shorter.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

// TestDecode_cap: each row is decoded at the cap and refused beyond it.
func TestDecode_cap(t *testing.T) {
	for name, tt := range map[string]struct {
		// noise is how many bytes do not shrink: they make the encoded body large.
		noise, limit int
	}{
		"a small body has 512 KiB":  {0, 512 << 10},
		"a large body has 16 times": {40 << 10, 0},
		"a larger one has 1 MiB":    {600 << 10, 1 << 20},
	} {
		for _, coding := range []string{"gzip", "deflate"} {
			noise := noise(tt.noise)
			of := func(n int) []byte {
				return packed(t, coding, append(bytes.Clone(noise), make([]byte, n-len(noise))...))
			}
			limit, slack := tt.limit, 0
			if limit == 0 {
				// The encoded length depends a little on the decoded one.
				limit, slack = 16*len(of(16*len(of(1<<20)))), 1024
				if limit <= 512<<10 || limit >= 1<<20 {
					t.Fatalf("limit = %d, want one between the others", limit)
				}
			}
			if got, err := Decode([]string{coding}, of(limit-slack)); err != nil || len(got) != limit-slack {
				t.Errorf("%s, %s: %d bytes, err %v; want %d", name, coding, len(got), err, limit-slack)
			}
			if got, err := Decode([]string{coding}, of(limit+slack+1)); err == nil {
				t.Errorf("%s, %s: %d bytes are taken, more than %d", name, coding, len(got), limit)
			}
		}
	}
}

// TestDecode_capOfALargeBody: what was taken as a body may be as large decoded,
// and no larger.
func TestDecode_capOfALargeBody(t *testing.T) {
	body := noise(1200 << 10)
	if got, err := Decode([]string{"gzip"}, packed(t, "gzip", body)); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, err %v; want the body", len(got), err)
	}
	body = append(body, make([]byte, 8<<10)...)
	if got, err := Decode([]string{"gzip"}, packed(t, "gzip", body)); err == nil {
		t.Errorf("%d bytes are taken of fewer", len(got))
	}
}

// TestDecode_aBombTakesLittleMemory counts all that is allocated on the way,
// not only what stays.
func TestDecode_aBombTakesLittleMemory(t *testing.T) {
	for name, tt := range map[string]struct{ decoded, most int }{
		"64 MiB":    {64 << 20, 256 << 10},
		"a bit too": {512<<10 + 1, 256 << 10},
	} {
		bomb := packed(t, "gzip", make([]byte, tt.decoded))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode([]string{"gzip"}, bomb)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: the bomb of %d bytes is taken", name, len(bomb))
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(tt.most) {
			t.Errorf("%s: a bomb of %d bytes takes %d bytes of memory, want at most %d", name, len(bomb), got, tt.most)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("gzip", packed(f, "gzip", []byte("text")))
	f.Add("deflate", packed(f, "deflate", []byte("text")))
	f.Fuzz(func(t *testing.T, coding string, body []byte) {
		got, err := Decode([]string{coding}, body)
		if err == nil && !strings.EqualFold(strings.Trim(coding, " \t"), "identity") && len(got) > max(512<<10, len(body), min(16*len(body), 1<<20)) {
			t.Errorf("%d bytes of %d", len(got), len(body))
		}
	})
}
