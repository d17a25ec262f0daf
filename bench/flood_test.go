package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// What BenchmarkFlood sends: honest callbacks at a fixed rate, alone or with
// forgeries at ten times that rate, in turns on one server.
const (
	honestRate  = 300 // a second
	forgedRate  = 10 * honestRate
	floodRound  = 3 * time.Second
	floodRounds = 4
)

// flooded is a real server under the flood.
type flooded struct {
	b      *testing.B
	url    string
	client *fasthttp.Client
	trace  string // what strace writes; empty without it
	sent   atomic.Int64
}

// startFlooded runs the server of serveConfig behind a wrapper, if any.
func startFlooded(b *testing.B, traced bool) *flooded {
	b.Helper()
	dir := b.TempDir()
	config, ready := serveConfig(b, dir)
	text, err := os.ReadFile(config)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	listen := ln.Addr().String()
	_ = ln.Close()
	_, rest, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	text = slices.Concat(fmt.Appendf(nil, "intake: {listen: %q}\n", listen),
		// Ottu's default, keep, acknowledges what it has no time to judge.
		bytes.ReplaceAll(rest, []byte(`ottu: {plugin: ottu, secrets: {hmac-key: "value:bench"}}`),
			[]byte(`ottu: {plugin: ottu, unable: retry, secrets: {hmac-key: "value:`+key+`"}}`)))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		b.Fatal(err)
	}
	f := &flooded{b: b, url: "http://" + listen + "/in/bench/ottu", client: &fasthttp.Client{
		ReadTimeout: 30 * time.Second, MaxConnsPerHost: 4096,
	}}
	args := []string{binary, "serve", "--config", config}
	if traced {
		f.trace = filepath.Join(dir, "trace")
		args = append([]string{"strace", "-f", "--seccomp-bpf", "-qq", "-ttt", "-e", "trace=fsync,fdatasync", "-o", f.trace}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	bound := time.After(time.Minute)
	for {
		if r, err := http.Get(ready); err == nil {
			_ = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return f
			}
		}
		select {
		case <-tick.C:
		case <-bound:
			b.Fatal("the server did not become ready")
		}
	}
}

// round is what was measured in one turn, or in several.
type round struct {
	accepted, forged int
	shed             int // forgeries that the server had no time for
	took             time.Duration
	latencies        []time.Duration
	syncs            int
}

func (r *round) add(o round) {
	r.accepted += o.accepted
	r.forged += o.forged
	r.shed += o.shed
	r.took += o.took
	r.latencies = append(r.latencies, o.latencies...)
	r.syncs += o.syncs
}

func (r *round) percentile(p float64) float64 {
	slices.Sort(r.latencies)
	return float64(r.latencies[int(p*float64(len(r.latencies)-1))].Microseconds()) / 1000
}

// run sends for one turn. The honest rate does not wait for answers: latencies
// are counted from the moment a callback was due.
func (f *flooded) run(flood bool) round {
	var r round
	var mu sync.Mutex
	var all sync.WaitGroup
	var shed atomic.Int64
	stop := make(chan struct{})
	if flood {
		all.Go(func() {
			forged := body(f.b, -1)
			forged[bytes.Index(forged, []byte("86.000"))] = '9'
			r.forged = f.atRate(forgedRate, stop, func(time.Time) {
				switch status := f.post(forged); status {
				case http.StatusUnauthorized:
				case http.StatusServiceUnavailable:
					shed.Add(1)
				default:
					f.b.Errorf("a forgery = %d", status)
				}
			})
		})
	}
	began := time.Now()
	all.Go(func() {
		f.atRate(honestRate, stop, func(due time.Time) {
			status := f.post(body(f.b, int(f.sent.Add(1))))
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if status == http.StatusOK {
				r.accepted++
				r.latencies = append(r.latencies, took)
			}
		})
	})
	<-time.After(floodRound)
	close(stop)
	all.Wait()
	r.took = time.Since(began)
	r.syncs, r.shed = f.syncsSince(began), int(shed.Load())
	return r
}

// atRate calls do at a rate until stop, and returns how often once all of them
// have ended.
func (f *flooded) atRate(rate int, stop <-chan struct{}, do func(due time.Time)) (n int) {
	var calls sync.WaitGroup
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case <-stop:
			calls.Wait()
			return n
		case <-tick.C:
		}
		for due := int(time.Since(start).Seconds() * float64(rate)); n < due; n++ {
			at := start.Add(time.Duration(n+1) * time.Second / time.Duration(rate))
			calls.Go(func() { do(at) })
		}
	}
}

// post sends with fasthttp's client: what net/http's costs would be taken from
// the server, which runs beside it.
func (f *flooded) post(body []byte) int {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.SetRequestURI(f.url)
	req.Header.SetMethod(http.MethodPost)
	req.Header.SetContentType("application/json")
	req.SetBody(body)
	if err := f.client.Do(req, res); err != nil {
		f.b.Error(err)
		return 0
	}
	return res.StatusCode()
}

// syncsSince counts the server's fsyncs and fdatasyncs from a moment on.
func (f *flooded) syncsSince(began time.Time) (n int) {
	if f.trace == "" {
		return 0
	}
	text, err := os.ReadFile(f.trace)
	if err != nil {
		f.b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.Contains(line, "resumed>") {
			continue
		}
		if at, err := strconv.ParseFloat(fields[1], 64); err == nil && at >= float64(began.UnixMicro())/1e6 {
			n++
		}
	}
	return n
}

// BenchmarkFlood is what a flood of forgeries costs the honest: callbacks with
// wrong signatures at ten times the honest rate, turn about with none. The
// server's fsyncs are counted in a run of their own by strace, which with
// --seccomp-bpf stops it at those two calls and at no other.
func BenchmarkFlood(b *testing.B) {
	for _, traced := range []bool{false, true} {
		name := "server=free"
		if traced {
			name = "server=traced"
		}
		b.Run(name, func(b *testing.B) {
			if traced {
				if err := exec.CommandContext(context.Background(), "strace", "-f", "--seccomp-bpf", "-o", os.DevNull, "true").Run(); err != nil {
					b.Skipf("strace does not run here (%v): the fsyncs cannot be counted", err)
				}
			}
			f := startFlooded(b, traced)
			f.run(true) // warm-up
			var alone, under round
			for range b.N {
				for range floodRounds {
					alone.add(f.run(false))
					under.add(f.run(true))
				}
			}
			b.ReportMetric(0, "ns/op")
			report := func(which string, r *round) {
				b.ReportMetric(float64(r.accepted)/r.took.Seconds(), which+"-accepts/s")
				b.ReportMetric(r.percentile(0.5), which+"-p50-ms")
				b.ReportMetric(r.percentile(0.99), which+"-p99-ms")
				if traced {
					b.ReportMetric(float64(r.syncs)/float64(r.accepted), which+"-fsyncs/accept")
				}
			}
			report("alone", &alone)
			report("flood", &under)
			b.ReportMetric(float64(under.forged)/under.took.Seconds(), "forgeries/s")
			b.ReportMetric(float64(under.shed)/under.took.Seconds(), "shed/s")
			b.ReportMetric(float64(under.accepted)/under.took.Seconds()/(float64(alone.accepted)/alone.took.Seconds()), "ratio")
		})
	}
}
