package file

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

var errFault = errors.New("no space left on the device of this test")

// faults are brought to every file that a sink opens.
type faults struct {
	mu                       sync.Mutex
	onWrite, onSync, onTrunc func() error
	opened, synced           atomic.Int32
}

func (f *faults) set(change func(f *faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faults) run(hook func(f *faults) func() error) error {
	f.mu.Lock()
	h := hook(f)
	f.mu.Unlock()
	if h == nil {
		return nil
	}
	return h()
}

func (f *faults) open(path string) (disk, error) {
	f.opened.Add(1)
	d, err := openDisk(path)
	if err != nil {
		return nil, err
	}
	return faulty{d, f}, nil
}

type faulty struct {
	disk
	f *faults
}

// Write writes half of p before it fails, as a full disk does.
func (d faulty) Write(p []byte) (int, error) {
	if err := d.f.run(func(f *faults) func() error { return f.onWrite }); err != nil {
		n, _ := d.disk.Write(p[:len(p)/2])
		return n, err
	}
	return d.disk.Write(p)
}

func (d faulty) Sync() error {
	d.f.synced.Add(1)
	if err := d.f.run(func(f *faults) func() error { return f.onSync }); err != nil {
		return err
	}
	return d.disk.Sync()
}

func (d faulty) Truncate(size int64) error {
	if err := d.f.run(func(f *faults) func() error { return f.onTrunc }); err != nil {
		return err
	}
	return d.disk.Truncate(size)
}

func fails() error { return errFault }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func linesOf(text string) (out [][]byte) {
	for line := range bytes.Lines([]byte(text)) {
		out = append(out, bytes.TrimSuffix(line, []byte("\n")))
	}
	return out
}

// line is the i-th event's.
func line(t *testing.T, i int) string {
	t.Helper()
	ev := sinktest.Event(i)
	b, err := ev.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

func open(t *testing.T, path string, f *faults) *Sink {
	t.Helper()
	s, err := start(Config{Path: path}, f.open)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func deliver(t *testing.T, s *Sink, first, n int) error {
	t.Helper()
	for _, err := range s.Deliver(t.Context(), sinktest.Batch(first, n)) {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestSink_conforms(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Kit{
		NoRefuseForGood: "whatever a disk refuses it may take once it is mended",
		NoThrottle:      "a disk names no time",
		New: func(t *testing.T) (host.Sink, sinktest.Probe) {
			path := filepath.Join(t.TempDir(), "events.ndjson")
			f := &faults{}
			s, err := start(Config{Path: path}, f.open)
			if err != nil {
				t.Fatal(err)
			}
			return s, sinktest.Probe{
				Received: func(t *testing.T) [][]byte { return linesOf(read(t, path)) },
				Refuse:   func(*testing.T) { f.set(func(f *faults) { f.onWrite = fails }) },
				Mend:     func(*testing.T) { f.set(func(f *faults) { f.onWrite = nil }) },
				Hang: func(*testing.T) (<-chan struct{}, func()) {
					arrived, released := make(chan struct{}), make(chan struct{})
					var first, once sync.Once
					f.set(func(f *faults) {
						f.onSync = func() error {
							first.Do(func() { close(arrived) })
							<-released
							return nil
						}
					})
					return arrived, func() { once.Do(func() { close(released) }) }
				},
			}
		},
	})
}

func TestNew_repairsTheEnd(t *testing.T) {
	t.Parallel()
	whole := line(t, 0) + line(t, 1)
	torn := strings.TrimSuffix(line(t, 2), "\n")
	long := `{"specversion":"1.0","data":"` + strings.Repeat("x", 150<<10)
	for name, tc := range map[string]struct{ before, want string }{
		"empty":                {"", ""},
		"whole":                {whole, whole},
		"one byte of a line":   {whole + "{", whole},
		"all but the line end": {whole + torn, whole},
		"nothing but a half":   {torn[:20], ""},
		"zeros":                {whole + strings.Repeat("\x00", 5000), whole},
		"longer than a block":  {whole + long, whole},
		"a block and no line":  {long, ""},
		"foreign, but ended":   {"# notes\n", "# notes\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events.ndjson")
			if err := os.WriteFile(path, []byte(tc.before), 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, path, &faults{})
			if got := read(t, path); got != tc.want {
				t.Errorf("after the repair %d bytes are left, want %d", len(got), len(tc.want))
			}
			if err := deliver(t, s, 2, 1); err != nil {
				t.Fatal(err)
			}
			if got, want := read(t, path), tc.want+line(t, 2); got != want {
				t.Errorf("file = %q, want %q", got, want)
			}
		})
	}
}

func TestNew_refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign")
	const text = "key = value\nlast line without an end"
	if err := os.WriteFile(foreign, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ path, want string }{
		"no path":      {"", "path: is empty"},
		"no directory": {filepath.Join(dir, "missing", "f"), "no such file or directory"},
		"a directory":  {dir, "is a directory"},
		"a device":     {os.DevNull, "is not a regular file"},
		"foreign text": {foreign, "ends in text that is not an event"},
	} {
		_, err := New(Config{Path: tc.path})
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Count(err.Error(), tc.path) != 1 && tc.path != "" {
			t.Errorf("%s: error = %v, want %q and the path once", name, err, tc.want)
		}
	}
	if got := read(t, foreign); got != text {
		t.Errorf("the foreign file was changed to %q", got)
	}
}

func TestNew_createsPrivately(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	open(t, path, &faults{})
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode = %o, want 600", got)
	}
}

