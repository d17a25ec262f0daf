package meter_test

// Types of values, by the byte that the format has for them.
const (
	tI32    = 0x7f
	tI64    = 0x7e
	tF32    = 0x7d
	tF64    = 0x7c
	tV128   = 0x7b
	tFunc   = 0x70
	tExtern = 0x6f
)

// letters are the types in the tables below. F, D, P and Q are an f32, f64,
// f32x4 and f64x2 that may be a NaN whose bits the engine chooses.
var letters = map[byte]byte{
	'i': tI32, 'l': tI64, 'f': tF32, 'd': tF64, 'v': tV128,
	'F': tF32, 'D': tF64, 'P': tV128, 'Q': tV128,
}

// operation takes values and gives one, with nothing but a lane's index
// besides.
type operation struct {
	prefix byte // 0 for none
	code   uint32
	in     []byte
	out    byte // a letter
	lanes  int  // 0 for an operation without an index of a lane
}

// span is a run of operations of one form.
type span struct {
	first, last uint32
	in          string
	out         byte
}

var plainSpans = []span{
	{0x45, 0x45, "i", 'i'},
	{0x46, 0x4f, "ii", 'i'},
	{0x50, 0x50, "l", 'i'},
	{0x51, 0x5a, "ll", 'i'},
	{0x5b, 0x60, "ff", 'i'},
	{0x61, 0x66, "dd", 'i'},
	{0x67, 0x69, "i", 'i'},
	{0x6a, 0x78, "ii", 'i'},
	{0x79, 0x7b, "l", 'l'},
	{0x7c, 0x8a, "ll", 'l'},
	{0x8b, 0x8c, "f", 'f'},
	{0x8d, 0x91, "f", 'F'},
	{0x92, 0x97, "ff", 'F'},
	{0x98, 0x98, "ff", 'f'},
	{0x99, 0x9a, "d", 'd'},
	{0x9b, 0x9f, "d", 'D'},
	{0xa0, 0xa5, "dd", 'D'},
	{0xa6, 0xa6, "dd", 'd'},
	{0xa7, 0xa7, "l", 'i'},
	{0xa8, 0xa9, "f", 'i'},
	{0xaa, 0xab, "d", 'i'},
	{0xac, 0xad, "i", 'l'},
	{0xae, 0xaf, "f", 'l'},
	{0xb0, 0xb1, "d", 'l'},
	{0xb2, 0xb3, "i", 'f'},
	{0xb4, 0xb5, "l", 'f'},
	{0xb6, 0xb6, "d", 'F'},
	{0xb7, 0xb8, "i", 'd'},
	{0xb9, 0xba, "l", 'd'},
	{0xbb, 0xbb, "f", 'D'},
	{0xbc, 0xbc, "f", 'i'},
	{0xbd, 0xbd, "d", 'l'},
	{0xbe, 0xbe, "i", 'f'},
	{0xbf, 0xbf, "l", 'd'},
	{0xc0, 0xc1, "i", 'i'},
	{0xc2, 0xc4, "l", 'l'},
}

// saturatingSpans come after 0xfc.
var saturatingSpans = []span{{0, 1, "f", 'i'}, {2, 3, "d", 'i'}, {4, 5, "f", 'l'}, {6, 7, "d", 'l'}}

// vectorSpans come after 0xfd.
var vectorSpans = []span{
	{0x0e, 0x0e, "vv", 'v'},
	{0x0f, 0x11, "i", 'v'},
	{0x12, 0x12, "l", 'v'},
	{0x13, 0x13, "f", 'v'},
	{0x14, 0x14, "d", 'v'},
	{0x23, 0x4c, "vv", 'v'},
	{0x4d, 0x4d, "v", 'v'},
	{0x4e, 0x51, "vv", 'v'},
	{0x52, 0x52, "vvv", 'v'},
	{0x53, 0x53, "v", 'i'},
	{0x5e, 0x5e, "v", 'P'},
	{0x5f, 0x5f, "v", 'Q'},
	{0x60, 0x62, "v", 'v'},
	{0x63, 0x64, "v", 'i'},
	{0x65, 0x66, "vv", 'v'},
	{0x67, 0x6a, "v", 'P'},
	{0x6b, 0x6d, "vi", 'v'},
	{0x6e, 0x73, "vv", 'v'},
	{0x74, 0x75, "v", 'Q'},
	{0x76, 0x79, "vv", 'v'},
	{0x7a, 0x7a, "v", 'Q'},
	{0x7b, 0x7b, "vv", 'v'},
	{0x7c, 0x81, "v", 'v'},
	{0x82, 0x82, "vv", 'v'},
	{0x83, 0x84, "v", 'i'},
	{0x85, 0x86, "vv", 'v'},
	{0x87, 0x8a, "v", 'v'},
	{0x8b, 0x8d, "vi", 'v'},
	{0x8e, 0x93, "vv", 'v'},
	{0x94, 0x94, "v", 'Q'},
	{0x95, 0x99, "vv", 'v'},
	{0x9b, 0x9f, "vv", 'v'},
	{0xa0, 0xa1, "v", 'v'},
	{0xa3, 0xa4, "v", 'i'},
	{0xa7, 0xaa, "v", 'v'},
	{0xab, 0xad, "vi", 'v'},
	{0xae, 0xae, "vv", 'v'},
	{0xb1, 0xb1, "vv", 'v'},
	{0xb5, 0xba, "vv", 'v'},
	{0xbc, 0xbf, "vv", 'v'},
	{0xc0, 0xc1, "v", 'v'},
	{0xc3, 0xc4, "v", 'i'},
	{0xc7, 0xca, "v", 'v'},
	{0xcb, 0xcd, "vi", 'v'},
	{0xce, 0xce, "vv", 'v'},
	{0xd1, 0xd1, "vv", 'v'},
	{0xd5, 0xdf, "vv", 'v'},
	{0xe0, 0xe1, "v", 'v'},
	{0xe3, 0xe3, "v", 'P'},
	{0xe4, 0xe9, "vv", 'P'},
	{0xea, 0xeb, "vv", 'v'},
	{0xec, 0xed, "v", 'v'},
	{0xef, 0xef, "v", 'Q'},
	{0xf0, 0xf5, "vv", 'Q'},
	{0xf6, 0xf7, "vv", 'v'},
	{0xf8, 0xff, "v", 'v'},
}

