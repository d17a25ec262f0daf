package pristine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSnapshot_sealed(t *testing.T) {
	m, guest := memory(t, finder(t, Compare), 2, 0)
	fill(guest, rand.New(rand.NewPCG(1, 1)))
	s := frozen(t, m)
	fd := int(s.file.Fd())
	if _, err := unix.Pwrite(fd, []byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("write to a snapshot: got %v, want %v", err, unix.EPERM)
	}
	for _, size := range []int64{0, 1 << 20} {
		if err := unix.Ftruncate(fd, size); !errors.Is(err, unix.EPERM) {
			t.Errorf("cut a snapshot to %d: got %v, want %v", size, err, unix.EPERM)
		}
	}
	if at, err := unix.MmapPtr(fd, 0, nil, wasmPage, unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		t.Error("a snapshot was mapped to be written")
		unix.MunmapPtr(at, wasmPage)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("add a seal: got %v, want %v", err, unix.EPERM)
	}
}

// No program that the host starts inherits a snapshot or the page map.
func TestFinder_inherited(t *testing.T) {
	m, _ := memory(t, finder(t, Pagemap), 1, 0)
	s := frozen(t, m)
	for _, file := range []*os.File{s.file, m.finder.pagemap.file} {
		if flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: got flags %#x, %v, want close on exec", file.Name(), flags, err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "ls -l /proc/self/fd").CombinedOutput()
	if err != nil {
		t.Skip(err)
	}
	if bytes.Contains(out, []byte("memfd")) || bytes.Contains(out, []byte("pagemap")) {
		t.Errorf("a program that was started has\n%s", out)
	}
}

// private counts a memory's pages that are its own, by the page map.
func private(t testing.TB, m *Memory) (pages int) {
	t.Helper()
	for at := 0; at < m.size; {
		ranges, next, err := m.read(at)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ranges {
			from, to := r.within(m.reserved)
			pages += (to - from) / os.Getpagesize()
		}
		at = next
	}
	return pages
}

// A further instance has for its own only what it wrote, even where the whole
// memory is compared.
func TestAdopt_shares(t *testing.T) {
	everyWay(t, func(t *testing.T, f *Finder) {
		first, guest := memory(t, f, 64, 0)
		fill(guest, rand.New(rand.NewPCG(1, 1)))
		s := frozen(t, first)
		m, guest := memory(t, f, 64, 0)
		fill(guest, rand.New(rand.NewPCG(2, 2)))
		if err := m.Adopt(s); err != nil {
			t.Fatal(err)
		}
		if got := private(t, m); got != 0 {
			t.Errorf("got %d pages of its own at first, want 0", got)
		}
		page := os.Getpagesize()
		for call := range 10 {
			guest[call%2*page]++
			guest[40*page]++
			restore(t, m)
		}
		if got := private(t, m); got != 3 {
			t.Errorf("got %d pages of its own, want 3", got)
		}
		if got := private(t, first); got != 0 {
			t.Errorf("the first got %d pages of its own, want 0", got)
		}
	})
}

// Huge pages do not make a single write a large one, even where they are asked
// for.
func TestRestore_huge(t *testing.T) {
	m, guest := memory(t, finder(t, Pagemap), 64, 0)
	fill(guest, rand.New(rand.NewPCG(1, 1)))
	frozen(t, m)
	if err := unix.Madvise(guest, unix.MADV_HUGEPAGE); err != nil {
		t.Skip(err)
	}
	guest[3<<20]++
	if got := private(t, m); got != 1 {
		t.Errorf("got %d pages written, want 1", got)
	}
}

// One large call does not make all later ones dear: its pages are dropped.
func TestRestore_drops(t *testing.T) {
	for _, way := range []Way{Scan, Pagemap} {
		t.Run(string(way), func(t *testing.T) {
			m, guest := memory(t, finder(t, way), 64, 0)
			fill(guest, rand.New(rand.NewPCG(1, 1)))
			frozen(t, m)
			want := bytes.Clone(guest)
			clear(guest)
			restore(t, m)
			page := os.Getpagesize()
			if got, want := private(t, m), len(guest)/page; got != want {
				t.Fatalf("got %d pages, want %d", got, want)
			}
			for range 4 * patience {
				guest[0]++
				restore(t, m)
			}
			if got := private(t, m); got > 1 {
				t.Errorf("got %d pages, want 1", got)
			}
			if !bytes.Equal(guest, want) {
				t.Error("the memory is not as it was")
			}
		})
	}
}

// Calls that write the same pages each time keep them.
func TestRestore_keeps(t *testing.T) {
	m, guest := memory(t, finder(t, Pagemap), 64, 0)
	frozen(t, m)
	page := os.Getpagesize()
	for range 20 * patience {
		for p := range 2 * few {
			guest[p*page]++
		}
		restore(t, m)
		if got := private(t, m); got != 2*few {
			t.Fatalf("got %d pages, want %d", got, 2*few)
		}
	}
}

// other puts another file in the page map's place.
func other(t *testing.T, f *Finder, file *os.File) {
	t.Helper()
	was := f.pagemap.fd
	f.pagemap.fd = file.Fd()
	t.Cleanup(func() {
		f.pagemap.fd = was
		file.Close()
	})
}

// Where a call writes no page for the first time nobody need be asked, but for a
// fault that had another cause now and then; where it does somebody must.
func TestWatch(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m, guest := memory(t, finder(t, Scan), 64, 0)
	fill(guest, rand.New(rand.NewPCG(1, 1)))
	frozen(t, m)
	page := os.Getpagesize()
	guest[0]++
	restore(t, m)
	m.Watch()
	m.Unwatch()
	if m.quiet() {
		t.Error("nobody need be asked of a call that may have gone to other threads")
	}
	quiet, read := 0, byte(0)
	for p := 1; p < len(guest)/page; p++ {
		m.Watch()
		guest[0]++
		if m.quiet() {
			quiet++
		}
		restore(t, m)
		m.Watch()
		if p%3 == 0 { // read before it is written
			read += guest[p*page]
		}
		guest[p*page]++
		if m.quiet() {
			t.Fatalf("nobody need be asked of page %d, which is new", p)
		}
		restore(t, m)
	}
	if quiet == 0 {
		t.Error("somebody is asked every time", read)
	}
}

// A way that fails in the middle of its life is given up, and not one call
// suffers.
func TestRestore_doubt(t *testing.T) {
	for way, want := range map[Way]string{Scan: "inappropriate ioctl", Pagemap: "0 bytes of 512"} {
		t.Run(string(way), func(t *testing.T) {
			f := finder(t, way)
			m, guest := memory(t, f, 4, 0)
			fill(guest, rand.New(rand.NewPCG(1, 1)))
			frozen(t, m)
			before := bytes.Clone(guest)
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			other(t, f, null)
			for range 3 {
				clear(guest)
				restore(t, m)
				if !bytes.Equal(guest, before) {
					t.Fatal("the memory is not as it was")
				}
			}
			if way, why := f.Way(); way != Compare || why == nil || !strings.Contains(why.Error(), want) {
				t.Errorf("got %s, %v, want %s, %q", way, why, Compare, want)
			}
		})
	}
}

// A page map that begins to lie is found out.
func TestRestore_audit(t *testing.T) {
	f := finder(t, Pagemap)
	m, guest := memory(t, f, 4, 0)
	fill(guest, rand.New(rand.NewPCG(1, 1)))
	frozen(t, m)
	before := bytes.Clone(guest)
	entries := slices.Repeat([]uint64{entryPresent | entryFile}, len(guest)/os.Getpagesize())
	other(t, f, pageMap(t, number(m.reserved)/unsigned(os.Getpagesize()), entries))
	guest[2*wasmPage]++
	var err error
	for calls := 0; err == nil && calls < auditEvery*len(guest)/block; calls++ {
		err = m.Restore()
	}
	if err == nil || !strings.Contains(err.Error(), "1 pages written were not found") {
		t.Fatalf("got %v, want the page that was not found", err)
	}
	if way, why := f.Way(); way != Compare || why == nil {
		t.Errorf("got %s, %v, want %s and why", way, why, Compare)
	}
	restore(t, m)
	if !bytes.Equal(guest, before) {
		t.Error("the memory is not as it was")
	}
}

// A page map that lies from the first is found out by trying it.
func TestFinder_prove(t *testing.T) {
	f := finder(t, Pagemap)
	page := os.Getpagesize()
	m, err := f.reserve(64 * page)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	guest := m.Reallocate(uint64(len(m.reserved)))
	frozen(t, m)
	const written = 0b10010
	guest[1*page]++
	guest[4*page]++
	if err := m.proveFound(Pagemap, written); err != nil {
		t.Fatal(err)
	}
	for name, entry := range map[string]uint64{
		"nothing written":    entryPresent | entryFile,
		"nothing there":      0,
		"everything written": entryPresent,
	} {
		t.Run(name, func(t *testing.T) {
			other(t, f, pageMap(t, number(m.reserved)/unsigned(page), slices.Repeat([]uint64{entry}, 64)))
			if err := m.proveFound(Pagemap, written); err == nil || !strings.Contains(err.Error(), "of 64 pages") {
				t.Errorf("got %v, want the pages that were not found", err)
			}
		})
	}
}

// A way that cannot be proved is not taken.
func TestNewFinder_unproved(t *testing.T) {
	f := finder(t, Pagemap)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	other(t, f, null)
	for _, way := range []Way{Scan, Pagemap} {
		if err := f.prove(way); err == nil {
			t.Errorf("%s was proved by a file that knows nothing", way)
		}
	}
}

// What is anonymous was written, be it in memory or swapped out.
func TestPagemap_entries(t *testing.T) {
	const frame, softDirty, exclusive = 12345, 1 << 55, 1 << 56
	entries := []uint64{
		entryPresent | frame, entryPresent | softDirty, entrySwapped | frame, entryPresent | exclusive | frame, // written
		0, softDirty, entryPresent | entryFile | frame, entrySwapped | entryFile, entryFile, // not
		entrySwapped, // written
	}
	f := finder(t, Pagemap)
	m, _ := memory(t, f, 64, 0)
	other(t, f, pageMap(t, number(m.reserved)/unsigned(os.Getpagesize()), append(entries, make([]uint64, 502)...)))
	found, next, err := m.read(0)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	var got [][2]int
	for _, r := range found {
		from, to := r.within(m.reserved)
		got = append(got, [2]int{from / page, to / page})
	}
	if want := [][2]int{{0, 4}, {9, 10}}; !slices.Equal(got, want) || next != 512*page {
		t.Errorf("got pages %v up to %#x, want %v up to %#x", got, next, want, 512*page)
	}
}

// pageMap is a file that says something of pages, from the first on.
func pageMap(t *testing.T, first uint64, entries []uint64) *os.File {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "pagemap")
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, e := range entries {
		b = binary.NativeEndian.AppendUint64(b, e)
	}
	if _, err := file.WriteAt(b, int64(first*entrySize)); err != nil {
		t.Skip("no sparse files here:", err)
	}
	return file
}

