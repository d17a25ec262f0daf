package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crashKey is the HMAC key of the server under test.
const crashKey = "crash-test-key"

// served is a real server of its own process.
type served struct {
	t      *testing.T
	binary string
	dir    string
	config string
	url    string
	ready  string
	cmd    *exec.Cmd
	log    *os.File
}

// newServed builds the binary and writes a configuration; nothing runs yet.
func newServed(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, dir: t.TempDir()}
	s.binary = filepath.Join(s.dir, "postern")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", s.binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	plugins, err := filepath.Abs("plugins/dist")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(plugins, "ottu.wasm")); err != nil {
		t.Fatalf("%v (build it with: make plugins)", err)
	}
	intake, admin := freePort(t), freePort(t)
	s.url, s.ready = "http://"+intake+"/in/crash/ottu", "http://"+admin+"/readyz"
	s.config = filepath.Join(s.dir, "postern.yaml")
	text := fmt.Sprintf(`
intake: {listen: %q}
admin: {listen: %q}
log: {format: text}
store: {path: %q}
plugins: {path: %q, cache: %q}
tenants: {crash: {endpoints: {ottu: {plugin: ottu, unable: retry, secrets: {hmac-key: "value:%s"}}}}}
sinks: {file: {type: file, path: %q, from: oldest}}
`, intake, admin, s.data(), plugins, filepath.Join(s.dir, "cache"), crashKey, filepath.Join(s.dir, "events.ndjson"))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *served) data() string { return filepath.Join(s.dir, "data") }

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// start runs serve, behind a wrapper if one is given, and waits until it is
// ready.
func (s *served) start(wrapper ...string) {
	s.t.Helper()
	args := append(append([]string{}, wrapper...), s.binary, "serve", "--config", s.config)
	s.cmd = exec.Command(args[0], args[1:]...)
	var err error
	if s.log, err = os.Create(filepath.Join(s.dir, "serve.log")); err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	// A group of its own: killing strace alone leaves what it traces running.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.kill() })
	s.await("the server to be ready", func() bool {
		r, err := http.Get(s.ready)
		if err != nil {
			return false
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// await polls a condition; the time is only a bound on a broken server.
func (s *served) await(what string, done func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("waited in vain for %s; the log:\n%s", what, s.logText())
		}
	}
}

func (s *served) logText() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "serve.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// kill ends the process at once and waits for it.
func (s *served) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
	_ = s.log.Close()
}

// signed is the callback of one payment.
func signed(reference string) string {
	const rest = `"currency_code":"KWD","amount":"1.000","result":"success","state":"paid"`
	mac := hmac.New(sha256.New, []byte(crashKey))
	fmt.Fprintf(mac, "amount1.000currency_codeKWDreference_number%sresultsuccessstatepaid", reference)
	return fmt.Sprintf(`{"reference_number":%q,%s,"signature":"%x"}`, reference, rest, mac.Sum(nil))
}

// post sends the callback of one payment and returns the status.
func (s *served) post(client *http.Client, reference string) (int, error) {
	return s.send(client, signed(reference))
}

func (s *served) send(client *http.Client, body string) (int, error) {
	r, err := client.Post(s.url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode, nil
}

// stored counts the events in the store by subject, through the command line.
func (s *served) stored() map[string]int {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.binary, "events", "list", "--json", "--limit", "10000000", "--config", s.config)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("events list: %v\n%s", err, &stderr)
	}
	counts := make(map[string]int)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var line struct {
			Event struct{ Subject string } `json:"event"`
		}
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			return counts
		} else if err != nil {
			s.t.Fatal(err)
		}
		counts[line.Event.Subject]++
	}
}

// numberFrom is a number of the environment, or the default.
func numberFrom(t *testing.T, variable string, def int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, want a number above zero", variable, text)
	}
	return n
}

