package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The front door of a real server, attacked from outside. Each attack measures
// the peak of the server's resident memory: 5 is written to
// /proc/PID/clear_refs, which sets VmHWM back to what is resident now, and VmHWM
// is read again afterwards. What the growth may be is a multiple of what the
// attacker sent. The server is warmed up first, by honest callbacks and by small
// compressed ones, so that what every server takes once is not counted.

const (
	maxGrowth   = 20       // times the bytes sent
	growthFloor = 1 << 20  // what one request may take in any case
	slowLimit   = 96 << 20 // what all the slow connections may take together
	doorTimeout = time.Minute

	slowConnections = 1000
	slowDeadline    = 3 * time.Second // the server's read_timeout
)

// frontDoor starts a server with an endpoint for each way to decode a body.
func frontDoor(t *testing.T) *served {
	t.Helper()
	if _, err := os.Stat("/proc/self/clear_refs"); runtime.GOOS != "linux" || err != nil {
		t.Skip("the peak of a process's memory is read from Linux's /proc")
	}
	s := newServed(t)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(
		"intake: {", fmt.Sprintf("intake: {read_timeout: %s, ", slowDeadline),
		"tenants: {crash: {endpoints: {", `tenants: {crash: {endpoints: {
  wowpe: {plugin: wowpe, secrets: {webhook-secret: "value:test-key-16-byte"}, settings: {cipher: aes-128-cbc, key_form: utf8}},
  paymentoptions: {plugin: paymentoptions, unable: retry, secrets: {path-token: "value:test-path-token-0123456789"}},
  `).Replace(string(text))
	if err := os.WriteFile(s.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s
}

// doors are the paths of the endpoints.
var doors = []string{"/in/crash/ottu", "/in/crash/wowpe", "/in/crash/paymentoptions/test-path-token-0123456789"}

func (s *served) host() string {
	return strings.TrimPrefix(strings.TrimSuffix(s.url, "/in/crash/ottu"), "http://")
}

// resident reads a line of the server's status, in bytes.
func (s *served) resident(name string) int64 {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(kib)[0], 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n << 10
		}
	}
	s.t.Fatalf("no %s in the server's status", name)
	return 0
}

// growth is how far the server's resident memory rises while do runs.
func (s *served) growth(do func()) int64 {
	s.t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	before := s.resident("VmHWM")
	do()
	return s.resident("VmHWM") - before
}

// refs makes references that are used once.
var refs atomic.Int64

// honest posts one signed callback, which must be taken.
func (s *served) honest(client *http.Client) {
	ref := fmt.Sprintf("honest%d", refs.Add(1))
	if status, err := s.post(client, ref); err != nil || status != http.StatusOK {
		s.t.Errorf("the honest callback %s = %d (%v), want 200", ref, status, err)
	}
}

// warmUp brings the server to where it stays: honest callbacks to every
// endpoint, plain and compressed, from several connections.
func (s *served) warmUp() {
	s.t.Helper()
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: doorTimeout}
			defer client.CloseIdleConnections()
			for i := range 200 {
				s.honest(client)
				if i%20 > 0 {
					continue
				}
				body := packed(gzipper, fmt.Sprintf(`{"n":%d,"text":"`, i), 0)
				for _, door := range doors {
					_, _, _ = s.raw(request(door, "gzip", body))
				}
			}
		})
	}
	clients.Wait()
}

// request is one with a body, whole.
func request(path, encoding string, body []byte) []byte {
	head := "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
	if encoding != "" {
		head += "Content-Encoding: " + encoding + "\r\n"
	}
	return append([]byte(head+"Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
}

// raw sends bytes as long as nobody answers and returns the answer's status and
// how many bytes went out.
func (s *served) raw(wire []byte) (status int, sent int64, err error) {
	conn, err := net.Dial("tcp", s.host())
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(doorTimeout))
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		var res *http.Response
		if res, err = http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			status = res.StatusCode
			_ = res.Body.Close()
		}
	}()
	for len(wire) > 0 {
		select {
		case <-answered:
			return status, sent, err
		default:
		}
		n, werr := conn.Write(wire[:min(len(wire), 16<<10)])
		sent += int64(n)
		wire = wire[n:]
		if werr != nil {
			break
		}
	}
	<-answered
	return status, sent, err
}

