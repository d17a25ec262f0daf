package storetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest/internal/model"
)

// seedVariable, in the environment, is the only seed that [SimulateSeeds] runs.
const seedVariable = "POSTERN_TEST_SEED"

// SimulateSeeds runs [Simulate] once for each of the seeds from 1 on, the
// operations divided among them; with POSTERN_TEST_SEED in the environment for
// that seed alone.
func SimulateSeeds(t *testing.T, e Engine, seeds, operations int) {
	first, last := uint64(1), uint64(seeds)
	if only := os.Getenv(seedVariable); only != "" {
		seed, err := strconv.ParseUint(only, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
		first, last = seed, seed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { Simulate(t, e, seed, operations/seeds) })
	}
}

// Simulate puts an engine to operations that the seed chooses, and compares every
// answer with what [host.Store] promises: appends of new events, duplicates and
// conflicts; sinks with and without order and filters that are leased to, settled
// in any order and late, paused, redriven and replayed to; and, where the engine
// can, reopens and kills in between. In the end it has everything delivered and
// looks for what is missing. A failure names the seed and how to repeat it.
//
// A call counts as an operation, and so does each settlement in a call.
func Simulate(t *testing.T, e Engine, seed uint64, operations int) {
	t.Cleanup(func() {
		if t.Failed() {
			name, _, _ := strings.Cut(t.Name(), "/")
			t.Logf("seed %d; to repeat it, in the directory of the test: %s=%d go test -run '^%s$' .",
				seed, seedVariable, seed, name)
		}
	})
	m := &simulation{
		fixture: newFixture(t, e), bytes: rand.NewChaCha8([32]byte{byte(seed)}),
		r:   rand.New(rand.NewPCG(seed, 1)),
		log: model.NewLog(),
	}
	m.addSink("all", host.Subscription{Filter: host.Filter{Conflicts: true}})
	m.addSink("acme", host.Subscription{Filter: host.Filter{Tenants: []string{"acme"}}})
	m.addSink("where", host.Subscription{Filter: host.Filter{
		Where: "true", Test: func(ev *host.Event) bool { return ev.Subject != "s1" },
	}})
	if e.NoOrder == "" {
		m.addSink("turn", host.Subscription{Order: host.OrderSubject})
		m.addSink("turn-acme", host.Subscription{
			Order: host.OrderSubject, Filter: host.Filter{Tenants: []string{"acme"}, Conflicts: true},
		})
	}
	for m.operations < operations && !t.Failed() {
		m.step()
	}
	if !t.Failed() {
		m.drain()
	}
}

// simulation is a store beside the model of it.
type simulation struct {
	*fixture

	r          *rand.Rand
	bytes      *rand.ChaCha8
	operations int
	sinks      []*model.Sink
	log        *model.Log
}

func (m *simulation) addSink(name string, want host.Subscription) {
	want.From = host.FromOldest
	k := model.NewSink(name, want, ttl)
	m.sinks = append(m.sinks, k)
	m.resubscribe(k)
}

func (m *simulation) resubscribe(k *model.Sink) {
	if err := m.Subscribe(m.t.Context(), k.Name, k.Want); err != nil {
		m.t.Fatalf("subscribe %s: %v", k.Name, err)
	}
}

func (m *simulation) step() {
	m.operations++
	k := m.sinks[m.r.IntN(len(m.sinks))]
	switch n := m.r.IntN(1000); {
	case n < 90:
		m.appendSome()
	case n < 480:
		m.leaseSome(k, 1+m.r.IntN(8))
	case n < 800:
		m.settleSome(k)
	case n < 880:
		m.clock.advance(time.Duration(m.r.IntN(90)) * time.Second)
	case n < 910:
		m.moveLetters(k, true)
	case n < 920:
		m.moveLetters(k, false)
	case n < 935:
		m.togglePause(k)
	case n < 945:
		m.toggleOrder(k)
	case n < 955:
		m.replaySome(k)
	case n < 960:
		m.stopSome(k)
	case n < 985:
		m.check(k)
	case n < 993:
		m.readSome()
	default:
		m.end(n < 997)
	}
}

// end reopens the store, or kills it.
func (m *simulation) end(killed bool) {
	if !m.engine.Reopens || (killed && m.engine.Kill == nil) {
		return
	}
	m.reopen(killed)
	for _, k := range m.sinks {
		k.Reopened(m.clock.now(), killed)
		if k.Want.Filter.Where == "" {
			continue
		}
		if _, err := m.Lease(m.t.Context(), k.Name, 1, ttl); err == nil {
			m.t.Errorf("lease for %s by an expression that is not compiled: no error", k.Name)
		}
		m.resubscribe(k)
	}
}

// simSubjects is how many subjects there are beside the empty one: few, so that
// many wait for each other.
const simSubjects = 6

// simEvent is event n: its subject and its tenant follow from n.
func simEvent(n, content int) host.Event {
	ev := SampleEvent(n, content)
	ev.Subject = fmt.Sprintf("s%d", n%(simSubjects+1))
	if n%(simSubjects+1) == 0 {
		ev.Subject = ""
	}
	if n%4 == 0 {
		ev.Tenant = "globex"
	}
	return ev
}