// TestCrash_killUnderLoad kills the server in mid-load, again and again on one
// data directory: every callback that got a 2xx is there, and none is there
// twice. POSTERN_CRASH_ROUNDS says how often (default 5).
func TestCrash_killUnderLoad(t *testing.T) {
	rounds := numberFrom(t, "POSTERN_CRASH_ROUNDS", 5)
	s := newServed(t)
	var mu sync.Mutex
	acked := make(map[string]bool)
	for round := range rounds {
		s.start()
		if round > 0 && !strings.Contains(s.logText(), "resynced after an unclean end") {
			t.Errorf("round %d: the log says nothing of a resync:\n%s", round, s.logText())
		}
		var clients sync.WaitGroup
		for c := range 8 {
			clients.Go(func() {
				client := &http.Client{Transport: &http.Transport{}}
				defer client.CloseIdleConnections()
				for n := 0; ; n++ {
					reference := fmt.Sprintf("r%dc%dn%d", round, c, n)
					status, err := s.post(client, reference)
					if err != nil {
						return // killed
					}
					if status != http.StatusOK {
						t.Errorf("status %d", status)
						return
					}
					mu.Lock()
					acked[reference] = true
					mu.Unlock()
				}
			})
		}
		<-time.After(time.Duration(50+rand.IntN(250)) * time.Millisecond) // a random moment of the load
		s.kill()
		clients.Wait()
	}
	s.start()
	stored := s.stored()
	for reference := range acked {
		if stored[reference] != 1 {
			t.Errorf("%s got a 2xx and is stored %d times", reference, stored[reference])
		}
	}
	for reference, n := range stored {
		if n != 1 {
			t.Errorf("%s is stored %d times", reference, n)
		}
	}
	// At least once, and with the retries of the restarts done: everything that
	// is stored reaches the sink.
	s.await("every stored event to reach the sink", func() bool {
		b, err := os.ReadFile(filepath.Join(s.dir, "events.ndjson"))
		if err != nil {
			return false
		}
		delivered := make(map[string]bool)
		for _, m := range regexp.MustCompile(`"subject":"(r\d+c\d+n\d+)"`).FindAllStringSubmatch(string(b), -1) {
			delivered[m[1]] = true
		}
		return len(delivered) == len(stored)
	})
	t.Logf("%d kills, %d callbacks with 2xx, %d stored: 0 lost, 0 twice", rounds, len(acked), len(stored))
}

// needStrace skips where syscalls cannot be watched.
func needStrace(t *testing.T) {
	t.Helper()
	if err := exec.Command("strace", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("strace does not run here (%v): the syscalls cannot be watched", err)
	}
}

// segment finds the one segment file.
func (s *served) segment() string {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.data(), "seg", "*.db"))
	if err != nil || len(files) != 1 {
		s.t.Fatalf("segments %v, err %v; want one", files, err)
	}
	return files[0]
}

// TestCrash_everyAckIsSynced counts: k callbacks one after the other need at
// least k fdatasyncs of the segment before their answers.
func TestCrash_everyAckIsSynced(t *testing.T) {
	needStrace(t)
	const k = 25
	s := newServed(t)
	trace := filepath.Join(s.dir, "trace")
	s.start("strace", "-f", "-qq", "-y", "-e", "trace=fdatasync,fsync", "-o", trace)
	count := func() int {
		b, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "<"+s.segment()+">")
	}
	before := count()
	for i := range k {
		if status, err := s.post(http.DefaultClient, fmt.Sprintf("sync%d", i)); err != nil || status != http.StatusOK {
			t.Fatalf("status %d, err %v", status, err)
		}
	}
	if got := count() - before; got < k {
		t.Errorf("%d syncs of the segment for %d serial acks", got, k)
	} else {
		t.Logf("%d serial acks, %d syncs of the segment", k, got)
	}
	// The same callbacks again are answered without a sync: the first is durable.
	before = count()
	for i := range k {
		if status, err := s.post(http.DefaultClient, fmt.Sprintf("sync%d", i)); err != nil || status != http.StatusOK {
			t.Fatalf("status %d, err %v", status, err)
		}
	}
	if got := count() - before; got != 0 {
		t.Errorf("%d syncs of the segment for duplicates, want 0", got)
	}
}

