package meter

// segment is a run of instructions of which all are executed once the first
// is. It is paid at its start, or with the segment that it is hoisted into.
type segment struct {
	at     int    // where it starts in the body
	cost   uint64 // its own weight
	paid   uint64 // the weight of what is hoisted into it
	parent int32  // the segment that was executed before it in any case, or none
	point  int32  // the segment that it is paid with
	check  bool   // whether the fuel is looked at here
}

const none = -1

// paidHere says whether the segment, the i-th, is paid at its start.
func (s *segment) paidHere(i uint32) bool { return int64(s.point) == int64(i) }

// frame is an open block, or the function itself.
type frame struct {
	op     byte  // opBlock, opLoop, opIf or opElse
	entry  int32 // the segment that enters it, or none in dead code
	head   int32 // a loop's first segment
	low    int   // the outermost frame that a branch inside goes to
	joined bool  // a branch goes to its label, or past its other half to its end
	ways   int   // how many branches do
}

// edit is a place in the body where the metered one differs.
type edit struct {
	at   int
	skip int // so many bytes of the body are left out
	kind editKind
	arg  uint32
}

type editKind uint8

const (
	editCharge editKind = iota // arg is a segment
	editCall                   // arg is a function
	editRefFunc
	editBytes // charge for as many bytes as lie on the stack
	editPages
)

// function is the body that is being read. Its slices are used again for the
// next.
type function struct {
	*reader
	m        *module
	index    int
	locals   uint64 // parameters too
	segments []segment
	frames   []frame
	edits    []edit
	cur      int32  // the segment that the next instruction belongs to, or none
	calls    bool   // whether there was one
	edges    uint64 // ways from one segment to another
	loops    int
	deep     [opElse + 1]int // how many frames there are of each kind
}

// scan reads a body: where it must be changed, and what is paid where.
func (f *function) scan() {
	f.segments, f.frames, f.edits = f.segments[:0], f.frames[:0], f.edits[:0]
	f.calls, f.edges, f.loops, f.cur = false, 0, 0, none
	f.deep = [len(f.deep)]int{}
	f.cur = f.begin(none)
	f.segments[0].check = true
	f.segments[0].cost = f.entry()
	f.push(opBlock)
	for len(f.frames) > 0 && f.err == nil {
		f.instruction()
	}
	if f.err == nil && f.more() {
		f.fail("function %d goes on behind its end", f.index)
	}
	if f.err == nil {
		f.bounded()
		f.settle()
	}
}

// bounded refuses what takes the compiler more than linear time: where ways
// meet it keeps a value for each local.
func (f *function) bounded() {
	flow := (f.edges + uint64(len(f.segments))) * f.locals
	if f.loops > maxLoops {
		f.refuse(CompileBomb, "function %d has %d loops, the limit is %d", f.index, f.loops, maxLoops)
	}
	if flow > maxFlow {
		f.refuse(CompileBomb, "function %d has %d branches and blocks for %d locals, the limit is their product %d",
			f.index, flow/f.locals, f.locals, maxFlow)
	}
	if f.m.flow -= int(min(flow, maxFlow)); f.m.flow < 0 {
		f.refuse(CompileBomb, "function %d: too many branches and blocks for too many locals in all", f.index)
	}
}

// entry is what it costs to enter the function: about its frame on the native
// stack, which holds its values, in words of eight bytes.
func (f *function) entry() uint64 {
	results := f.m.types[f.m.functions[f.index]].results
	return weightEntry + f.locals + uint64(word(len(results))) + uint64(word(len(f.b)))/bytesOfEntry
}

// begin opens a segment at the next instruction.
func (f *function) begin(parent int32) int32 {
	i := int32(len(f.segments)) //nolint:gosec // a body is shorter
	f.segments = append(f.segments, segment{at: f.at, parent: parent})
	f.edits = append(f.edits, edit{at: f.at, kind: editCharge, arg: uint32(i)})
	return i
}

func (f *function) pay(weight uint64) {
	if f.cur != none {
		f.segments[f.cur].cost += weight
	}
}

