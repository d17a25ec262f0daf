package wasm

import (
	"context"
	"fmt"
	"slices"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/abi"
	"github.com/postern/postern/host/wasm/internal/manifest"
	"github.com/postern/postern/host/wasm/internal/view"
)

// docs/plugin-abi.md §9.

var _ host.Guard = (*Plugin)(nil)

// granted reports whether a guard may call a function, or a provider's plugin. A
// guard reads, and gives a reason; it says no event and gives no evidence.
func granted(name string, guard bool) bool {
	switch name {
	case "events", "event_view", "annotate":
		return guard
	case "read", "method", "target", "url", "query", "header", "header_at", "setting", "now", "log",
		"bytes", "hash", "view", "kind", "get", "len", "name_at", "reason":
		return true
	}
	return !guard
}

func (g *guest) deny() { g.give(denied) }

// Guard judges the events of one callback in an instance of its own for the time
// of the call; see [host.Guard].
func (p *Plugin) Guard(ctx context.Context, cb *host.Callback, events []host.Event) (out host.Ruling, err error) {
	texts := make([][]byte, len(events))
	for i := range events {
		if texts[i], err = events[i].MarshalJSON(); err != nil {
			return host.Ruling{}, host.Errorf(host.PluginFailed, "event %d: %w", i, err)
		}
	}
	_, err = p.breaker.Run(func() (host.Result, error) {
		return host.Result{}, p.enter(ctx, cb, func(in *instance) (err error) {
			out, err = in.rule(texts)
			return err
		})
	})
	return out, err
}

// rule runs the guard on the callback that the call has begun with, and on the
// events of which these are the texts.
func (in *instance) rule(events [][]byte) (host.Ruling, error) {
	c := in.guest.call
	for _, text := range events {
		c.tank.Grant(fuelForByte * int64(len(text)))
		c.chunks = append(c.chunks, chunk{bytes: text})
	}
	c.events = uint32(len(events)) //nolint:gosec // a callback has a thousand at most
	verdict, err := in.run(in.handle)
	if err != nil {
		return host.Ruling{}, err
	}
	out := host.Ruling{Verdict: host.GuardVerdict(verdict), Detail: c.res.Detail, Notes: c.notes, Fuel: in.tank.Used(), Memory: int64(in.guest.memory.Size())} //nolint:gosec // an unknown one is refused
	switch out.Verdict {
	case host.Pass:
		out.Detail = ""
	case host.Hold, host.Refuse:
	default:
		return host.Ruling{}, fmt.Errorf("%s returned %d, which is no verdict", abi.ExportGuard, verdict)
	}
	return out, nil
}

func (g *guest) eventCount() { g.give(count(int(g.events))) }

// eventView gives the view of an event, whose text lies behind the body's handle.
func (g *guest) eventView() {
	i := g.u32(0)
	if i >= g.events {
		g.give(absent)
		return
	}
	g.give(g.viewOf(viewJSON, i+1))
}

// annotate never overwrites: neither an attribute that the event has, nor what
// a guard said before.
func (g *guest) annotate() {
	i, name, value := g.u32(0), g.text(1), g.text(3)
	if i >= g.events {
		g.give(absent)
		return
	}
	n := host.Note{Event: int(i), Annotation: host.Annotation{Name: g.module.manifest.Prefix() + name, Value: value}}
	of := func(o host.Note) bool { return o.Event == n.Event }
	c := g.viewOf(viewJSON, i+1)
	switch {
	case c < 0:
	case !manifest.IsAttribute(name) || !host.IsAnnotationText(value):
		c = malformed
	case len(value) > host.MaxAnnotation || countOf(g.notes, of) >= host.MaxAnnotations || !g.hold(len(value)):
		c = overLimit
	case !host.IsAnnotation(n.Name) || g.views[c].view.Kind([]byte("/"+n.Name)) != view.Absent ||
		slices.ContainsFunc(g.notes, func(o host.Note) bool { return of(o) && o.Name == n.Name }):
		c = invalid
	default:
		c, g.notes = ok, append(g.notes, n)
	}
	g.give(c)
}

func countOf[T any](all []T, is func(T) bool) (n int) {
	for _, one := range all {
		if is(one) {
			n++
		}
	}
	return n
}

// judges is the export that judges, by the manifest. A module of Go's has both.
func (m *Module) judges() (string, error) {
	name, what := abi.ExportHandle, "a provider's plugin"
	if m.manifest.Guard {
		name, what = abi.ExportGuard, "a guard"
	}
	if _, ok := m.compiled.ExportedFunctions()[name]; !ok {
		return name, abi.At(abi.Exported, fmt.Errorf("its manifest says that it is %s, and it does not export %s", what, name))
	}
	return name, nil
}
