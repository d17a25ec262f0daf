package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the files say and the server does not, without a value, with diff's exit
// codes.
func TestConfigDiff(t *testing.T) {
	dir, err := os.MkdirTemp("", "diff") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	own := filepath.Join(dir, "plugins")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(filepath.Join(plugins(t), "ottu.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "ottu.wasm"), code, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "postern.yaml")
	text := `
intake: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
reload: {watch: false}
store: {path: ` + filepath.Join(dir, "data") + `}
plugins: {path: ` + own + `, cache: ` + plugins(t) + `/cache}
tenants:
  main:
    endpoints:
      ottu: {plugin: ottu, secrets: {hmac-key: "value:test-key-1"}}
`
	write(t, file, text)
	diff := func(args ...string) result {
		return postern(t, narrow, append([]string{"config", "diff", "--config", file}, args...)...)
	}
	if got := diff(); got.code != 2 || !strings.HasPrefix(got.stderr, "postern: no server is running on ") {
		t.Errorf("without a server: %+v", got)
	}
	serveFile(t, file)
	if got := diff(); got.code != 0 || got.stdout != "no difference: the server has it all\n" {
		t.Errorf("of the same: %+v", got)
	}
	write(t, file, strings.Replace(text, "test-key-1\"}}", "test-key-2\"}, ack: {status: 202}}\n      more: {plugin: ottu, secrets: {hmac-key: test-key-3}}", 1))
	want := `CHANGE   OF         WHAT
added    main/more
changed  main/ottu  secrets.hmac-key
changed  main/ottu  ack.status
`
	if got := diff(); got.code != 1 || got.stdout != want || got.stderr != "" {
		t.Errorf("of a changed file: code %d\n%s%s\nwant\n%s", got.code, got.stdout, got.stderr, want)
	}
	wantJSON := `{"added":["main/more"],"removed":[],"changed":[{"name":"main/ottu","keys":["secrets.hmac-key","ack.status"]}],` +
		`"switched":[],"unable":[],"restart":[],"problems":[]}` + "\n"
	if got := diff("--json"); got.code != 1 || got.stdout != wantJSON {
		t.Errorf("as JSON: %+v\nwant %s", got, wantJSON)
	}
	write(t, file, text+"log: {level: debug}\n")
	if got := diff(); got.code != 1 || !strings.HasSuffix(got.stdout, "restart  log.level\n\na reload would be refused: what says restart is taken by one only\n") {
		t.Errorf("of a key for a restart: code %d\n%s", got.code, got.stdout)
	}
	write(t, file, strings.Replace(text, "hmac-key", "hmac-kye", 1))
	got := diff()
	if got.code != 2 || !strings.Contains(got.stderr, "postern: tenants.main.endpoints.ottu.secrets.hmac-kye: ") ||
		!strings.HasSuffix(got.stderr, "postern: a reload would be refused: 2 problems\n") {
		t.Errorf("of a broken file: %+v", got)
	}
	write(t, file, text)
	// A custom section that says nothing makes other bytes of it.
	if err := os.WriteFile(filepath.Join(own, "ottu.wasm"), append(code, 0, 2, 1, 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := diff(); got.code != 1 || strings.Count(got.stdout, "ottu@0.1.0+") != 2 || !strings.Contains(got.stdout, "switched  main/ottu  ottu@0.1.0+") {
		t.Errorf("of another plugin: %+v", got)
	}
}
