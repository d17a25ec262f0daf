package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// holdings are the mappings and descriptors of this process, once the garbage
// collector has run what unmaps code.
func holdings(t *testing.T) (mappings, descriptors int) {
	t.Helper()
	settle()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("there is no /proc here")
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(maps, []byte("\n")), len(fds)
}

// settle has the garbage collector run every finalizer there is: of what one of
// them lets go of, too.
func settle() {
	for range 3 {
		done := make(chan struct{})
		runtime.SetFinalizer(new([16]byte), func(*[16]byte) { close(done) })
		runtime.GC()
		<-done
	}
}

// A closed module leaves nothing: no instance, snapshot, code or mapping.
func TestModule_close(t *testing.T) {
	r := newRuntime(t, Options{Instances: 2})
	round := func(leak bool) {
		m, err := r.Load(t.Context(), ottuModule)
		if err != nil {
			t.Fatalf("%v (build the plugins with: make plugins)", err)
		}
		golden, secrets := soakGolden(t)
		p, err := m.Bind(Binding{Secrets: secrets})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Handle(t.Context(), golden); err != nil {
			t.Fatal(err)
		}
		if m.Instances() != 1 {
			t.Errorf("it has %d instances after one call, want 1", m.Instances())
		}
		if leak {
			return
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		round(false)
	}
	mappings, descriptors := holdings(t)
	for range 5 {
		round(false)
	}
	// Go's own heap may map once more meanwhile; one module alone is more than this.
	const few = 4
	more, fds := holdings(t)
	if more > mappings+few || fds > descriptors {
		t.Errorf("%d mappings and %d descriptors, before it was loaded five times %d and %d", more, fds, mappings, descriptors)
	}
	if len(r.modules) != 0 {
		t.Errorf("the runtime has %d modules still", len(r.modules))
	}
	for range 5 {
		round(true)
	}
	if more, fds := holdings(t); more <= mappings+few || fds <= descriptors {
		t.Errorf("the check sees nothing where modules are not closed: %d mappings and %d descriptors, before %d and %d",
			more, fds, mappings, descriptors)
	}
}

// Close waits for the calls under way, or says that it did not.
func TestModule_closeWaits(t *testing.T) {
	r := newRuntime(t, Options{Instances: 2, Wait: time.Millisecond})
	m, err := r.Load(t.Context(), write(t, packed(t, "counter", tokenManifest)))
	if err != nil {
		t.Fatal(err)
	}
	in, err := m.pool.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Close(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Close during a call = %v, want that it was not waited for", err)
	}
	other, err := m.pool.Take(t.Context())
	if err != nil {
		t.Fatalf("the module is out of use though it was not closed: %v", err)
	}
	m.pool.Give(t.Context(), other, true)
	closed := make(chan error)
	go func() { closed <- m.Close(t.Context()) }()
	for len(m.pool.Slots) < cap(m.pool.Slots) { // until it has taken the other one
		runtime.Gosched()
	}
	select {
	case err := <-closed:
		t.Fatalf("closed during a call: %v", err)
	default:
	}
	m.pool.Give(t.Context(), in, true)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := m.pool.Take(t.Context()); err == nil {
		t.Error("an instance of a closed module was given out")
	}
}

// The directory of compiled modules keeps to its bound.
func TestCacheSize(t *testing.T) {
	dir := t.TempDir()
	r := newRuntime(t, Options{CacheDir: dir, CacheSize: 1})
	for n := range 3 {
		m, err := r.Load(t.Context(), write(t, packed(t, "counter", strings.Replace(tokenManifest, "0.1.0", fmt.Sprint("0.1.", n), 1))))
		if err != nil {
			t.Fatal(err)
		}
		found, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 {
			t.Errorf("after %d loads %d modules lie there, want the one in use", n+1, len(found))
		}
		if err := m.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
