package stdout

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

var errFault = errors.New("broken pipe of this test")

// pipe is the other end of an output.
type pipe struct {
	mu    sync.Mutex
	text  []byte
	fault func(p []byte) (int, error)
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	fault := p.fault
	p.mu.Unlock()
	n, err := len(b), error(nil)
	if fault != nil {
		n, err = fault(b)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = append(p.text, b[:n]...)
	return n, err
}

func (p *pipe) set(fault func([]byte) (int, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

func (p *pipe) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.text)
}

func (p *pipe) lines() (out [][]byte) {
	for line := range bytes.Lines([]byte(p.String())) {
		out = append(out, bytes.TrimSuffix(line, []byte("\n")))
	}
	return out
}

func TestSink_conforms(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, sinktest.Kit{
		NoRefuseForGood: "whatever an output refuses it may take once somebody reads again",
		NoThrottle:      "an output names no time",
		New: func(*testing.T) (host.Sink, sinktest.Probe) {
			p := &pipe{}
			return New(p), sinktest.Probe{
				Received: func(*testing.T) [][]byte { return p.lines() },
				Refuse:   func(*testing.T) { p.set(func([]byte) (int, error) { return 0, errFault }) },
				Mend:     func(*testing.T) { p.set(nil) },
				Hang: func(*testing.T) (<-chan struct{}, func()) {
					arrived, released := make(chan struct{}), make(chan struct{})
					var first, once sync.Once
					p.set(func(b []byte) (int, error) {
						first.Do(func() { close(arrived) })
						<-released
						return len(b), nil
					})
					return arrived, func() { once.Do(func() { close(released) }) }
				},
			}
		},
	})
}

// line is the i-th event's.
func line(t *testing.T, i int) string {
	t.Helper()
	b, err := sinktest.Event(i).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

func TestSink_endsATornLine(t *testing.T) {
	t.Parallel()
	whole := line(t, 0) + line(t, 1)
	for name, tc := range map[string]struct {
		written int
		torn    string
	}{
		"nothing":    {0, ""},
		"a byte":     {1, "{\n"},
		"half":       {len(line(t, 0)) - 1, line(t, 0)},
		"a line":     {len(line(t, 0)), line(t, 0)},
		"and a byte": {len(line(t, 0)) + 1, line(t, 0) + "{\n"},
	} {
		p := &pipe{}
		s := New(p)
		p.set(func([]byte) (int, error) { return tc.written, errFault })
		for _, err := range s.Deliver(t.Context(), sinktest.Batch(0, 2)) {
			if !errors.Is(err, errFault) || host.IsPermanent(err) {
				t.Errorf("%s: error = %v, want the fault, transient", name, err)
			}
		}
		// Still broken: that changes nothing about the line.
		p.set(func([]byte) (int, error) { return 0, errFault })
		s.Deliver(t.Context(), sinktest.Batch(0, 2))
		p.set(nil)
		if errs := s.Deliver(t.Context(), sinktest.Batch(0, 2)); errs != nil {
			t.Errorf("%s: errors once it is mended = %v", name, errs)
		}
		if got, want := p.String(), tc.torn+whole; got != want {
			t.Errorf("%s: output = %q, want %q", name, got, want)
		}
	}
}

// envBroken is set in the process whose standard output nobody reads.
const envBroken = "POSTERN_TEST_BROKEN"

func TestSink_outlivesItsReader(t *testing.T) {
	if os.Getenv(envBroken) != "" {
		s := New(os.Stdout)
		for range 2 {
			if errs := s.Deliver(t.Context(), sinktest.Batch(0, 1)); len(errs) != 1 || !errors.Is(errs[0], syscall.EPIPE) ||
				errs[0].Error() != "write to the standard output: broken pipe" {
				t.Errorf("errors = %v, want a broken pipe", errs)
			}
		}
		_, _ = io.WriteString(os.Stderr, "alive\n")
		if t.Failed() {
			os.Exit(3)
		}
		os.Exit(0) // not by the test's end, which prints
	}
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestSink_outlivesItsReader$")
	cmd.Env = append(os.Environ(), envBroken+"=1")
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = w, &stderr, 10*time.Second
	err = cmd.Run()
	_ = w.Close()
	if err != nil || stderr.String() != "alive\n" {
		t.Errorf("a process without a reader ended with %v and said %q, want nil and alive", err, &stderr)
	}
}
