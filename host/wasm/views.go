package wasm

import (
	"errors"

	"github.com/postern/postern/host/wasm/internal/codec"
	"github.com/postern/postern/host/wasm/internal/content"
	"github.com/postern/postern/host/wasm/internal/view"
)

// docs/plugin-abi.md §5.

// decode decodes b behind dst.
func decode(dst []byte, encoding uint32, b []byte) ([]byte, code) {
	out, err := codec.Append(dst, encoding, b)
	switch {
	case errors.Is(err, codec.ErrUnknown):
		return nil, invalid
	case err != nil:
		return nil, malformed
	}
	return out, ok
}

func (g *guest) bytesOf() {
	b, c := decode(nil, g.u32(0), g.in(1))
	if c != ok {
		g.give(c)
		return
	}
	g.give(g.keep(chunk{bytes: b}, len(b)))
}

// keep gives a handle to bytes, of which n are counted.
func (c *call) keep(b chunk, n int) code {
	if !c.room(n) {
		return overLimit
	}
	c.held += n
	c.chunks = append(c.chunks, b)
	return count(len(c.chunks) - 1)
}

func (g *guest) hash() {
	chunk, c := g.chunk(g.u32(1))
	if c != ok {
		g.give(c)
		return
	}
	g.spend(hashed * len(chunk))
	sum, served := codec.Digest(g.u32(0), chunk)
	if !served {
		g.give(invalid)
		return
	}
	g.give(g.out(2, sum))
}

// The kinds of view.
const (
	viewJSON = 1
	viewForm = 2
)

func (g *guest) view() { g.give(g.viewOf(g.u32(0), g.u32(1))) }

func (c *call) viewOf(kind, of uint32) code {
	text, result := c.chunk(of)
	sealed := result == denied && kind == viewJSON
	switch {
	case kind != viewJSON && kind != viewForm:
		return invalid
	case result != ok && !sealed:
		return result
	}
	// Bytes are parsed once: the same bytes give the same view.
	for i, p := range c.views {
		if p.kind == kind && p.of == of {
			return count(i)
		}
	}
	if len(c.views) >= maxHandles {
		return overLimit
	}
	var v *view.View
	if sealed {
		result = c.parseSealed(c.chunks[of].seal)
	} else {
		v, result = c.parse(kind, of, text)
	}
	if result != ok {
		return result
	}
	c.views = append(c.views, parsed{kind, of, v})
	return count(len(c.views) - 1)
}

// parse makes a view of a chunk; of the body without its Content-Encoding.
func (c *call) parse(kind, of uint32, text []byte) (*view.View, code) {
	if of == 0 {
		if !c.decoded {
			c.body, c.bodyErr = content.Of(c.cb)
			c.decoded = true
			// What a body is packed into does not make it shorter.
			c.tank.Grant(fuelForByte * int64(max(0, len(c.body)-len(c.cb.Body))))
		}
		if c.bodyErr != nil {
			return nil, malformed
		}
		text = c.body
	}
	c.spend(read * len(text))
	parse := view.JSON
	if kind == viewForm {
		parse = view.Form
	}
	v, err := parse(text)
	if err != nil {
		return nil, malformed
	}
	if !c.hold(v.Size()) {
		return nil, overLimit
	}
	return v, ok
}

// at finds the view in argument i and the path in arguments i+1 and i+2, which
// stands in the guest's memory.
func (g *guest) at(i int) (*view.View, []byte, code) {
	path := g.in(i + 1)
	v, c := g.pointed(g.u32(i), path)
	return v, path, c
}

// pointed is the view behind a handle, if the path can stand in one.
func (c *call) pointed(handle uint32, path []byte) (*view.View, code) {
	v, result := c.viewed(handle)
	switch {
	case result != ok:
		return nil, result
	case len(path) > maxPath:
		return nil, overLimit
	case !view.IsPointer(path):
		return nil, malformed
	}
	return v, ok
}

// viewed is the view behind a handle. One over a sealed handle tells nothing.
func (c *call) viewed(handle uint32) (*view.View, code) {
	if uint64(handle) >= uint64(len(c.views)) {
		return nil, invalid
	}
	p := &c.views[handle]
	switch {
	case c.chunks[p.of].seal != nil:
		return nil, denied
	case p.view == nil:
		return nil, malformed
	}
	return p.view, ok
}

// without is the code for a question that the value at the path has no answer
// to: there is no value, or it is of another kind.
func without(v *view.View, path []byte) code {
	if k := v.Kind(path); k == view.Absent || k == view.Null {
		return absent
	}
	return malformed
}

func (g *guest) kind() {
	v, path, c := g.at(0)
	if c == ok {
		c = code(v.Kind(path))
	}
	g.give(c)
}

func (g *guest) get() {
	v, path, c := g.at(0)
	if c != ok {
		g.give(c)
		return
	}
	text, found := v.Text(path)
	if !found {
		g.give(absent)
		return
	}
	g.give(g.out(3, text))
}

func (g *guest) length() {
	v, path, c := g.at(0)
	if c != ok {
		g.give(c)
		return
	}
	n, found := v.Len(path)
	if !found {
		g.give(without(v, path))
		return
	}
	g.give(count(n))
}

func (g *guest) nameAt() {
	v, path, c := g.at(0)
	if c != ok {
		g.give(c)
		return
	}
	name, found := v.NameAt(path, int(g.u32(3)))
	switch {
	case found:
		g.give(g.out(4, []byte(name)))
	case v.Kind(path) == view.Object:
		g.give(absent)
	default:
		g.give(without(v, path))
	}
}
