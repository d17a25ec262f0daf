package bench

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
	"github.com/postern/postern/host/wasm"
)

const key = "bench-key-not-a-secret"

// signedFields are Ottu's, in its order.
var signedFields = []string{
	"amount", "currency_code", "customer_address_city", "customer_address_country", "customer_address_line1",
	"customer_address_line2", "customer_address_postal_code", "customer_address_state", "customer_email",
	"customer_first_name", "customer_last_name", "customer_phone", "gateway_account", "gateway_name",
	"order_no", "reference_number", "result", "state",
}

func mac(fields map[string]json.RawMessage) []byte {
	m := hmac.New(sha256.New, []byte(key))
	for _, name := range signedFields {
		var text string
		if raw, ok := fields[name]; ok && json.Unmarshal(raw, &text) == nil && text != "" {
			m.Write([]byte(name + text))
		}
	}
	return m.Sum(nil)
}

// body is a signed payment callback; each n is another payment.
func body(tb testing.TB, n int) []byte {
	tb.Helper()
	text := fmt.Appendf(nil, `{"amount":"86.000","currency_code":"KWD","customer_email":"someone@shop.example",`+
		`"customer_first_name":"Example","extra":{"flight-number":"43667","full_name":"abc"},"gateway_account":"credit-card-test",`+
		`"gateway_name":"mpgs","message":"","order_no":"A%d","reference_number":"stage%dC","result":"success",`+
		`"session_id":"8eea795ead6d7cda7d12414bbae6a396adfe4758","state":"paid","total_paid_amount":"86.000"`, n, n)
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(append(bytes.Clone(text), '}'), &fields); err != nil {
		tb.Fatal(err)
	}
	return fmt.Appendf(text, `,"signature":"%x"}`, mac(fields))
}

// native is what a careful team would write in Go without Postern: the same
// checks and the same event.
type native struct{}

func (native) Handle(_ context.Context, cb *host.Callback) (host.Result, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(cb.Body, &fields); err != nil {
		return host.Result{Verdict: host.Reject, Reason: host.Malformed}, nil
	}
	text := func(name string) string {
		var s string
		if json.Unmarshal(fields[name], &s) != nil {
			return ""
		}
		return s
	}
	signature, err := hex.DecodeString(text("signature"))
	if err != nil || !hmac.Equal(signature, mac(fields)) {
		return host.Result{Verdict: host.Reject, Reason: host.NotVerified}, nil
	}
	reference, state, result := text("reference_number"), text("state"), text("result")
	return host.Result{
		Verdict:  host.Accept,
		Evidence: []host.Evidence{{Secret: "hmac-key", Algorithm: host.HMACSHA256, Covers: host.CoversFields}},
		Events: []host.Draft{{
			Type: "payment.succeeded", Subject: reference, Key: []string{"payment", reference, state, result},
			Status: "succeeded", ProviderStatus: state, Amount: text("amount"), Currency: text("currency_code"),
			References: host.References{Merchant: text("order_no"), Provider: reference},
			Method:     text("gateway_name"), ProviderData: cb.Body,
		}},
	}, nil
}

// plugins are the same logic twice.
func plugins(b *testing.B) map[string]host.Plugin {
	b.Helper()
	r, err := wasm.New(context.Background(), wasm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = r.Close(context.Background()) })
	m, err := r.Load(context.Background(), "../plugins/dist/ottu.wasm")
	if err != nil {
		b.Fatalf("%v (build it with: make plugins)", err)
	}
	sandboxed, err := m.Bind(wasm.Binding{Secrets: map[string][]string{"hmac-key": {key}}})
	if err != nil {
		b.Fatal(err)
	}
	return map[string]host.Plugin{"wasm": sandboxed, "native": native{}}
}

// BenchmarkIngest takes a signed Ottu callback through the whole pipeline onto
// the store in memory.
func BenchmarkIngest(b *testing.B) {
	const round = 4096
	bodies := make([][]byte, round)
	for i := range bodies {
		bodies[i] = body(b, i)
	}
	run := plugins(b)
	for _, name := range []string{"native", "wasm"} {
		b.Run("plugin="+name, func(b *testing.B) {
			ep := &host.Endpoint{Tenant: "bench", Name: "ottu", Provider: "ottu", Plugin: run[name]}
			var h *host.Host
			b.ReportAllocs()
			for i := range b.N {
				if i%round == 0 {
					b.StopTimer()
					h = &host.Host{Store: mem.New(mem.Options{}), Log: slog.New(slog.DiscardHandler)}
					b.StartTimer()
				}
				cb := &host.Callback{Method: "POST", Target: "/in/bench/ottu", Body: bodies[i%round], Received: time.Unix(1700000000, 0)}
				if a := h.Ingest(context.Background(), ep, cb); a.Status != 200 {
					b.Fatalf("status %d", a.Status)
				}
			}
		})
	}
}

// BenchmarkJudge is the plugin alone, without completing and storing the
// event.
func BenchmarkJudge(b *testing.B) {
	text := body(b, 1)
	run := plugins(b)
	for _, name := range []string{"native", "wasm"} {
		b.Run("plugin="+name, func(b *testing.B) {
			cb := &host.Callback{Method: "POST", Body: text, Received: time.Unix(1700000000, 0)}
			b.ReportAllocs()
			for b.Loop() {
				if res, err := run[name].Handle(context.Background(), cb); err != nil || res.Verdict != host.Accept {
					b.Fatalf("%v %v", res.Verdict, err)
				}
			}
		})
	}
}