func TestSink_takesBackAFailedWrite(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f *faults){
		"write": func(f *faults) { f.onWrite = fails },
		"sync":  func(f *faults) { f.onSync = fails },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events.ndjson")
			f := &faults{}
			s := open(t, path, f)
			if err := deliver(t, s, 0, 1); err != nil {
				t.Fatal(err)
			}
			f.set(change)
			err := deliver(t, s, 1, 2)
			if !errors.Is(err, errFault) || host.IsPermanent(err) || !strings.Contains(err.Error(), "append to "+path) {
				t.Errorf("error = %v, want the fault, transient, with the path", err)
			}
			if got, want := read(t, path), line(t, 0); got != want {
				t.Errorf("file after the fault = %q, want %q", got, want)
			}
			f.set(func(f *faults) { f.onWrite, f.onSync = nil, nil })
			if err := deliver(t, s, 1, 2); err != nil {
				t.Errorf("Deliver once it is mended: %v", err)
			}
			if got, want := read(t, path), line(t, 0)+line(t, 1)+line(t, 2); got != want {
				t.Errorf("file = %q, want %q", got, want)
			}
			if got := f.opened.Load(); got != 2 {
				t.Errorf("opened %d times, want 2: a file is not trusted after a fault", got)
			}
		})
	}
}

func TestSink_cutThatFailsIsMadeGood(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	f := &faults{}
	s := open(t, path, f)
	f.set(func(f *faults) { f.onWrite, f.onTrunc = fails, fails })
	err := deliver(t, s, 0, 1)
	if err == nil || strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), errFault.Error()) != 2 {
		t.Errorf("error = %v, want both faults in one line", err)
	}
	if read(t, path) == "" {
		t.Fatal("the fault left no half line to repair")
	}
	f.set(func(f *faults) { f.onWrite, f.onTrunc = nil, nil })
	if err := deliver(t, s, 0, 1); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, path), line(t, 0); got != want {
		t.Errorf("file = %q, want %q", got, want)
	}
}

func TestSink_followsItsPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s := open(t, path, &faults{})
	steps := []func() error{
		func() error { return nil },
		func() error { return os.Rename(path, path+".1") },
		func() error { return os.Remove(path) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if err := deliver(t, s, i, 1); err != nil {
			t.Fatal(err)
		}
		if got, want := read(t, path), line(t, i); got != want {
			t.Errorf("step %d: file = %q, want %q", i, got, want)
		}
	}
	if got, want := read(t, path+".1"), line(t, 0); got != want {
		t.Errorf("the file moved away = %q, want %q", got, want)
	}
}

func TestSink_whatIsDoneIsInTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s := open(t, path, &faults{})
	const n = 400
	var done [n]bool
	var wg sync.WaitGroup
	for i := range n {
		ctx, cancel := context.WithCancel(t.Context())
		if i%2 == 0 {
			cancel()
		}
		wg.Go(func() {
			defer cancel()
			done[i] = s.Deliver(ctx, sinktest.Batch(i, 1)) == nil
		})
	}
	wg.Wait()
	file := read(t, path)
	for i := range n {
		if done[i] && !strings.Contains(file, line(t, i)) {
			t.Errorf("delivery %d is done and not in the file", i)
		}
		if i%2 == 1 && !done[i] {
			t.Errorf("delivery %d is not done", i)
		}
	}
}

func TestSink_abandonedLinesAreNotDone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s := open(t, path, &faults{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := &lines{ctx: ctx, text: []byte("{}\n"), done: make(chan error, 1)}
	s.queue <- l
	if err := <-l.done; !errors.Is(err, context.Canceled) {
		t.Errorf("lines that nobody waits for ended with %v, want %v", err, context.Canceled)
	}
	if got := read(t, path); got != "" {
		t.Errorf("file = %q, want nothing", got)
	}
}

func TestSink_closeWaitsForThoseInTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		m := &memory{onSync: func() { <-hold }}
		s, err := start(Config{Path: "memory"}, func(string) (disk, error) { return m, nil })
		if err != nil {
			t.Fatal(err)
		}
		var calls, closing sync.WaitGroup
		for i := range 3 {
			calls.Go(func() {
				if err := deliver(t, s, i, 1); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		closing.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		close(hold)
		calls.Wait()
		closing.Wait()
		if got := len(linesOf(string(m.text))); got != 3 {
			t.Errorf("%d lines, want 3", got)
		}
	})
}

// memory is a disk without one, for tests in virtual time.
type memory struct {
	text           []byte
	writes, synced int
	onSync         func()
}

func (m *memory) Write(p []byte) (int, error) {
	m.writes++
	m.text = append(m.text, p...)
	return len(p), nil
}

func (m *memory) Sync() error {
	m.synced++
	m.onSync()
	return nil
}
func (m *memory) Truncate(size int64) error { m.text = m.text[:size]; return nil }
func (m *memory) state() (int64, time.Time, error) {
	return int64(len(m.text)), time.Now(), nil
}
func (m *memory) at(string) bool { return true }
func (m *memory) Close() error   { return nil }

func TestSink_callsShareAnFsync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		m := &memory{onSync: func() { <-hold }}
		s, err := start(Config{Path: "memory"}, func(string) (disk, error) { return m, nil })
		if err != nil {
			t.Fatal(err)
		}
		const n = 50
		var wg sync.WaitGroup
		var returned atomic.Int32
		for i := range n {
			wg.Go(func() {
				if err := deliver(t, s, i, 1); err != nil {
					t.Error(err)
				}
				returned.Add(1)
			})
			if i == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if got := returned.Load(); got != 0 {
			t.Errorf("%d calls returned before the fsync did", got)
		}
		close(hold)
		wg.Wait()
		if m.synced != 2 || m.writes != 2 {
			t.Errorf("%d writes and %d fsyncs for %d calls, want 2: the first's, and one for the rest", m.writes, m.synced, n)
		}
		if diff := cmp.Diff(n, len(linesOf(string(m.text)))); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