func (f *function) push(op byte) *frame {
	f.deep[op]++
	if len(f.frames) == maxNesting || f.deep[opIf]+f.deep[opElse] > maxIfs || f.deep[opLoop] > maxLoopsInLoops {
		f.refuse(CompileBomb, "function %d nests blocks deeper than %d, ifs than %d or loops than %d", f.index, maxNesting, maxIfs, maxLoopsInLoops)
	}
	f.frames = append(f.frames, frame{op: op, entry: f.cur, low: len(f.frames)})
	return &f.frames[len(f.frames)-1]
}

// structured reads block, loop, if, else or end.
func (f *function) structured(op byte) {
	switch op {
	case opBlock:
		f.blockType()
		f.push(op)
	case opLoop:
		f.blockType()
		f.loop()
	case opIf:
		f.pay(1)
		f.blockType()
		if f.push(op); f.cur != none {
			f.cur = f.begin(f.cur)
		}
	case opElse:
		top := &f.frames[len(f.frames)-1]
		if top.op != opIf {
			f.fail("function %d: else without if", f.index)
			return
		}
		top.op = opElse
		f.deep[opIf]--
		f.deep[opElse]++
		top.joined = top.joined || f.cur != none
		if top.entry != none {
			f.cur = f.begin(top.entry)
		}
	case opEnd:
		f.end()
	}
}

func (f *function) loop() {
	// What leads into a loop without a call is paid for there and looked at
	// by the loop.
	direct := f.cur == 0 && len(f.segments) == 1 && !f.calls
	top := f.push(opLoop)
	if f.cur == none {
		return
	}
	f.cur = f.begin(none)
	top.head = f.cur
	f.loops++
	f.segments[f.cur].cost = 1
	f.segments[f.cur].check = true
	if direct {
		f.segments[0].check = false
	}
}

// end closes the innermost frame and finds the segment that goes on behind it.
func (f *function) end() {
	i := len(f.frames) - 1
	top := f.frames[i]
	f.frames = f.frames[:i]
	f.deep[top.op]--
	if i > 0 {
		f.frames[i-1].low = min(f.frames[i-1].low, top.low)
	}
	if top.entry == none {
		return
	}
	back := top.op == opLoop && top.joined
	switch {
	case top.op == opLoop && !back:
		f.unloop(top)
		return
	case back && f.cur == none:
		return
	case !back && !top.joined && top.op != opIf:
		return // what lies before it simply goes on
	}
	if top.low < i {
		// It may have been left for further out.
		f.cur = f.begin(top.entry)
	} else {
		// Who entered it comes out here: one segment with what led in.
		f.cur = top.entry
	}
}

// unloop makes a loop that nothing branches to what it is, a block.
func (f *function) unloop(top frame) {
	head := &f.segments[top.head]
	head.check = false
	head.parent = top.entry
	if top.head == 1 {
		f.segments[0].check = true
	}
}

// jump notes a branch to the frame that stands so many further out.
func (f *function) jump(depth uint32) {
	if uint64(depth) >= uint64(len(f.frames)) {
		f.fail("function %d: a branch to label %d of %d", f.index, depth, len(f.frames))
		return
	}
	if f.cur == none {
		return
	}
	f.edges++
	i := len(f.frames) - 1 - int(depth)
	f.frames[i].joined = true
	if f.frames[i].ways++; f.frames[i].ways > maxWays {
		f.refuse(CompileBomb, "function %d has more than %d branches to one label", f.index, maxWays)
		return
	}
	top := &f.frames[len(f.frames)-1]
	top.low = min(top.low, i)
}

// settle decides where each segment is paid. A segment may be paid with its
// parent, which is then charged for what it may not execute: at most for as
// much as the allowance.
func (f *function) settle() {
	for i := range f.segments {
		s := &f.segments[i]
		s.point = int32(i)
		if s.parent == none {
			continue
		}
		p := f.segments[s.parent].point
		if at := &f.segments[p]; at.paid+s.cost <= allowance {
			at.paid += s.cost
			s.point = p
		}
	}
}