// laneOperations are those on one lane; they come after 0xfd.
var laneOperations = []operation{
	{code: 0x15, in: []byte("v"), out: 'i', lanes: 16},
	{code: 0x16, in: []byte("v"), out: 'i', lanes: 16},
	{code: 0x17, in: []byte("vi"), out: 'v', lanes: 16},
	{code: 0x18, in: []byte("v"), out: 'i', lanes: 8},
	{code: 0x19, in: []byte("v"), out: 'i', lanes: 8},
	{code: 0x1a, in: []byte("vi"), out: 'v', lanes: 8},
	{code: 0x1b, in: []byte("v"), out: 'i', lanes: 4},
	{code: 0x1c, in: []byte("vi"), out: 'v', lanes: 4},
	{code: 0x1d, in: []byte("v"), out: 'l', lanes: 2},
	{code: 0x1e, in: []byte("vl"), out: 'v', lanes: 2},
	{code: 0x1f, in: []byte("v"), out: 'f', lanes: 4},
	{code: 0x20, in: []byte("vf"), out: 'v', lanes: 4},
	{code: 0x21, in: []byte("v"), out: 'd', lanes: 2},
	{code: 0x22, in: []byte("vd"), out: 'v', lanes: 2},
}

// operations are all of them by the type that they give.
var operations = func() map[byte][]operation {
	all := make(map[byte][]operation)
	add := func(o operation) {
		in := make([]byte, len(o.in))
		for i, letter := range o.in {
			in[i] = letters[letter]
		}
		o.in = in
		all[letters[o.out]] = append(all[letters[o.out]], o)
	}
	for _, group := range []struct {
		prefix byte
		spans  []span
	}{{0, plainSpans}, {0xfc, saturatingSpans}, {0xfd, vectorSpans}} {
		for _, s := range group.spans {
			for code := s.first; code <= s.last; code++ {
				add(operation{prefix: group.prefix, code: code, in: []byte(s.in), out: s.out})
			}
		}
	}
	for _, o := range laneOperations {
		o.prefix = 0xfd
		add(o)
	}
	return all
}()

// access is a load or a store.
type access struct {
	prefix byte
	code   uint32
	value  byte // type
	align  int  // the natural one, as a power of two
	lanes  int  // 0 for one that is not of a single lane
}

var (
	loads = []access{
		{0, 0x28, tI32, 2, 0},
		{0, 0x29, tI64, 3, 0},
		{0, 0x2a, tF32, 2, 0},
		{0, 0x2b, tF64, 3, 0},
		{0, 0x2c, tI32, 0, 0},
		{0, 0x2d, tI32, 0, 0},
		{0, 0x2e, tI32, 1, 0},
		{0, 0x2f, tI32, 1, 0},
		{0, 0x30, tI64, 0, 0},
		{0, 0x31, tI64, 0, 0},
		{0, 0x32, tI64, 1, 0},
		{0, 0x33, tI64, 1, 0},
		{0, 0x34, tI64, 2, 0},
		{0, 0x35, tI64, 2, 0},
		{0xfd, 0x00, tV128, 4, 0},
		{0xfd, 0x01, tV128, 3, 0},
		{0xfd, 0x02, tV128, 3, 0},
		{0xfd, 0x03, tV128, 3, 0},
		{0xfd, 0x04, tV128, 3, 0},
		{0xfd, 0x05, tV128, 3, 0},
		{0xfd, 0x06, tV128, 3, 0},
		{0xfd, 0x07, tV128, 0, 0},
		{0xfd, 0x08, tV128, 1, 0},
		{0xfd, 0x09, tV128, 2, 0},
		{0xfd, 0x0a, tV128, 3, 0},
		{0xfd, 0x5c, tV128, 2, 0},
		{0xfd, 0x5d, tV128, 3, 0},
		{0xfd, 0x54, tV128, 0, 16},
		{0xfd, 0x55, tV128, 1, 8},
		{0xfd, 0x56, tV128, 2, 4},
		{0xfd, 0x57, tV128, 3, 2},
	}
	stores = []access{
		{0, 0x36, tI32, 2, 0},
		{0, 0x37, tI64, 3, 0},
		{0, 0x38, tF32, 2, 0},
		{0, 0x39, tF64, 3, 0},
		{0, 0x3a, tI32, 0, 0},
		{0, 0x3b, tI32, 1, 0},
		{0, 0x3c, tI64, 0, 0},
		{0, 0x3d, tI64, 1, 0},
		{0, 0x3e, tI64, 2, 0},
		{0xfd, 0x0b, tV128, 4, 0},
		{0xfd, 0x58, tV128, 0, 16},
		{0xfd, 0x59, tV128, 1, 8},
		{0xfd, 0x5a, tV128, 2, 4},
		{0xfd, 0x5b, tV128, 3, 2},
	}
)
