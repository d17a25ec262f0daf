package pristine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// everyWay runs a test once for each way that this machine has.
func everyWay(t *testing.T, test func(t *testing.T, f *Finder)) {
	for _, way := range []Way{Scan, Pagemap, Compare} {
		t.Run(string(way), func(t *testing.T) { test(t, finder(t, way)) })
	}
}

func finder(t testing.TB, way Way) *Finder {
	t.Helper()
	f, err := NewFinder(way)
	if err != nil {
		old := errors.Is(err, syscall.ENOTTY) // a kernel before 6.7
		if runtime.GOOS == "linux" && (way != Scan || !old) {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// memory makes a memory of so many pages, of which it has all but spare.
func memory(t testing.TB, f *Finder, pages, spare uint32) (*Memory, []byte) {
	t.Helper()
	m, err := f.Reserve(pages)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Free)
	guest := m.Allocate(0, 0).Reallocate(uint64(pages-spare) * wasmPage)
	if guest == nil {
		t.Fatal("no memory")
	}
	return m, guest
}

func frozen(t testing.TB, m *Memory) *Snapshot {
	t.Helper()
	s, err := m.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func fill(guest []byte, random *rand.Rand) {
	for i := 0; i < len(guest); i += 97 {
		guest[i] = byte(random.Uint32())
	}
}

func restore(t testing.TB, m *Memory) {
	t.Helper()
	if err := m.Restore(); err != nil {
		t.Fatal(err)
	}
}

// Invariant 7: whatever a call writes, in whatever pattern, is gone after it.
// The larger memory takes several searches.
func TestInvariant7_restore(t *testing.T) {
	for _, c := range []struct {
		pages, rounds uint32
		watched       bool
	}{{3, 2000, false}, {40, 60, false}, {3, 4000, true}, {40, 120, true}} {
		everyWay(t, func(t *testing.T, f *Finder) {
			random := rand.New(rand.NewPCG(7, 7))
			m, guest := memory(t, f, c.pages, 0)
			fill(guest, random)
			frozen(t, m)
			// Not of Go's, which the race detector would take its time over.
			_, want := memory(t, f, c.pages, 0)
			copy(want, guest)
			if c.watched {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			for round := range c.rounds {
				if c.watched {
					m.Watch()
				}
				if c.watched && round%3 > 0 { // nothing new
					guest[random.IntN(len(guest[:100]))]++
				} else {
					scribble(guest, random)
				}
				restore(t, m)
				if !bytes.Equal(guest, want) {
					t.Fatalf("round %d: the memory is not as it was", round)
				}
			}
			if way, why := f.Way(); why != nil {
				t.Errorf("the way ended as %s: %v", way, why)
			}
		})
	}
}

// scribble is one call: mostly a few writes, now and then a great many.
func scribble(guest []byte, random *rand.Rand) {
	for range random.IntN(30) {
		at := random.IntN(len(guest))
		guest[at] = byte(random.Uint32())
	}
	switch random.IntN(20) {
	case 0:
		clear(guest)
	case 1:
		from := random.IntN(len(guest))
		for i := range guest[from:][:min(50<<10, len(guest)-from)] {
			guest[from+i]++
		}
	case 2: // more ranges than one search lists
		for at := 0; at < len(guest); at += 2 * block {
			guest[at]++
		}
	}
	guest[0]++
	guest[len(guest)-1]++
}

func TestRestore_grown(t *testing.T) {
	everyWay(t, func(t *testing.T, f *Finder) {
		m, guest := memory(t, f, 4, 2)
		frozen(t, m)
		more := m.Reallocate(3 * wasmPage)
		if len(more) != 3*wasmPage || &more[0] != &guest[0] {
			t.Fatalf("the memory has %d bytes, or moved", len(more))
		}
		more[3*wasmPage-1] = 1
		if err := m.Restore(); !errors.Is(err, ErrGrown) {
			t.Errorf("got %v, want %v", err, ErrGrown)
		}
	})
}

func TestReallocate(t *testing.T) {
	f := finder(t, Compare)
	for name, c := range map[string]struct {
		pages uint32
		sizes []uint64 // one after the other
		want  []bool
	}{
		"within":        {4, []uint64{wasmPage, 3 * wasmPage, 4 * wasmPage}, []bool{true, true, true}},
		"the same":      {4, []uint64{wasmPage, wasmPage}, []bool{true, true}},
		"beyond":        {4, []uint64{5 * wasmPage, 4 * wasmPage}, []bool{false, true}},
		"far beyond":    {4, []uint64{1 << 63}, []bool{false}},
		"smaller":       {4, []uint64{2 * wasmPage, wasmPage}, []bool{true, false}},
		"none at all":   {0, []uint64{0, wasmPage}, []bool{true, false}},
		"none at first": {2, []uint64{0, wasmPage}, []bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := f.Reserve(c.pages)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Free()
			for i, size := range c.sizes {
				got := m.Reallocate(size)
				if (got != nil) != c.want[i] {
					t.Fatalf("to %d bytes: got %d bytes, want %v", size, len(got), c.want[i])
				}
				if got != nil && (uint64(len(got)) != size || uint64(cap(got)) != size) {
					t.Errorf("to %d bytes: got %d of %d", size, len(got), cap(got))
				}
				for at := range got {
					got[at]++
				}
			}
		})
	}
}

func TestMemory_empty(t *testing.T) {
	everyWay(t, func(t *testing.T, f *Finder) {
		for _, pages := range []uint32{0, 1} {
			m, _ := memory(t, f, pages, pages)
			s := frozen(t, m)
			restore(t, m)
			other, _ := memory(t, f, pages, pages)
			if err := other.Adopt(s); err != nil {
				t.Error(err)
			}
			restore(t, other)
		}
	})
}

// Instances over one snapshot see neither each other's writes nor a change of
// the snapshot, in whatever order they end.
func TestAdopt_apart(t *testing.T) {
	const instances, rounds = 4, 200
	everyWay(t, func(t *testing.T, f *Finder) {
		first, guest := memory(t, f, 3, 0)
		fill(guest, rand.New(rand.NewPCG(1, 1)))
		s := frozen(t, first)
		want := bytes.Clone(guest)
		var calls sync.WaitGroup
		for i := range instances {
			m, guest := memory(t, f, 3, 0)
			clear(guest)
			if err := m.Adopt(s); err != nil {
				t.Fatal(err)
			}
			calls.Go(func() {
				defer m.Free()
				for round := range rounds {
					if !bytes.Equal(guest, want) {
						t.Errorf("instance %d began round %d with another's bytes", i, round)
						return
					}
					for at := range 40 {
						guest[(at*7919+i*4096)%len(guest)] = byte(i + 1)
					}
					if err := m.Restore(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		first.Free()
		calls.Wait()
	})
}

func TestAdopt_refused(t *testing.T) {
	f := finder(t, Compare)
	first, _ := memory(t, f, 2, 1)
	s := frozen(t, first)
	small, _ := memory(t, f, 2, 2)
	free, _ := memory(t, f, 2, 1)
	free.Free()
	late, _ := memory(t, f, 2, 1)
	closed, err := late.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	closed.Close()
	fresh, _ := memory(t, f, 2, 1)
	for name, c := range map[string]struct {
		m    *Memory
		s    *Snapshot
		want string
	}{
		"another size": {small, s, "the memory has 0"},
		"free":         {free, s, "the memory is free"},
		"twice":        {first, s, "the memory has one"},
		"closed":       {fresh, closed, "it is closed"},
	} {
		if err := c.m.Adopt(c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if err := fresh.Restore(); err == nil {
		t.Error("a memory without a snapshot was restored")
	}
	restore(t, late)
}

func TestFree_twice(t *testing.T) {
	everyWay(t, func(t *testing.T, f *Finder) {
		m, _ := memory(t, f, 1, 0)
		s := frozen(t, m)
		if f.Close() == nil {
			t.Fatal("the finder was closed under a memory")
		}
		m.Free()
		m.Free()
		if m.Restore() == nil || m.Reallocate(wasmPage) != nil {
			t.Error("a memory that is free is used")
		}
		if _, err := m.Freeze(); err == nil {
			t.Error("a memory that is free was frozen")
		}
		other, _ := memory(t, f, 1, 0)
		if err := other.Adopt(s); err != nil {
			t.Error("the snapshot went with its first memory:", err)
		}
	})
}

func TestAllocate_twice(t *testing.T) {
	m, _ := memory(t, finder(t, Compare), 1, 0)
	defer func() {
		if recover() == nil {
			t.Error("two instances were given one memory")
		}
	}()
	m.Allocate(0, 0)
}

func TestRestore_allocates(t *testing.T) {
	everyWay(t, func(t *testing.T, f *Finder) {
		m, guest := memory(t, f, 4, 0)
		frozen(t, m)
		got := testing.AllocsPerRun(100, func() {
			guest[5*block]++
			guest[9*block]++
			restore(t, m)
		})
		if got != 0 {
			t.Errorf("got %v allocations, want 0", got)
		}
	})
}

func TestInside(t *testing.T) {
	for _, c := range []struct {
		from, to int
		want     bool
	}{
		{4, 8, true}, {5, 6, true}, {4, 4, false}, {6, 5, false}, {3, 8, false}, {4, 9, false}, {-1, 8, false},
	} {
		if err := inside(c.from, c.to, 4, 8); (err == nil) != c.want {
			t.Errorf("%d to %d in 4 to 8: got %v, want %v", c.from, c.to, err, c.want)
		}
	}
}
