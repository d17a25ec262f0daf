package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const binary = "../bin/postern"

// serveConfig writes a configuration with both plugins into dir.
func serveConfig(b *testing.B, dir string) (config, ready string) {
	b.Helper()
	port := func() string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	plugins, err := filepath.Abs("../plugins/dist")
	if err != nil {
		b.Fatal(err)
	}
	admin := port()
	config = filepath.Join(dir, "postern.yaml")
	text := fmt.Sprintf(`
intake: {listen: %q}
admin: {listen: %q}
store: {path: %q}
plugins: {path: %q, cache: %q}
tenants: {bench: {endpoints: {
  ottu: {plugin: ottu, secrets: {hmac-key: "value:bench"}},
  wibmo: {plugin: wibmo, secrets: {customer-id: "value:a", client-id: "value:b", bank-id: "value:c"}}}}}
`, port(), admin, filepath.Join(dir, "data"), plugins, filepath.Join(dir, "cache"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return config, "http://" + admin + "/readyz"
}

// started runs serve until it is ready and returns how long that took and how
// much memory it then holds.
func started(b *testing.B, config, ready string) (took time.Duration, rss float64) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	cmd := exec.CommandContext(ctx, binary, "serve", "--config", config)
	if err := cmd.Start(); err != nil {
		b.Fatalf("%v (build it with: make build)", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		r, err := http.Get(ready)
		if err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				break
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			b.Fatal("the server did not become ready")
		}
	}
	took = time.Since(began)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if rss, err = strconv.ParseFloat(strings.Fields(kib)[0], 64); err != nil {
				b.Fatal(err)
			}
		}
	}
	return took, rss / 1024
}

// BenchmarkProcess is the binary as a whole: its size, the time from exec to
// ready with both plugins, and the resident memory when idle. Cold compiles
// the plugins; warm reads them from the cache.
func BenchmarkProcess(b *testing.B) {
	info, err := os.Stat(binary)
	if err != nil {
		b.Fatalf("%v (build it with: make build)", err)
	}
	for _, start := range []string{"cold", "warm"} {
		b.Run("start="+start, func(b *testing.B) {
			dir := b.TempDir()
			config, ready := serveConfig(b, dir)
			if start == "warm" {
				started(b, config, ready)
			}
			var took time.Duration
			var rss float64
			for range b.N {
				if start == "cold" {
					if err := os.RemoveAll(filepath.Join(dir, "cache")); err != nil {
						b.Fatal(err)
					}
				}
				t, r := started(b, config, ready)
				took, rss = took+t, rss+r
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took.Milliseconds())/float64(b.N), "ms-to-ready")
			b.ReportMetric(rss/float64(b.N), "MiB-RSS")
			b.ReportMetric(float64(info.Size())/(1<<20), "MiB-binary")
		})
	}
}