func (m *simulation) appendSome() {
	if m.r.IntN(20) == 0 {
		m.append(SampleIgnored(m.log.Keys))
		return
	}
	var events, anew []host.Event
	var want []host.Disposition
	for range 1 + m.r.IntN(3) {
		key, content, d := m.log.Pick(m.r)
		want, events = append(want, d), append(events, simEvent(key, content))
		if d != host.Duplicate {
			ev := simEvent(key, content)
			ev.Conflict = d == host.Conflicted
			anew = append(anew, ev)
		}
	}
	rec := SampleRecord(m.log.Keys, events...)
	// Bytes that do not compress, so that segments fill.
	rec.Callback.Body = make([]byte, m.r.IntN(2000))
	_, _ = m.bytes.Read(rec.Callback.Body)
	got := m.append(rec)
	if !slices.Equal(got.Events, want) || (got.Seq != 0) != (len(anew) > 0) {
		m.t.Fatalf("operation %d: append of %d events answered %v, sequence %d; want %v",
			m.operations, len(events), got.Events, got.Seq, want)
	}
	for i := range anew {
		at := m.log.Add(&anew[i])
		for _, k := range m.sinks {
			if k.Want.Filter.Match(&anew[i]) {
				k.Add(&anew[i], at, 0)
			}
		}
	}
}

func (m *simulation) leaseSome(k *model.Sink, n int) int {
	got, err := m.Lease(m.t.Context(), k.Name, n, ttl)
	if err != nil {
		m.t.Fatalf("operation %d: lease for %s: %v", m.operations, k.Name, err)
	}
	if len(got.Deliveries) > n {
		m.t.Errorf("operation %d: %d deliveries, asked for %d", m.operations, len(got.Deliveries), n)
	}
	if k.Paused && len(got.Deliveries) > 0 {
		m.t.Errorf("operation %d: %s is paused and got %d deliveries", m.operations, k.Name, len(got.Deliveries))
	}
	now := m.clock.now()
	for i := range got.Deliveries {
		d := &got.Deliveries[i]
		if at, ok := m.log.At[d.Event.ID()]; !ok || !sameEvent(&m.log.Events[at], &d.Event) || d.Sink != k.Name {
			m.t.Fatalf("operation %d: delivery %+v is not what was stored", m.operations, d)
		}
		if wrong := k.Leased(d, now); wrong != "" {
			m.t.Fatalf("operation %d: %s got event %d (%s) of %q as attempt %d: %s", m.operations, k.Name,
				m.log.At[d.Event.ID()], d.Event.ID(), d.Event.Subject, d.Attempt, wrong)
		}
	}
	if wrong := k.Missed(&got, now); wrong != "" {
		m.t.Fatalf("operation %d: lease of %d for %s answered %d deliveries, next %v, now %v: %s",
			m.operations, n, k.Name, len(got.Deliveries), got.Next, now, wrong)
	}
	return len(got.Deliveries)
}

// sameEvent compares what an engine could mix up; comparing all would take most
// of the time.
func sameEvent(a, b *host.Event) bool {
	return a.Key == b.Key && a.Content == b.Content && a.Conflict == b.Conflict && a.Subject == b.Subject &&
		a.Tenant == b.Tenant && a.Received.Equal(b.Received) && string(a.Data) == string(b.Data)
}

