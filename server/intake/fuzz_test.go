package intake

import (
	"slices"
	"testing"
)

// What is let through, net/http takes and reads alike; nothing at all makes the
// judge panic.
func FuzzHead(f *testing.F) {
	for _, v := range vectors() {
		f.Add([]byte(v.wire))
	}
	for _, a := range allowedForms() {
		f.Add([]byte(a.wire))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		wire = slices.Concat(wire, []byte(second))
		cb, ok := judged(wire)
		if !ok {
			return
		}
		if got := disagreement(cb, string(wire)); got != "" {
			t.Errorf("%q: %s", wire, got)
		}
	})
}
