package wasm

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postern/postern/host"
)

// telling is a record of tell, with the text that it points to.
type telling struct {
	field, of int
	text      string
	number    int64
}

// tell says records as a guest would.
func (d *driver) tell(records ...telling) code {
	d.t.Helper()
	var block strings.Builder
	for _, r := range records {
		block.WriteString(record(int32(r.field), int32(r.of), uint64(d.put(r.text)), uint64(len(r.text)), r.number))
	}
	return d.do("tell", d.put(block.String()), len(records))
}

// put writes text where the next argument goes, and says where.
func (d *driver) put(text string) uint32 {
	d.t.Helper()
	at := d.next
	if !d.in.api.Memory().WriteString(at, text) {
		d.t.Fatal("the driver's memory is full")
	}
	d.next += uint32(len(text))
	return at
}

// told are the calls of a vector from the first on that tell can say, as records,
// with what each gives.
func (p *sayPlugin) told(calls [][]any) (records []telling, want []code) {
	for _, call := range calls {
		name, last := p.text(call[0]), len(call)-1
		var r telling
		switch name {
		case "event_begin":
			r = telling{fieldBegin, fromNumber, "", p.long(call[1])}
		case "set":
			r = telling{p.number(call[1], sayFields), fromText, p.text(call[2]), math.MinInt64}
		case "set_i64":
			r = telling{p.number(call[1], sayFields), fromNumber, "", p.long(call[2])}
		case "map":
			r = telling{p.number(call[1], sayFields), p.number(call[2], nil), p.text(call[3]), -1}
		default:
			return records, want
		}
		// What begins an event, and what is of a view, cannot be said otherwise.
		if name == "set" && r.field == fieldBegin || name == "map" && (r.field == fieldBegin || r.of < 0) {
			return records, want
		}
		records, want = append(records, r), append(want, code(p.number(call[last], sayCodes)))
	}
	return records, want
}

// sayTogether says what tell can say by it, as much at a time as there is, and the
// rest behind what was refused once more.
func (p *sayPlugin) sayTogether(calls [][]any) {
	for len(calls) > 0 {
		records, want := p.told(calls)
		if len(records) == 0 {
			p.sayOne(calls[0])
			calls = calls[1:]
			continue
		}
		calls = calls[len(records):]
		for len(records) > 0 {
			p.next = 1024
			refused := 0
			for refused < len(want) && want[refused] >= ok {
				refused++
			}
			wantResult := count(len(records))
			if refused < len(want) {
				wantResult = want[refused] - told*count(refused)
			}
			if got := p.tell(records...); got != wantResult {
				p.t.Fatalf("tell %v = %d, want %d", records, got, wantResult)
			}
			done := min(refused+1, len(records))
			records, want = records[done:], want[done:]
		}
	}
}

func TestTell_refuses(t *testing.T) {
	begin := telling{fieldBegin, fromNumber, "", -1}
	for name, c := range map[string]struct {
		want    code
		records []telling
	}{
		"nothing":                         {0, nil},
		"an event of a text":              {invalid, []telling{{fieldBegin, fromText, "", -1}}},
		"an event of a view":              {invalid, []telling{{fieldBegin, 0, "", -1}}},
		"evidence that is not there":      {invalid, []telling{{fieldBegin, fromNumber, "", 0}}},
		"evidence below none":             {invalid, []telling{{fieldBegin, fromNumber, "", -2}}},
		"evidence that only ends in none": {invalid, []telling{{fieldBegin, fromNumber, "", 1<<32 - 1}}},
		"evidence that ends in nought":    {invalid, []telling{{fieldBegin, fromNumber, "", 1 << 32}}},
		"a field without an event":        {invalid, []telling{{fieldParty, fromText, "x", 0}}},
		"of what there is not":            {invalid - 1*told, []telling{begin, {fieldParty, -3, "x", 0}}},
		"of a view that is not there":     {invalid - 1*told, []telling{begin, {fieldParty, 1, "", 0}}},
		"a field that is none":            {invalid - 2*told, []telling{begin, {fieldParty, fromText, "x", 0}, {99, fromText, "x", 0}}},
		"a text as a number":              {invalid - 1*told, []telling{begin, {fieldParty, fromNumber, "x", 0}}},
		"a number as a text":              {invalid - 1*told, []telling{begin, {fieldMinor, fromText, "1", 0}}},
		"too many":                        {overLimit, make([]telling, maxTold+1)},
	} {
		t.Run(name, func(t *testing.T) {
			d := drive(t, hmacSecret, hmacBinding, callback("{}"))
			if _, grown := d.in.api.Memory().Grow(8); !grown {
				t.Fatal("the driver's memory does not hold the records")
			}
			d.want(0, "view", viewJSON, 0)
			if got := d.tell(c.records...); got != c.want {
				t.Errorf("tell = %d, want %d", got, c.want)
			}
		})
	}
}