// TestCrash_nothingIsAckedAfterAFailedSync has fdatasync of the segment fail
// once with EIO. bbolt itself would go on.
func TestCrash_nothingIsAckedAfterAFailedSync(t *testing.T) {
	needStrace(t)
	s := newServed(t)
	s.start()
	if status, err := s.post(http.DefaultClient, "before"); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, err %v", status, err)
	}
	inject := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-P", s.segment(),
		"-e", "inject=fdatasync:error=EIO", "-p", strconv.Itoa(s.cmd.Process.Pid))
	var said bytes.Buffer
	inject.Stderr = &said
	if err := inject.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inject.Process.Kill(); _ = inject.Wait() })
	s.await("strace to be attached", func() bool { return traced(t, s.cmd.Process.Pid) })

	if status, err := s.post(http.DefaultClient, "during"); err == nil && status < 500 {
		t.Errorf("a callback whose sync failed was answered %d", status)
	}
	for i := range 20 {
		if status, err := s.post(http.DefaultClient, fmt.Sprintf("after%d", i)); err == nil && status < 500 {
			t.Errorf("callback %d after the failed sync was answered %d", i, status)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Fatalf("serve ended with %v, want exit status 1; the log:\n%s", err, s.logText())
		}
	case <-time.After(30 * time.Second): // it drains for two
		t.Fatalf("serve goes on after a failed sync; the log:\n%s", s.logText())
	}
	s.cmd = nil
	_ = inject.Process.Kill()

	// What the failed sync left in the page cache is put again before the port
	// opens: else a duplicate would be answered from the page cache alone.
	trace := filepath.Join(s.dir, "trace")
	s.start("strace", "-f", "-qq", "-y", "-e", "trace=fdatasync,fsync,listen", "-o", trace)
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	opened := strings.Index(string(b), "listen(")
	if opened < 0 {
		t.Fatalf("no listen in the trace:\n%s", b)
	}
	if !strings.Contains(string(b)[:opened], "<"+s.segment()+">") {
		t.Errorf("the segment was not synced before the first port opened:\n%s", b)
	}
	if !strings.Contains(s.logText(), "resynced after an unclean end") {
		t.Errorf("the log says nothing of a resync:\n%s", s.logText())
	}
	if status, err := s.post(http.DefaultClient, "during"); err != nil || status != http.StatusOK {
		t.Errorf("after the restart: status %d, err %v", status, err)
	}
	stored := s.stored()
	for _, reference := range []string{"before", "during"} {
		if stored[reference] != 1 {
			t.Errorf("%s is stored %d times", reference, stored[reference])
		}
	}
}

// traced reports whether every thread of the process has a tracer.
func traced(t *testing.T, pid int) bool {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		return false
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}

// TestCrash_secondProcess: the data directory has one owner.
func TestCrash_secondProcess(t *testing.T) {
	s := newServed(t)
	s.start()
	second := exec.CommandContext(t.Context(), s.binary, "serve", "--config", s.config,
		"--intake.listen", freePort(t), "--admin.listen", freePort(t))
	out, err := second.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("a second serve ended with %v, want exit status 1\n%s", err, out)
	}
	if text := string(out); !strings.Contains(text, s.data()) || !strings.Contains(text, "another") {
		t.Errorf("a second serve says %q, want the directory and that another process holds it", text)
	}
	if status, err := s.post(http.DefaultClient, "still"); err != nil || status != http.StatusOK {
		t.Errorf("the first server: status %d, err %v", status, err)
	}
	// SIGTERM drains and ends with 0.
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, s.logText())
	}
	s.cmd = nil
	s.start()
	if strings.Contains(s.logText(), "resynced") {
		t.Errorf("a clean end is followed by a resync:\n%s", s.logText())
	}
}
