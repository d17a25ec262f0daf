package cli

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// What stands in a pipe between programs must be events and nothing else.
func TestServe_stdoutIsForEventsAlone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := ln.Addr().String()
	_ = ln.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "postern.yaml")
	write(t, file, `
intake: {listen: "`+listen+`"}
admin: {listen: "127.0.0.1:0"}
store: {engine: mem, path: `+filepath.Join(dir, "data")+`}
plugins: {path: `+plugins(t)+`, cache: `+plugins(t)+`/cache}
tenants:
  main:
    endpoints:
      ottu: {plugin: ottu, token: `+testToken+`, secrets: {hmac-key: env:OTTU_HMAC_KEY}}
sinks:
  pipe: {type: stdout, from: oldest}
`)
	out, logs := watchFor("\n"), watchFor("ctrl-c")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		p := &program{stdin: strings.NewReader(""), stdout: out, stderr: logs, environ: serveEnviron}
		ended <- p.run(ctx, []string{"serve", "--config", file})
	}()
	defer func() {
		cancel()
		if code := <-ended; code != exitDone {
			t.Errorf("serve = code %d, want 0; it wrote\n%s", code, logs)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		var ev struct{ Type, Subject string }
		if err := json.Unmarshal([]byte(lines[0]), &ev); err != nil || len(lines) != 1 || ev.Type != "payment.succeeded" {
			t.Errorf("the standard output is %q (%v), want one event", out, err)
		}
	}()
	select {
	case <-logs.seen:
	case code := <-ended:
		ended <- code
		t.Fatalf("serve ended with code %d; it wrote\n%s", code, logs)
	}
	sent := posternIn(t, testBody, serveEnviron, "send", "ottu", "--config", file, "--data", "-")
	if sent.code != exitDone {
		t.Fatalf("send = %+v, want code 0", sent)
	}
	<-out.seen
}
