package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/host"
)

// zooPlugin is a guest of the zoo, bound, with one instance.
func zooPlugin(t *testing.T, guest string, o Options) *Plugin {
	t.Helper()
	o.Instances = 1
	m, err := newRuntime(t, o).LoadCode(t.Context(), zooPacked(t, guest))
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Bind(zooBinding)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// taints has a guest keep the bodies of some calls wherever it can, and gives
// what it found of earlier ones in each. A body that begins with "g" has it grow
// its memory, with "t" trap.
func taints(t *testing.T, o Options) (found []string) {
	t.Helper()
	p := zooPlugin(t, "taint", o)
	for _, body := range []string{"secret-1", "secret-2", "grows--3", "secret-4", "traps--5", "secret-6", "grows--7", "traps--8", "secret-9"} {
		res, err := p.Handle(t.Context(), zooCallback(body))
		if (err != nil) != strings.HasPrefix(body, "t") {
			t.Fatalf("Handle(%s) = %v", body, err)
		}
		if err == nil {
			found = append(found, string(res.Answer.Body))
		}
	}
	return found
}

// TestInvariant7_nothingOfOneCallIsInTheNext, neither in the memory nor in a
// global nor beyond the memory that the guest began with.
//
// Invariant 7: and without isolation all of it is, so that the guest can find it.
func TestInvariant7_nothingOfOneCallIsInTheNext(t *testing.T) {
	const nothing = "........................"
	for i, found := range taints(t, Options{}) {
		if found != nothing {
			t.Errorf("call %d found %q of earlier ones", i, found)
		}
	}
	got := taints(t, Options{Reuse: true})
	want := []string{
		nothing,
		"secret-1secret-1........",
		"secret-2secret-2........",
		"grows--3grows--3grows--3",
		nothing, // the instance that trapped is not used again
		"secret-6secret-6........",
		nothing,
	}
	if !slices.Equal(got, want) {
		t.Errorf("without isolation the calls found\n%q, want\n%q", got, want)
	}
	if got := taints(t, Options{off: defences{globals: true}}); got[1] != "........secret-1........" {
		t.Errorf("without restoring globals the second call found %q", got[1])
	}
}

// TestInvariant7_memoryIsTheSnapshots after each of 10,000 calls that write all
// over it, every third of which trapped: byte for byte, and the globals too.
func TestInvariant7_memoryIsTheSnapshots(t *testing.T) {
	const calls = 10_000
	p := zooPlugin(t, "churn", Options{})
	in := p.module.pool.Idle[0]
	want := bytes.Clone(contents(t, in))
	if !bytes.Contains(want, []byte("what the snapshot has")) {
		t.Fatal("the snapshot is not what the guest began with")
	}
	traps := 0
	for i := range calls {
		body := binary.LittleEndian.AppendUint32([]byte("c"), uint32(i))
		body = append(body, "...."...)
		if i%3 == 2 {
			body[0] = 't'
		}
		_, err := p.Handle(context.Background(), zooCallback(string(body)))
		if (err != nil) != (body[0] == 't') {
			t.Fatalf("call %d: %v", i, err)
		}
		if err != nil {
			traps++
		}
		if len(p.module.pool.Idle) != 1 || p.module.pool.Idle[0] != in {
			t.Fatalf("call %d: another instance took the place of the first", i)
		}
		if !bytes.Equal(contents(t, in), want) {
			t.Fatalf("call %d: the memory is not the snapshot's", i)
		}
		for k, g := range in.globals {
			if g.Get() != p.module.state.globals[k] {
				t.Fatalf("call %d: global %d is %d, want %d", i, k, g.Get(), p.module.state.globals[k])
			}
		}
	}
	if traps < calls/3 || len(in.globals) != 1 {
		t.Errorf("%d traps in %d calls, %d globals", traps, calls, len(in.globals))
	}
}

// contents is the memory of an instance, as long as nobody runs it.
func contents(t *testing.T, in *instance) []byte {
	t.Helper()
	b, ok := in.api.Memory().Read(0, in.api.Memory().Size())
	if !ok {
		t.Fatal("the memory cannot be read")
	}
	return b
}

// TestInvariant7_anInstanceThatGrewIsReplaced by one of the snapshot's size.
func TestInvariant7_anInstanceThatGrewIsReplaced(t *testing.T) {
	p := zooPlugin(t, "taint", Options{})
	first := p.module.pool.Idle[0]
	for i, body := range []string{"secret-1", "grows--2", "secret-3"} {
		if _, err := p.Handle(t.Context(), zooCallback(body)); err != nil {
			t.Fatal(err)
		}
		kept := len(p.module.pool.Idle) == 1 && p.module.pool.Idle[0] == first
		if want := i == 0; kept != want {
			t.Errorf("after %s the first instance is kept: %v, want %v", body, kept, want)
		}
		for _, in := range p.module.pool.Idle {
			if got := in.api.Memory().Size(); got != wasmPage {
				t.Errorf("after %s an instance waits with %d bytes, want %d", body, got, wasmPage)
			}
		}
	}
}

// TestZoo_noHostFunctionCallsBack: a guest is entered in one place only, so that
// no host call can lead into it again.
func TestZoo_noHostFunctionCallsBack(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && (s.Sel.Name == "CallWithStack" || s.Sel.Name == "Call") {
					found = append(found, fmt.Sprintf("%s %s.%s", e.Name(), f.Name.Name, s.Sel.Name))
				}
				return true
			})
		}
	}
	if want := []string{"instance.go run.CallWithStack"}; !slices.Equal(found, want) {
		t.Errorf("guests are entered in %q, want %q", found, want)
	}
	for name, f := range functions {
		for _, v := range append(slices.Clone(f.Params), f.Results...) {
			if v != i32 && v != i64 {
				t.Errorf("%s takes or gives something else than a number", name)
			}
		}
	}
}

// TestZoo_acceptWithoutEvidence has an endpoint judge what a guest forged.
func TestZoo_acceptWithoutEvidence(t *testing.T) {
	p := zooPlugin(t, "forge", Options{})
	ep := &host.Endpoint{Tenant: "t", Name: "e", Provider: "zoo", Plugin: p}
	res, err := ep.Judge(t.Context(), zooCallback("a"))
	if err != nil || res.Verdict != host.Reject || res.Reason != host.NotVerified || len(res.Events) != 0 {
		t.Errorf("Judge = %v %v with %d events, %v; want a rejection as not verified", res.Verdict, res.Reason, len(res.Events), err)
	}
}
