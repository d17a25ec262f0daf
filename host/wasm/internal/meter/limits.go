package meter

// allowance is how much of what it may not execute a segment is charged for.
// With more, a Go guest pays for much that it skips; no difference in time was seen.
const allowance = 16

// Limits of what any module may have. A Go module of 3 MB has some 2,100
// functions of up to 29 KB.
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
// Without them a MiB takes minutes. These are the worst that were found, by hand
// and with modules that are not kept, in seconds of one core for each MiB of the
// original, from modules of 256 KiB; in parentheses what the limits refuse. A Go
// module takes 0.3 to 0.6.
//
//	16 loops in each other, 20 locals       5.0  (250: more than 80)
//	500 loops in a row, 20 locals           3.9  (3,000: more than 120)
//	a branch to 4,000 targets, 20 locals    3.6
//	calls with 8 mutable globals            0.7  (64: 3.7)
//	250 ifs in each other, 20 locals        2.2  (2,000: 15)
//	many values live at once                1.4
//	2,000 branches to one label, 50 locals  6.0  (10,000: more than 80)
//	                                             (tables of 1,000 targets to one label: 4.6)
//	256 KiB in a straight line              0.1
//
// The most that the same Go module has in one function: 21 locals, blocks nested
// 549 deep, a flow of 23,000 and fewer than 512 ways to one label; in all one
// target for 45 bytes, a flow of 0.5 for each byte, and 8 mutable globals.
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
