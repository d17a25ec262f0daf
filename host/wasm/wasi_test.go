package wasm

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/wasi"
)

// wasi calls a function of the sealed WASI as a guest would.
func (d *driver) wasi(name string, args ...uint32) uint32 {
	d.t.Helper()
	stack := make([]uint64, max(1, len(args)))
	for i, a := range args {
		stack[i] = uint64(a) | 0xdead_beef_0000_0000
	}
	w := &d.in.guest.world
	w.Memory, w.Stack = d.in.api.Memory(), stack
	return wasi.For(name, nil).Do(w)
}

func (d *driver) u64(at uint32) uint64 {
	d.t.Helper()
	v, ok := d.in.api.Memory().ReadUint64Le(at)
	if !ok {
		d.t.Fatalf("no memory at %d", at)
	}
	return v
}

// Errors of WASI.
const (
	errnoBadf  = 8
	errnoFault = 21
	errnoInval = 28
	errnoNosys = 52

	subscriptionSize = 48
	absoluteTime     = 1
)

const outside = 0xffff_fff0

// TestInvariant11_wasiIsSealed: the only clock is the time of receipt, random
// bytes are the same every time, and there is nothing else.
func TestInvariant11_wasiIsSealed(t *testing.T) {
	cb := callback("")
	cb.Received = time.Unix(1700000000, 5)
	first, second := drive(t, "[]", Binding{}, cb), drive(t, "[]", Binding{}, cb)
	for _, d := range []*driver{first, second} {
		if errno := d.wasi("clock_time_get", 0, 0, 8); errno != 0 || d.u64(8) != 1700000000_000000005 {
			t.Errorf("clock = %d, errno %d; want the time of receipt", d.u64(8), errno)
		}
		if errno := d.wasi("random_get", 64, 32); errno != 0 {
			t.Errorf("random: errno %d", errno)
		}
		for _, f := range []string{"args_sizes_get", "environ_sizes_get"} {
			if errno := d.wasi(f, 16, 20); errno != 0 || d.u64(16) != 0 {
				t.Errorf("%s: errno %d, sizes %x", f, errno, d.u64(16))
			}
		}
	}
	a, _ := first.in.api.Memory().Read(64, 32)
	b, _ := second.in.api.Memory().Read(64, 32)
	if string(a) != string(b) || string(a) == strings.Repeat("\x00", 32) {
		t.Errorf("random bytes %x and %x, want the same and not none", a, b)
	}
	for name, want := range map[string]uint32{
		"path_open": errnoNosys, "sock_send": errnoNosys, "fd_read": errnoBadf, "fd_prestat_get": errnoBadf, "anything": errnoNosys,
	} {
		if got := first.wasi(name, 0, 0, 0, 0); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

// TestWASI_waitingTakesNoTime: a wait moves the guest's clock and returns.
func TestWASI_waitingTakesNoTime(t *testing.T) {
	cb := callback("")
	cb.Received = time.Unix(1700000000, 0)
	d := drive(t, "[]", Binding{}, cb)
	subscribe := func(i int, user, wait uint64, flags uint16) {
		s := make([]byte, subscriptionSize)
		binary.LittleEndian.PutUint64(s, user)
		binary.LittleEndian.PutUint64(s[24:], wait)
		binary.LittleEndian.PutUint16(s[40:], flags)
		d.in.api.Memory().Write(uint32(1024+i*subscriptionSize), s)
	}
	hour := uint64(time.Hour)
	subscribe(0, 7, 2*hour, 0)
	subscribe(1, 8, 1700000000_000000000+hour, absoluteTime)
	if errno := d.wasi("poll_oneoff", 1024, 2048, 2, 16); errno != 0 {
		t.Fatalf("poll_oneoff: errno %d", errno)
	}
	if n, _ := d.in.api.Memory().ReadUint32Le(16); n != 1 || d.u64(2048) != 8 {
		t.Errorf("%d events, the first for %d; want one, for 8: it is due first", n, d.u64(2048))
	}
	d.wasi("clock_time_get", 0, 0, 8)
	if want := uint64(1700000000_000000000) + hour; d.u64(8) != want {
		t.Errorf("clock after the wait = %d, want %d", d.u64(8), want)
	}
	if errno := d.wasi("poll_oneoff", 1024, 2048, 0, 16); errno != errnoInval {
		t.Errorf("a wait for nothing: errno %d", errno)
	}
	if errno := d.wasi("poll_oneoff", 1024, 2048, 1<<20, 16); errno != errnoInval {
		t.Errorf("a wait for a million things: errno %d", errno)
	}
}

// TestWASI_badPointers: none of them panics the host or writes elsewhere.
func TestWASI_badPointers(t *testing.T) {
	d := drive(t, "[]", Binding{}, callback(""))
	for name, args := range map[string][]uint32{
		"clock_time_get": {0, 0, outside}, "clock_res_get": {0, outside}, "random_get": {outside, 64},
		"args_sizes_get": {outside, 0}, "environ_sizes_get": {0, outside},
		"fd_write": {1, outside, 1, 0}, "poll_oneoff": {outside, 0, 1, 0},
	} {
		if errno := d.wasi(name, args...); errno != errnoFault {
			t.Errorf("%s: errno %d, want %d", name, errno, errnoFault)
		}
	}
	if errno := d.wasi("fd_write", 3, 0, 0, 0); errno != errnoBadf {
		t.Errorf("fd_write to 3: errno %d", errno)
	}
}

// TestWASI_standardErrorIsCapped floods the guest's standard error.
func TestWASI_standardErrorIsCapped(t *testing.T) {
	d := drive(t, "[]", Binding{}, callback(""))
	d.in.api.Memory().WriteString(4096, strings.Repeat("x", 8192))
	d.in.api.Memory().WriteUint32Le(1024, 4096)
	d.in.api.Memory().WriteUint32Le(1028, 8192)
	for range 10 {
		if errno := d.wasi("fd_write", 2, 1024, 1, 16); errno != 0 {
			t.Fatalf("errno %d", errno)
		}
		if n, _ := d.in.api.Memory().ReadUint32Le(16); n != 8192 {
			t.Fatalf("%d bytes written, want 8192: a guest must not retry", n)
		}
	}
	if got := len(d.in.guest.world.Said); got != wasi.MaxSaid {
		t.Errorf("%d bytes kept, want %d", got, wasi.MaxSaid)
	}
}

// TestSign_needsTheGrant: a binding without Signing signs nothing.
func TestSign_needsTheGrant(t *testing.T) {
	p := counter(t, Options{})
	if _, err := p.Sign(t.Context(), callback("")); err == nil {
		t.Error("a plugin that is not bound for signing signs")
	}
	granted, err := p.module.Bind(Binding{Secrets: map[string][]string{"key": {"newest", "older"}}, Signing: true})
	if err != nil {
		t.Fatal(err)
	}
	cb := &host.Callback{Target: "/in/t/e", Headers: []host.Header{{Name: "X-KEY", Value: "old"}, {Name: "A", Value: "b"}}}
	out, err := granted.Sign(t.Context(), cb)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := out.Header("x-key", 0); !ok || v != "newest" || len(out.Headers) != 2 {
		t.Errorf("headers = %v, want the newest token once", out.Headers)
	}
	if v, _ := cb.Header("x-key", 0); v != "old" {
		t.Error("the callback given was changed")
	}
}
