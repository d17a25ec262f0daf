//go:build linux

package wasm

import (
	"runtime"
	"testing"

	"github.com/postern/postern/host/wasm/internal/fuel"
)

// TestYield lets a call go from its thread at the end of its first slice, and what
// it writes after that is found nevertheless.
//
// Invariant 7.
func TestYield(t *testing.T) {
	p := counter(t, Options{Instances: 1, Fuel: 10 * fuel.Slice})
	for range 3 { // the pages that a call writes are known
		if _, err := p.Handle(t.Context(), callback("")); err != nil {
			t.Fatal(err)
		}
	}
	in, err := p.module.pool.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	memory := in.guest.memory
	before, _ := memory.ReadUint32Le(memory.Size() - 4)
	write, wrote := make(chan bool), make(chan bool)
	go func() {
		runtime.LockOSThread() // not that of the test
		for range write {
			wrote <- memory.WriteUint32Le(memory.Size()-4, before+1)
		}
	}()
	in.memory.Watch()
	in.begins(p, callback(""))
	in.tank.Next()
	write <- true
	<-wrote
	if !in.renew(nil) {
		t.Fatal("the instance is not as it was")
	}
	close(write)
	if after, _ := memory.ReadUint32Le(memory.Size() - 4); after != before {
		t.Errorf("what the call wrote is there for the next one: %d, want %d", after, before)
	}
}