// TestTell_lies has records and texts outside of the guest's memory, by each way to
// say so.
func TestTell_lies(t *testing.T) {
	const size = wasmPage // of the driver's memory
	for name, lie := range map[string]struct {
		at      uint32
		n       int
		pointer uint64
		length  uint64
	}{
		"no text":             {1024, 1, size + 1, 0},
		"behind the end":      {1024, 1, size, 1},
		"over the end":        {1024, 1, size - 1, 2},
		"the longest":         {1024, 1, 0, math.MaxUint32},
		"wraps":               {1024, 1, math.MaxUint32, 2},
		"pointer beyond 32":   {1024, 1, 1 << 32, 1},
		"length beyond 32":    {1024, 1, 0, 1 << 32},
		"pointer of 64":       {1024, 1, math.MaxUint64, 1},
		"length of 64":        {1024, 1, 0, math.MaxUint64},
		"records over":        {size - 31, 1, 0, 0},
		"records behind":      {size + 1, 0, 0, 0},
		"records that wrap":   {math.MaxUint32 - 15, 1, 0, 0},
		"one record too many": {0, size/32 + 1, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := drive(t, hmacSecret, hmacBinding, callback("{}"))
			if got := d.in.api.Memory().Size(); got != size {
				t.Fatalf("the driver's memory has %d bytes, want %d", got, size)
			}
			d.want(0, "event_begin", -1)
			d.next = 1024
			d.put(record(fieldParty, fromText, lie.pointer, lie.length, 0))
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, errBadPointer) {
					t.Errorf("tell ended with %v, want %v", err, errBadPointer)
				}
			}()
			d.t.Errorf("tell = %d, want a trap", d.do("tell", lie.at, lie.n))
		})
	}
}

// TestTell_keepsWhatStandsBefore: what was refused takes nothing back, and what
// stands behind it is not said.
func TestTell_keepsWhatStandsBefore(t *testing.T) {
	d := drive(t, hmacSecret, hmacBinding, callback("{}"))
	got := d.tell(
		telling{fieldBegin, fromNumber, "", -1},
		telling{fieldType, fromText, "acme.moved", 0},
		telling{fieldParty, fromText, strings.Repeat("x", host.MaxText+1), 0},
		telling{fieldMethod, fromText, "card", 0},
	)
	if want := overLimit - 2*told; got != want {
		t.Errorf("tell = %d, want %d", got, want)
	}
	want := []host.Draft{{Evidence: -1, Type: "acme.moved"}}
	if diff := cmp.Diff(want, d.finish(host.Accept).Events, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestTell_burns what the calls burn that it stands for, but for the way out of the
// sandbox.
func TestTell_burns(t *testing.T) {
	burnt := func(n int) int64 {
		d := drive(t, hmacSecret, hmacBinding, callback("{}"))
		d.want(0, "event_begin", -1)
		records := make([]telling, n)
		for i := range records {
			records[i] = telling{fieldParty, fromText, strings.Repeat("x", 160), 0}
		}
		before := d.in.tank.Used()
		if got := d.tell(records...); got != count(n) {
			t.Fatalf("tell = %d, want %d", got, n)
		}
		return d.in.tank.Used() - before
	}
	if got, want := burnt(10)-burnt(0), int64(10*(fuelForCall+160/moved)); got != want {
		t.Errorf("ten records burn %d, want %d", got, want)
	}
}
