// Package where is config/internal/where in CEL: the same names, the same
// decimals, the cost bounded by CEL's own limit.
package where

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/postern/postern/host"
)

// Error is what is wrong with an expression.
type Error struct {
	Line, Column       int
	Text, Fix, Unknown string
}

func (e *Error) Error() string { return e.Text }

// costLimit is about a second of work.
const costLimit = 10_000_000

// Condition is a compiled expression.
type Condition struct{ program cel.Program }

var decimalType = cel.ObjectType("decimal", traits.ComparerType)

func options() []cel.EnvOption {
	out := []cel.EnvOption{
		cel.Variable("data", cel.DynType),
		cel.Variable("time", cel.TimestampType), cel.Variable("receivedtime", cel.TimestampType),
		cel.Variable("conflict", cel.BoolType), cel.Variable("sandbox", cel.BoolType),
		cel.Function("decimal", cel.Overload("decimal_text", []*cel.Type{cel.StringType}, decimalType, cel.UnaryBinding(toDecimal))),
	}
	for _, name := range []string{"id", "source", "type", "subject", "tenant", "endpoint", "provider", "verifiedby", "covers", "dedupkey", "confirm"} {
		out = append(out, cel.Variable(name, cel.StringType))
	}
	for operator, name := range map[string]string{"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"} {
		out = append(out, cel.Function(operator, cel.Overload("decimal_"+name, []*cel.Type{decimalType, decimalType}, cel.BoolType)))
	}
	return out
}

// Compile checks an expression.
func Compile(text string) (*Condition, error) {
	env, err := cel.NewEnv(options()...)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		at := issues.Errors()[0]
		return nil, &Error{Line: at.Location.Line(), Column: at.Location.Column() + 1, Text: at.Message}
	}
	if ast.OutputType() != cel.BoolType {
		return nil, &Error{Line: 1, Column: 1, Text: "is neither true nor false"}
	}
	program, err := env.Program(ast, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	return &Condition{program}, nil
}

// Names are none: nothing suggests one.
func Names() []string { return nil }

// Test answers for one event.
func (c *Condition) Test(ev *host.Event) (bool, error) {
	out, _, err := c.program.Eval(&variables{ev: ev})
	if err != nil {
		return false, err
	}
	return out == types.True, nil
}

// variables look up what is asked for, the data once.
type variables struct {
	ev   *host.Event
	data any
}

// Parent implements [cel.Activation].
func (*variables) Parent() cel.Activation { return nil }

// ResolveName implements [cel.Activation].
func (v *variables) ResolveName(name string) (any, bool) {
	ev := v.ev
	switch name {
	case "type":
		return ev.Type, true
	case "provider":
		return ev.Provider, true
	case "tenant":
		return ev.Tenant, true
	case "endpoint":
		return ev.Endpoint, true
	case "subject":
		return ev.Subject, true
	case "source":
		return ev.Source, true
	case "time":
		return ev.Time, true
	case "receivedtime":
		return ev.Received, true
	case "id":
		return ev.ID(), true
	case "dedupkey":
		return hex.EncodeToString(ev.Key[:]), true
	case "verifiedby":
		return string(ev.VerifiedBy), true
	case "covers":
		return ev.Covers.String(), true
	case "conflict":
		return ev.Conflict, true
	case "sandbox":
		return ev.Sandbox, true
	case "confirm":
		return ev.Confirm, true
	case "data":
		if v.data == nil {
			v.data = parse(ev.Data)
		}
		return v.data, true
	}
	return nil, false
}

func parse(data []byte) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return types.WrapErr(err)
	}
	return numbers(v)
}

func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, elem := range v {
			v[k] = numbers(elem)
		}
	case []any:
		for i, elem := range v {
			v[i] = numbers(elem)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

type decimal struct{ *big.Rat }

func toDecimal(v ref.Val) ref.Val {
	s, ok := v.(types.String)
	if ok && host.IsAmount(string(s)) {
		if r, ok := new(big.Rat).SetString(string(s)); ok {
			return decimal{r}
		}
	}
	return types.NewErr("is no plain decimal text")
}

var errConvert = errors.New("a decimal is converted to nothing")

func (decimal) ConvertToNative(reflect.Type) (any, error) { return nil, errConvert }
func (decimal) ConvertToType(ref.Type) ref.Val            { return types.WrapErr(errConvert) }
func (decimal) Type() ref.Type                            { return decimalType }
func (d decimal) Value() any                              { return d.Rat }

func (d decimal) Equal(other ref.Val) ref.Val {
	o, ok := other.(decimal)
	return types.Bool(ok && d.Cmp(o.Rat) == 0)
}

// Compare implements [traits.Comparer].
func (d decimal) Compare(other ref.Val) ref.Val {
	o, ok := other.(decimal)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(d.Cmp(o.Rat))
}
