package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cel "github.com/postern/postern/bench/where/cel"
	"github.com/postern/postern/config"
	"github.com/postern/postern/host"
)

// The command that prints results.txt, in this folder:
//
//	go test -run '^$' -bench . -count 6 .

// typical are conditions as an operator writes them. All but the last are the
// same text in both languages.
var typical = []struct{ name, expr, cel string }{
	{name: "attributes", expr: `type == "payment.succeeded" && provider == "ottu"`},
	{name: "minor", expr: `data.amount.currency == "KWD" && data.amount.minor > 50000`},
	{name: "decimal", expr: `decimal(data.amount.value) >= decimal("12.50")`},
	{
		name: "pattern", expr: `type startsWith "payment." && data.references.merchant matches "^A[0-9]+$"`,
		cel: `type.startsWith("payment.") && data.references.merchant.matches("^A[0-9]+$")`,
	},
}

func payment() *host.Event {
	return &host.Event{
		Source: "/acme/pay", Type: "payment.succeeded", Subject: "stage45F3C", Tenant: "acme", Endpoint: "pay", Provider: "ottu",
		VerifiedBy: host.HMACSHA256, Covers: host.CoversFields, Time: time.Now(), Received: time.Now(),
		Data: []byte(`{"status":"succeeded","provider_status":"paid","amount":{"value":"86.000","currency":"KWD","minor":86000},` +
			`"references":{"merchant":"A4711","provider":"stage45F3C"},"method":"mpgs","provider_data":{"gateway_account":"credit-card-test",` +
			`"customer_email":"someone@shop.example","customer_first_name":"Example","state":"paid","extra":{"flight-number":"43667"}}}`),
	}
}

// inPostern is a condition as the server has it, in expr.
func inPostern(b *testing.B, text string) func(*host.Event) bool {
	b.Helper()
	yaml := fmt.Sprintf("sinks: {s: {type: file, path: a, filter: {where: %q}}}", text)
	cfg, err := config.Load(config.Options{Text: []byte(yaml), Environ: []string{}})
	if err != nil {
		b.Fatal(err)
	}
	s := cfg.Sinks["s"]
	return s.Want(func(err error) { b.Error(err) }).Test
}

func inCEL(b *testing.B, text string) func(*host.Event) bool {
	b.Helper()
	c, err := cel.Compile(text)
	if err != nil {
		b.Fatal(err)
	}
	return func(ev *host.Event) bool {
		holds, err := c.Test(ev)
		if err != nil {
			b.Error(err)
		}
		return holds
	}
}

func BenchmarkWhere(b *testing.B) {
	for _, tc := range typical {
		if tc.cel == "" {
			tc.cel = tc.expr
		}
		for engine, test := range map[string]func(*host.Event) bool{"expr": inPostern(b, tc.expr), "cel": inCEL(b, tc.cel)} {
			b.Run(tc.name+"/engine="+engine, func(b *testing.B) {
				b.ReportAllocs()
				ev := payment()
				for b.Loop() {
					if !test(ev) {
						b.Fatal("the condition does not hold")
					}
				}
			})
		}
	}
}

// BenchmarkData is the reading of the data alone, which every condition but the
// first above pays in either language.
func BenchmarkData(b *testing.B) {
	b.ReportAllocs()
	ev := payment()
	for b.Loop() {
		var v any
		if err := json.Unmarshal(ev.Data, &v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargest is a condition over as much data as it is judged with: 1 MiB
// for a short one, less for a long one.
func BenchmarkLargest(b *testing.B) {
	ev := payment()
	ev.Data = fmt.Appendf(nil, `{"items":[%s0]}`, strings.Repeat("1,", 1<<19-8))
	test := inPostern(b, "any(data.items, # == 2 || # == 3)")
	for b.Loop() {
		if test(ev) {
			b.Fatal("the condition holds")
		}
	}
}

// BenchmarkBinary builds the server three times, as make build does: without an
// expression language, with expr as it is, and with CEL in its place.
func BenchmarkBinary(b *testing.B) {
	root, err := filepath.Abs("../..")
	if err != nil {
		b.Fatal(err)
	}
	for _, engine := range []struct{ name, file, module string }{
		{name: "none", file: "none/none.go"},
		{name: "expr"},
		{name: "cel", file: "cel/cel.go", module: "cel.dev/cel-go@v0.33.2"},
	} {
		b.Run("engine="+engine.name, func(b *testing.B) {
			own := filepath.Join(root, "config/internal/where")
			replace := map[string]string{}
			if engine.file != "" {
				replace[filepath.Join(own, "where.go")] = filepath.Join(root, "bench/where", engine.file)
				replace[filepath.Join(own, "guard.go")], replace[filepath.Join(own, "decimal.go")] = "", ""
			}
			for b.Loop() {
				b.ReportMetric(float64(size(b, root, replace, engine.module)), "bytes")
			}
		})
	}
}

// size builds the server with some files replaced and perhaps another module.
func size(b *testing.B, root string, replace map[string]string, module string) int64 {
	b.Helper()
	dir := b.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	run := func(args ...string) {
		cmd := exec.CommandContext(context.Background(), "go", args...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			b.Fatal(err)
		}
		write(name, content)
	}
	if module != "" {
		run("mod", "edit", "-require="+module, filepath.Join(dir, "go.mod"))
	}
	binary := filepath.Join(dir, "postern")
	run("build", "-mod=mod", "-modfile", filepath.Join(dir, "go.mod"), "-overlay", write("overlay.json", overlay),
		"-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	info, err := os.Stat(binary)
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}
