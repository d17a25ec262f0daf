package wasm

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"

	"github.com/postern/postern/host/wasm/internal/abi"
	about "github.com/postern/postern/host/wasm/internal/manifest"
)

const tokenManifest = `{"name":"counter","version":"0.1.0","secrets":[
	{"name":"key","summary":"a token","use":"token","in":"header:X-Key","optional":true}]}`

const sectionManifest = about.ManifestSection

// packed is a guest of testdata with a manifest.
func packed(t testing.TB, guest, manifest string) []byte {
	t.Helper()
	code, err := os.ReadFile(filepath.Join("testdata", guest+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return append(code, section(sectionManifest, manifest)...)
}

func section(name, contents string) []byte {
	body := append(uleb(len(name)), name...)
	body = append(body, contents...)
	return append(append([]byte{0}, uleb(len(body))...), body...)
}

func uleb(n int) []byte {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// compiled is shared by the tests: compiling a plugin under the race detector
// takes ten seconds.
var compiled string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "postern-wasm")
	if err != nil {
		panic(err)
	}
	compiled = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

func newRuntime(t testing.TB, o Options) *Runtime {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = compiled
	}
	r, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// write puts a module where Load finds it.
func write(t testing.TB, code []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "guest.wasm")
	if err := os.WriteFile(file, code, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLoad_refusesWithFileAndReason(t *testing.T) {
	raw := func(b string) func(*testing.T) []byte { return func(*testing.T) []byte { return []byte(b) } }
	guest := func(name, manifest string) func(*testing.T) []byte {
		return func(t *testing.T) []byte { return packed(t, name, manifest) }
	}
	for name, tt := range map[string]struct {
		code func(*testing.T) []byte
		want []string
	}{
		"not wasm":  {raw("#!/bin/sh"), []string{"not a core WebAssembly module", "give the .wasm file"}},
		"cut short": {raw("\x00asm\x01\x00\x00\x00\x00\xff\xff\xff\xff\x0f"), []string{"has 4294967295 bytes and the file ends after 0 of them: it was cut short, copy or build it again"}},
		// Four billion bodies in five bytes: the engine would ask for 81 GB.
		"says it is huge": {func(*testing.T) []byte {
			code := "\x00asm\x01\x00\x00\x00" + "\x01\x05\x01\x60\x00\x01\x7f" + "\x03\x03\x02\x00\x00" + "\x05\x03\x01\x00\x01" +
				"\x07\x29\x03\x06memory\x02\x00\x0bpostern_abi\x00\x00\x0epostern_handle\x00\x01" + "\x0a\x05\xff\xff\xff\xff\x0f"
			return append([]byte(code), section(sectionManifest, tokenManifest)...)
		}, []string{"malformed module"}},
		"no manifest": {func(t *testing.T) []byte {
			return packed(t, "counter", "")[:len(packed(t, "counter", ""))-len(section(sectionManifest, ""))]
		}, []string{`no custom section "postern.manifest"`}},
		"manifest is no JSON": {guest("counter", "{"), []string{"manifest"}},
		"manifest is all wrong": {
			guest("counter", `{"name":"A b","version":"1","methods":["get"],"unable":"drop","ack":{"status":500},"requires":["teleport"],
				"secrets":[{"name":"k","use":"rot13"},{"name":"k","use":"hmac-sha256","form":"guess"},{"name":"t","use":"token","in":"body"},{"name":"r","use":"hmac-sha1","form":"utf8","respond":"a)|(?:b"},
				{"name":"one","use":"token","in":"header:X-Key"},{"name":"two","use":"token","in":"header:x-key"}],
				"settings":{"$ref":"file:///etc/passwd"}}`),
			[]string{
				`name "A b"`, `version "1"`, `"get" is no HTTP method`, `unable "drop"`, `ack.status 500`, `requires "teleport"`,
				`secret "k": use "rot13"`, `stand once`, `form "guess"`, `in "body"`, `secret "r": respond:`, `secret "two": in "header:x-key"`, `must stand alone`,
			},
		},
		"unknown member": {guest("counter", `{"name":"a","version":"1.0.0","secretz":[]}`), []string{"secretz"}},
		"too much memory": {
			guest("counter", `{"name":"a","version":"1.0.0","memory_pages":100000}`), []string{"100000 pages", "cap is 256"},
		},
		"other ABI": {guest("version", tokenManifest), []string{"postern_abi returned 2, must be 1"}},
		"no plugin": {guest("empty", tokenManifest), []string{
			"does not export postern_abi", "does not export postern_handle", "one memory, called memory",
		}},
		"a guard that is none": {guest("counter", `{"name":"a","version":"1.0.0","guard":true}`), []string{"its manifest says that it is a guard, and it does not export postern_guard"}},
		"a guard with what it has not": {
			guest("guard", `{"name":"a-name-of-twenty-one-chars-x","version":"1.0.0","guard":true,"unable":"keep","methods":["GET"],"ack":{"status":201},
				"secrets":[{"name":"k","use":"hmac-sha256","form":"utf8"}],"unverified":{"x":["a"]},"calibrate":["x"],
				"settings":{"type":"object","properties":{"x":{"type":"string","enum":["a","b"]}}}}`),
			[]string{"at most 20 letters", "unable: a guard has none", "methods: a guard has none", "ack: a", "secrets: a", "unverified: a", "calibrate: a"},
		},
		"start traps": {guest("start", tokenManifest), []string{"start an instance", "unreachable"}},
		"imports": {guest("imports", tokenManifest), []string{
			"imports env.abort", "imports postern1.fetch, which the ABI does not have",
			"postern1.read is [i32 i32] -> [i32], must be [i32 i32 i32 i32] -> [i32]",
			"export postern_handle is [] -> [i64], must be [] -> [i32]",
			"wasi_snapshot_preview1.fd_write is [] -> [], must be [i32 i32 i32 i32] -> [i32]",
			"wasi_snapshot_preview1.path_open is [i32] -> [i64], must be [i32] -> [i32]",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, tt.code(t))
			_, err := newRuntime(t, Options{}).Load(t.Context(), file)
			if err == nil {
				t.Fatal("Load = nil error, want a refusal")
			}
			for _, want := range append(tt.want, file) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q\ndoes not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "stack trace") {
				t.Errorf("error %q has the engine's trace", err)
			}
		})
	}
}

func TestLoad_missingFile(t *testing.T) {
	_, err := newRuntime(t, Options{}).Load(t.Context(), "nowhere.wasm")
	if err == nil || !strings.Contains(err.Error(), "nowhere.wasm") {
		t.Errorf("Load = %v, want an error naming the file", err)
	}
}

func TestCacheDir_isClosedToOthersAndUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t, Options{CacheDir: dir})
	if _, err := r.Load(t.Context(), write(t, packed(t, "counter", tokenManifest))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("cache directory: mode %v, err %v; want 0700", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		t.Errorf("cache directory has %d entries, err %v; want some", len(entries), err)
	}
}

