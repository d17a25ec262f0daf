package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/postern/postern/config"
)

// watched is a buffer that tells when it holds a text.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	want string
	seen chan struct{}
}

func watchFor(want string) *watched { return &watched{want: want, seen: make(chan struct{})} }

// Write implements [io.Writer].
func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.text.String(), w.want)
	n, err := w.text.Write(b)
	if !before && strings.Contains(w.text.String(), w.want) {
		close(w.seen)
	}
	return n, err
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

const (
	testToken = "0123456789abcdef0123456789abcdef"
	testKey   = "test-key-of-ottu"
)

// served runs "serve" with a configuration of its own and returns its file. The
// server is drained when the test ends.
func served(t *testing.T) (file string, out, logs *watched) {
	t.Helper()
	dir, err := os.MkdirTemp("", "serve")
	if err != nil {
		t.Fatal(err)
	}
	// A port that was free a moment ago: the other commands read it from the
	// same file.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := ln.Addr().String()
	_ = ln.Close()
	file = filepath.Join(dir, "postern.yaml")
	write(t, file, `
intake: {listen: "`+listen+`", public_url: https://hooks.example.com}
admin: {listen: "127.0.0.1:0"}
store: {path: `+filepath.Join(dir, "data")+`}
plugins: {path: `+plugins(t)+`, cache: `+plugins(t)+`/cache}
tenants:
  main:
    endpoints:
      ottu: {plugin: ottu, token: `+testToken+`, secrets: {hmac-key: env:OTTU_HMAC_KEY}}
sinks:
  events: {type: file, path: `+filepath.Join(dir, "events.ndjson")+`, from: oldest}
`)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	out, logs = serveFile(t, file)
	return file, out, logs
}

// serveFile runs "serve" with a configuration; the server is drained when the
// test ends.
func serveFile(t *testing.T, file string) (out, logs *watched) {
	t.Helper()
	out, logs = watchFor("ctrl-c"), watchFor("\x00")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		p := &program{stdin: strings.NewReader(""), stdout: out, stderr: logs, environ: serveEnviron}
		done <- p.run(ctx, []string{"serve", "--config", file})
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != exitDone {
			t.Errorf("serve = code %d, want 0 after a signal; it wrote\n%s", code, logs)
		}
	})
	select {
	case <-out.seen:
	case code := <-done:
		done <- code
		t.Fatalf("serve ended with code %d; it wrote\n%s", code, logs)
	}
	return out, logs
}

var serveEnviron = []string{"OTTU_HMAC_KEY=" + testKey, "COLUMNS=80"}

const testBody = `{"session_id":"s","order_no":"o","reference_number":"r","result":"success","state":"paid","amount":"1.000","currency_code":"KWD"}`