// attack sends one request, asserts its answer and bounds the growth.
func (s *served) attack(name string, wire []byte, want func(status int) bool) {
	s.t.Helper()
	var status int
	var sent int64
	var err error
	grew := s.growth(func() { status, sent, err = s.raw(wire) })
	limit := max(growthFloor, maxGrowth*sent)
	s.t.Logf("%-44s %d, %8d bytes sent, memory grew by %8d of %9d", name, status, sent, grew, limit)
	if err != nil || !want(status) {
		s.t.Errorf("%s: status %d (%v), not the one it must have", name, status, err)
	}
	if grew > limit {
		s.t.Errorf("%s: %d bytes sent, and the server's memory grew by %d, more than %d", name, sent, grew, limit)
	}
	s.honest(http.DefaultClient)
}

func is(want int) func(int) bool { return func(status int) bool { return status == want } }

func refused(status int) bool { return status/100 == 4 }

func TestFrontDoor(t *testing.T) {
	s := frontDoor(t)
	s.warmUp()
	// In this order: what the last one takes would hide what others take.
	for _, a := range []struct {
		name string
		run  func(*testing.T, *served)
	}{{"large bodies", largeBodies}, {"bombs", bombs}, {"slow connections", slowOnes}} {
		t.Run(a.name, func(t *testing.T) {
			all := s.t
			s.t = t
			defer func() { s.t = all }()
			a.run(t, s)
		})
	}
	if n := int64(len(s.stored())); n != refs.Load() {
		t.Errorf("%d events are stored of %d honest callbacks", n, refs.Load())
	}
}

func largeBodies(_ *testing.T, s *served) {
	big := bytes.Repeat([]byte("a"), 10<<20)
	for _, door := range doors {
		s.attack("10 MB announced "+door, request(door, "", big)[:200], is(413))
		s.attack("10 MB by Content-Length "+door, request(door, "", big), is(413))
		head := "POST " + door + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
		var chunks bytes.Buffer
		chunks.WriteString(head)
		for range 10 << 20 / (8 << 10) {
			fmt.Fprintf(&chunks, "%x\r\n%s\r\n", 8<<10, big[:8<<10])
		}
		chunks.WriteString("0\r\n\r\n")
		s.attack("10 MB by chunks "+door, chunks.Bytes(), is(413))
		s.attack("one chunk of 10 MB "+door, fmt.Appendf(nil, "%s%x\r\n%s\r\n0\r\n\r\n", head, len(big), big), is(413))
	}
}

// packer is what compresses.
type packer func(io.Writer, int) (io.WriteCloser, error)

func gzipper(w io.Writer, level int) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, level) }

func deflater(w io.Writer, level int) (io.WriteCloser, error) { return zlib.NewWriterLevel(w, level) }

// packed compresses JSON with a text of n times 1 MiB in it, and more than a
// thousandfold; body is what stands before the text.
func packed(with packer, body string, n int) []byte {
	var b bytes.Buffer
	w, _ := with(&b, gzip.BestCompression)
	_, _ = io.WriteString(w, body)
	text := bytes.Repeat([]byte("a"), 1<<20)
	for range n {
		_, _ = w.Write(text)
	}
	_, _ = io.WriteString(w, `"}`)
	_ = w.Close()
	return b.Bytes()
}

