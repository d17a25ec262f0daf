package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/postgres"
	"github.com/postern/postern/host/store/storetest"
)

// with adds a parameter to the server's dsn, which is a URL.
func with(t *testing.T, parameter string) string {
	t.Helper()
	dsn := server(t)
	if strings.Contains(dsn, "?") {
		return dsn + "&" + parameter
	}
	return dsn + "?" + parameter
}

func TestInvariant1_refusesAServerThatForgets(t *testing.T) {
	_, err := postgres.Open(t.Context(), with(t, "synchronous_commit=off"), postgres.Options{Schema: schema(t, t.Name())})
	if err == nil || !strings.Contains(err.Error(), "synchronous_commit") || !strings.Contains(err.Error(), "set it to on") {
		t.Errorf("open with synchronous_commit off: %v, want an error that names it and the fix", err)
	}
}

// TestInvariant1_refusesAServerThatForgetsLater: a reload changes a setting under
// the sessions that there are.
func TestInvariant1_refusesAServerThatForgetsLater(t *testing.T) {
	s := open(t, postgres.Options{Schema: schema(t, t.Name())})
	defer func() { _ = s.Close() }()
	for _, c := range []struct {
		setting string
		wrong   bool
	}{{"off", true}, {"on", false}} {
		if err := s.Configure(t.Context(), "set synchronous_commit = "+c.setting); err != nil {
			t.Fatal(err)
		}
		got, err := s.Append(t.Context(), storetest.SampleRecord(1))
		switch {
		case c.wrong && (host.CodeOf(err) != host.StoreUnavailable || !strings.Contains(err.Error(), "synchronous_commit")):
			t.Errorf("append with synchronous_commit %s: %v, want a 503 that names it", c.setting, err)
		case !c.wrong && (err != nil || got.Events[0] != host.Stored):
			t.Errorf("append with synchronous_commit %s: %+v, %v, want stored", c.setting, got, err)
		}
	}
}

func TestInvariant10_refusesALaterSchema(t *testing.T) {
	name := schema(t, t.Name())
	s := open(t, postgres.Options{Schema: name})
	fill(t, s, 0, 1, func(*host.Event, int) {})
	exec(t, "update "+name+".counter set version = 99")

	// One that runs must not write by the old rules.
	for range 2 {
		_, err := s.Append(t.Context(), storetest.SampleRecord(1))
		if got, want := host.CodeOf(err), host.StoreUnavailable; err == nil || got != want {
			t.Errorf("append to a later schema: %v with code %s, want code %s", err, got, want)
		}
	}
	select {
	case <-s.Failed():
	default:
		t.Error("a store whose schema is another version's has not failed")
	}
	_ = s.Close()
	_, err := postgres.Open(t.Context(), server(t), postgres.Options{Schema: name})
	if err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("open a later schema: %v, want an error that names its version", err)
	}
	// Nothing of the refused batch was stored, its dedup key neither.
	exec(t, "update "+name+".counter set version = 1")
	s = open(t, postgres.Options{Schema: name})
	defer func() { _ = s.Close() }()
	got, err := s.Append(t.Context(), storetest.SampleRecord(1))
	if err != nil || got.Events[0] != host.Stored {
		t.Errorf("append again: %+v, %v, want stored", got, err)
	}
}

func TestInvariant8_noErrorHasTheDSN(t *testing.T) {
	server(t)
	const secret = "correct-horse"
	for _, dsn := range []string{
		"postgres://someone:" + secret + "@127.0.0.1:1/nowhere?connect_timeout=2",
		"postgres://someone:" + secret + "@127.0.0.1:notaport/nowhere",
		"host=127.0.0.1 port=1 password=" + secret + " sslmode=nonsense",
		secret,
	} {
		_, err := postgres.Open(t.Context(), dsn, postgres.Options{})
		if err == nil {
			t.Errorf("open %q: no error", dsn)
			continue
		}
		for _, part := range []string{secret, "someone", "nowhere"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("the error says %q: %v", part, err)
			}
		}
	}
	for _, name := range []string{"Postern", "1st", "a b", `a"; drop schema public; --`, strings.Repeat("a", 64)} {
		if _, err := postgres.Open(t.Context(), server(t), postgres.Options{Schema: name}); err == nil {
			t.Errorf("open with schema %q: no error", name)
		}
	}
}

