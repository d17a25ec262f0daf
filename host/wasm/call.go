package wasm

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/wasm/internal/abi"
	"github.com/postern/postern/host/wasm/internal/fuel"
	"github.com/postern/postern/host/wasm/internal/view"
	"github.com/postern/postern/host/wasm/internal/wasi"
)

// Limits of one call; docs/plugin-abi.md §11.
const (
	maxHandles = 1024
	maxChecks  = 64
	maxOpened  = 64
	maxPath    = 1024
	maxDetail  = 256
	maxAnswer  = 64 << 10
	maxLines   = 16
	maxLine    = 256
	// What a decryption is made of and compared with is bounded too, by lengths
	// that the sender knows: what it costs must stay below what a rejection waits.
	maxCiphertext = 16 << 10
	maxCompared   = 64 << 10
	// maxHeld bounds the bytes that one call has the host keep: a guest's own
	// memory is capped, and copies of it must be too.
	maxHeld = 64 << 20
)

// call is everything one callback's judgement holds. It is used again for the
// next one; what leaves it in a Result is never reused.
type call struct {
	module *Module
	plugin *Plugin
	tank   *fuel.Tank
	cb     *host.Callback
	query  url.Values

	// chunks are the bytes handles; 0 is the body.
	chunks []chunk
	views  []parsed
	signed []signing
	// parts is room for the parts of the first of signed, kept from call to call.
	parts [][]byte
	// body is the body without its Content-Encoding, once asked for.
	body    []byte
	bodyErr error
	decoded bool
	lines   int
	// opened counts decryptions.
	opened int
	// held counts towards maxHeld.
	held int
	// world is what a guest of WASI sees.
	world wasi.World
	// events are how many a guard judges: their texts are the chunks behind the
	// body. notes are what it said of them.
	events uint32
	notes  []host.Note

	res host.Result
	// first is room for the first of each part of the result.
	first *firsts
	// texts is where the texts of the result are, one behind the other.
	texts    strings.Builder
	ack      *host.Answer
	response *host.Answer
	// broken is the first thing said wrongly that no verdict may pass over.
	broken string

	// signs is the callback being signed; nil but in postern_sign. spoken are
	// what its signed tokens speak for, by name.
	signs  *host.Callback
	spoken map[string]string
}

// firsts are the parts that most results have: one allocation for all of them.
type firsts struct {
	evidence [1]host.Evidence
	event    [1]host.Draft
	key      [2]string
	answer   host.Answer
}

func (c *call) firsts() *firsts {
	if c.first == nil {
		c.first = new(firsts)
	}
	return c.first
}

// chunk is what a bytes handle stands for.
type chunk struct {
	bytes []byte
	// seal is set while the handle is sealed; bytes are nil then.
	seal *seal
}

// parsed is a view and what it is of. Over a sealed handle it is nil; so it is
// where the text that gave evidence is no JSON.
type parsed struct {
	kind, of uint32
	view     *view.View
}

// signing is the bytes that a signature covers, as far as they are said.
type signing struct {
	secret *boundSecret
	parts  [][]byte
	// owned says that the last part is ours to append to.
	owned bool
	// body says that the body is among the parts; said that anything was said.
	body, said bool
	// short says that bytes were refused: what is left must not pass for the
	// whole.
	short  bool
	checks int
}

// append copies guest bytes behind what was said before.
func (s *signing) append(b []byte) {
	switch {
	case len(b) == 0:
		return
	case s.owned:
		last := len(s.parts) - 1
		s.parts[last] = append(s.parts[last], b...)
	default:
		s.parts, s.owned = append(s.parts, append(make([]byte, 0, 256), b...)), true
	}
}

// nobody is the callback that start functions see.
var nobody = &host.Callback{}

func newCall(m *Module, t *fuel.Tank) *call {
	c := &call{module: m, tank: t, plugin: &Plugin{module: m}, cb: nobody, chunks: []chunk{{}}}
	c.world.Spend = c.spend
	return c
}

// start makes the call ready for a callback.
func (c *call) start(p *Plugin, cb *host.Callback) {
	*c = call{
		module: c.module, tank: c.tank, plugin: p, cb: cb,
		chunks: append(c.chunks[:0], chunk{bytes: cb.Body}), views: c.views[:0], signed: c.signed[:0],
		parts: c.parts, world: c.world.Next(cb.Received),
	}
}

// end lets go of the callback and everything derived from it.
func (c *call) end() {
	if len(c.signed) > 0 {
		clear(c.signed[0].parts)
		c.parts = c.signed[0].parts[:0]
	}
	clear(c.chunks)
	for _, p := range c.views {
		if p.view != nil {
			p.view.Release()
		}
	}
	clear(c.views)
	clear(c.signed)
	c.cb, c.signs, c.spoken, c.query, c.res, c.body = nobody, nil, nil, nil, host.Result{}, nil
	c.events, c.notes, c.texts = 0, nil, strings.Builder{}
	c.ack, c.response, c.first = nil, nil, nil
}

// finish turns what the guest said into a result.
func (c *call) finish(verdict int32) (host.Result, error) {
	c.res.Verdict = host.Verdict(verdict) //nolint:gosec // an unknown one falls through the switch
	if verdict < int32(host.Accept) || verdict > int32(host.Reject) {
		return host.Result{}, fmt.Errorf("%s returned %d, which is no verdict", abi.ExportHandle, verdict)
	}
	if c.broken != "" && c.res.Verdict == host.Accept {
		c.res.Verdict, c.res.Reason, c.res.Detail = host.Reject, host.Malformed, c.broken
	}
	switch c.res.Verdict {
	case host.Accept:
		c.res.Reason, c.res.Answer = 0, c.ack
	case host.Ignore:
		c.res.Reason, c.res.Answer, c.res.Events, c.res.Aside = 0, c.ack, nil, nil
	case host.Respond:
		if c.response == nil {
			return host.Result{}, errors.New("it said respond and gave no answer")
		}
		c.res.Reason, c.res.Answer, c.res.Events, c.res.Aside = 0, c.response, nil, nil
	case host.Reject:
		if c.res.Reason == 0 {
			c.res.Reason = host.NotVerified
		}
		c.res.Events, c.res.Aside = nil, nil
	}
	return c.res, nil
}

// own copies text for the result to keep, many texts into one allocation.
func (c *call) own(text []byte) string {
	const some = 256
	if c.texts.Cap()-c.texts.Len() < len(text) {
		c.texts = strings.Builder{}
		c.texts.Grow(max(some, len(text)))
	}
	start := c.texts.Len()
	c.texts.Write(text)
	return c.texts.String()[start:]
}

// hold reports whether n more bytes may be kept until the call ends, and counts
// them.
func (c *call) hold(n int) bool {
	if n > maxHeld-c.held {
		return false
	}
	c.held += n
	return true
}

// room reports whether a handle for n more bytes may be given.
func (c *call) room(n int) bool { return len(c.chunks) < maxHandles && n <= maxHeld-c.held }

// breaks notes that an event cannot be accepted as it was said. A guest that
// passes over the code it got must not make an event with a shorter key.
func (c *call) breaks(what string) {
	if c.broken == "" {
		c.broken = fmt.Sprintf("event %d: %s", max(len(c.res.Events)-1, 0), what)
	}
}
