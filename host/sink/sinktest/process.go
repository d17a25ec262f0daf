package sinktest

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Find returns the path of a program: of the name on the PATH, or of a file
// that one of the globs matches, the last one by name. Without one the test is
// skipped.
func Find(t *testing.T, name string, globs ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, g := range globs {
		if found, err := filepath.Glob(g); err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skipf("%s is not on this machine: install it to have this test run", name)
	return ""
}

// FreePort is a TCP port of the loopback address that nobody listened on just
// now.
func FreePort(t *testing.T) int {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// Process is a program of a test's own: a broker that may be killed. It is
// killed when the test ends.
type Process struct {
	// Command makes what is started, each time.
	Command func() *exec.Cmd
	// Ready reports whether it serves. It is asked until it does, or ctx ends.
	Ready func(ctx context.Context) bool

	cmd    *exec.Cmd
	ended  chan struct{}
	output lockedBuffer
}

// Start starts it and waits until it is ready. One that ends before is started
// again, as a supervisor would: a killed one may leave something behind that
// takes a moment to go.
func (p *Process) Start(t *testing.T) {
	t.Helper()
	t.Cleanup(p.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.run(t); !p.Ready(ctx); {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s to be ready; its log:\n%s", p.cmd.Path, p.Output())
		case <-p.ended:
			<-tick.C
			p.run(t)
		case <-tick.C:
		}
	}
}

func (p *Process) run(t *testing.T) {
	t.Helper()
	p.cmd = p.Command()
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.cmd.Path, err)
	}
	ended := make(chan struct{})
	p.ended = ended
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(ended)
	}(p.cmd)
}

// Kill sends it SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.ended
}

// Output is what it wrote to standard output and standard error so far.
func (p *Process) Output() string { return p.output.String() }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
