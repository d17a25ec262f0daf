package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt"
	"github.com/postern/postern/host/store/storetest"
)

// The sizes of a typical payment callback, in bytes.
const (
	eventSize = 910
	rawSize   = 1700
)

// callbacks are made before the clock runs: making one costs more than storing
// it.
type callbacks []*host.Record

// newCallbacks makes some callbacks of typical size. Event and raw body share
// fields, as they do in reality, and the values differ between callbacks.
func newCallbacks() callbacks {
	all := make(callbacks, 256)
	for n := range all {
		var b strings.Builder
		for i := 0; b.Len() < rawSize; i++ {
			fmt.Fprintf(&b, `"field_%02d":"%x",`, i, uint64(n*31+i)*0x9e3779b97f4a7c15)
		}
		fields := b.String()
		all[n] = storetest.SampleRecord(n)
		all[n].Callback.Body = []byte("{" + fields[:rawSize-3] + `"}`)
		all[n].Events[0].Data = []byte(
			`{"provider_data":"` + strings.ReplaceAll(fields[:eventSize-20], `"`, "'") + `"}`)
	}
	return all
}

// at returns the n-th callback, with an event that no other has.
func (c callbacks) at(n int) *host.Record {
	rec := *c[n%len(c)]
	rec.Events = slices.Clone(rec.Events)
	sum := sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
	rec.Events[0].Key = host.Hash(sum[:16])
	return &rec
}

// BenchmarkAppend measures durable appends beside the least that durability
// costs on this disk: one file, written and synced by one goroutine for all
// that wait. The engines take turns, so that a disk that changes its pace does
// so for both.
func BenchmarkAppend(b *testing.B) {
	all := newCallbacks()
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("engine=bolt/writers=%d", writers), func(b *testing.B) {
			s, err := bolt.Open(b.TempDir(), bolt.Options{})
			if err != nil {
				b.Fatal(err)
			}
			runAppends(b, writers, func(n int) error {
				_, err := s.Append(context.Background(), all.at(n))
				return err
			})
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
		b.Run(fmt.Sprintf("engine=raw/writers=%d", writers), func(b *testing.B) {
			r := openRaw(b)
			runAppends(b, writers, func(n int) error {
				rec := all.at(n)
				return r.append(slices.Concat(rec.Callback.Body, rec.Events[0].Data))
			})
			r.close(b)
		})
	}
}

// runAppends has writers append b.N callbacks, each waiting for its answer, and
// reports the latencies.
func runAppends(b *testing.B, writers int, add func(n int) error) {
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= b.N {
					return
				}
				began := time.Now()
				if err := add(n); err != nil {
					b.Error(err)
					return
				}
				took[n] = time.Since(began)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	reportAppends(b, took)
}

// rawFile is a file that callbacks are appended to, synced once for all that wait.
type rawFile struct {
	f     *os.File
	queue chan rawRequest
	ended chan struct{}
}

type rawRequest struct {
	b    []byte
	done chan error
}

func openRaw(b *testing.B) *rawFile {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	r := &rawFile{f: f, queue: make(chan rawRequest, 4096), ended: make(chan struct{})}
	go r.loop()
	return r
}

func (r *rawFile) append(b []byte) error {
	req := rawRequest{b, make(chan error, 1)}
	r.queue <- req
	return <-req.done
}

func (r *rawFile) loop() {
	defer close(r.ended)
	var buf []byte
	for req := range r.queue {
		batch := []rawRequest{req}
		for more := true; more; {
			select {
			case req, ok := <-r.queue:
				if more = ok; ok {
					batch = append(batch, req)
				}
			default:
				more = false
			}
		}
		buf = buf[:0]
		for _, req := range batch {
			buf = append(buf, byte(len(req.b)>>8), byte(len(req.b)))
			buf = append(buf, req.b...)
		}
		_, err := r.f.Write(buf)
		if err == nil {
			err = unix.Fdatasync(int(r.f.Fd()))
		}
		for _, req := range batch {
			req.done <- err
		}
	}
}

func (r *rawFile) close(b *testing.B) {
	close(r.queue)
	<-r.ended
	if err := r.f.Close(); err != nil {
		b.Fatal(err)
	}
}

// reportAppends adds the middle and the slowest hundredth of the latencies, in
// microseconds, and the rate.
func reportAppends(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Microseconds())
	}
	b.ReportMetric(at(0.50), "p50-µs")
	b.ReportMetric(at(0.99), "p99-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}