// settleSome settles some leases of a sink in one call, in any order, and some
// of them a second time.
func (m *simulation) settleSome(k *model.Sink) {
	tokens := k.Tokens()
	m.r.Shuffle(len(tokens), func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
	now := m.clock.now()
	var all []host.Settlement
	for _, token := range tokens[:min(len(tokens), 1+m.r.IntN(6))] {
		st := host.Settlement{Token: token, Outcome: host.Done, Reason: "no", Answer: "503"}
		switch m.r.IntN(10) {
		case 0:
			st.Outcome = host.Dead
		case 1, 2, 3:
			st.Outcome, st.At = host.Again, now.Add(time.Duration(m.r.IntN(100))*time.Second)
		}
		all = append(all, st)
		if m.r.IntN(10) == 0 {
			all = append(all, host.Settlement{Token: token, Outcome: host.Dead})
		}
	}
	m.operations += max(len(all)-1, 0)
	m.settle(k.Name, all...)
	for _, st := range all {
		k.Settled(st, now)
	}
}

// moveLetters redrives or discards some dead letters, or all.
func (m *simulation) moveLetters(k *model.Sink, redrive bool) {
	ids := k.DeadIDs()
	if len(ids) == 0 {
		return
	}
	do := m.Discard
	if redrive {
		do = m.Redrive
	}
	asked := []string(nil)
	if m.r.IntN(3) > 0 {
		m.r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		ids = ids[:1+m.r.IntN(min(len(ids), 4))]
		asked = ids
	}
	got, err := do(m.t.Context(), k.Name, asked...)
	if want := k.Moved(ids, redrive, m.clock.now()); err != nil || got != want {
		m.t.Fatalf("operation %d: moved %d dead letters of %s, %v; want %d", m.operations, got, k.Name, err, want)
	}
}

func (m *simulation) togglePause(k *model.Sink) {
	if k.Paused = !k.Paused; k.Paused {
		m.must("pause", m.Pause(m.t.Context(), k.Name))
	} else {
		m.must("resume", m.Resume(m.t.Context(), k.Name))
	}
}

// toggleOrder takes the order away from a sink, or gives it back.
func (m *simulation) toggleOrder(k *model.Sink) {
	switch {
	case !strings.HasPrefix(k.Name, "turn"):
		return
	case k.Want.Order == host.OrderSubject:
		k.Want.Order = host.OrderNone
	default:
		k.Want.Order = host.OrderSubject
	}
	m.resubscribe(k)
}

// replaySome replays a range of what the sink has had, to its very end now and
// then.
func (m *simulation) replaySome(k *model.Sink) {
	had := k.Had(len(m.log.Events))
	if m.engine.NoReplay != "" || had == 0 {
		return
	}
	busy := m.lag(k.Name).Replay != nil
	from := m.r.IntN(had)
	to := from + m.r.IntN(min(had-from, 40)+1)
	err := m.Replay(m.t.Context(), k.Name, m.cursor(from), m.cursor(to))
	if busy {
		m.wantErr("a second replay", err, host.ErrBusy)
		return
	}
	if err != nil {
		m.t.Fatalf("operation %d: replay to %s: %v", m.operations, k.Name, err)
	}
	k.Replays++
	for at := from; at < to; at++ {
		if k.Want.Filter.Match(&m.log.Events[at]) {
			k.Add(&m.log.Events[at], at, k.Replays)
		}
	}
}

// cursor is that of the event at a place of the log.
func (m *simulation) cursor(at int) host.Cursor {
	if at == len(m.log.Events) {
		return ""
	}
	ev, err := m.Event(m.t.Context(), m.log.Events[at].ID())
	if err != nil {
		m.t.Fatalf("operation %d: read event: %v", m.operations, err)
	}
	return ev.Cursor
}

func (m *simulation) stopSome(k *model.Sink) {
	if m.engine.NoReplay != "" {
		return
	}
	was := m.lag(k.Name).Replay != nil
	m.must("stop the replay", m.StopReplay(m.t.Context(), k.Name))
	if got := m.lag(k.Name).Replay; got != nil {
		m.t.Errorf("operation %d: stopped, and replay %+v is under way", m.operations, got)
	}
	if was {
		k.Stopped()
	}
}

// check compares what a store says of a sink.
func (m *simulation) check(k *model.Sink) {
	now := m.clock.now()
	got, want := m.lag(k.Name), k.Lag(now)
	if got.Leased != want.Leased || got.Dead != want.Dead || got.Paused != want.Paused {
		m.t.Errorf("operation %d: lag of %s is %+v, want %+v of it", m.operations, k.Name, got, want)
	}
	var ids []string
	for _, dl := range m.letters(k.Name) {
		ids = append(ids, dl.Event.ID())
	}
	slices.Sort(ids)
	if ids, want := slices.Compact(ids), k.DeadIDs(); !slices.Equal(ids, want) {
		m.t.Errorf("operation %d: dead letters of %s are of %v, want %v", m.operations, k.Name, ids, want)
	}
}

// readSome reads a page from some place on.
func (m *simulation) readSome() {
	if len(m.log.Events) == 0 {
		return
	}
	at := m.r.IntN(len(m.log.Events))
	page, _, err := m.Range(m.t.Context(), host.Page{
		After: m.cursor(at), Limit: 10, Filter: host.Filter{Conflicts: true},
	})
	want := m.log.Events[at+1 : min(len(m.log.Events), at+11)]
	if err != nil || len(page) != len(want) {
		m.t.Fatalf("operation %d: page of %d events, %v, want %d", m.operations, len(page), err, len(want))
	}
	for i := range page {
		if !sameEvent(&want[i], &page[i].Event) {
			m.t.Errorf("operation %d: event %d of a page differs: %s", m.operations, i, Diff(want[i], page[i].Event))
		}
	}
}

// drain has everything that is left delivered, and looks for what is missing.
func (m *simulation) drain() {
	for _, k := range m.sinks {
		if k.Paused {
			m.togglePause(k)
		}
		for idle := 0; idle < 2; idle++ {
			m.clock.advance(2 * time.Minute)
			for m.leaseSome(k, 100) > 0 {
				idle = 0
				now := m.clock.now()
				for _, token := range k.Tokens() {
					st := host.Settlement{Token: token, Outcome: host.Done}
					m.settle(k.Name, st)
					k.Settled(st, now)
				}
			}
		}
		for _, left := range k.Left() {
			m.t.Errorf("%s is neither done nor dead at %s", left, k.Name)
		}
		want := host.Lag{Dead: k.Lag(m.clock.now()).Dead}
		m.same("lag of "+k.Name+" in the end", want, m.lag(k.Name))
		m.check(k)
	}
}
