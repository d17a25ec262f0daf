package meter

// allowance is how much of what it may not execute a segment is charged for.
var allowance uint64 = 16

const (
	maxTypes      = 1 << 13
	maxImports    = 1 << 10
	maxFunctions  = 1 << 17
	maxTables     = 16
	maxGlobals    = 1 << 10
	maxMutable    = 64
	maxExports    = 1 << 14
	maxSegments   = 1 << 16
	maxElements   = 1 << 20
	maxPages      = 1 << 14
	maxParams     = 128
	maxNesting    = 1 << 12
	maxTargets    = 1 << 14
	maxAllTargets = 1 << 20
	maxBody       = 1 << 20
	maxLocals     = 1 << 12
	maxAllLocals  = 1 << 22
)
