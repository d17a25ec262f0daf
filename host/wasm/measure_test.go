//go:build linux

package wasm

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sys/unix"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/manifest/secret"
	"github.com/postern/postern/host/wasm/internal/view"
)

// What the measurements have in common: the callback, the guests that judge it
// alike, and the same work in Go.

const (
	measureKey      = "bench-key-not-a-secret"
	measureManifest = `{"name":"pay","version":"0.1.0","secrets":[
		{"name":"key","summary":"the signing key","use":"hmac-sha256","form":"utf8"}]}`
)

// measureBody is a payment of 500 bytes.
func measureBody() []byte {
	const text = `{"id":"pay_01JD8Q4ZK9","status":"paid","paid_at":"2026-11-20T10:15:30Z","amount":{"value":"86.000","currency":"KWD"},` +
		`"order":{"reference":"A-10442","items":[{"sku":"TKT-1","quantity":2},{"sku":"TKT-7","quantity":1}]},"method":"card",` +
		`"customer":{"name":"Example Person","email":"someone@shop.example","phone":"+96500000000"},"attempt":1,"live":true,"note":""}`
	return []byte(strings.Replace(text, `"note":""`, `"note":"`+strings.Repeat("x", 500-len(text))+`"`, 1))
}

// measured is the callback of the measurements, signed.
func measured() *host.Callback {
	body := measureBody()
	mac := hmac.New(sha256.New, []byte(measureKey))
	mac.Write(body)
	return &host.Callback{
		Method: "POST", Target: "/in/bench/pay", PublicURL: "https://postern.test/in/bench/pay", Body: body,
		Headers: []host.Header{
			{Name: "Host", Value: "postern.test"},
			{Name: "Content-Type", Value: "application/json"},
			{Name: "User-Agent", Value: "pay/1.0"},
			{Name: "X-Signature", Value: hex.EncodeToString(mac.Sum(nil))},
		},
		Received: time.Date(2026, 11, 20, 10, 15, 31, 0, time.UTC),
	}
}

// payWant is what every variant must make of it.
func payWant() host.Result {
	return host.Result{
		Verdict:  host.Accept,
		Evidence: []host.Evidence{{Secret: "key", Algorithm: host.HMACSHA256, Covers: host.CoversBody}},
		Events: []host.Draft{{
			Type: "payment.succeeded", Subject: "pay_01JD8Q4ZK9", Key: []string{"pay_01JD8Q4ZK9"},
			Time:   time.Date(2026, 11, 20, 10, 15, 30, 0, time.UTC),
			Status: "succeeded", ProviderStatus: "paid", Amount: "86.000", Currency: "KWD",
			References: host.References{Merchant: "A-10442"}, Method: "card",
		}},
		Answer: &host.Answer{Status: 200, ContentType: "application/json", Body: []byte(`{"received":true}`)},
	}
}

// payGuest is a guest of the measurements with manifest and goldens, three of
// them, as an author would pack it: an instance judges them before it is frozen.
func payGuest(t testing.TB, code []byte) []byte {
	t.Helper()
	cb := measured()
	var http strings.Builder
	fmt.Fprintf(&http, "%s %s HTTP/1.1\n", cb.Method, cb.Target)
	for _, h := range cb.Headers {
		fmt.Fprintf(&http, "%s: %s\n", h.Name, h.Value)
	}
	fmt.Fprintf(&http, "\n%s", cb.Body)
	golden := map[string]any{
		"received": cb.Received, "secrets": map[string][]string{"key": {measureKey}},
		"expect": map[string]string{"verdict": "accept"},
	}
	var goldens []map[string]any
	for _, name := range []string{"a", "b", "c"} {
		goldens = append(goldens, map[string]any{"name": name, "http": []byte(http.String()), "golden": golden})
	}
	packed, err := json.Marshal(goldens)
	if err != nil {
		t.Fatal(err)
	}
	code = append(code, section(sectionManifest, measureManifest)...)
	return append(code, section("postern.goldens", string(packed))...)
}

// goGuest builds testdata/bench/go as cmd/pack would.
func goGuest(t testing.TB) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "go.wasm")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, ".")
	cmd.Dir = filepath.Join("testdata", "bench", "go")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return payGuest(t, code)
}

