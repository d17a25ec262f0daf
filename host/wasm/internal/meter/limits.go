package meter

// allowance is how much of what it may not execute a segment is charged for.
const allowance = 16

const (
	maxTypes        = 1 << 13
	maxImports      = 1 << 10
	maxFunctions    = 1 << 17
	maxTables       = 16
	maxGlobals      = 1 << 10
	maxMutable      = 32
	maxExports      = 1 << 14
	maxSegments     = 1 << 16
	maxElements     = 1 << 20
	maxPages        = 1 << 14
	maxParams       = 128
	maxNesting      = 1 << 12
	maxIfs          = 256
	maxLoopsInLoops = 32
	maxTargets      = 1 << 14
	maxAllTargets   = 1 << 16 // and one for every eight bytes
	maxBody         = 1 << 19
	maxLocals       = 1 << 11
	maxAllLocals    = 1 << 20
	maxLoops        = 512
	maxFlow         = 1 << 18
	maxAllFlow      = 1 << 21
	maxFlowPerByte  = 4
)
