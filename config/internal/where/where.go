// Package where compiles the condition of a subscription: an expression over one
// event, in the language of expr-lang/expr without what could take long.
//
// # What it may say
//
// The attributes of an event as docs/events.md has them are names of their
// types, and data is the event's data, whose members are known only when it is
// there. decimal makes an exact number of an amount's text.
//
// # What it costs
//
// At most the size of the expression times that of the event's data, which is
// bounded: an event with so much data that it could be more is not judged. There
// are no loops but all, any, none, one and count, and what is in them sees the
// elements and not the data as a whole; nothing makes a longer text, list or map
// of another, and a pattern is a literal. The data is parsed once for each
// question, and not at all for an expression that does not name it.
package where

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/postern/postern/host"
)

// Limits on an expression.
const (
	maxText  = 4096 // bytes
	maxNodes = 500  // names, values and operators
	// maxWork is the most that nodes times bytes of data may be, those inside a
	// loop counting loopCost times: a second or so of a slow processor.
	maxWork  = 64 << 20
	loopCost = 8
)

// event is what an expression sees. Its tags are the names.
type event struct {
	ID         string    `expr:"id"`
	Source     string    `expr:"source"`
	Type       string    `expr:"type"`
	Subject    string    `expr:"subject"`
	Time       time.Time `expr:"time"`
	Tenant     string    `expr:"tenant"`
	Endpoint   string    `expr:"endpoint"`
	Provider   string    `expr:"provider"`
	VerifiedBy string    `expr:"verifiedby"`
	Covers     string    `expr:"covers"`
	Received   time.Time `expr:"receivedtime"`
	DedupKey   string    `expr:"dedupkey"`
	Conflict   bool      `expr:"conflict"`
	Confirm    string    `expr:"confirm"`
	Sandbox    bool      `expr:"sandbox"`
	Data       any       `expr:"data"`
}

// Names are the names an expression may use, functions among them, sorted.
func Names() []string {
	names := append(slices.Clone(builtins), "decimal")
	for f := range reflect.TypeFor[event]().Fields() {
		names = append(names, f.Tag.Get("expr"))
	}
	slices.Sort(names)
	return names
}

// Error is what is wrong with an expression.
type Error struct {
	// Line and Column count from 1, in characters.
	Line, Column int
	// Text says what is wrong, Fix what to write, if that is known.
	Text string
	Fix  string
	// Unknown is the name that nobody knows, if that is what is wrong.
	Unknown string
}

// Error is "at character 5: problem", with the line if it is not the first.
func (e *Error) Error() string { return at(e.Line, e.Column) + ": " + e.Text }

func at(line, column int) string {
	if line > 1 {
		return fmt.Sprintf("at line %d, character %d", line, column)
	}
	return fmt.Sprintf("at character %d", column)
}

// Condition is a compiled expression. It is safe for concurrent use.
type Condition struct {
	program *vm.Program
	// named are the names in it: what takes work is made only for those.
	named map[string]bool
	// nodes is how large it is, for maxWork.
	nodes int
}

// Compile checks an expression and everything in it whose type is known. What
// is wrong is an *Error.
func Compile(text string) (*Condition, error) {
	if len(text) > maxText {
		return nil, &Error{Line: 1, Column: 1, Text: fmt.Sprintf("has %d bytes, the limit is %d", len(text), maxText), Fix: "shorten it"}
	}
	g := &guard{source: file.NewSource(text), named: map[string]bool{}}
	program, err := expr.Compile(text, options(g)...)
	if err != nil {
		return nil, explain(err)
	}
	if g.refused != nil {
		return nil, g.refused
	}
	if t := program.Node().Type(); t == nil || t.Kind() != reflect.Bool {
		return nil, &Error{
			Line: 1, Column: 1, Text: "is neither true nor false: it is " + kind(t),
			Fix: `compare it with something, like data.status == "succeeded"`,
		}
	}
	return &Condition{program: program, named: g.named, nodes: g.nodes}, nil
}

