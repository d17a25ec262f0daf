package meter

// allowance is how much of what it may not execute a segment is charged for.
// A Go guest at encoding/json pays 1.35 times what it executes with 16, 2.1
// times with 64; both cost the same time, and 16 makes the code 1 % longer.
const allowance = 16

// Limits of what any module may have. A Go module of 3 MiB has 31 types, some
// 2,100 functions of up to 29 KB and 9 globals.
const (
	maxTypes     = 1 << 13
	maxImports   = 1 << 10
	maxFunctions = 1 << 17
	maxTables    = 16
	maxGlobals   = 1 << 10
	maxExports   = 1 << 14
	maxSegments  = 1 << 16
	maxElements  = 1 << 20
	maxPages     = 1 << 14 // 1 GiB
)

// Limits of what the engine's compiler takes more than linear time for.
// Without them a MiB takes minutes; with them the worst that was found are
// these, in seconds of one core for each MiB of the module (0.4 to 0.5 is what
// a Go module takes):
//
//	16 loops in each other, 20 locals       5.0  (250 of them: more than 160)
//	500 loops in a row, 20 locals           3.9  (3,000: more than 240)
//	a branch to 4,000 targets, 20 locals    3.6
//	calls with 32 mutable globals           1.9
//	250 ifs in each other, 20 locals        2.2  (2,000: 15)
//	many values live at once                1.4
//	2,000 branches to one label, 50 locals  6.0  (10,000: more than 160)
//	tables of 1,000 targets                 0.9  (without the sum's limit: 4.6)
//	256 KiB in a straight line              0.1
//
// The most that a Go module of 3 MiB has: locals 21, nesting 549 (blocks; 2
// loops), targets 964 and 1 for 45 bytes, flow 23,000 and 0.8 for each byte,
// mutable globals 9.
const (
	maxParams       = 128
	maxBody         = 1 << 19
	maxLocals       = 1 << 11
	maxAllLocals    = 1 << 20
	maxMutable      = 32 // the compiler reads them all after each call
	maxNesting      = 1 << 12
	maxIfs          = 256 // in each other
	maxLoops        = 512
	maxLoopsInLoops = 16
	maxWays         = 1 << 11 // to one label
	maxAllTargets   = 1 << 16 // and one for every eight bytes

	// Where ways meet the compiler keeps a value for each local. The flow is
	// the number of branches and segments, times that of the locals.
	maxFlow        = 1 << 18
	maxAllFlow     = 1 << 21 // and maxFlowPerByte
	maxFlowPerByte = 4
)