// smallGuest is pay.c.
func smallGuest(t testing.TB) []byte {
	t.Helper()
	code, err := os.ReadFile(filepath.Join("testdata", "bench", "pay.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return payGuest(t, code)
}

// primitives is the work in Go with what the host does it with: what a call of a
// guest costs at the least.
type primitives struct{ key secret.MAC }

func newPrimitives() *primitives {
	return &primitives{secret.NewMAC(secret.Use(host.HMACSHA256), []byte(measureKey))}
}

func (p *primitives) Handle(_ context.Context, cb *host.Callback) (host.Result, error) {
	v, err := p.verified(cb)
	if err != nil {
		return host.Result{}, err
	}
	defer v.Release()
	return p.result(v)
}

// verified parses the body and checks the signature.
func (p *primitives) verified(cb *host.Callback) (*view.View, error) {
	v, err := view.JSON(cb.Body)
	if err != nil {
		return nil, err
	}
	said, _ := cb.Header("X-Signature", 0)
	signature, err := hex.DecodeString(said)
	var buffer [64]byte
	if err != nil || !hmac.Equal(p.key.Sum(buffer[:0], [][]byte{cb.Body}), signature) {
		return nil, errors.New("the signature is wrong")
	}
	return v, nil
}

// result tells the event.
func (p *primitives) result(v *view.View) (host.Result, error) {
	text := func(path string) string {
		b, _ := v.Text([]byte(path))
		return string(b)
	}
	at, err := time.Parse(time.RFC3339, text("/paid_at"))
	d := host.Draft{
		Type: strings.Clone("payment.succeeded"), Subject: text("/id"), Time: at.UTC(), Key: []string{text("/id")},
		Status: strings.Clone("succeeded"), ProviderStatus: text("/status"),
		Amount: text("/amount/value"), Currency: text("/amount/currency"),
		References: host.References{Merchant: text("/order/reference")}, Method: text("/method"),
	}
	if err != nil || !host.IsType(d.Type) || !host.IsAmount(d.Amount) || !host.IsCurrency(d.Currency) {
		return host.Result{}, errors.New("the event is malformed")
	}
	return host.Result{
		Verdict:  host.Accept,
		Evidence: []host.Evidence{{Secret: "key", Algorithm: host.HMACSHA256, Covers: host.CoversBody}},
		Events:   []host.Draft{d},
		Answer: &host.Answer{
			Status: 200, ContentType: strings.Clone("application/json"), Body: []byte(`{"received":true}`),
		},
	}, nil
}

// library is the work with Go's standard library, as a handler would be written
// that was made for this one provider.
type library struct{}

func (library) Handle(_ context.Context, cb *host.Callback) (host.Result, error) {
	said, _ := cb.Header("X-Signature", 0)
	signature, err := hex.DecodeString(said)
	mac := hmac.New(sha256.New, []byte(measureKey))
	mac.Write(cb.Body)
	if err != nil || !hmac.Equal(mac.Sum(nil), signature) {
		return host.Result{}, errors.New("the signature is wrong")
	}
	var body struct {
		ID     string    `json:"id"`
		Status string    `json:"status"`
		PaidAt time.Time `json:"paid_at"`
		Amount struct {
			Value    string `json:"value"`
			Currency string `json:"currency"`
		} `json:"amount"`
		Order struct {
			Reference string `json:"reference"`
		} `json:"order"`
		Method string `json:"method"`
	}
	if err := stdjson.Unmarshal(cb.Body, &body); err != nil {
		return host.Result{}, err
	}
	return host.Result{
		Verdict:  host.Accept,
		Evidence: []host.Evidence{{Secret: "key", Algorithm: host.HMACSHA256, Covers: host.CoversBody}},
		Events: []host.Draft{{
			Type: "payment.succeeded", Subject: body.ID, Time: body.PaidAt.UTC(), Key: []string{body.ID},
			Status: "succeeded", ProviderStatus: body.Status, Amount: body.Amount.Value, Currency: body.Amount.Currency,
			References: host.References{Merchant: body.Order.Reference}, Method: body.Method,
		}},
		Answer: &host.Answer{Status: 200, ContentType: "application/json", Body: []byte(`{"received":true}`)},
	}, nil
}

// cpuTime is what this process has used of the machine, in every thread.
func cpuTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// by is the first line of a report: its command, and what was measured where. The
// load is what the machine had to do when it began.
func by(t testing.TB, command string) string {
	revision, err := exec.CommandContext(t.Context(), "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		revision = []byte("unknown")
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	minute, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("# %s: %s, %d cores with a load of %s, revision %s\n",
		command, runtime.Version(), runtime.NumCPU(), minute, strings.TrimSpace(string(revision)))
}

// report prints what was measured, and writes it to the file that the setting
// names, beginning with "/"; anything else only asks for the measurement.
func report(t testing.TB, setting, text string) {
	t.Helper()
	fmt.Fprint(os.Stdout, text)
	if filepath.IsAbs(setting) {
		if err := os.WriteFile(setting, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}