// TestABITable holds the table of host functions against sdk/testdata/abi.json.
func TestABITable(t *testing.T) {
	text, err := os.ReadFile("../../sdk/testdata/abi.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Module  string
		Exports []struct {
			Name            string
			Params, Results []string
			Required        bool
		}
		Functions []struct {
			Name            string
			Params, Results []string
			Served          bool
		}
		Codes map[string]code
	}
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	if table.Module != abi.Module || len(table.Functions) != len(functions) {
		t.Errorf("module %s with %d functions, want %s with %d", table.Module, len(table.Functions), abi.Module, len(table.Functions))
	}
	types := map[string]api.ValueType{"i32": i32, "i64": i64}
	as := func(names []string) []api.ValueType {
		var out []api.ValueType
		for _, n := range names {
			out = append(out, types[n])
		}
		return out
	}
	for _, want := range table.Functions {
		got, ok := functions[want.Name]
		if !ok || !got.Equal(signature{Params: as(want.Params), Results: as(want.Results)}) || !want.Served {
			t.Errorf("%s: %v, want %v -> %v, and served", want.Name, got.signature, want.Params, want.Results)
		}
	}
	for _, want := range table.Exports {
		if got, ok := abi.Exports[want.Name]; ok && !got.Equal(signature{Params: as(want.Params), Results: as(want.Results)}) {
			t.Errorf("export %s: %v, want %v -> %v", want.Name, got, want.Params, want.Results)
		}
	}
	want := map[string]code{"ABSENT": absent, "MALFORMED": malformed, "DENIED": denied, "UNVERIFIED": unverified, "LIMIT": overLimit, "INVALID": invalid}
	for name, c := range want {
		if table.Codes[name] != c {
			t.Errorf("%s = %d, want %d", name, c, table.Codes[name])
		}
	}
}
