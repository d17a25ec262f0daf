package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
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
	rec.Events[0].Key = keyOf(n)
	return &rec
}

// keyOf is the n-th dedup key.
func keyOf(n int) host.Hash {
	sum := sha256.Sum256(fmt.Append(nil, n))
	return host.Hash(sum[:16])
}

// BenchmarkAppend measures durable appends beside the least that durability
// costs on this disk: one file, written and synced by one goroutine for all
// that wait; and with nothing, a million and ten million dedup keys from before.
// The engines take turns, round after round, so that a disk that changes its pace
// does so for all.
func BenchmarkAppend(b *testing.B) {
	const rounds = 6
	all := newCallbacks()
	for i := range 4 * rounds {
		writers := []int{1, 16, 64, 256}[i%4]
		b.Run(fmt.Sprintf("engine=raw/writers=%d", writers), func(b *testing.B) {
			r := openRaw(b)
			runAppends(b, writers, func(n int) error {
				rec := all.at(n)
				return r.append(slices.Concat(rec.Callback.Body, rec.Events[0].Data))
			})
			r.close(b)
		})
		for _, keys := range []int{0, 1e6, 1e7} {
			b.Run(fmt.Sprintf("engine=bolt-%s/writers=%d", short(keys), writers), func(b *testing.B) {
				s := filled(b, keys)
				runAppends(b, writers, func(int) error {
					_, err := s.Append(context.Background(), all.at(int(unique.Add(1))))
					return err
				})
			})
		}
	}
}

// unique numbers the callbacks of all benchmarks: none is a duplicate.
var unique atomic.Int64

func short(n int) string {
	if n >= 1e6 {
		return fmt.Sprintf("%dM", n/1e6)
	}
	return fmt.Sprint(n)
}

// filledStores are made once for all rounds: filling one takes a minute.
var filledStores = map[int]*bolt.Store{}

// later is how far the clock of the stores is ahead.
var later atomic.Int64

func ahead() time.Time { return time.Now().Add(time.Duration(later.Load())) }

// filled returns a store that has this many dedup keys, and begins a new segment
// with the next append. One without any is new each time.
func filled(b *testing.B, keys int) *bolt.Store {
	b.Helper()
	later.Add(int64(25 * time.Hour))
	if s := filledStores[keys]; s != nil {
		return s
	}
	dir := b.TempDir()
	if keys > 0 {
		var err error
		if dir, err = os.MkdirTemp(scratch, "filled"); err != nil {
			b.Fatal(err)
		}
	}
	const never = 100 * 365 * 24 * time.Hour
	s, err := bolt.Open(dir, bolt.Options{Reserve: -1, Now: ahead, Retention: never, Window: never})
	if err != nil {
		b.Fatal(err)
	}
	if keys == 0 {
		b.Cleanup(func() { closeStore(b, s) })
		return s
	}
	filledStores[keys] = s
	fillKeys(b, s, keys)
	later.Add(int64(25 * time.Hour))
	return s
}

