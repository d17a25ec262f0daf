//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt"
	"github.com/postern/postern/host/store/storetest"
)

// class is what is wrong with a store after a crash.
type class string

// The classes. What is unnamed is damage that nobody was told of by the file's
// name; what is refused, moved, unread or unserved was named, and is no failure
// of a damaged store.
const (
	lost     class = "lost"     // what was acknowledged is not there
	wrong    class = "wrong"    // something else is read than was stored
	twice    class = "twice"    // a second event was or would be stored
	undone   class = "undone"   // a sink does not get what it should
	unsound  class = "unsound"  // bbolt's own check finds something
	stuck    class = "stuck"    // it does not open, append, settle or close
	died     class = "died"     // the process died
	hung     class = "hung"     // the process did not answer
	unnamed  class = "unnamed"  // an error does not name the file
	refused  class = "refused"  // the store does not open and names the file
	moved    class = "moved"    // the file is named as damaged, and served as far as it can be
	unread   class = "unread"   // reading a record names the file
	unserved class = "unserved" // and something is missing with it
)

// finding is one thing that is wrong.
type finding struct {
	Class class
	Text  string
}

// question is a store to be judged.
type question struct {
	// Dir holds data, and the notes up to the crash.
	Dir  string
	Seed uint64
	// Expires says that a segment may go once nobody needs it.
	Expires bool
	// Damaged is the file, relative to data, that was damaged; empty for none.
	Damaged string
}

// judgement is one store being judged.
type judgement struct {
	question

	cache    *cache
	ledger   *ledger
	store    *bolt.Store
	log      bytes.Buffer
	found    []finding
	gone     []finding // what is missing: no failure where the damage was named
	named    bool      // it was
	events   map[fact]host.StoredEvent
	original map[int]bool // keys with an event that is no conflict
}

