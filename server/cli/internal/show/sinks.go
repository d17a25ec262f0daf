package show

import (
	"fmt"
	"strconv"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/client"
	"github.com/postern/postern/server/cli/internal/screen"
)

// Left reports whether a sink is known not to be configured any more.
func Left(s *client.Sink) bool { return s.Configured != nil && !*s.Configured }

// state is what a sink does.
func state(s *client.Sink) screen.Cell {
	switch {
	case Left(s) && s.Lag.Paused:
		return screen.Text("left, paused").In(screen.Odd)
	case Left(s):
		return screen.Text("left").In(screen.Odd)
	case s.Lag.Paused:
		return screen.Text("paused").In(screen.Odd)
	}
	return screen.Text("active")
}

// number is a count, nothing being faint.
func number[T int | uint64](n T) screen.Cell {
	if n == 0 {
		return screen.Text("0").In(screen.Faint)
	}
	return screen.Text(fmt.Sprint(n))
}

// Sinks writes sinks and how far each is behind, a line each.
func Sinks(s *screen.Screen, all []client.Sink) {
	if len(all) == 0 {
		s.Printf("no sinks\n")
		return
	}
	t := screen.Table{Columns: []screen.Column{
		{Title: "SINK"},
		{Title: "TYPE", Least: 7, Drop: true},
		{Title: "STATE"},
		{Title: "BEHIND", Right: true},
		{Title: "LEASED", Right: true, Drop: true},
		{Title: "RETRYING", Right: true},
		{Title: "PARKED", Right: true},
		{Title: "DEAD", Right: true},
		{Title: "REPLAYED", Right: true},
	}}
	for i := range all {
		sink, lag := &all[i], &all[i].Lag
		dead, replay := number(lag.Dead), screen.Text("-").In(screen.Faint)
		if lag.Dead > 0 {
			dead = dead.In(screen.Bad)
		}
		if lag.Replay != nil {
			replay = screen.Text(strconv.FormatUint(lag.Replay.Taken, 10))
		}
		t.Add(screen.Text(sink.Name), screen.Text(sink.Type), state(sink), number(lag.Records),
			number(lag.Leased), number(lag.Retrying), number(lag.Parked), dead, replay)
	}
	t.Print(s)
}

// Replay writes how far a replay is.
func Replay(s *screen.Screen, sink string, r *host.Replay) {
	s.Printf("%s\n", s.Paint(screen.Bold, "replay to sink "+screen.Clean(sink)))
	s.Field("from", screen.Text(Bound(string(r.From), "the oldest event")))
	s.Field("to", screen.Text(Bound(string(r.To), "the newest event")))
	s.Field("at", screen.Text(Bound(string(r.At), "the beginning")))
	s.Field("taken", screen.Text(Count(r.Taken, "event")))
	at, _, errAt := r.At.At()
	if to, _, err := r.To.At(); err == nil && errAt == nil && r.To != "" {
		s.Field("left", screen.Text("at most "+Count(to-min(at, to), "record")))
	}
}

// Bound is one end of a range: a cursor, or what an empty one means.
func Bound(cursor, empty string) string {
	if cursor == "" {
		return empty
	}
	return cursor
}

// Letters writes dead letters, a line each.
func Letters(s *screen.Screen, now time.Time, all []client.Letter) {
	if len(all) == 0 {
		s.Printf("no dead letters\n")
		return
	}
	t := screen.Table{Columns: []screen.Column{
		{Title: "EVENT"},
		{Title: "SINK", Least: 8},
		{Title: "DIED", Right: true},
		{Title: "TRIES", Right: true},
		{Title: "REASON", Least: 10, End: true},
	}}
	for i := range all {
		l := &all[i]
		t.Add(screen.Text(l.Fact.ID), screen.Text(l.Sink), screen.Text(Age(now.Sub(l.Died))).In(screen.Faint),
			screen.Text(strconv.Itoa(l.Attempts)), screen.Text(l.Reason).In(screen.Bad))
	}
	t.Print(s)
}

// Letter writes one dead letter: what happened to it, and what it is.
func Letter(s *screen.Screen, l *client.Letter) {
	s.Printf("%s\n", s.Paint(screen.Bold, "dead letter "+screen.Clean(l.Fact.ID)))
	s.Field("sink", screen.Text(l.Sink))
	s.Field("type", Kind(&l.Fact))
	s.Field("endpoint", screen.Text(Where(&l.Fact)))
	s.Field("subject", screen.Text(l.Fact.Subject))
	s.Field("amount", screen.Text(Amount(&l.Fact)))
	s.Field("attempts", screen.Text(strconv.Itoa(l.Attempts)))
	s.Field("first", screen.Text(stamp(l.First)))
	s.Field("died", screen.Text(stamp(l.Died)))
	s.Field("reason", screen.Text(l.Reason).In(screen.Bad))
	if l.Answer != "" {
		s.Printf("\n%s\n", s.Paint(screen.Bold, "last answer"))
		s.Block([]byte(l.Answer))
	}
}
