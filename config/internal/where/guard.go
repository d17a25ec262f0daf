package where

import (
	"reflect"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// builtins are the functions that an expression may call, beside decimal. None
// depends on anything but its arguments, and none makes much of little.
var builtins = []string{
	"all", "any", "none", "one", "count",
	"len", "lower", "upper", "int", "float", "string", "date", "duration",
}

var functions = "functions are decimal, " + strings.Join(builtins, ", ")

// guard walks an expression, notes the names in it, and refuses what could take
// long or means something else than it seems to.
type guard struct {
	source  file.Source
	named   map[string]bool
	nodes   int    // those in a loop loopCost times
	refused *Error // the first, nil for none
}

// Visit implements [ast.Visitor]. It sees what is inside before what is around
// it, with types.
func (g *guard) Visit(node *ast.Node) {
	g.nodes++
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		g.named[n.Value] = true
		if n.Value == "$env" {
			g.refuse(n, "$env is not offered", "name what you mean")
		}
	case *ast.BinaryNode:
		g.binary(n)
	case *ast.CallNode:
		// Methods of times, and functions kept in maps.
		if f, ok := n.Callee.(*ast.IdentifierNode); !ok || f.Value != "decimal" {
			g.refuse(n, "calls what is no function here", functions)
		}
	case *ast.BuiltinNode:
		// The parser knows some that were never enabled.
		if !slices.Contains(builtins, n.Name) {
			g.refuse(n, n.Name+" is no function here", functions)
		}
		if n.Name == "date" && len(n.Arguments) != 1 {
			g.refuse(n, "date takes one text", `write it like date("2026-01-02") or date("2026-01-02T03:04:05Z")`)
		}
	case *ast.PredicateNode:
		ast.Find(n.Node, func(ast.Node) bool { g.nodes += loopCost - 1; return false })
		if ast.Find(n.Node, loops) != nil {
			g.refuse(n, "goes through a list, or looks at the data as a whole, for each element of a list",
				`inside, name members of the element, like any(data.items, .sku == "A1")`)
		}
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.ConstantNode,
		*ast.UnaryNode, *ast.ChainNode, *ast.MemberNode, *ast.SliceNode, *ast.PointerNode,
		*ast.ConditionalNode, *ast.ArrayNode:
	default:
		g.refuse(n, "says something that is not offered here", "leave out let, maps and several expressions")
	}
}

const dataName = "data"

// loops reports what would make the cost of a loop more than that of its list.
func loops(n ast.Node) bool {
	id, name := n.(*ast.IdentifierNode)
	_, loop := n.(*ast.PredicateNode)
	return loop || name && id.Value == dataName
}

func (g *guard) binary(n *ast.BinaryNode) {
	switch n.Operator {
	case "..":
		g.refuse(n, "makes a list of a range", "compare with its ends: 5 <= data.amount.minor && data.amount.minor <= 9")
	case "matches":
		if _, literal := n.Right.(*ast.StringNode); !literal {
			g.refuse(n, "takes a pattern from elsewhere", "write the pattern in quotes")
		}
	case "+":
		if !counts(n) {
			g.refuse(n, "joins text", "compare the parts; of numbers write int(data.a) + int(data.b)")
		}
	case "<", "<=", ">", ">=":
		if !counts(n) {
			g.refuse(n, `may compare text letter by letter, where "9" is more than "12"`,
				`for amounts write decimal(data.amount.value) >= decimal("12.50"), for numbers int(data.a), for times date("2026-01-02")`)
		}
	}
}

// counts reports whether a side is known to be no text, and the other may be
// none.
func counts(n *ast.BinaryNode) bool {
	known := false
	for _, side := range []ast.Node{n.Left, n.Right} {
		t := side.Type()
		if t == nil || t.Kind() == reflect.Interface {
			continue
		}
		if t.Kind() == reflect.String {
			return false
		}
		known = true
	}
	return known
}

func (g *guard) refuse(n ast.Node, text, fix string) {
	if g.refused != nil {
		return
	}
	at := (&file.Error{Location: n.Location()}).Bind(g.source)
	g.refused = &Error{Line: at.Line, Column: at.Column + 1, Text: text, Fix: fix}
}