// One server, and everything that a person does with it.
func TestServe(t *testing.T) {
	file, out, logs := served(t)
	if !strings.Contains(out.String(), "https://hooks.example.com/in/main/ottu/{token}") {
		t.Errorf("serve wrote\n%s\nwant the endpoint's URL with its token masked", out)
	}
	sent := posternIn(t, testBody, serveEnviron, "send", "ottu", "--config", file, "--data", "-")
	if sent.code != exitDone || !strings.HasPrefix(sent.stdout, "200 OK  ") {
		t.Fatalf("send = %+v, want 200 and code 0", sent)
	}
	_, after, _ := strings.Cut(sent.stdout, "\nevent ")
	id, _, _ := strings.Cut(after, " ")
	look := proposed(t, sent.stdout, "see it:")
	if diff := cmp.Diff([]string{"events", "show", id, "--config", file}, look); diff != "" {
		t.Errorf("send proposes (-want +got):\n%s", diff)
	}
	// The secret is not in this environment: reading needs none.
	shown := postern(t, nil, look...)
	if shown.code != exitDone || !strings.Contains(shown.stdout, "POST /in/main/ottu/[token:path]") {
		t.Errorf("events show = %+v, want the masked request", shown)
	}
	again := posternIn(t, testBody, serveEnviron, "send", "ottu", "--config", file, "--data", "-")
	if again.code != exitDone || !strings.Contains(again.stdout, "no new event") {
		t.Errorf("send of the same = %+v, want no new event", again)
	}
	carried := postern(t, serveEnviron, proposed(t, out.String(), "\n  try")...)
	if carried.code != exitDone || !strings.Contains(carried.stdout, "\nevent ") {
		t.Errorf("send of what the plugin carries = %+v, want an event", carried)
	}
	fromFile := postern(t, serveEnviron, "send", filepath.Join("internal", "cases", "demo", "ottu-pending.http"), "--config", file, "--header", "X-Extra: 1")
	if fromFile.code != exitDone || !strings.Contains(fromFile.stdout, "payment.pending") {
		t.Errorf("send of a file = %+v, want an event", fromFile)
	}
	refused := posternIn(t, testBody, serveEnviron, "send", "ottu", "--config", file, "--data", "-", "--unsigned", "--json")
	var answer struct {
		Status int
		Events []string
	}
	if err := json.Unmarshal([]byte(refused.stdout), &answer); err != nil || answer.Status != 401 ||
		len(answer.Events) != 0 || refused.code != exitFailed {
		t.Errorf("send --unsigned --json = %+v, want 401, no event and code 1", refused)
	}
	plain := posternIn(t, testBody, serveEnviron, "send", "ottu", "--config", file, "--data", "-", "--unsigned")
	if plain.code != exitFailed || plain.stderr != "" || !strings.HasPrefix(plain.stdout, "401 Unauthorized  ") {
		t.Errorf("send --unsigned = %+v, want 401 and code 1", plain)
	}
	second := postern(t, serveEnviron, "serve", "--config", file, "--intake.listen", "127.0.0.1:0")
	if second.code != exitFailed || strings.Count(second.stderr, "\npostern: ") > 1 {
		t.Errorf("a second serve on the same directory = %+v, want one line and code 1", second)
	}
	for name, text := range map[string]string{
		"serve": out.String(), "its log": logs.String(), "send": sent.stdout + sent.stderr + refused.stdout + refused.stderr,
		"events show": shown.stdout, "the second serve": second.stdout + second.stderr,
	} {
		if strings.Contains(text, testToken) || strings.Contains(text, testKey) {
			t.Errorf("%s shows a secret:\n%s", name, text)
		}
	}
}

func TestServe_portInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	dir, err := os.MkdirTemp("", "serve")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "postern.yaml")
	write(t, file, "log: {level: error}\nstore: {path: "+filepath.Join(dir, "data")+"}\nadmin: {listen: \"127.0.0.1:0\"}\n")
	got := postern(t, []string{}, "serve", "--config", file, "--intake.listen", ln.Addr().String())
	if got.code != exitFailed || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 ||
		!strings.Contains(got.stderr, ln.Addr().String()) {
		t.Errorf("serve = %+v, want one line that names the address, and code 1", got)
	}
}

func TestServe_everyFlagHasAMeaning(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.AddFlags(flags)
	n := 0
	flags.VisitAll(func(f *pflag.Flag) {
		n++
		if meanings[f.Name] == "" {
			t.Errorf("--%s has no meaning", f.Name)
		}
	})
	if n != len(meanings) {
		t.Errorf("%d meanings for %d flags", len(meanings), n)
	}
}

// People get one line in the place of many, which says where all of it is told.
func TestServe_warnings(t *testing.T) {
	for format, want := range map[string]string{
		"text": `msg="the configuration has 3 warnings" see="./bin/postern config check --config x.yaml"`,
		"json": `"msg":"configuration","warning":"sinks: `,
	} {
		cfg, err := config.Load(config.Options{
			File: "x", Text: []byte("store: {engine: mem}\nlog: {format: " + format + "}\n"), Environ: []string{},
		})
		if err != nil {
			t.Fatal(err)
		}
		var logs strings.Builder
		p := &program{name: "./bin/postern", configFile: "x.yaml", stderr: &logs}
		p.warn(p.logger(cfg.Log), cfg)
		if n := strings.Count(logs.String(), "\n"); !strings.Contains(logs.String(), want) || (n == 1) != (format == "text") {
			t.Errorf("format %s: logged %d lines\n%s\nwant one with %s", format, n, logs.String(), want)
		}
	}
}
