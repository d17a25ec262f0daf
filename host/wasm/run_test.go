package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

// counter loads the counting guest and binds it with the token "right".
func counter(t testing.TB, o Options) *Plugin {
	t.Helper()
	m, err := newRuntime(t, o).Load(context.Background(), write(t, packed(t, "counter", tokenManifest)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Bind(Binding{Secrets: map[string][]string{"key": {"right"}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func callback(body string) *host.Callback {
	return &host.Callback{
		Method: "POST", Target: "/in/t/e", Body: []byte(body),
		Tokens: []host.Evidence{{Secret: "key", Algorithm: host.StaticToken}},
	}
}

// ackOf runs the guest and returns its ack, a digit.
func ackOf(t *testing.T, p *Plugin, body string) string {
	t.Helper()
	res, err := p.Handle(t.Context(), callback(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(res.Answer.Body)
}

// TestHandle_findsTheInstanceAsNew counts in the guest's memory: every call finds
// it as it was after the start, also one after a trap, which costs no instance.
// With Reuse the next call goes on where the last one ended, and one that trapped
// is closed.
func TestHandle_findsTheInstanceAsNew(t *testing.T) {
	for body, reason := range map[string]string{
		"t": "unreachable", "x": "exited with status 3", "m": "unreachable", "v": "returned 9, which is no verdict",
	} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprint(body, " reuse ", reuse), func(t *testing.T) {
				p := counter(t, Options{Instances: 1, Reuse: reuse})
				first := p.module.pool.Idle[0]
				want := "11"
				if reuse {
					want = "12"
				}
				if got := ackOf(t, p, "") + ackOf(t, p, ""); got != want {
					t.Fatalf("acks = %q, want %s", got, want)
				}
				_, err := p.Handle(t.Context(), callback(body))
				if host.CodeOf(err) != host.PluginFailed || !strings.Contains(err.Error(), reason) {
					t.Fatalf("Handle = %v, want %v for %q", err, host.PluginFailed, reason)
				}
				if got := ackOf(t, p, ""); got != "1" {
					t.Errorf("ack after the trap = %q, want 1", got)
				}
				// A memory that has grown cannot shrink.
				same := p.module.pool.Idle[0] == first
				if want := !reuse && body != "m"; same != want {
					t.Errorf("the same instance after the trap: %t, want %t", same, want)
				}
			})
		}
	}
}

func TestHandle_badPointerIsATrap(t *testing.T) {
	m, err := newRuntime(t, Options{}).Load(t.Context(), write(t, packed(t, "pointer", tokenManifest)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Bind(Binding{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Handle(t.Context(), callback("body"))
	if host.CodeOf(err) != host.PluginFailed || !errors.Is(err, errBadPointer) {
		t.Errorf("Handle = %v, want the trap %v", err, errBadPointer)
	}
}

func TestHandle_memoryIsCapped(t *testing.T) {
	p := counter(t, Options{MemoryPages: 8})
	if _, err := p.Handle(t.Context(), callback("m")); host.CodeOf(err) != host.PluginFailed {
		t.Errorf("Handle = %v, want a trap once the memory is full", err)
	}
}

func TestHandle_waitsABoundedTimeForAnInstance(t *testing.T) {
	p := counter(t, Options{Instances: 1, Wait: time.Millisecond})
	in, err := p.module.pool.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Handle(t.Context(), callback("")); host.CodeOf(err) != host.PluginBusy {
		t.Errorf("Handle = %v, want %v", err, host.PluginBusy)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Handle(ctx, callback("")); host.CodeOf(err) != host.PluginBusy {
		t.Errorf("Handle with an ended context = %v, want %v", err, host.PluginBusy)
	}
	p.module.pool.Give(t.Context(), in, true)
	if got := ackOf(t, p, ""); got != "1" {
		t.Errorf("ack = %q, want 1", got)
	}
}

// TestPool_hammer has many callers share few instances: none is ever used by
// two at once, and none is lost.
func TestPool_hammer(t *testing.T) {
	const callers, rounds, instances = 16, 200, 3
	p := counter(t, Options{Instances: instances, Wait: time.Minute})
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range rounds {
				body := ""
				if (i+j)%7 == 0 {
					body = "t"
				}
				_, err := p.Handle(context.Background(), callback(body))
				if (err != nil) != (body != "") {
					t.Errorf("Handle(%q) = %v", body, err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(p.module.pool.Idle); got > instances {
		t.Errorf("%d idle instances, want at most %d", got, instances)
	}
	if got := len(p.module.pool.Slots); got != 0 {
		t.Errorf("%d slots taken after the last call, want 0", got)
	}
}

// acceptAll is a store that would store anything.
type acceptAll struct{ appended int }

func (s *acceptAll) Append(context.Context, *host.Record) (host.Receipt, error) {
	s.appended++
	return host.Receipt{Seq: 1}, nil
}
func (*acceptAll) Put(context.Context, *host.Rejected) error { return host.ErrUnsupported }
func (*acceptAll) Drop(context.Context, string) error        { return host.ErrUnsupported }

// TestAcceptWithoutEvidenceIsNotAcknowledged runs a real guest that says
// accept and verified nothing.
func TestAcceptWithoutEvidenceIsNotAcknowledged(t *testing.T) {
	p := counter(t, Options{})
	store := &acceptAll{}
	h := &host.Host{Store: store, Log: p.module.opts.Log}
	ep := &host.Endpoint{Tenant: "t", Name: "e", Provider: "counter", Plugin: p}
	if got := h.Ingest(t.Context(), ep, callback("a")).Status; got != 401 || store.appended != 0 {
		t.Errorf("status = %d with %d appended, want 401 and nothing", got, store.appended)
	}
	ep.Unverified = true
	if got := h.Ingest(t.Context(), ep, callback("a")).Status; got != 200 || store.appended != 1 {
		t.Errorf("verification none: status = %d with %d appended, want 200 and one", got, store.appended)
	}
}

func TestHandle_doesNotAllocateMuch(t *testing.T) {
	p := counter(t, Options{Instances: 1})
	cb := callback("")
	got := testing.AllocsPerRun(100, func() {
		if _, err := p.Handle(context.Background(), cb); err != nil {
			t.Fatal(err)
		}
	})
	// The answer, its body and the evidence.
	if got > 6 {
		t.Errorf("Handle allocates %.0f times, want at most 6", got)
	}
}
