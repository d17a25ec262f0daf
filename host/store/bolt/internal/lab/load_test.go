//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt"
	"github.com/postern/postern/host/store/bolt/internal/crashfs"
)

// load is what a process does to a store.
type load struct {
	// Root holds the data directory and the notes.
	Root string
	Seed uint64
	// First is the number of the first callback, Count how many there are.
	First, Count int
	// Writers append at once, and two sinks beside them. With none everything
	// is done in turn, so that the operations come in one order.
	Writers int
	// Reopen is after how many callbacks the store is closed and opened.
	Reopen int
	// DoneOnly settles nothing as retry or dead.
	DoneOnly bool
	// Segment is the size of one.
	Segment int64
	// Expire removes segments as soon as nobody needs them.
	Expire bool
}

// options of the stores of the laboratory. What a segment holds is little, so
// that each run has some of them and merges files of dedup keys.
func options(segment int64) bolt.Options {
	const ages = 200 * 365 * 24 * time.Hour
	return bolt.Options{Reserve: -1, SegmentSize: segment, Retention: ages, Window: ages}
}

// The exits of a loading process.
const (
	exitFailed = 3 // the store failed while it was open
	exitOpen   = 4 // it did not open, or not close
)

// loader is a load under way.
type loader struct {
	load

	store *bolt.Store
	notes *os.File
	next  atomic.Int64
	gone  atomic.Bool // the store has failed
}

// loading is the loading process.
func loading(text string) int {
	var l loader
	if err := json.Unmarshal([]byte(text), &l.load); err != nil {
		panic(err)
	}
	var err error
	if l.notes, err = os.OpenFile(filepath.Join(l.Root, crashfs.Notes), os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		panic(err)
	}
	l.next.Store(int64(l.First))
	for end := l.First; end < l.First+l.Count && !l.gone.Load(); {
		end = min(end+l.Reopen, l.First+l.Count)
		if err := l.life(int64(end)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitOpen
		}
	}
	if l.gone.Load() {
		return exitFailed
	}
	return 0
}

func (l *loader) note(format string, args ...any) string { return fmt.Sprintf(format+"\n", args...) }

func (l *loader) write(lines ...string) {
	if text := strings.Join(lines, ""); text != "" {
		if _, err := l.notes.WriteString(text); err != nil {
			panic(err)
		}
	}
}

// life opens the store, appends up to a number and closes it.
func (l *loader) life(end int64) error {
	o := options(l.Segment)
	if l.Expire {
		o.Retention = time.Nanosecond
	}
	s, err := bolt.Open(filepath.Join(l.Root, "data"), o)
	if err != nil {
		return err
	}
	l.store = s
	for name, want := range sinks {
		if !l.subscribe(name, want) {
			break
		}
	}
	if l.Writers == 0 {
		l.inTurn(end)
	} else {
		l.atOnce(end)
	}
	err = s.Close()
	if err == nil {
		l.write("closed\n")
	}
	if l.gone.Load() {
		return nil
	}
	return err
}

// subscribe reports false when the store has failed.
func (l *loader) subscribe(name string, want host.Filter) bool {
	for {
		err := l.store.Subscribe(context.Background(), name, host.Subscription{Filter: want, From: host.FromOldest})
		switch {
		case err == nil:
			l.write(l.note("sub %s", name))
			return true
		case host.CodeOf(err) != host.StoreFull:
			l.failed(err)
			return false
		}
		<-time.After(2 * time.Millisecond) // the operator comes again
	}
}

func (l *loader) inTurn(end int64) {
	for n := l.next.Add(1) - 1; n < end && !l.gone.Load(); n = l.next.Add(1) - 1 {
		l.append(int(n))
		if n%4 == 3 {
			for name := range sinks {
				l.deliver(name, rand.New(rand.NewPCG(l.Seed, uint64(n))))
			}
		}
	}
	l.next.Store(end)
}

