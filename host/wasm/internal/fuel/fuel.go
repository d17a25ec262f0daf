// Package fuel counts what a guest burns in one call.
package fuel

import (
	"cmp"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// Slice is how much a guest burns before it comes by in Go: at most 100 µs of
// machine time. Running WebAssembly holds up the garbage collector, and with it
// everybody.
const Slice = 100_000

// Budget is what a call may burn: what the endpoint says, or the manifest, or the
// runtime, where zero says nothing, within the cap. The error begins with its place.
func Budget(endpoint, manifest, runtime, most int64) (int64, error) {
	switch {
	case endpoint < 0:
		return 0, fmt.Errorf("fuel: %d is negative", endpoint)
	case endpoint > most:
		return 0, fmt.Errorf("fuel: %d is above the cap of %d (plugins.max_fuel)", endpoint, most)
	}
	return cmp.Or(endpoint, manifest, runtime), nil
}

// Spent is the trap of a guest that used up its fuel.
type Spent int64

// Error implements error.
func (s Spent) Error() string { return fmt.Sprintf("it spent its fuel of %d units", int64(s)) }

// Gauge is the mutable global that a guest counts down.
type Gauge interface {
	Get() uint64
	Set(uint64)
}

// Unmetered is the gauge of a module that counts nothing.
type Unmetered uint64

// Get implements [Gauge].
func (u *Unmetered) Get() uint64 { return uint64(*u) }

// Set implements [Gauge].
func (u *Unmetered) Set(v uint64) { *u = Unmetered(v) }

// Tank is the fuel of an instance for one call.
type Tank struct {
	// Gauge says what is left of the slice, below zero what the guest owes; nil
	// before the instance is there.
	Gauge Gauge
	// Slice is what a guest burns between two yields, and Yield is called at each.
	Slice int64
	Yield func()
	// rest is what it may have beyond the slice, all what it was given, and owed
	// what the gauge does not know of yet.
	rest, all, owed int64
}

// Begin gives n units to what the gauge does not know yet: a start function,
// which finds a slice of [Slice] in it.
func (t *Tank) Begin(n int64) { t.all, t.rest, t.owed = n, n-Slice, 0 }

// Fill gives n units for a call.
func (t *Tank) Fill(n int64) {
	first := min(n, t.Slice)
	t.all, t.rest, t.owed = n, n-first, 0
	t.Gauge.Set(api.EncodeI64(first))
}

// Grant gives n units more.
func (t *Tank) Grant(n int64) {
	t.all += n
	t.rest += n
}

// left is what it has not burnt; below zero if it tried to burn more.
func (t *Tank) left() int64 { return t.rest + int64(t.Gauge.Get()) - t.owed } //nolint:gosec // an i64 of the ABI

// Used is what was burnt of what was given.
func (t *Tank) Used() int64 { return min(t.all-t.left(), t.all) }

// Next begins the next slice, or panics with [Spent]: the trap.
func (t *Tank) Next() {
	t.Yield()
	left := t.left()
	if left < 0 {
		panic(Spent(t.all))
	}
	first := min(left, t.Slice)
	t.rest, t.owed = left-first, 0
	t.Gauge.Set(api.EncodeI64(first))
}

// credit is how much may be spent before the gauge is told, which costs more than
// most of what is spent.
const credit = 4096

// Spend burns n units. It panics like [Tank.Next], a [credit] late at the most;
// what is owed at the end of a call, [Tank.Err] tells.
func (t *Tank) Spend(n int) {
	t.owed += int64(n)
	if t.owed > credit {
		t.settle()
	}
}

// settle tells the gauge what was spent. It panics like [Tank.Next].
func (t *Tank) settle() {
	left := int64(t.Gauge.Get()) - t.owed //nolint:gosec // an i64 of the ABI
	if left < 0 {
		t.Next()
		return
	}
	t.owed = 0
	t.Gauge.Set(api.EncodeI64(left))
}

// Err is [Spent] where a call that has ended burnt more than it had.
func (t *Tank) Err() error {
	if t.left() < 0 {
		return Spent(t.all)
	}
	return nil
}
