package wasm

import (
	"context"
	"log/slog"
	"math"
	"net/url"
	"strings"

	"github.com/postern/postern/host/wasm/internal/codec"
)

// docs/plugin-abi.md §4.

func (g *guest) read() {
	chunk, c := g.chunk(g.u32(0))
	if c != ok {
		g.give(c)
		return
	}
	offset := min(uint64(g.u32(1)), uint64(len(chunk)))
	g.out(2, chunk[offset:])
	g.give(count(len(chunk)))
}

func (g *guest) method() { g.give(g.out(0, []byte(g.cb.Method))) }
func (g *guest) target() { g.give(g.out(0, []byte(g.cb.Target))) }
func (g *guest) url()    { g.give(g.out(0, []byte(g.cb.PublicURL))) }

func (g *guest) query() {
	if g.call.query == nil {
		_, raw, _ := strings.Cut(g.cb.Target, "?")
		// A query that does not parse has the parameters that do.
		g.spend(read * len(raw))
		g.call.query, _ = url.ParseQuery(raw)
	}
	values := g.call.query[string(g.in(0))]
	i := g.u32(2)
	if i == only && len(values) == 1 {
		i = 0
	}
	if uint64(i) < uint64(len(values)) {
		g.give(g.out(3, []byte(values[i])))
		return
	}
	g.give(absent)
}

// only asks for a value that must stand once: two parties could read a repeated
// one differently.
const only = math.MaxUint32

func (g *guest) header() {
	i, name := g.u32(2), string(g.in(0))
	g.spend(len(g.cb.Headers))
	if i == only {
		if _, again := g.cb.Header(name, 1); !again {
			i = 0
		}
	}
	if uint64(i) < uint64(len(g.cb.Headers)) {
		if v, ok := g.cb.Header(name, int(i)); ok {
			g.give(g.out(3, []byte(v)))
			return
		}
	}
	g.give(absent)
}

func (g *guest) headerAt() {
	i, part := g.u32(0), g.u32(1)
	if uint64(i) >= uint64(len(g.cb.Headers)) {
		g.give(absent)
		return
	}
	switch h := g.cb.Headers[i]; part {
	case 0:
		g.give(g.out(2, []byte(h.Name)))
	case 1:
		g.give(g.out(2, []byte(h.Value)))
	default:
		g.give(invalid)
	}
}

func (g *guest) setting() {
	v, ok := g.plugin.settings[string(g.in(0))]
	if !ok {
		g.give(absent)
		return
	}
	g.give(g.out(2, []byte(v)))
}

func (g *guest) now() {
	g.stack[0] = uint64(g.cb.Received.UnixMilli())
}

func (g *guest) log() {
	level, line := g.i32(0), g.in(1)
	if g.plugin.mute {
		return
	}
	g.line(slog.Level(level), line)
}

// line logs a guest's own words, capped in number and length.
func (c *call) line(level slog.Level, line []byte) {
	if c.lines >= maxLines {
		return
	}
	c.lines++
	c.module.opts.Log.Log(context.Background(), level, "plugin says",
		"plugin", c.module.version, "line", codec.Cut(line, maxLine))
}

// chunk is the bytes behind a handle. A sealed one tells nothing.
func (c *call) chunk(handle uint32) ([]byte, code) {
	switch {
	case uint64(handle) >= uint64(len(c.chunks)):
		return nil, invalid
	case c.chunks[handle].seal != nil:
		return nil, denied
	}
	return c.chunks[handle].bytes, ok
}
