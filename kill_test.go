package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/dispatch"
	"github.com/postern/postern/host/sink/nats"
	"github.com/postern/postern/host/sink/postgres"
	"github.com/postern/postern/host/sink/sinktest"
	"github.com/postern/postern/host/store/bolt"
)

// What is under way while a broker is killed.
const (
	killEvents      = 20_000
	killTimes       = 2
	killConcurrency = 4
	killBatch       = 50
	killBound       = 80 * time.Second
)

// watched is a sink that keeps count of what goes through it.
type watched struct {
	host.Sink

	mu sync.Mutex
	// calls are how often an event was delivered, done those that ended well.
	calls map[string]int
	done  map[string]bool
	// underWay are the events of the calls that have not returned; while
	// killing, each joins atKill.
	underWay, atKill map[string]bool
	killing          bool
}

// Deliver implements host.Sink.
func (w *watched) Deliver(ctx context.Context, batch []host.Delivery) []error {
	w.mu.Lock()
	for i := range batch {
		id := batch[i].Event.ID()
		w.calls[id]++
		w.underWay[id] = true
		if w.killing {
			w.atKill[id] = true
		}
	}
	w.mu.Unlock()
	errs := w.Sink.Deliver(ctx, batch)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range batch {
		id := batch[i].Event.ID()
		delete(w.underWay, id)
		if errs == nil || errs[i] == nil {
			w.done[id] = true
		}
	}
	return errs
}

// kill kills the broker, and notes what is under way while it does.
func (w *watched) kill(p *sinktest.Process) {
	w.mu.Lock()
	w.killing = true
	for id := range w.underWay {
		w.atKill[id] = true
	}
	w.mu.Unlock()
	p.Kill()
	w.mu.Lock()
	w.killing = false
	w.mu.Unlock()
}

func (w *watched) doneSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.done)
}

// again is how many events were delivered more than once.
func (w *watched) again() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, calls := range w.calls {
		if calls > 1 {
			n++
		}
	}
	return n
}