// endless is gzip of n times 1 MiB of one letter, which it compresses only
// once: a flushed block stands for itself wherever the same came before. It
// breaks off at the end, where nobody should get.
func endless(open string, n int) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, open)
	text := bytes.Repeat([]byte("a"), 1<<20)
	var block int
	for range 2 {
		block = b.Len()
		_, _ = w.Write(text)
		_ = w.Flush()
	}
	return append(b.Bytes(), bytes.Repeat(b.Bytes()[block:], n-2)...)
}

func bombs(t *testing.T, s *served) {
	const open = `{"reference_number":"`
	small, large := packed(gzipper, open, 10), endless(open, 980)
	flat := packed(deflater, open, 10)
	var nested bytes.Buffer
	w := gzip.NewWriter(&nested)
	_, _ = w.Write(small)
	_ = w.Close()
	if len(large) > 1<<20 {
		t.Fatalf("the large bomb has %d bytes, more than the intake takes", len(large))
	}
	for _, door := range doors {
		s.attack("10 KB to 10 MB, gzip "+door, request(door, "gzip", small), refused)
		s.attack("10 KB to 10 MB, deflate "+door, request(door, "deflate", flat), refused)
		s.attack("1 MB to 1 GB, gzip "+door, request(door, "gzip", large), refused)
		s.attack("gzip in gzip, one named "+door, request(door, "gzip", nested.Bytes()), refused)
		s.attack("gzip in gzip, both named "+door, request(door, "gzip, gzip", nested.Bytes()), is(415))
		s.attack("not compressed at all "+door, request(door, "gzip", []byte(open+`"}`)), refused)
	}
}

// slow is a connection that sends a byte of a head now and then until it is
// closed from the other side.
func slow(ctx context.Context, at string, every time.Duration) (sent int, closed bool, err error) {
	conn, err := net.Dial("tcp", at)
	if err != nil {
		return 0, false, err
	}
	defer conn.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		// An answer or none: what counts is that it ends.
		_, _ = io.Copy(io.Discard, conn)
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	head := "POST /in/crash/ottu HTTP/1.1\r\nHost: a\r\nX-Slow: " + strings.Repeat("a", 4096)
	for {
		if _, err := io.WriteString(conn, head[sent:sent+1]); err == nil {
			sent++
		}
		select {
		case <-gone:
			return sent, true, nil
		case <-ctx.Done():
			return sent, false, nil
		case <-tick.C:
		}
	}
}

func slowOnes(t *testing.T, s *served) {
	// Long after the deadline, for the machine may be busy: it is only a bound
	// on a server that never closes.
	ctx, cancel := context.WithTimeout(t.Context(), 10*slowDeadline)
	defer cancel()
	var sent, closed, honest atomic.Int64
	grew := s.growth(func() {
		var all sync.WaitGroup
		for range slowConnections {
			all.Go(func() {
				n, ended, err := slow(ctx, s.host(), 200*time.Millisecond)
				if err != nil {
					t.Error(err)
				}
				sent.Add(int64(n))
				if ended {
					closed.Add(1)
				}
			})
		}
		ended := make(chan struct{})
		go func() {
			all.Wait()
			close(ended)
		}()
		client := &http.Client{Transport: &http.Transport{}, Timeout: doorTimeout}
		defer client.CloseIdleConnections()
		for {
			select {
			case <-ended:
				return
			default:
				s.honest(client)
				honest.Add(1)
			}
		}
	})
	t.Logf("%d slow connections, %d bytes sent, %d closed by the server; memory grew by %d, %d each; %d honest callbacks meanwhile",
		slowConnections, sent.Load(), closed.Load(), grew, grew/slowConnections, honest.Load())
	if closed.Load() != slowConnections {
		t.Errorf("%d of %d slow connections were closed by the deadline", closed.Load(), slowConnections)
	}
	if grew > slowLimit {
		t.Errorf("memory grew by %d, more than %d", grew, slowLimit)
	}
	if honest.Load() < 10 {
		t.Errorf("%d honest callbacks meanwhile, want some", honest.Load())
	}
}