// TestInvariant1_nothingAckedIsLostWithItsConnection ends every session of two
// nodes again and again while they append, lease and settle: what was
// acknowledged is there once, and everything is delivered.
func TestInvariant1_nothingAckedIsLostWithItsConnection(t *testing.T) {
	const writers, each, kills = 8, 60, 25
	name := schema(t, t.Name())
	var both [2]*postgres.Store
	for i := range both {
		var err error
		both[i], err = postgres.Open(t.Context(), with(t, "application_name="+name), postgres.Options{Schema: name, Poll: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = both[i].Close() }()
	}
	subscribeBoth(t, both, host.Subscription{From: host.FromOldest})

	var acked sync.Map
	var unsure, delivered atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				n := w*each + i
				appendUntilAcked(t, both[w%2], n, &acked, &unsure)
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for i := range both {
		others.Go(func() { deliverUntil(t, both[i], stop, &delivered) })
	}
	ended := killSessions(t, name, kills, &wg)
	wg.Wait()
	close(stop)
	others.Wait()
	t.Logf("%d sessions were ended, %d appends were answered 503 first", ended, unsure.Load())
	if ended == 0 {
		t.Error("no session was ended")
	}

	seen := make(map[string]int)
	for _, ev := range readAll(t, both[0]) {
		seen[ev.Event.ID()]++
	}
	for n := range writers * each {
		id := storetest.SampleEvent(n, 0).Key.ID()
		if _, ok := acked.Load(n); !ok || seen[id] != 1 {
			t.Errorf("event %d: acknowledged %t, %d times in the log, want once", n, ok, seen[id])
		}
	}
	if lag := drain(t, both[0], &delivered); delivered.Load() < writers*each || lag.Leased+lag.Retrying != 0 {
		t.Errorf("%d deliveries of %d events, lag %+v", delivered.Load(), writers*each, lag)
	}
}

// appendUntilAcked is a provider that sends again what is answered 503.
func appendUntilAcked(t *testing.T, s *postgres.Store, n int, acked *sync.Map, unsure *atomic.Int64) {
	for {
		_, err := s.Append(context.Background(), storetest.SampleRecord(n))
		if err == nil {
			acked.Store(n, true)
			return
		}
		if got, want := host.CodeOf(err), host.StoreUnavailable; got != want {
			t.Errorf("append: %v with code %s, want %s", err, got, want)
			return
		}
		unsure.Add(1)
	}
}

func deliverUntil(t *testing.T, s *postgres.Store, stop <-chan struct{}, delivered *atomic.Int64) {
	for {
		select {
		case <-stop:
			return
		case <-s.Failed():
			t.Error("the store has failed: a lost connection is no reason")
			return
		default:
		}
		got, err := s.Lease(context.Background(), "a", 10, shortly)
		for i := 0; err == nil && i < len(got.Deliveries); i++ {
			if err = s.Settle(context.Background(), "a", host.Settlement{Token: got.Deliveries[i].Token, Outcome: host.Done}); err == nil {
				delivered.Add(1)
			}
		}
	}
}

// shortly is how long a lease lasts whose settle may be lost with its connection.
const shortly = 2 * time.Second

// drain delivers what is left, as the leases end that nobody settled. The time is
// only a bound on a broken store.
func drain(t *testing.T, s *postgres.Store, delivered *atomic.Int64) host.Lag {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(time.Minute); ; <-tick.C {
		got, err := s.Lease(t.Context(), "a", 100, ttl)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.Deliveries {
			if err := s.Settle(t.Context(), "a", host.Settlement{Token: got.Deliveries[i].Token, Outcome: host.Done}); err != nil {
				t.Fatal(err)
			}
			delivered.Add(1)
		}
		lag, err := s.Lag(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Deliveries) == 0 && lag.Records == 0 && lag.Leased+lag.Retrying == 0 || time.Now().After(late) {
			return lag
		}
	}
}

// killSessions ends all sessions of an application, n times, as long as there are
// writers, and returns how many it ended.
func killSessions(t *testing.T, application string, n int, writers *sync.WaitGroup) int {
	t.Helper()
	c, err := pgx.Connect(t.Context(), server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	over := make(chan struct{})
	go func() { writers.Wait(); close(over) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	total := 0
	for range n {
		select {
		case <-over:
			return total
		case <-tick.C:
		}
		var ended int
		err := c.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1`, application).Scan(&ended)
		if err != nil {
			t.Error(err)
		}
		total += ended
	}
	return total
}

// A bit of one record is turned over: reading it is an error that names it, and
// pages and sinks have the rest.
func TestDamagedRecord_isNamedAndPassedOver(t *testing.T) {
	name := schema(t, t.Name())
	s := open(t, postgres.Options{Schema: name})
	defer func() { _ = s.Close() }()
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 3, func(*host.Event, int) {})
	ev, err := s.Event(t.Context(), storetest.SampleEvent(1, 0).Key.ID())
	if err != nil {
		t.Fatal(err)
	}
	exec(t, "update "+name+".records set events = set_byte(events, 100, get_byte(events, 100) # 1) where seq = $1", int64(ev.Seq))

	_, wrong := s.Event(t.Context(), ev.Event.ID())
	_, wrongCallback := s.Callback(t.Context(), ev.Seq)
	for what, err := range map[string]error{"event": wrong, "callback": wrongCallback} {
		if err == nil || !strings.Contains(err.Error(), fmt.Sprint(ev.Seq)) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: error %v, want one that names record %d", what, err, ev.Seq)
		}
	}
	if all := readAll(t, s); len(all) != 2 {
		t.Errorf("%d events are read, want the other two", len(all))
	}
	got, err := s.Lease(t.Context(), "a", 10, ttl)
	if err != nil || len(got.Deliveries) != 2 {
		t.Errorf("lease: %d deliveries, %v, want the other two", len(got.Deliveries), err)
	}
	st, err := s.Status(t.Context())
	if err != nil || len(st.Damaged) != 1 || !strings.Contains(st.Damaged[0], fmt.Sprint("record ", ev.Seq)) {
		t.Errorf("status names %q, %v, want record %d", st.Damaged, err, ev.Seq)
	}
}

// A retry whose record is damaged holds nobody up, is named, and is delivered once
// the record is mended.
func TestInvariant4_damagedRetryWaitsUntilItIsMended(t *testing.T) {
	name := schema(t, t.Name())
	now := time.Unix(1_800_000_000, 0)
	s := open(t, postgres.Options{Schema: name, Poll: -1, Now: func() time.Time { return now }})
	defer func() { _ = s.Close() }()
	if err := s.Subscribe(t.Context(), "a", host.Subscription{From: host.FromOldest}); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 2, func(*host.Event, int) {})
	lease := func() []host.Delivery {
		t.Helper()
		got, err := s.Lease(t.Context(), "a", 10, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return got.Deliveries
	}
	for _, d := range lease() {
		if err := s.Settle(t.Context(), "a", host.Settlement{Token: d.Token, Outcome: host.Again, At: now}); err != nil {
			t.Fatal(err)
		}
	}
	turnOver := "update " + name + ".records set events = set_byte(events, 100, get_byte(events, 100) # 1) where seq = 1"
	exec(t, turnOver)
	if got := lease(); len(got) != 1 || got[0].Attempt != 2 {
		t.Errorf("%d deliveries while one is damaged, want the other as attempt 2", len(got))
	}
	if st, err := s.Status(t.Context()); err != nil || len(st.Damaged) != 1 {
		t.Errorf("status names %q, %v, want the record", st.Damaged, err)
	}
	exec(t, turnOver)
	now = now.Add(time.Minute)
	if got := lease(); len(got) != 2 {
		t.Errorf("%d deliveries when it is mended, want both: the mended one, and the one whose lease has ended", len(got))
	}
}

// TestPartitions has the sequence run into the next partition.
func TestPartitions(t *testing.T) {
	name := schema(t, t.Name())
	s := open(t, postgres.Options{Schema: name})
	defer func() { _ = s.Close() }()
	const last = 1<<20 - 1
	exec(t, "update "+name+".counter set next = $1", last-2)
	fill(t, s, 0, 6, func(*host.Event, int) {})
	all := readAll(t, s)
	if len(all) != 6 || all[0].Seq != last-2 || all[5].Seq != last+3 {
		t.Errorf("%d events from %d on, want 6 from %d on", len(all), all[0].Seq, last-2)
	}
	st, err := s.Status(t.Context())
	if err != nil || st.Segments != 2 {
		t.Errorf("%d partitions, %v, want 2", st.Segments, err)
	}
}