func closeStore(b *testing.B, s *bolt.Store) {
	b.Helper()
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// fillKeys appends small events, many to a callback.
func fillKeys(b *testing.B, s *bolt.Store, keys int) {
	b.Helper()
	small := storetest.SampleRecord(0)
	small.Events[0].Data = []byte("{}")
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 4 {
		wg.Go(func() {
			for next.Add(host.MaxEvents) <= int64(keys) {
				rec := *small
				rec.Events = make([]host.Event, host.MaxEvents)
				for i := range rec.Events {
					rec.Events[i] = small.Events[0]
					rec.Events[i].Key = keyOf(int(unique.Add(1)))
				}
				if _, err := s.Append(context.Background(), &rec); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// scratch is where what outlives one benchmark lies.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "postern-bench")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	for _, s := range filledStores {
		_ = s.Close()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// BenchmarkFanOut measures what an append costs with more sinks subscribed:
// time, and time of the processor, which the disk does not blur.
func BenchmarkFanOut(b *testing.B) {
	all := newCallbacks()
	for _, sinks := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("sinks=%d", sinks), func(b *testing.B) {
			s := filled(b, 0)
			for i := range sinks {
				sub := host.Subscription{From: host.FromOldest}
				if err := s.Subscribe(b.Context(), fmt.Sprintf("sink-%d", i), sub); err != nil {
					b.Fatal(err)
				}
			}
			before := processorTime(b)
			runAppends(b, 64, func(int) error {
				_, err := s.Append(context.Background(), all.at(int(unique.Add(1))))
				return err
			})
			spent := processorTime(b) - before
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkExpiry measures the slowest append while segments of 32 MiB expire,
// beside the same without anything to expire. An operation is one append.
func BenchmarkExpiry(b *testing.B) {
	all := newCallbacks()
	for _, expires := range []bool{false, true} {
		b.Run(fmt.Sprintf("expires=%t", expires), func(b *testing.B) {
			s, err := bolt.Open(b.TempDir(), bolt.Options{Reserve: -1, SegmentSize: 32 << 20, Now: ahead})
			if err != nil {
				b.Fatal(err)
			}
			defer closeStore(b, s)
			fillBytes(b, s, 400<<20)
			if expires {
				// The next append begins a new segment, and the old ones go.
				later.Add(int64(8 * 24 * time.Hour))
			}
			took := runAppends(b, 16, func(int) error {
				_, err := s.Append(context.Background(), all.at(int(unique.Add(1))))
				return err
			})
			b.ReportMetric(float64(slices.Max(took).Microseconds()), "max-µs")
			st, err := s.Status(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(st.Segments), "segments")
		})
	}
}

// fillBytes appends callbacks with bodies that do not compress.
func fillBytes(b *testing.B, s *bolt.Store, size int) {
	b.Helper()
	const body = 32 << 10
	var wg sync.WaitGroup
	var next atomic.Int64
	for w := range 8 {
		wg.Go(func() {
			r := rand.NewChaCha8([32]byte{byte(w)})
			for next.Add(body) <= int64(size) {
				rec := storetest.SampleRecord(0)
				rec.Events[0].Key = keyOf(int(unique.Add(1)))
				rec.Callback.Body = make([]byte, body)
				_, _ = r.Read(rec.Callback.Body)
				if _, err := s.Append(context.Background(), rec); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkOpen measures opening 5 GB of segments, after a proper end and after
// one without a mark of it, as after a kill, with the files in the page cache; and
// after a proper end without, as after the machine was started.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(scratch, "large")
	if _, err := os.Stat(dir); err != nil {
		s, err := bolt.Open(dir, bolt.Options{Reserve: -1})
		if err != nil {
			b.Fatal(err)
		}
		fillBytes(b, s, 5<<30)
		closeStore(b, s)
	}
	for _, end := range []string{"clean", "inuse", "cold"} {
		b.Run("end="+end, func(b *testing.B) {
			mark := end
			if end == "cold" {
				mark = "clean"
			}
			var open time.Duration
			var st host.Status
			for range b.N {
				if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte(mark+"\n"), 0o600); err != nil {
					b.Fatal(err)
				}
				if end == "cold" {
					evict(b, dir)
				}
				began := time.Now()
				s, err := bolt.Open(dir, bolt.Options{Reserve: -1})
				if err != nil {
					b.Fatal(err)
				}
				open += time.Since(began)
				if st, err = s.Status(b.Context()); err != nil {
					b.Fatal(err)
				}
				closeStore(b, s)
			}
			b.ReportMetric(float64(open.Milliseconds())/float64(b.N), "ms-to-open")
			b.ReportMetric(float64(st.Bytes)/1e9, "GB")
			b.ReportMetric(float64(st.Segments), "segments")
		})
	}
}

// evict has the kernel forget the pages of every file in dir.
func evict(b *testing.B, dir string) {
	b.Helper()
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}); err != nil {
		b.Fatal(err)
	}
}

// runAppends has writers append b.N callbacks, each waiting for its answer, and
// reports and returns the latencies.
func runAppends(b *testing.B, writers int, add func(n int) error) []time.Duration {
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
	return took
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