// judge opens a store and finds what is wrong with it.
func judge(q question, c *cache) []finding {
	c.callback(q.Seed, 0) // it is of this seed from here on
	j := &judgement{question: q, cache: c, events: make(map[fact]host.StoredEvent), original: make(map[int]bool)}
	notes, err := os.ReadFile(filepath.Join(q.Dir, "notes"))
	if err == nil {
		j.ledger, err = parseLedger(notes)
	}
	if err != nil {
		return []finding{{stuck, err.Error()}}
	}
	for _, bad := range j.ledger.bad {
		j.add(wrong, "%s", bad)
	}
	o := options(1 << 20)
	o.Now = func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }
	o.Log = slog.New(slog.NewTextHandler(&j.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if j.store, err = bolt.Open(j.data(), o); err != nil {
		j.problem(refused, stuck, err)
		return j.found
	}
	j.read()
	j.callbacks()
	j.duplicates()
	for name := range sinks {
		j.sink(name)
	}
	j.goesOn()
	j.damage()
	if err := j.store.Close(); err != nil {
		j.problem(unread, stuck, err)
	}
	if q.Damaged == "" {
		j.check()
	}
	return j.found
}

func (j *judgement) data() string { return filepath.Join(j.Dir, "data") }

func (j *judgement) add(c class, format string, args ...any) {
	const enough = 20
	if len(j.found) < enough {
		j.found = append(j.found, finding{c, fmt.Sprintf(format, args...)})
	}
}

// names reports whether a text names the damaged file.
func (j *judgement) names(text string) bool {
	return j.Damaged != "" && strings.Contains(text, filepath.Base(j.Damaged))
}

// problem adds an error: of a class if it names the damaged file, of another if
// nothing was damaged or it names nothing.
func (j *judgement) problem(named, otherwise class, err error) {
	switch text := err.Error(); {
	case j.names(text):
		j.named = true
		j.add(named, "%s", text)
	case j.Damaged != "":
		j.add(unnamed, "%s", text)
	default:
		j.add(otherwise, "%s", text)
	}
}

// missing adds something that is not there.
func (j *judgement) missing(c class, format string, args ...any) {
	j.gone = append(j.gone, finding{c, fmt.Sprintf(format, args...)})
}

// damage looks at what the store itself found, and says what to think of all that
// is missing.
func (j *judgement) damage() {
	status, err := j.store.Status(context.Background())
	if err != nil {
		j.problem(unread, stuck, err)
	}
	text := strings.Join(status.Damaged, "\n")
	switch {
	case j.names(text):
		j.named = true
		j.add(moved, "%s", text)
	case text != "":
		j.add(unnamed, "%s", text)
	}
	for _, f := range j.gone {
		if j.named {
			f.Class = unserved
		}
		j.add(f.Class, "%s", f.Text)
	}
}

// read reads all events, forward.
func (j *judgement) read() {
	var after host.Cursor
	for {
		page, next, err := j.store.Range(context.Background(), host.Page{After: after, Limit: 500, Filter: host.Filter{Conflicts: true}})
		if err != nil {
			j.problem(unread, wrong, err)
			j.readBack()
			return
		}
		for _, got := range page {
			j.take(got)
		}
		if len(page) < 500 {
			return
		}
		after = next
	}
}

// readBack reads on from the end to what cannot be read.
func (j *judgement) readBack() {
	var after host.Cursor
	for {
		page, next, err := j.store.Range(context.Background(), host.Page{After: after, Limit: 1, Newest: true, Filter: host.Filter{Conflicts: true}})
		if err != nil || len(page) == 0 {
			return
		}
		f, _ := factOf(&page[0].Event)
		if _, seen := j.events[f]; seen {
			return
		}
		j.take(page[0])
		after = next
	}
}

func (j *judgement) take(got host.StoredEvent) {
	f, err := factOf(&got.Event)
	if err != nil {
		j.add(wrong, "%v", err)
		return
	}
	j.same(f, &got.Event)
	if other, seen := j.events[f]; seen {
		j.add(twice, "event %v is stored at %s and at %s", f, other.Cursor, got.Cursor)
	}
	if !got.Event.Conflict {
		if j.original[f.key] {
			j.add(twice, "key %d has two events that are no conflicts", f.key)
		}
		j.original[f.key] = true
	}
	j.events[f] = got
}

// same compares an event with what it should be.
func (j *judgement) same(f fact, got *host.Event) {
	own := *got
	own.Conflict = false // it depends on what came first
	if codedEvent(&own) != j.cache.event(f) {
		j.add(wrong, "event %v differs:\n%s", f, storetest.Diff(f.event(), own))
	}
}

// callbacks looks for all that was acknowledged.
func (j *judgement) callbacks() {
	for _, a := range j.ledger.acks {
		want := j.cache.callback(j.Seed, a.n)
		for _, f := range want.facts {
			if _, found := j.events[f]; !found && !j.over(f) {
				j.missing(lost, "event %v of callback %d, acknowledged as %s", f, a.n, a.dispositions)
			}
		}
		if a.seq == 0 {
			continue
		}
		got, err := j.store.Callback(context.Background(), a.seq)
		switch {
		case errors.Is(err, host.ErrNotFound) && j.Expires && want.rec.Kind != host.Kept:
		case errors.Is(err, host.ErrNotFound):
			j.missing(lost, "callback %d: %v", a.n, err)
		case err != nil:
			j.problem(unread, lost, fmt.Errorf("callback %d: %w", a.n, err))
		case coded(got) != want.stored(a.dispositions[1:]):
			j.add(wrong, "callback %d differs:\n%s", a.n, storetest.Diff(stored(want.rec, a.dispositions[1:]), got))
		}
	}
}

// over reports whether an event may be gone: every sink that wants it is through
// with it.
//
// Invariant 4: what is not delivered is never expired.
func (j *judgement) over(f fact) bool {
	if !j.Expires {
		return false
	}
	for name, want := range sinks {
		through := false
		for g, h := range j.ledger.sinks[name] {
			// Whichever content of a key came first is no conflict, and the only one
			// that some sinks want.
			same := g == f || g.key == f.key && !want.Conflicts
			through = through || same && (h.done || h.dying)
		}
		ev := f.event()
		if want.Match(&ev) && !through {
			return false
		}
	}
	return true
}

// duplicates appends all that was acknowledged again: nothing of it is new.
func (j *judgement) duplicates() {
	asked := make(map[fact]bool)
	const most = 500
	var part host.Record
	ask := func() {
		n := 1 << 25
		rec := storetest.SampleRecord(n, part.Events...)
		rec.Aside = part.Aside
		got, err := j.store.Append(context.Background(), rec)
		if err != nil {
			j.problem(unread, stuck, fmt.Errorf("append duplicates: %w", err))
			return
		}
		for i, d := range got.Events {
			if d != host.Duplicate {
				f, _ := factOf(&part.Events[i])
				j.missing(twice, "event %v was acknowledged and is %s when it comes again", f, d)
			}
		}
		for i, d := range got.Aside {
			if d != host.Duplicate {
				j.missing(twice, "item %s was acknowledged and is %s when it comes again", part.Aside[i].Item, d)
			}
		}
		part = host.Record{}
	}
	for _, a := range j.ledger.acks {
		k := j.cache.callback(j.Seed, a.n)
		part.Aside = append(part.Aside, k.rec.Aside...)
		for i, f := range k.facts {
			if !asked[f] {
				asked[f] = true
				part.Events = append(part.Events, k.rec.Events[i])
			}
		}
		if len(part.Events) >= most {
			ask()
		}
	}
	if len(part.Events)+len(part.Aside) > 0 {
		ask()
	}
}

// goesOn appends something new.
func (j *judgement) goesOn() {
	f := fact{key: 1 << 26}
	for _, want := range []host.Disposition{host.Stored, host.Duplicate} {
		got, err := j.store.Append(context.Background(), storetest.SampleRecord(1<<26, f.event()))
		if err != nil {
			j.problem(unread, stuck, fmt.Errorf("append something new: %w", err))
			return
		}
		if got.Events[0] != want {
			j.add(twice, "something new is %s, want %s", got.Events[0], want)
		}
	}
	ev := f.event()
	got, err := j.store.Event(context.Background(), ev.ID())
	if err != nil {
		j.problem(unread, lost, fmt.Errorf("read something new: %w", err))
		return
	}
	j.same(f, &got.Event)
	for _, d := range j.drain("b") {
		if d.Event.ID() == ev.ID() {
			return
		}
	}
	j.missing(undone, "sink b does not get something new")
}

// check runs bbolt's own check over every file.
func (j *judgement) check() {
	err := filepath.WalkDir(j.data(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".db" {
			return err
		}
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
		if err != nil {
			return nil //nolint:nilerr // no bbolt file
		}
		defer db.Close()
		return db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				j.add(unsound, "%s: %v", path, err)
			}
			return nil
		})
	})
	if err != nil {
		j.add(unsound, "%v", err)
	}
}
