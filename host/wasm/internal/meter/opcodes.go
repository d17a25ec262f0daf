package meter

// The opcodes that the pass looks at.
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opDrop        = 0x1a
	opLocalGet    = 0x20
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opF32Const    = 0x43
	opF64Const    = 0x44
	opI64LtS      = 0x53
	opI64Add      = 0x7c
	opI64Sub      = 0x7d
	opI64Mul      = 0x7e
	opI64ShrU     = 0x88
	opI64ExtendU  = 0xad // i64.extend_i32_u
	opRefNull     = 0xd0
	opRefFunc     = 0xd2
	opMisc        = 0xfc
	opVector      = 0xfd

	vecConst = 0x0c

	emptyBlock = 0x40
)

// kind is what follows an opcode, and so how it is read.
type kind uint8

const (
	unknown kind = iota
	plain
	structure // a block's type, or the end of one
	branch
	branchTable
	leave // return and unreachable
	call
	callIndirect
	local
	global
	memory // alignment and offset
	memoryOnly
	const32
	const64
	float32Const
	float64Const
	refNull
	refFunc
	selectTyped
	tableOf
	prefixMisc
	prefixVector
	refusedThreads
	refusedExceptions
	refusedTailCalls
	refusedReferences
	refusedTables
)

// Weights, in units of fuel. One is about one simple instruction. Measured
// with the compiler: a division takes as long as some eight of them, a call of
// the host 32 ns; ref.func calls the engine too.
const (
	weightDivide   = 8
	weightTable    = 3
	weightCall     = 2
	weightIndirect = 6
	weightHost     = 64
	weightGrow     = 256
	weightBulk     = 16
	weightVector   = 2
	weightEntry    = 16
	weightPage     = 256
	// bytesShift: eight bytes that are filled or copied are one unit.
	bytesShift = 3
	// bytesOfEntry: so many bytes of a body cost one more unit to enter it.
	bytesOfEntry = 32
)

// An opcode is read as its kind says and costs its weight.
type opcode struct {
	kind   kind
	weight uint8
}

var opcodes = func() (t [256]opcode) {
	set := func(from, to int, k kind, weight uint8) {
		for op := from; op <= to; op++ {
			t[op] = opcode{k, weight}
		}
	}
	set(0x00, 0x00, leave, 1)
	set(0x01, 0x01, plain, 1) // nop
	set(0x02, 0x05, structure, 0)
	set(0x06, 0x0a, refusedExceptions, 0)
	set(0x0b, 0x0b, structure, 0)
	set(0x0c, 0x0d, branch, 1)
	set(0x0e, 0x0e, branchTable, weightTable)
	set(0x0f, 0x0f, leave, 1)
	set(0x10, 0x10, call, weightCall)
	set(0x11, 0x11, callIndirect, weightIndirect)
	set(0x12, 0x13, refusedTailCalls, 0)
	set(0x14, 0x15, refusedReferences, 0)
	set(0x18, 0x19, refusedExceptions, 0)
	set(0x1a, 0x1b, plain, 1) // drop, select
	set(0x1c, 0x1c, selectTyped, 1)
	set(0x1f, 0x1f, refusedExceptions, 0)
	set(0x20, 0x22, local, 1)
	set(0x23, 0x24, global, 1)
	set(0x25, 0x25, tableOf, 2) // table.get
	set(0x26, 0x26, refusedTables, 0)
	set(0x28, 0x3e, memory, 1)
	set(0x3f, 0x3f, memoryOnly, 1)
	set(0x40, 0x40, memoryOnly, 0) // its weight is too large for here
	set(0x41, 0x41, const32, 1)
	set(0x42, 0x42, const64, 1)
	set(0x43, 0x43, float32Const, 1)
	set(0x44, 0x44, float64Const, 1)
	set(0x45, 0xc4, plain, 1)
	for _, divide := range []int{
		0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, // integers
		0x91, 0x95, 0x9f, 0xa3, // square roots and divisions of floats
	} {
		t[divide].weight = weightDivide
	}
	set(0xd0, 0xd0, refNull, 1)
	set(0xd1, 0xd1, plain, 1) // ref.is_null
	set(0xd2, 0xd2, refFunc, weightHost)
	set(0xd3, 0xd6, refusedReferences, 0)
	set(0xfb, 0xfb, refusedReferences, 0)
	set(0xfc, 0xfc, prefixMisc, 0)
	set(0xfd, 0xfd, prefixVector, 0)
	set(0xfe, 0xfe, refusedThreads, 0)
	return t
}()

// shape is what follows the number of a vector instruction.
type shape uint8

const (
	vecUnknown shape = iota
	vecPlain
	vecMemory
	vecMemoryLane
	vecLane
	vecBytes // 16 of them
)

// A vector instruction, likewise.
type vector struct {
	shape  shape
	weight uint8
}

// vectors are the instructions of the second version of WebAssembly: their
// numbers are of one byte, relaxed ones begin behind.
var vectors = func() (t [256]vector) {
	set := func(from, to int, s shape) {
		for op := from; op <= to; op++ {
			t[op] = vector{s, weightVector}
		}
	}
	set(0x00, 0xff, vecPlain)
	set(0x00, 0x0b, vecMemory)
	set(0x0c, 0x0d, vecBytes)
	set(0x15, 0x22, vecLane)
	set(0x54, 0x5b, vecMemoryLane)
	set(0x5c, 0x5d, vecMemory)
	for _, none := range []int{
		0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5,
		0xc6, 0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee,
	} {
		t[none] = vector{}
	}
	for _, divide := range []int{0xe3, 0xe7, 0xef, 0xf3} {
		t[divide].weight = 2 * weightDivide
	}
	return t
}()
