package meter_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/api"
)

// specScript is a file of the core spec tests in the form that wast2json
// writes.
type specScript struct {
	Commands []specCommand `json:"commands"`
}

type specCommand struct {
	Type       string      `json:"type"`
	Line       int         `json:"line"`
	Name       string      `json:"name"`
	Filename   string      `json:"filename"`
	As         string      `json:"as"`
	ModuleType string      `json:"module_type"`
	Action     specAction  `json:"action"`
	Expected   []specValue `json:"expected"`
}

type specAction struct {
	Type   string      `json:"type"`
	Module string      `json:"module"`
	Field  string      `json:"field"`
	Args   []specValue `json:"args"`
}

type specValue struct {
	Type  string `json:"type"`
	Lanes string `json:"lane_type"`
	Value any    `json:"value"`
}

func readScript(file string) (*specScript, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var s specScript
	return &s, json.Unmarshal(text, &s)
}

// word is 64 bits of a value, and which of them a result must have: of a NaN
// the script fixes only some.
type word struct{ bits, mask uint64 }

func (w word) holds(got uint64) bool { return got&w.mask == w.bits&w.mask }

// words are the values as the engine takes and gives them: a vector is two.
func words(values []specValue) ([]word, error) {
	var all []word
	for _, v := range values {
		if v.Type != "v128" {
			w, err := scalar(v.Type, v.Value)
			if err != nil {
				return nil, err
			}
			all = append(all, w)
			continue
		}
		lanes, ok := v.Value.([]any)
		if !ok {
			return nil, fmt.Errorf("a vector of %T", v.Value)
		}
		var halves [2]word
		width := 128 / len(lanes)
		for i, lane := range lanes {
			w, err := scalar(v.Lanes, lane)
			if err != nil {
				return nil, err
			}
			half, shift := &halves[i*width/64], i*width%64
			half.bits |= w.bits & (1<<width - 1) << shift
			half.mask |= w.mask & (1<<width - 1) << shift
		}
		all = append(all, halves[:]...)
	}
	return all, nil
}

func scalar(kind string, value any) (word, error) {
	text, given := value.(string)
	wide := word{mask: math.MaxUint64}
	switch kind {
	case "funcref", "externref", "exnref":
		switch {
		case !given:
			return word{}, nil // any reference
		case text == "null":
			return wide, nil
		}
		n, err := strconv.ParseUint(text, 10, 64)
		wide.bits = n + 1 // the engine's null is 0
		return wide, err
	}
	width, err := strconv.Atoi(kind[1:])
	if err != nil {
		return word{}, err
	}
	w := word{mask: math.MaxUint64 >> (64 - width)}
	quiet := uint64(0x7fc00000)
	if width == 64 {
		quiet = 0x7ff8000000000000
	}
	switch {
	case text == "nan:canonical": // of either sign
		return word{bits: quiet, mask: w.mask >> 1}, nil
	case text == "nan:arithmetic":
		return word{bits: quiet, mask: quiet}, nil
	case strings.HasPrefix(text, "-"):
		n, err := strconv.ParseInt(text, 10, width)
		w.bits = uint64(n) & w.mask
		return w, err
	}
	w.bits, err = strconv.ParseUint(text, 10, width)
	return w, err
}

// slots names the type of each word of the values of the given types.
func slots(types []api.ValueType) []api.ValueType {
	var all []api.ValueType
	for _, t := range types {
		all = append(all, t)
		if t == vector {
			all = append(all, t)
		}
	}
	return all
}

const (
	vector  = api.ValueType(0x7b)
	funcref = api.ValueType(0x70)
)

// settled makes a word comparable between two runs: an i32 or f32 has 32 bits,
// and of a function the engine shows where it lies, which no two runs share.
func settled(t api.ValueType, w uint64) uint64 {
	switch {
	case t == api.ValueTypeI32 || t == api.ValueTypeF32:
		return uint64(uint32(w))
	case t == funcref && w != 0:
		return 1
	}
	return w
}