func options(g *guard) []expr.Option {
	out := []expr.Option{
		expr.Env(event{}), expr.MaxNodes(maxNodes), expr.DisableAllBuiltins(), expr.Patch(g),
		expr.Function("decimal", func(args ...any) (any, error) { return toDecimal(args[0]) }, new(func(any) decimal)),
	}
	for _, name := range builtins {
		out = append(out, expr.EnableBuiltin(name))
	}
	for operator, holds := range comparisons {
		// No expression can name a function with a space in it.
		name := "decimal " + operator
		out = append(out, expr.Operator(operator, name),
			expr.Function(name, func(args ...any) (any, error) {
				return holds(args[0].(decimal).Cmp(args[1].(decimal).Rat)), nil
			}, new(func(decimal, decimal) bool)))
	}
	return out
}

// explain turns an error of the compiler into an *Error.
func explain(err error) error {
	var fe *file.Error
	if !errors.As(err, &fe) {
		return &Error{Line: 1, Column: 1, Text: err.Error()}
	}
	out := &Error{Line: fe.Line, Column: fe.Column + 1, Text: strings.ReplaceAll(fe.Message, "where.decimal", "decimal")}
	if name, ok := strings.CutPrefix(fe.Message, "unknown name "); ok {
		out.Unknown, out.Text = name, fmt.Sprintf("%q is unknown", name)
	}
	if strings.Contains(fe.Message, "decimal and") || strings.Contains(fe.Message, "and where.decimal") {
		out.Fix = `compare a decimal with a decimal: decimal(data.amount.value) >= decimal("12.50")`
	}
	return out
}

// kind is a type in an operator's words.
func kind(t reflect.Type) string {
	if t == nil {
		return "known only with the data"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "a number"
	case reflect.Interface:
		return "known only with the data"
	case reflect.Slice:
		return "a list"
	default:
	}
	if t == reflect.TypeFor[time.Time]() {
		return "a time"
	}
	return "a " + strings.TrimPrefix(t.String(), "where.")
}

// Test answers for one event. An error says that the expression does not fit
// it: a member is not there or of another type, or the data is too much. Its text
// holds nothing of the event.
func (c *Condition) Test(ev *host.Event) (bool, error) {
	in := event{
		Source: ev.Source, Type: ev.Type, Subject: ev.Subject, Time: ev.Time,
		Tenant: ev.Tenant, Endpoint: ev.Endpoint, Provider: ev.Provider,
		VerifiedBy: string(ev.VerifiedBy), Covers: ev.Covers.String(), Received: ev.Received,
		Conflict: ev.Conflict, Sandbox: ev.Sandbox,
	}
	if ev.Confirm {
		in.Confirm = "required"
	}
	if c.named["id"] {
		in.ID = ev.ID()
	}
	if c.named["dedupkey"] {
		in.DedupKey = hex.EncodeToString(ev.Key[:])
	}
	if c.named[dataName] {
		if len(ev.Data) > maxWork/c.nodes {
			return false, fmt.Errorf("the event's data has %d bytes, too much for an expression of this length", len(ev.Data))
		}
		var err error
		if in.Data, err = parse(ev.Data); err != nil {
			return false, errors.New("the event's data is no JSON")
		}
	}
	out, err := vm.Run(c.program, &in)
	var fe *file.Error
	if errors.As(err, &fe) {
		return false, fmt.Errorf("%s: a member is not there, or of another type", at(fe.Line, fe.Column+1))
	}
	if err != nil {
		return false, errors.New("it cannot be evaluated")
	}
	holds, ok := out.(bool)
	if !ok {
		// "data.a && true" is data.a to the compiler.
		return false, errors.New("it is neither true nor false: a member is not there, or of another type")
	}
	return holds, nil
}

// parse reads JSON. Whole numbers are exact as far as an int goes; all others
// become floats.
func parse(data []byte) (any, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v), nil
}

// numbers replaces the numbers in v.
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
			return int(n)
		}
		f, _ := v.Float64() // beyond its range it is infinite
		return f
	}
	return v
}
