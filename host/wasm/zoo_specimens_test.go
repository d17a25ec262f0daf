package wasm

import (
	"strings"

	"github.com/postern/postern/host"
)

const (
	outOfFuel  = "fuel"
	badPointer = "a pointer and length outside the guest's memory"
	outside32  = "out of bounds memory access"
)

var specimens = slicesOf(fuelled, stateful, refusedAtLoad, lying, limited)

func slicesOf(lists ...[]specimen) []specimen {
	var all []specimen
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// fuelled are stopped by fuel. A digit asks for as many rounds as end soon where
// nothing stops them, a letter for more than ever end.
var fuelled = []specimen{
	{guest: "loop", body: "7", failed: outOfFuel, off: metering},
	{guest: "loop", body: "a", failed: outOfFuel},
	{guest: "calls", body: "7", failed: outOfFuel, off: metering},
	{guest: "calls", body: "a", failed: outOfFuel},
	{guest: "recursion", body: "6", failed: outOfFuel, off: metering},
	{guest: "recursion", body: "a", failed: outOfFuel},
	{guest: "frames", body: "3", failed: outOfFuel, off: metering},
	{guest: "frames", body: "a", failed: outOfFuel},
	{guest: "operands", body: "3", failed: outOfFuel, off: metering},
	{guest: "operands", body: "a", failed: outOfFuel},
	{guest: "dispatch", body: "7", failed: outOfFuel, off: metering},
	{guest: "dispatch", body: "a", failed: outOfFuel},
	{guest: "indirect", body: "7", failed: outOfFuel, off: metering},
	{guest: "indirect", body: "a", failed: outOfFuel},
	{guest: "simd", body: "6", failed: outOfFuel, off: metering},
	{guest: "simd", body: "a", failed: outOfFuel},
	{guest: "straight", body: "3", failed: outOfFuel, off: metering},
	{guest: "straight", body: "a", failed: outOfFuel},
	{guest: "fill", body: "0", failed: outOfFuel, off: metering},
	{guest: "fill", body: "a", failed: outOfFuel},
	{guest: "copy", body: "0", failed: outOfFuel, off: metering},
	{guest: "copy", body: "a", failed: outOfFuel},
	{guest: "init", body: "2", failed: outOfFuel, off: metering},
	{guest: "init", body: "a", failed: outOfFuel},
	{guest: "length", body: "6", failed: outOfFuel, off: metering},
	{guest: "length", body: "0", failed: "plugin zoo"},
	{guest: "growstorm", body: "3", failed: outOfFuel, off: metering},
	{guest: "growstorm", body: "a", failed: outOfFuel},
	{guest: "refused", body: "2", failed: outOfFuel, off: charges},
	{guest: "refused", body: "a", failed: outOfFuel},
	{guest: "logs", body: "3", failed: outOfFuel, off: charges},
	{guest: "logs", body: "a", failed: outOfFuel},
	{guest: "stderr", body: "5", failed: outOfFuel},
	{guest: "stderr", body: "a", failed: outOfFuel},
	{guest: "random", body: "1", failed: outOfFuel, off: charges},
	{guest: "random", body: "a", failed: outOfFuel},
	{guest: "storm", body: "5", failed: outOfFuel},
	{guest: "storm", body: "a", failed: outOfFuel},
	{guest: "hash", body: "2", failed: outOfFuel, off: charges},
	{guest: "hash", body: "a", failed: outOfFuel},
	{guest: "check", body: "2", failed: outOfFuel, off: charges},
	{guest: "check", body: "a", failed: outOfFuel},
	{guest: "parse", body: "2", failed: outOfFuel, off: charges},
	{guest: "parse", body: "a", failed: outOfFuel},
	{guest: "fuelexport", body: "7", failed: outOfFuel, off: metering},
	{guest: "fuelexport", body: "a", failed: outOfFuel},
	{guest: "fuelnarrow", body: "7", failed: outOfFuel, off: metering},
	{guest: "fuelnarrow", body: "a", failed: outOfFuel},
	{guest: "start", refused: outOfFuel},
	{guest: "initialize", refused: outOfFuel},
	{guest: "abi", refused: outOfFuel},
}

// stateful would answer otherwise the second time.
var stateful = []specimen{
	{guest: "grow", body: "a", answer: "1", again: true, off: isolation},
	{guest: "counter", body: "a", answer: "1", again: true, off: isolation},
	{guest: "globals", body: "a", answer: "1111", again: true, off: restoring},
	{guest: "deaf", body: "secretly", answer: "........", again: true, off: isolation},
	{guest: "stale", body: "a", answer: codes(invalid, invalid, invalid, invalid, invalid), again: true},
	{guest: "startsays", body: "a", answer: le64(1700000000_000000000), again: true},
}

// refusedAtLoad never run. An answer is what those that carry state would give
// each time, were it not for that.
var refusedAtLoad = []specimen{
	{guest: "tablegrow", refused: "refused for table mutation"},
	{guest: "tableset", body: "a", refused: "refused for table mutation", answer: "1", again: true, off: metering},
	{guest: "tablefill", body: "a", refused: "refused for table mutation", answer: "1", again: true, off: metering},
	{guest: "tablecopy", body: "a", refused: "refused for table mutation", answer: "1", again: true, off: metering},
	{guest: "tableinit", body: "a", refused: "refused for table mutation", answer: "1", again: true, off: metering},
	{guest: "elemdrop", body: "a", refused: "refused for table mutation", off: metering},
	{guest: "datadrop", body: "a", refused: "refused for dropped data", answer: "1", again: true, off: metering},
	{guest: "globalvector", body: "a", refused: "refused for vector globals", answer: "1", again: true, off: metering},
	{guest: "globalref", body: "a", refused: "refused for reference globals", answer: "1", again: true, off: metering},
	{guest: "locals", body: "a", refused: "locals", off: metering},
	{guest: "table", refused: "refused for oversize"},
	{guest: "memory", refused: "256 pages"},
	{guest: "nest", body: "a", refused: "nests blocks deeper", off: metering},
	{guest: "threads", refused: "refused for threads"},
	{guest: "atomics", refused: "refused for threads"},
	{guest: "tail", refused: "refused for tail calls"},
	{guest: "exceptions", refused: "refused for exceptions"},
	{guest: "memory64", refused: "refused for memory64"},
	{guest: "memories", refused: "refused for several memories"},
	{guest: "yield", refused: "postern.meter"},
	{guest: "env", refused: "env.system"},
	{guest: "borrow", refused: "refused for imported state"},
	{guest: "refuel", refused: "global"},
	{guest: "alias", refused: "it must export one memory, called memory"},
	{guest: "datalie", refused: "start an instance"},
	{guest: "starttrap", refused: "integer divide by zero"},
	{guest: "bare+size", refused: "the limit is"},
}

// lying give the host pointers, lengths, offsets and values that are not so.
var lying = []specimen{
	{guest: "pointer", body: "p" + le32(0, 0), answer: le32(9)},
	{guest: "pointer", body: "p" + le32(65535, 1), answer: le32(9)},
	{guest: "pointer", body: "p" + le32(65536, 0), answer: le32(9)},
	{guest: "pointer", body: "p" + le32(65536, 1), failed: badPointer},
	{guest: "pointer", body: "p" + le32(65537, 0), failed: badPointer},
	{guest: "pointer", body: "p" + le32(65535, 2), failed: badPointer},
	{guest: "pointer", body: "p" + le32(0, 65537), failed: badPointer},
	{guest: "pointer", body: "p" + le32(0, 0xffffffff), failed: badPointer},
	{guest: "pointer", body: "p" + le32(0xffffffff, 0), failed: badPointer},
	{guest: "pointer", body: "p" + le32(0xffffffff, 1), failed: badPointer},
	{guest: "pointer", body: "p" + le32(0xffffffff, 0xffffffff), failed: badPointer},
	{guest: "pointer", body: "p" + le32(0xfffffff0, 0x20), failed: badPointer},
	{guest: "pointer", body: "p" + le32(0x80000000, 0x80000000), failed: badPointer},
	{guest: "given", body: "p" + le32(0, 0), answer: le32(1)},
	{guest: "given", body: "p" + le32(0, 65536), answer: le32(1)},
	{guest: "given", body: "p" + le32(65536, 0), answer: le32(1)},
	{guest: "given", body: "p" + le32(65536, 1), failed: badPointer},
	{guest: "given", body: "p" + le32(1, 65536), failed: badPointer},
	{guest: "given", body: "p" + le32(0, 0xffffffff), failed: badPointer},
	{guest: "given", body: "p" + le32(0xffffffff, 1), failed: badPointer},
	{guest: "given", body: "p" + le32(0xfffffff0, 0x20), failed: badPointer},
	{guest: "given", body: "p" + le32(0x80000000, 0x80000000), failed: badPointer},
	{guest: "overlap", body: "a", answer: le32(17, 3, 0, 32) + "/other/and/longer" + "abc"},
	{guest: "offset", body: "a", answer: le32(1, 1, 1) + "...."},
	{guest: "upper", body: "abcdef", answer: le32(6) + "bcd\x00" + le32(6) + "bcd\x00"},
	{guest: "poll", body: "a", answer: le64(1700000000_000000000, 1700000000_000000000-1)},
	{guest: "exit", body: "a", failed: "exited with status 0"},
	{guest: "reenter", body: "a", answer: "1", holds: func(r *host.Result) bool {
		return len(r.Evidence) == 1 && len(r.Events) == 0
	}},
	{guest: "verdict", body: "v" + le32(0), failed: "returned 0, which is no verdict"},
	{guest: "verdict", body: "v" + le32(5), failed: "which is no verdict"},
	{guest: "verdict", body: "v" + le32(0xffffffff), failed: "returned -1, which is no verdict"},
	{guest: "verdict", body: "v" + le32(0x101), failed: "returned 257, which is no verdict"},
	{guest: "verdict", body: "v" + le32(0x80000001), failed: "which is no verdict"},
	{guest: "verdict", body: "v" + le32(3), failed: "it said respond and gave no answer"},
	{guest: "verdict", body: "v" + le32(4), verdict: host.Reject},
}

// limited ask for more than a call may have.
var limited = []specimen{
	{guest: "utf8", body: "a", verdict: host.Accept, holds: func(r *host.Result) bool {
		return len(r.Events) == 1 && r.Events[0].Type == "zoo.seen" && r.Events[0].Subject == "" && r.Events[0].ProviderData == nil && r.Answer == nil
	}},
	{guest: "brokenkey", body: "a", verdict: host.Reject, holds: func(r *host.Result) bool {
		return r.Reason == host.Malformed && len(r.Events) == 0
	}},
	{guest: "events", body: "a", verdict: host.Accept, holds: func(r *host.Result) bool {
		return len(r.Events) == host.MaxEvents
	}},
	{guest: "unbegun", body: "a", answer: codes(invalid, invalid, invalid, invalid, invalid, invalid, invalid)},
	{guest: "handles", body: "a", answer: le32(maxHandles-1, maxHandles, maxHandles)},
	{guest: "held", body: "a", answer: le32(maxHeld >> 20), fuel: defaultMaxFuel},
	{guest: "forge", body: "a", verdict: host.Accept, holds: func(r *host.Result) bool {
		return len(r.Evidence) == 0 && len(r.Events) == 1 && r.Events[0].Evidence == -1
	}},
	{guest: "signing", body: "a", answer: codes(denied, denied, denied, denied, denied, denied) + "\x00\x00"},
	{guest: "body", body: strings.Repeat("[", 100_000), answer: codes(malformed, 0)},
	{guest: "body", body: "[" + strings.Repeat("1,", 100_000) + "1]", answer: codes(malformed, 0)},
	{guest: "body", body: `{"a":` + strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 201), answer: codes(malformed, 0)},
	{guest: "body", body: "a=" + strings.Repeat("1&", 10_001), answer: codes(malformed, malformed)},
	{guest: "body", body: `{"a":1,"a":2}`, answer: codes(malformed, 0)},
	{guest: "body", body: "\xff\xfe", answer: codes(malformed, 0)},
	{guest: "bomb", body: "a", verdict: host.Reject},
	{guest: "bare+data", body: "a", verdict: host.Reject},
}
