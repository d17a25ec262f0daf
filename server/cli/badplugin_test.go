package cli

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unfit copies a guest of host/wasm's tests to dir, as a plugin with this
// manifest.
func unfit(t *testing.T, dir, name, guest, manifest string) {
	t.Helper()
	code, err := os.ReadFile(filepath.Join("..", "..", "host", "wasm", "testdata", guest+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	const section = "postern.manifest"
	body := slices.Concat([]byte{byte(len(section))}, []byte(section), []byte(manifest))
	code = append(code, 0)
	code = append(binary.AppendUvarint(code, uint64(len(body))), body...)
	if err := os.WriteFile(filepath.Join(dir, name+".wasm"), code, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What cannot serve is refused at the start: all of it at once, a line each,
// with the file and the reason.
func TestServe_unfitPlugins(t *testing.T) {
	dir := t.TempDir()
	manifest := func(name string) string { return `{"name":"` + name + `","version":"0.1.0"}` }
	unfit(t, dir, "no-abi", "empty", manifest("no-abi"))
	unfit(t, dir, "imports", "imports", manifest("imports"))
	unfit(t, dir, "manifest", "counter", `{"name":"manifest",`)
	unfit(t, dir, "traps", "start", manifest("traps"))
	unfit(t, dir, "renamed", "counter", manifest("counter"))
	file := filepath.Join(dir, "postern.yaml")
	write(t, file, `
plugins: {path: `+dir+`}
store: {path: `+filepath.Join(dir, "data")+`}
intake: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
log: {level: error}
tenants:
  t:
    endpoints: {a: {plugin: no-abi}, b: {plugin: imports}, c: {plugin: manifest}, d: {plugin: traps}, e: {plugin: gone}, f: {plugin: renamed}}
sinks: {events: {type: file, path: `+filepath.Join(dir, "events.ndjson")+`}}
`)
	want := [][]string{
		{"endpoints.a.plugin: ", "no-abi.wasm: ", "does not export postern_abi"},
		{"endpoints.a.plugin: ", "no-abi.wasm: ", "does not export postern_handle"},
		{"endpoints.a.plugin: ", "no-abi.wasm: ", "one memory, called memory"},
		{"endpoints.b.plugin: ", "imports.wasm: ", "must be [] -> [i32]"},
		{"endpoints.b.plugin: ", "imports.wasm: ", "imports env.abort"},
		{"endpoints.b.plugin: ", "imports.wasm: ", "imports postern1.fetch"},
		{"endpoints.b.plugin: ", "imports.wasm: ", "import postern1.read is"},
		{"endpoints.b.plugin: ", "imports.wasm: ", "fd_write"},
		{"endpoints.b.plugin: ", "imports.wasm: ", "path_open"},
		{"endpoints.c.plugin: ", "manifest.wasm: ", "manifest"},
		{"endpoints.d.plugin: ", "traps.wasm: ", "unreachable"},
		{"endpoints.e.plugin: ", `there is no plugin "gone" in `, "there are: imports, manifest, no-abi, renamed, traps"},
		{"endpoints.f.plugin: ", "renamed.wasm: ", "its manifest says that it is counter, and the file that it is renamed: call it counter.wasm"},
	}
	served := postern(t, []string{}, "serve", "--config", file)
	checked := postern(t, []string{}, "config", "check", file)
	if last := "postern: " + file + ": 13 problems\n"; !strings.HasSuffix(checked.stderr, last) {
		t.Errorf("config check wrote\n%swant %q at its end", checked.stderr, last)
	}
	checked.stderr, _, _ = strings.Cut(checked.stderr, "postern: "+file)
	for name, got := range map[string]result{"serve": served, "config check": checked} {
		lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
		if got.code != exitFailed || got.stdout != "" || len(lines) != len(want) {
			t.Errorf("%s = code %d, stdout %q, and\n%s\nwant 1, nothing and %d lines", name, got.code, got.stdout, got.stderr, len(want))
			continue
		}
		for _, parts := range want {
			if !slices.ContainsFunc(lines, func(line string) bool {
				return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
			}) {
				t.Errorf("%s wrote\n%s\nand no line with %q", name, got.stderr, parts)
			}
		}
	}
}