func (l *loader) atOnce(end int64) {
	var writers, sinking sync.WaitGroup
	ended := make(chan struct{})
	for range l.Writers {
		writers.Go(func() {
			for n := l.next.Add(1) - 1; n < end && !l.gone.Load(); n = l.next.Add(1) - 1 {
				l.append(int(n))
			}
		})
	}
	for name := range sinks {
		sinking.Go(func() {
			r := rand.New(rand.NewPCG(l.Seed, uint64(end)))
			for over := false; !over && !l.gone.Load(); {
				select {
				case <-ended:
					over = true
				case <-time.After(time.Millisecond): // a sink that is busy with something else
				}
				l.deliver(name, r)
			}
		})
	}
	writers.Wait()
	close(ended)
	sinking.Wait()
	l.next.Store(end)
}

// append appends a callback until it is taken, or the store has failed.
func (l *loader) append(n int) {
	for !l.gone.Load() {
		rec := callback(l.Seed, n)
		got, err := l.store.Append(context.Background(), rec)
		if err == nil {
			dispositions := "-"
			for _, d := range append(got.Events, got.Aside...) {
				dispositions += letters[d]
			}
			l.write(l.note("ack %d %d %s", n, got.Seq, dispositions))
			return
		}
		if host.CodeOf(err) != host.StoreFull {
			l.failed(err)
			return
		}
		l.write(l.note("full %d", n))
		<-time.After(2 * time.Millisecond) // the provider comes again
	}
}

// failed says that the store has failed, and sees that it has.
//
// Invariant 13: nothing is acknowledged any more.
func (l *loader) failed(cause error) {
	if l.gone.Swap(true) {
		return
	}
	if host.CodeOf(cause) != host.StoreUnavailable {
		l.write(l.note("bad the store answered %q and not that it is unavailable", cause))
	}
	select {
	case <-l.store.Failed():
	case <-time.After(5 * time.Second):
		l.write(l.note("bad the store answered %q and has not failed", cause))
	}
	for n := range 5 {
		if _, err := l.store.Append(context.Background(), callback(l.Seed, 1<<24+n)); err == nil {
			l.write(l.note("bad an append was acknowledged after the store had failed: %q", cause))
		}
	}
	l.write(l.note("failed %q", cause))
}

// sinks are what the laboratory subscribes: one takes all there is.
var sinks = map[string]host.Filter{
	"a": {Tenants: []string{"acme"}},
	"b": {Conflicts: true},
}

// deliver leases some and settles them, now and then in parts of its own.
func (l *loader) deliver(name string, r *rand.Rand) {
	if r.IntN(20) == 0 && !l.DoneOnly {
		l.write(l.note("redriving %s", name))
		if _, err := l.store.Redrive(context.Background(), name); err != nil && host.CodeOf(err) != host.StoreFull {
			l.failed(err)
			return
		}
	}
	leased, err := l.store.Lease(context.Background(), name, 1+r.IntN(30), time.Hour)
	if err != nil {
		l.failed(err)
		return
	}
	var before, after []string
	var all []host.Settlement
	for _, d := range leased.Deliveries {
		f, err := factOf(&d.Event)
		if err != nil {
			l.write(l.note("bad %v", err))
			continue
		}
		st := host.Settlement{Token: d.Token, Outcome: host.Done}
		line := fmt.Sprintf("%s %d %d", name, f.key, f.content)
		switch k := r.IntN(10); {
		case k < 7 || l.DoneOnly:
			before = append(before, l.note("done %s", line))
		case k < 8:
			continue // neither: it comes back
		case k < 9:
			st.Outcome, st.At, st.Reason = host.Again, time.Now().Add(time.Duration(r.IntN(20))*time.Millisecond), "again"
			before = append(before, l.note("again %s", line))
			after = append(after, l.note("retry %s %d", line, d.Attempt))
		default:
			st.Outcome, st.Reason = host.Dead, "no"
			before = append(before, l.note("dying %s", line))
			after = append(after, l.note("dead %s", line))
		}
		all = append(all, st)
	}
	l.write(before...)
	err = l.store.Settle(context.Background(), name, all...)
	switch {
	case err == nil:
		l.write(after...)
	case host.CodeOf(err) != host.StoreFull:
		l.failed(errors.Join(err))
	}
}
