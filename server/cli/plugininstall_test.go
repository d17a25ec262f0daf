package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	signing "github.com/postern/postern/host/shelf"
	"github.com/postern/postern/server/admin"
)

// token is the manifest of a guest that knows the token "key".
func tokenManifest(name, version string) string {
	return fmt.Sprintf(`{"name":%q,"version":%q,"summary":"a guest","secrets":[
		{"name":"key","summary":"a token","use":"token","in":"header:X-Key","optional":true}]}`, name, version)
}

// packed is a guest of host/wasm's tests with a manifest and, if verdict is not
// empty, one golden that expects it.
func packed(t *testing.T, guest, manifest, verdict string) []byte {
	t.Helper()
	code, err := os.ReadFile(filepath.Join("..", "..", "host", "wasm", "testdata", guest+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	section := func(name, contents string) {
		body := append(binary.AppendUvarint(nil, uint64(len(name))), name+contents...)
		code = append(binary.AppendUvarint(append(code, 0), uint64(len(body))), body...)
	}
	section("postern.manifest", manifest)
	if verdict != "" {
		request := base64.StdEncoding.EncodeToString([]byte("POST / HTTP/1.1\nX-Key: right-and-long-enough\n\n"))
		section("postern.goldens", fmt.Sprintf(
			`[{"name":"one","http":%q,"golden":{"received":"2026-01-02T03:04:05Z","secrets":{"key":["right-and-long-enough"]},"expect":{"verdict":%q}}}]`,
			request, verdict))
	}
	return code
}

// storeroom is a configuration with a shelf and keys, and a server that answers
// reloads as it is told.
type storeroom struct {
	t                *testing.T
	dir, config      string
	secret, stranger []byte
	public           string

	mu      sync.Mutex
	reloads int
	answer  func(w http.ResponseWriter)
}

func newStoreroom(t *testing.T) *storeroom {
	t.Helper()
	// Not t.TempDir: a socket's path must be short.
	base, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	r := &storeroom{t: t, dir: filepath.Join(base, "plugins"), config: filepath.Join(base, "postern.yaml")}
	if r.secret, r.public, err = signing.NewKey(""); err != nil {
		t.Fatal(err)
	}
	if r.stranger, _, err = signing.NewKey(""); err != nil {
		t.Fatal(err)
	}
	r.configure("require_signature: true", "key")
	for _, dir := range []string{"plugins", "data", "cache"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// configure writes the configuration; plugin is that of its endpoint.
func (r *storeroom) configure(plugins, plugin string) {
	base := filepath.Dir(r.dir)
	write(r.t, r.config, fmt.Sprintf(`
plugins: {path: %s, cache: %s/cache, keys: ["%s"], %s}
store: {path: %s/data}
tenants: {acme: {endpoints: {pay: {plugin: "%s", secrets: {key: value:right-and-long-enough}}}}}
`, r.dir, base, r.public, plugins, base, plugin))
}

// serve has a server answer reloads with 200 and one change, unless told otherwise.
func (r *storeroom) serve() {
	r.t.Helper()
	ln, err := admin.ListenSocket(context.Background(), filepath.Join(filepath.Dir(r.dir), "data"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.answer = func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"changes":["switched acme/pay: a -> b"]}`) }
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodPost || q.URL.Path != "/admin/v1/reload" {
			http.NotFound(w, q)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reloads++
		r.answer(w)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	r.t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			r.t.Errorf("Serve = %v", err)
		}
	})
}

// run runs a command below "plugin".
func (r *storeroom) run(args ...string) result {
	r.t.Helper()
	return postern(r.t, []string{}, append([]string{"plugin", "--config", r.config}, args...)...)
}

// file writes a module and, with a key, its signature as name@version, and returns
// the module's file.
func (r *storeroom) file(dir, name string, code, key []byte, as string, until time.Time) string {
	r.t.Helper()
	file := filepath.Join(dir, name)
	write(r.t, file, string(code))
	if key == nil {
		return file
	}
	of, version, _ := strings.Cut(as, "@")
	sig, err := signing.Sign(key, "", &signing.Plugin{Name: of, Version: version, Code: code}, until)
	if err != nil {
		r.t.Fatal(err)
	}
	write(r.t, file+".minisig", string(sig))
	return file
}

// put makes a signed version current.
func (r *storeroom) put(code []byte, as string) {
	r.t.Helper()
	got := r.run("install", r.file(r.t.TempDir(), "in.wasm", code, r.secret, as, time.Time{}))
	if got.code != exitDone {
		r.t.Fatalf("install %s = %+v", as, got)
	}
}

// tree is every file on the shelf with its contents.
func (r *storeroom) tree() string {
	r.t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprint(&b, path, " ", info.Mode(), " ", info.ModTime().UnixNano())
		if d.Type().IsRegular() {
			contents, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", contents)
		}
		fmt.Fprintln(&b)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return b.String()
}

func TestPluginInstall(t *testing.T) {
	r := newStoreroom(t)
	first := packed(t, "keys", tokenManifest("key", "1.0.0"), "accept")
	got := r.run("install", r.file(t.TempDir(), "any-name.wasm", first, r.secret, "key@1.0.0", time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
	if want := "none is running on " + filepath.Dir(r.dir) + "/data: the next start takes it"; got.code != exitDone || got.stderr != "" || !strings.Contains(got.stdout, want) {
		t.Errorf("install = %+v, want %q", got, want)
	}
	var steps []string
	for line := range strings.Lines(got.stdout) {
		steps = append(steps, strings.TrimSpace(line[:12]))
	}
	if got, want := strings.Join(steps, ","), "size,format,ABI,imports,manifest,sha256,signature,metering,goldens,shelf,server"; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
	r.serve()
	second := packed(t, "keys", tokenManifest("key", "1.1.0"), "accept")
	got = r.run("install", r.file(t.TempDir(), "b.wasm", second, r.secret, "key@1.1.0", time.Time{}))
	for _, want := range []string{"dedup keys  as those of 1.0.0\n", "shelf       in place of 1.0.0\n", "server      reloaded\n            switched acme/pay: a -> b\n"} {
		if got.code != exitDone || !strings.Contains(got.stdout, want) {
			t.Errorf("install = %+v, want %q", got, want)
		}
	}
	// What the server refuses is taken back.
	r.answer = func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"error":{"code":"reload.refused","message":"nothing has changed"},"problems":["a: first","b: second"]}`)
	}
	before := r.tree()
	third := packed(t, "keys", tokenManifest("key", "1.2.0"), "accept")
	file := r.file(t.TempDir(), "c.wasm", third, r.secret, "key@1.2.0", time.Time{})
	got = r.run("install", file)
	if want := "postern: server: the server does not take it, and it was taken back: a: first\npostern: server: b: second\n"; got.code != exitFailed || got.stderr != want {
		t.Errorf("install = %+v, want %q", got, want)
	}
	if after := r.run("list", "--json"); strings.Contains(after.stdout, "1.2.0") || !strings.Contains(after.stdout, `"version":"1.1.0"`) {
		t.Errorf("list afterwards:\n%s", after.stdout)
	}
	if got = r.run("rollback", "key"); got.code != exitFailed || !strings.Contains(got.stderr, "it was taken back: a: first") {
		t.Errorf("rollback = %+v", got)
	}
	if got = r.run("inspect", "key"); !strings.Contains(got.stdout, "key@1.1.0") || before == "" {
		t.Errorf("inspect afterwards = %+v", got)
	}
	r.answer = func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"changes":[]}`) }
	got = r.run("install", file, "--json")
	var out struct {
		Name, Version, SHA256, Signer, Before string
		Steps                                 []struct{ Name string }
		Server                                struct {
			Running bool
			Changes []string
		}
	}
	if err := json.Unmarshal([]byte(got.stdout), &out); err != nil || out.Name != "key" || out.Version != "1.2.0" || len(out.SHA256) != 64 || out.Before != "1.1.0" ||
		len(out.Signer) != 16 || len(out.Steps) != 11 || !out.Server.Running || out.Server.Changes == nil {
		t.Errorf("install --json = %s (%v)", got.stdout, err)
	}
	if got = r.run("rollback", "key"); got.code != exitDone || got.stdout != "shelf       key@1.1.0 is current, in place of 1.2.0\nserver      reloaded: it has it already\n" {
		t.Errorf("rollback = %+v", got)
	}
	r.configure("require_signature: true", "key@1.0.0")
	if got = r.run("install", file); got.code != exitDone || !strings.Contains(got.stdout, "server      reloaded, and nothing changes: no endpoint names this version\n") {
		t.Errorf("install of what no endpoint names = %+v", got)
	}
	if r.reloads != 6 {
		t.Errorf("the server was told to reload %d times, want 6", r.reloads)
	}
}

// attempt is an installation that must be refused.
type attempt struct {
	name string
	make func(r *storeroom, dir string) (file string)
	args []string
	// step is where it is refused, want what is said then.
	step, want string
}

func attempts(t *testing.T) []attempt {
	good := packed(t, "keys", tokenManifest("key", "1.2.0"), "accept")
	signed := func(code []byte, as string) func(*storeroom, string) string {
		return func(r *storeroom, dir string) string { return r.file(dir, "in.wasm", code, r.secret, as, time.Time{}) }
	}
	cut := func(n int) func(*storeroom, string) string { return signed(good[:n], "key@1.2.0") }
	change := func(old, change string) func(*storeroom, string) string {
		return func(r *storeroom, dir string) string {
			file := r.file(dir, "in.wasm", good, r.secret, "key@1.2.0", time.Time{})
			write(t, file, string(bytes.Replace(good, []byte(old), []byte(change), 1)))
			return file
		}
	}
	of := func(guest, name string) func(*storeroom, string) string {
		return signed(packed(t, guest, tokenManifest(name, "1.2.0"), ""), name+"@1.2.0")
	}
	manifest := func(text string) func(*storeroom, string) string {
		return signed(packed(t, "keys", text, ""), "key@1.2.0")
	}
	end := len(good) - 600 // within the goldens
	return []attempt{
		{"body tampered with", change("key-one", "key-two"), nil, "signature", "its signature does not fit: the module or the signature was changed"},
		{"manifest tampered with", change(`"summary":"a guest"`, `"summary":"a ghost"`), nil, "signature", "its signature does not fit"},
		{"version tampered with", change(`"version":"1.2.0"`, `"version":"1.3.0"`), nil, "signature", "its signature does not fit"},
		{"signature tampered with", func(r *storeroom, dir string) string {
			file := r.file(dir, "in.wasm", good, r.secret, "key@1.2.0", time.Time{})
			text, _ := os.ReadFile(file + ".minisig")
			lines := strings.SplitAfter(string(text), "\n")
			write(t, file+".minisig", lines[0]+strings.Replace(lines[1], lines[1][20:24], "AAAA", 1)+lines[2]+lines[3])
			return file
		}, nil, "signature", "its signature does not fit"},
		{"signature renamed", func(r *storeroom, dir string) string {
			file := r.file(dir, "in.wasm", packed(t, "counter", tokenManifest("counter", "1.2.0"), ""), r.secret, "counter@1.2.0", time.Time{})
			write(t, file, string(good))
			return file
		}, nil, "signature", "its signature does not fit"},
		{"signed as another", signed(good, "other@1.2.0"), nil, "signature", `its signature was made for "other@1.2.0", and it is key@1.2.0: sign it again`},
		{"signed as another version", signed(good, "key@1.1.0"), nil, "signature", `its signature was made for "key@1.1.0"`},
		{
			"no signature", func(r *storeroom, dir string) string { return r.file(dir, "in.wasm", good, nil, "", time.Time{}) }, nil, "signature",
			"it is not signed, and plugins.require_signature is set: sign it with a key of plugins.keys",
		},
		{"no signature but words", func(r *storeroom, dir string) string {
			file := r.file(dir, "in.wasm", good, nil, "", time.Time{})
			write(t, file+".minisig", "I sign this")
			return file
		}, nil, "signature", "its signature is no minisign signature: sign it again"},
		{
			"a stranger's key", func(r *storeroom, dir string) string {
				return r.file(dir, "in.wasm", good, r.stranger, "key@1.2.0", time.Time{})
			}, nil,
			"signature", "which is none of plugins.keys: sign it with one of them, or trust that one",
		},
		{
			"expired", func(r *storeroom, dir string) string {
				return r.file(dir, "in.wasm", good, r.secret, "key@1.2.0", time.Unix(1e9, 0))
			}, nil,
			"signature", "its signature expired on 2001-09-09: sign it again",
		},
		{
			"downgraded", signed(packed(t, "keys", tokenManifest("key", "1.0.9"), ""), "key@1.0.9"), nil, "shelf",
			"key@1.0.9 is older than 1.1.0, which is current: a downgrade must be allowed (--allow-downgrade)",
		},
		{"downgraded to a pre-release", signed(packed(t, "keys", tokenManifest("key", "1.1.0-rc.2"), ""), "key@1.1.0-rc.2"), nil, "shelf", "is older than 1.1.0"},
		{
			"the same version, other contents", signed(packed(t, "keys", tokenManifest("key", "1.1.0"), ""), "key@1.1.0"), nil, "shelf",
			"there is a key@1.1.0 with other contents",
		},
		{"cut in its head", cut(5), nil, "format", "not a core WebAssembly module"},
		{"cut in its types", cut(12), nil, "format", "it was cut short, copy or build it again"},
		{"cut in its code", cut(bytes.Index(good, []byte("key-one")) - 30), nil, "format", "it was cut short"},
		{"cut in its manifest", cut(bytes.Index(good, []byte(`"version"`))), nil, "format", "it was cut short"},
		{"cut in its goldens", cut(end + 500), nil, "format", "it was cut short"},
		{"empty", signed(nil, "key@1.2.0"), nil, "format", "not a core WebAssembly module"},
		{"no WebAssembly", signed([]byte("#!/bin/sh\nrm -rf /\n"), "key@1.2.0"), nil, "format", "not a core WebAssembly module, whose first bytes are"},
		{"a component", signed([]byte("\x00asm\x0d\x00\x01\x00"), "key@1.2.0"), nil, "metering", "a component, not a core module"},
		{"oversize", func(r *storeroom, dir string) string {
			file := r.file(dir, "in.wasm", good, nil, "", time.Time{})
			if err := os.Truncate(file, 32<<20+1); err != nil {
				t.Fatal(err)
			}
			return file
		}, nil, "size", "it has 33554433 bytes, the limit is 33554432: build it smaller"},
		{"no plugin", of("empty", "empty"), nil, "ABI", "it does not export postern_handle: it is no plugin for the ABI postern1"},
		{"unknown and foreign imports", of("imports", "imports"), nil, "ABI", "it imports env.abort: only postern1 and the sealed wasi_snapshot_preview1 are offered"},
		{
			"an unknown import", signed(bytes.Replace(good, []byte("event_begin"), []byte("event_begun"), 1), "key@1.2.0"), nil, "imports",
			"it imports postern1.event_begun, which the ABI does not have",
		},
		{
			"a foreign import", signed(bytes.Replace(good, []byte("postern1\x05token"), []byte("postern9\x05token"), 1), "key@1.2.0"), nil, "imports",
			"it imports postern9.token: only postern1 and the sealed",
		},
		{"another ABI", of("version", "version"), nil, "sandbox", "postern_abi returned 2, must be 1"},
		{"unknown member of the manifest", manifest(`{"name":"key","version":"1.2.0","secretz":[]}`), nil, "manifest", "secretz"},
		{"no manifest", func(r *storeroom, dir string) string {
			code, _ := os.ReadFile(filepath.Join("..", "..", "host", "wasm", "testdata", "keys.wasm"))
			return r.file(dir, "in.wasm", code, r.secret, "key@1.2.0", time.Time{})
		}, nil, "manifest", `no custom section "postern.manifest": build it with sdk/cmd/pack`},
		{"a path for a name", manifest(`{"name":"../key","version":"1.2.0"}`), nil, "manifest", `name "../key" must be 1 to 63 of a-z, 0-9 and -`},
		{"a path for a version", manifest(`{"name":"key","version":"1.2.0-../../x"}`), nil, "manifest", `must be a semantic version such as 1.2.3`},
		{
			"a failing golden", signed(packed(t, "keys", tokenManifest("key", "1.2.0"), "reject"), "key@1.2.0"), nil, "goldens",
			"golden one: it says accept (), the golden expects reject",
		},
		{"a start that traps", of("start", "start"), nil, "sandbox", "unreachable"},
		{"threads", of("zoo/threads", "zoo"), nil, "metering", "refused for threads: memory 0 is shared"},
		{"a compile bomb", of("zoo/locals", "zoo"), nil, "metering", "refused for compile bomb: function "},
		// Four billion functions in five bytes.
		{"an allocation bomb", signed(append([]byte("\x00asm\x01\x00\x00\x00\x01\x05\x01\x60\x00\x01\x7f\x03\x03\x02\x00\x00\x05\x03\x01\x00\x01"+
			"\x07\x29\x03\x06memory\x02\x00\x0bpostern_abi\x00\x00\x0epostern_handle\x00\x01\x0a\x05\xff\xff\xff\xff\x0f"),
			good[bytes.LastIndex(good, []byte("postern.manifest"))-4:]...), "key@1.2.0"), nil, "metering", "malformed module: at byte "},
		{
			"other dedup keys", signed(bytes.Replace(good, []byte("key-one"), []byte("key-two"), 1), "key@1.2.0"), nil, "dedup keys",
			"they are others than those of key@1.1.0, in its goldens one: a callback that comes again would be a second event; if that is meant, say --rekey",
		},
		{"a directory", func(_ *storeroom, dir string) string { return dir }, nil, "file", "is no regular file"},
		{"a path that is not there", func(_ *storeroom, dir string) string { return dir + "/../nothing.wasm" }, nil, "file", "no such file"},
		{"a signature that is a directory", func(r *storeroom, dir string) string {
			_ = os.Mkdir(filepath.Join(dir, "in.wasm.minisig"), 0o700)
			return r.file(dir, "in.wasm", good, nil, "", time.Time{})
		}, nil, "file", "in.wasm.minisig is no regular file"},
	}
}

// TestPluginInstall_refuses: what must not be installed is not, whatever is wrong
// with it is said at its step, and nothing on the shelf changes by a byte.
func TestPluginInstall_refuses(t *testing.T) {
	r := newStoreroom(t)
	r.put(packed(t, "keys", tokenManifest("key", "1.0.0"), "accept"), "key@1.0.0")
	r.put(packed(t, "keys", tokenManifest("key", "1.1.0"), "accept"), "key@1.1.0")
	r.serve()
	before := r.tree()
	for _, a := range attempts(t) {
		t.Run(a.name, func(t *testing.T) {
			got := r.run(append([]string{"install", a.make(r, t.TempDir())}, a.args...)...)
			if got.code != exitFailed || !strings.Contains(got.stderr, a.want) || !strings.HasPrefix(got.stderr, "postern: "+a.step+": ") {
				t.Errorf("install = %+v\nwant %q at the step %s", got, a.want, a.step)
			}
			if last := fmt.Sprintf("%-12srefused\n", a.step); !strings.HasSuffix(got.stdout, last) {
				t.Errorf("the last step shown is not %q:\n%s", last, got.stdout)
			}
			if after := r.tree(); after != before {
				t.Error("the shelf has changed")
			}
		})
	}
	if r.reloads != 0 {
		t.Errorf("the server was told to reload %d times", r.reloads)
	}
	// What is asked for is taken.
	rekeyed := bytes.Replace(packed(t, "keys", tokenManifest("key", "1.0.5"), "accept"), []byte("key-one"), []byte("key-two"), 1)
	got := r.run("install", "--rekey", "--allow-downgrade", r.file(t.TempDir(), "in.wasm", rekeyed, r.secret, "key@1.0.5", time.Time{}))
	if got.code != exitDone || !strings.Contains(got.stdout, "dedup keys  others than those of 1.1.0, as --rekey allows") {
		t.Errorf("install with its flags = %+v", got)
	}
}

// TestConfigCheck_plugins puts plugins on the shelf by hand that must not be loaded,
// and references that name none.
func TestConfigCheck_plugins(t *testing.T) {
	good := packed(t, "keys", tokenManifest("key", "1.0.0"), "accept")
	sum := strings.Repeat("0123456789abcdef", 4)
	link := func(t *testing.T, file string) {
		t.Helper()
		real := filepath.Join(t.TempDir(), "real")
		if err := errors.Join(os.Rename(file, real), os.Symlink(real, file)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, plugin, want string
		make               func(t *testing.T, r *storeroom, file string)
	}{
		{"nothing", "key", "", nil},
		{"its version", "key@1.0.0", "", nil},
		{"not there", "gone", `there is no plugin "gone" in DIR; there are: key`, nil},
		{"another version", "key@1.0.1", `there is no plugin "key@1.0.1" in DIR; there are: key@1.0.0`, nil},
		{"another digest", "key@sha256:" + sum, `there is no plugin "key@sha256:` + sum + `" in DIR; there are: key@1.0.0 (sha256:`, nil},
		{"a path", "../key", `"../key" is not the form of a name`, nil},
		{"a path in a version", "key@1.0.0-../../key", "neither a semantic version", nil},
		{"an absolute path", "/etc/passwd", "is not the form of a name", nil},
		{"renamed", "other", "other.wasm: its manifest says that it is key, and the file that it is other: call it key.wasm", func(t *testing.T, _ *storeroom, file string) {
			for _, end := range []string{"", ".minisig"} {
				if err := os.Rename(file+end, filepath.Join(filepath.Dir(file), "other.wasm"+end)); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"linked", "key", "key.wasm: it is a symbolic link: put the file itself here", func(t *testing.T, _ *storeroom, file string) { link(t, file) }},
		{"signature linked", "key", "its signature key.wasm.minisig: it is a symbolic link", func(t *testing.T, _ *storeroom, file string) { link(t, file+".minisig") }},
		{"directory linked", "key@1.1.0", "its directory versions is a symbolic link", func(t *testing.T, r *storeroom, _ string) {
			r.put(packed(t, "keys", tokenManifest("key", "1.1.0"), "accept"), "key@1.1.0")
			link(t, filepath.Join(r.dir, "versions"))
		}},
		{"tampered with", "key", "key.wasm: its signature does not fit", func(t *testing.T, _ *storeroom, file string) {
			write(t, file, string(bytes.Replace(good, []byte("key-one"), []byte("key-two"), 1)))
		}},
		{"not signed", "key", "key.wasm: it is not signed", func(_ *testing.T, _ *storeroom, file string) { _ = os.Remove(file + ".minisig") }},
		{"cut short", "key", "key.wasm: malformed module", func(t *testing.T, _ *storeroom, file string) { write(t, file, string(good[:len(good)-100])) }},
		{"writable by anyone", "key", "key.wasm: anyone on this machine can write to it", func(t *testing.T, _ *storeroom, file string) {
			if err := os.Chmod(file, 0o666); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newStoreroom(t)
			file := r.file(r.dir, "key.wasm", good, r.secret, "key@1.0.0", time.Time{})
			r.configure("require_signature: true", tt.plugin)
			if tt.make != nil {
				tt.make(t, r, file)
			}
			before := r.tree()
			got := postern(t, []string{}, "config", "check", r.config)
			want := strings.ReplaceAll(tt.want, "DIR", r.dir)
			if ok := got.code == exitDone; ok != (want == "") || !strings.Contains(got.stderr, want) {
				t.Errorf("config check = %+v, want %q", got, want)
			}
			if want != "" && !strings.HasPrefix(got.stderr, "postern: tenants.acme.endpoints.pay.plugin: ") {
				t.Errorf("config check wrote %s, want it at its place", got.stderr)
			}
			if after := r.tree(); after != before {
				t.Error("the shelf has changed")
			}
		})
	}
}