// killUnderLoad appends killEvents to a store on the disk, has them delivered,
// and kills the broker killTimes meanwhile. It returns when all are done, and
// the ids.
func killUnderLoad(t *testing.T, sink host.Sink, broker *sinktest.Process) (*watched, []string) {
	t.Helper()
	w := &watched{Sink: sink, calls: map[string]int{}, done: map[string]bool{}, underWay: map[string]bool{}, atKill: map[string]bool{}}
	log := slog.New(slog.DiscardHandler)
	store, err := bolt.Open(t.TempDir(), bolt.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Subscribe(t.Context(), "s", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	d := dispatch.New(store, log, nil, dispatch.Route{Name: "s", Sink: w, Policy: dispatch.Policy{
		Concurrency: killConcurrency, Batch: killBatch, Timeout: 10 * time.Second,
		Retry: dispatch.Backoff{Base: 100 * time.Millisecond, Max: time.Second, Over: time.Hour},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), killBound)
	running, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { d.Run(running) })
	t.Cleanup(func() {
		cancel()
		stop()
		all.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	ids := make([]string, killEvents)
	all.Go(func() { appendAll(ctx, t, store, d, ids) })
	for i := range killTimes {
		w.await(ctx, t, (i+1)*killEvents/(killTimes+1))
		w.kill(broker)
		broker.Start(t)
	}
	w.await(ctx, t, killEvents)
	stop()
	all.Wait()
	if dead, _, err := store.DeadLetters(context.WithoutCancel(t.Context()), "s", "", 10); err != nil || len(dead) > 0 {
		t.Errorf("dead letters %v, err %v; want none", dead, err)
	}
	return w, ids
}

// appendAll fills the store while it is read, ten events a record, from several
// sides at once: the sink has always as much to do as it can take.
func appendAll(ctx context.Context, t *testing.T, store host.Appender, d *dispatch.Dispatch, ids []string) {
	const events, writers = 10, 8
	var all sync.WaitGroup
	defer all.Wait()
	for first := range writers {
		all.Go(func() {
			for i := first * events; i < len(ids); i += writers * events {
				rec := &host.Record{Kind: host.Accepted, Tenant: "shop", Endpoint: "ottu"}
				for j := i; j < i+events; j++ {
					ev := sinktest.Event(j)
					ids[j] = ev.ID()
					rec.Events = append(rec.Events, ev)
				}
				if _, err := store.Append(ctx, rec); err != nil {
					t.Errorf("append: %v", err)
					return
				}
				d.Wake()
			}
		})
	}
}

// await returns once that many events are done.
func (w *watched) await(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.doneSoFar() < n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d events done of %d within %v", w.doneSoFar(), n, killBound)
		}
	}
}

// judge compares what the broker has with what it should have: how often each
// event is there.
func (w *watched) judge(t *testing.T, ids []string, stored map[string]int) {
	t.Helper()
	lost, twice, stray := 0, 0, 0
	for _, id := range ids {
		switch n := stored[id]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
			if !w.atKill[id] {
				stray++
			}
		}
	}
	if lost > 0 || len(stored) != len(ids) {
		t.Errorf("%d of %d events are not there; %d others are", lost, len(ids), len(stored)-len(ids)+lost)
	}
	if stray > 0 {
		t.Errorf("%d events are there twice that were not under way at a kill", stray)
	}
	t.Logf("%d events, %d kills: %d lost; %d were under way at a kill, %d delivered more than once, %d stored twice",
		len(ids), killTimes, lost, len(w.atKill), w.again(), twice)
}

// TestKill_nats kills a server with JetStream and reads the whole stream.
func TestKill_nats(t *testing.T) {
	binary := sinktest.Find(t, "nats-server", "/usr/sbin/nats-server")
	dir := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", sinktest.FreePort(t))
	file := filepath.Join(dir, "nats.conf")
	write := func(settings string) {
		text := fmt.Sprintf("listen: %q\njetstream: {store_dir: %q%s}\n", address, dir, settings)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(", sync_interval: always")
	if out, err := exec.CommandContext(t.Context(), binary, "-t", "-c", file).CombinedOutput(); err != nil {
		write("")
		t.Logf("this nats-server cannot sync each write, which a kill does not need and a loss of power does: %s", out)
	}
	broker := &sinktest.Process{
		Command: func() *exec.Cmd { return exec.Command(binary, "-c", file) },
		Ready: func(ctx context.Context) bool {
			var dialer net.Dialer
			c, err := dialer.DialContext(ctx, "tcp", address)
			return err == nil && c.Close() == nil
		},
	}
	broker.Start(t)
	sink, err := nats.New(nats.Config{
		Servers: []string{"nats://" + address}, Stream: "POSTERN", Create: nats.Create{Subjects: []string{"postern.>"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	w, ids := killUnderLoad(t, sink, broker)
	w.judge(t, ids, streamed(t, "nats://"+address))
}

// streamed is how often the stream has each event.
func streamed(t *testing.T, server string) map[string]int {
	t.Helper()
	nc, err := natsgo.Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "POSTERN")
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(t.Context(), "POSTERN", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for left := int(stream.CachedInfo().State.Msgs); left > 0; {
		batch, err := consumer.Fetch(min(left, 1000), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			var ev struct{ ID string }
			if err := json.Unmarshal(m.Data(), &ev); err != nil {
				t.Fatal(err)
			}
			stored[ev.ID]++
			left--
		}
		if batch.Error() != nil {
			t.Fatal(batch.Error())
		}
	}
	return stored
}

// TestKill_postgres kills a cluster's first process and reads the whole table.
func TestKill_postgres(t *testing.T) {
	broker, dsn := cluster(t)
	broker.Start(t)
	sink, err := postgres.New(postgres.Config{DSN: dsn, Create: true, Concurrency: killConcurrency})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	w, ids := killUnderLoad(t, sink, broker)

	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), "SELECT event->>'id' FROM "+postgres.DefaultTable)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for _, id := range found {
		stored[id]++
	}
	if slices.Max(slices.Collect(maps.Values(stored))) > 1 {
		t.Error("the table has two rows of one event")
	}
	w.judge(t, ids, stored)
}

// cluster makes a PostgreSQL cluster of the test's own, not started, and the
// DSN of it. The server refuses to run as root, so root has the user postgres
// run it.
func cluster(t *testing.T) (*sinktest.Process, string) {
	t.Helper()
	binary := sinktest.Find(t, "postgres", "/usr/lib/postgresql/*/bin/postgres")
	// Not below the test's own directory, which is closed to other users.
	dir, err := os.MkdirTemp("", "postern-cluster-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var as *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skipf("PostgreSQL does not run as root, and there is no user for it: %v", err)
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	initdb := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(binary), "initdb"),
		"-D", dir, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "--encoding=UTF8")
	initdb.SysProcAttr, initdb.Dir = as, "/"
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	port := strconv.Itoa(sinktest.FreePort(t))
	dsn := "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable"
	return &sinktest.Process{
		Command: func() *exec.Cmd {
			cmd := exec.Command(binary, "-D", dir, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
			cmd.SysProcAttr, cmd.Dir = as, "/"
			return cmd
		},
		Ready: func(ctx context.Context) bool {
			conn, err := pgx.Connect(ctx, dsn)
			if err != nil {
				return false
			}
			return conn.Close(ctx) == nil
		},
	}, dsn
}
