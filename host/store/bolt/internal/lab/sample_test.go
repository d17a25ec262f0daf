//go:build linux

package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
	"github.com/postern/postern/host/store/storetest"
)

// fact is an event of the laboratory: the number of its key, and of its content.
type fact struct{ key, content int }

// perCallback is how many numbers of keys each callback has of its own.
const perCallback = 4

// event returns the event of a fact. What it says can be told from itself: see
// factOf.
func (f fact) event() host.Event {
	ev := storetest.SampleEvent(f.key, f.content)
	r := rand.New(rand.NewPCG(uint64(f.key), uint64(f.content)))
	if f.key%5 == 0 {
		ev.Tenant = "globex" // what sink a does not want
	}
	// Some fill a page, some several.
	var word uint64
	pad := make([]byte, []int{0, 300, 900, 2500, 9000}[min(4, r.IntN(14)/3)])
	for i := range pad {
		if i%8 == 0 {
			word = r.Uint64()
		}
		pad[i] = byte('a' + word>>(i%8*8)&15)
	}
	ev.Data = json.RawMessage(strings.TrimSuffix(string(ev.Data), "}") + fmt.Sprintf(`,"content":%d,"pad":%q}`, f.content, pad))
	return ev
}

// factOf tells which event it is, from its subject and its data. Whether it is
// whole is for others to compare.
func factOf(ev *host.Event) (f fact, err error) {
	_, number, _ := strings.Cut(ev.Subject, "-")
	if f.key, err = strconv.Atoi(number); err == nil {
		_, data, _ := bytes.Cut(ev.Data, []byte(`"content":`))
		number, _, _ := bytes.Cut(data, []byte(","))
		f.content, err = strconv.Atoi(string(number))
	}
	if err != nil {
		return f, fmt.Errorf("event of subject %q: %w", ev.Subject, err)
	}
	return f, nil
}

// callback returns the n-th callback of a seed. It may repeat an event of an
// earlier one, or say something else under its key.
func callback(seed uint64, n int) *host.Record {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	switch kind := r.IntN(100); {
	case kind < 5:
		return storetest.SampleKept(n)
	case kind < 8:
		return storetest.SampleIgnored(n)
	}
	var events []host.Event
	for i := range 1 + r.IntN(3) {
		f := fact{key: n*perCallback + i}
		if earlier := n - 1 - r.IntN(40); earlier >= 0 && r.IntN(5) == 0 {
			f = fact{key: earlier * perCallback, content: r.IntN(3)}
		}
		events = append(events, f.event())
	}
	rec := storetest.SampleRecord(n, events...)
	if r.IntN(20) == 0 {
		rec.Aside = []host.Aside{storetest.SampleAside(n), storetest.SampleAside(max(0, n-20))}
	}
	return rec
}

// letters are the dispositions in a note.
var letters = map[host.Disposition]string{
	host.Stored: "s", host.Duplicate: "d", host.Conflicted: "c", host.SetAside: "a",
}

// stored returns what must be read of a callback that got these dispositions.
func stored(rec *host.Record, dispositions string) *host.Record {
	out := *rec
	out.Events, out.Aside = nil, nil
	for i, ev := range rec.Events {
		if d := dispositions[i]; d != 'd' {
			ev.Conflict = d == 'c'
			out.Events = append(out.Events, ev)
		}
	}
	for i, aside := range rec.Aside {
		if dispositions[len(rec.Events)+i] != 'd' {
			out.Aside = append(out.Aside, aside)
		}
	}
	return &out
}

// known is a callback as it should be, kept because many states are judged by it.
type known struct {
	rec   *host.Record
	facts []fact
	coded map[string]string // by dispositions
}

// cache holds those of one seed.
type cache struct {
	seed      uint64
	callbacks map[int]*known
	events    map[fact]string
}

func (c *cache) callback(seed uint64, n int) *known {
	if c.seed != seed || c.callbacks == nil {
		*c = cache{seed: seed, callbacks: make(map[int]*known), events: make(map[fact]string)}
	}
	k := c.callbacks[n]
	if k == nil {
		k = &known{rec: callback(seed, n), coded: make(map[string]string)}
		for i := range k.rec.Events {
			f, err := factOf(&k.rec.Events[i])
			if err != nil {
				panic(err)
			}
			k.facts = append(k.facts, f)
		}
		c.callbacks[n] = k
	}
	return k
}

// stored is the callback as it must be read, coded.
func (k *known) stored(dispositions string) string {
	want, is := k.coded[dispositions]
	if !is {
		want = coded(stored(k.rec, dispositions))
		k.coded[dispositions] = want
	}
	return want
}

// event is the event as it must be read, coded.
func (c *cache) event(f fact) string {
	want, is := c.events[f]
	if !is {
		ev := f.event()
		want = codedEvent(&ev)
		c.events[f] = want
	}
	return want
}

func codedEvent(ev *host.Event) string { return coded(&host.Record{Events: []host.Event{*ev}}) }

// coded is a record in bytes, to compare many quickly.
func coded(rec *host.Record) string {
	b, err := record.Encode(nil, rec)
	if err != nil {
		panic(err)
	}
	return string(b)
}