// Where a way does not work the next is taken, and it is told why.
func TestNewFinder_falls(t *testing.T) {
	f, err := NewFinder("a way of the future", Compare)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if way, why := f.Way(); way != Compare || why == nil {
		t.Errorf("got %s, %v, want %s and why", way, why, Compare)
	}
	if f, err := NewFinder("a way of the future"); err == nil {
		t.Error("got a finder that finds nothing", f)
	}
}

func cpu() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}

// BenchmarkRestore is a call that writes some pages of a memory that it has read
// whole, and its undoing, in CPU time.
func BenchmarkRestore(b *testing.B) {
	for _, pages := range []uint32{3, 43, 256} {
		for _, written := range []int{2, 5, 20, 200} {
			for _, way := range []Way{Scan, Pagemap, Compare} {
				if written*block > int(pages)*wasmPage {
					continue
				}
				b.Run(fmt.Sprintf("%dKiB/%d/%s", pages*64, written, way), func(b *testing.B) {
					m, guest := memory(b, finder(b, way), pages, 0)
					fill(guest, rand.New(rand.NewPCG(1, 1)))
					frozen(b, m)
					want := bytes.Clone(guest)
					stride := len(guest) / written / block * block
					if !bytes.Equal(guest, want) {
						b.Fatal("the memory is not as it was frozen")
					}
					start := cpu()
					for b.Loop() {
						for at := range written {
							guest[at*stride]++
						}
						restore(b, m)
					}
					if !bytes.Equal(guest, want) {
						b.Fatal("the memory is not as it was")
					}
					b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
				})
			}
		}
	}
}
