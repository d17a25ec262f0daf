package sdktest

import (
	"bytes"
	"encoding/json"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/postern/postern/sdk/internal/abi"
)

// The ABI's limits, docs/plugin-abi.md §11.
const (
	maxEvents    = 1000
	maxHandles   = 1024
	maxChecks    = 65
	maxText      = 4096
	maxParts     = 16
	maxTold      = 4096
	maxComponent = 512
	maxPath      = 1024
	maxAnswer    = 64 << 10
	maxDetail    = 256
	maxDecrypts  = 64
	maxHeld      = 64 << 20
	heldValue    = 100      // by a value of a JSON view
	heldField    = 200      // by a field of a form
	maxSealed    = 16 << 10 // of one ciphertext
	maxOuter     = 64 << 10 // of what same compares
)

// host is the ABI's host for one callback, from the ABI's text.
type host struct {
	req      *request
	received time.Time
	secrets  map[string]*secret
	settings map[string]string
	tokens   map[string]token // those that are right
	signing  bool
	log      func(line string)

	chunks   []chunk
	views    []*view
	signed   []*signed
	decrypts int
	held     int // bytes, of at most maxHeld

	evidence []evidence
	events   []*event
	aside    []aside
	ack      *answer
	response *answer
	reason   int32
	detail   string
	broken   string // why an accept counts as a rejection
	out      *request
	spoken   map[string]string // by out_token
}

// view is a document; one of sealed bytes has no root until they are open.
type view struct {
	kind, of int32
	root     *node
}

type signed struct {
	secret *secret
	text   []byte
	body   bool
	said   bool
	short  bool // bytes were refused
	checks int
}

func fill(out []byte, text string) int32 {
	copy(out, text)
	return count(len(text))
}

// count is a number as the ABI carries it.
func count(n int) int32 {
	if n < 0 || n > math.MaxInt32 {
		return abi.Limit
	}
	return int32(n)
}

// Read is the ABI's read.
func (h *host) Read(handle, offset int32, out []byte) int32 {
	b, code := h.open(handle)
	if code < 0 {
		return code
	}
	copy(out, b[min(int64(offset)&math.MaxUint32, int64(len(b))):])
	return count(len(b))
}

// Method is the ABI's method.
func (h *host) Method(out []byte) int32 { return fill(out, h.req.method) }

// Target is the ABI's target.
func (h *host) Target(out []byte) int32 { return fill(out, h.req.target) }

// URL is the ABI's url.
func (h *host) URL(out []byte) int32 { return fill(out, h.req.public+h.req.target) }

// Query is the ABI's query.
func (h *host) Query(name string, i int32, out []byte) int32 {
	_, query, _ := strings.Cut(h.req.target, "?")
	values, _ := url.ParseQuery(query)
	if i == abi.Only && len(values[name]) == 1 {
		i = 0
	}
	if i < 0 || int(i) >= len(values[name]) {
		return abi.Absent
	}
	return fill(out, values[name][i])
}

// Header is the ABI's header.
func (h *host) Header(name string, i int32, out []byte) int32 {
	if i == abi.Only {
		if h.Header(name, 1, nil) >= 0 {
			return abi.Absent
		}
		i = 0
	}
	for _, f := range h.req.headers {
		if !strings.EqualFold(f.name, name) {
			continue
		}
		if i == 0 {
			return fill(out, f.value)
		}
		i--
	}
	return abi.Absent
}

// HeaderAt is the ABI's header_at.
func (h *host) HeaderAt(i, part int32, out []byte) int32 {
	switch {
	case i < 0 || int(i) >= len(h.req.headers):
		return abi.Absent
	case part == 0:
		return fill(out, h.req.headers[i].name)
	case part == 1:
		return fill(out, h.req.headers[i].value)
	}
	return abi.Invalid
}

// Setting is the ABI's setting.
func (h *host) Setting(name string, out []byte) int32 {
	text, ok := h.settings[name]
	if !ok {
		return abi.Absent
	}
	return fill(out, text)
}

// Now is the ABI's now.
func (h *host) Now() int64 { return h.received.UnixMilli() }

// Log is the ABI's log.
func (h *host) Log(_ int32, text string) { h.log(text) }

// Bytes is the ABI's bytes.
func (h *host) Bytes(encoding int32, text string) int32 {
	b, err := fromText(encoding, text)
	switch {
	case !isEncoding(encoding):
		return abi.Invalid
	case err != nil:
		return abi.Malformed
	}
	return h.keep(chunk{bytes: b}, len(b))
}

// hold counts n more bytes, if there is room for them.
func (h *host) hold(n int) bool {
	if n > maxHeld-h.held {
		return false
	}
	h.held += n
	return true
}

// keep gives a handle to bytes, of which n are held.
func (h *host) keep(c chunk, n int) int32 {
	if len(h.chunks) >= maxHandles || !h.hold(n) {
		return abi.Limit
	}
	h.chunks = append(h.chunks, c)
	return count(len(h.chunks) - 1)
}

// Hash is the ABI's hash.
func (h *host) Hash(algorithm, handle int32, out []byte) int32 {
	b, code := h.open(handle)
	if code < 0 {
		return code
	}
	sum := digest(algorithm, b)
	if sum == nil {
		return abi.Invalid
	}
	return fill(out, string(sum))
}

// View is the ABI's view.
func (h *host) View(kind, handle int32) int32 {
	if handle < 0 || int(handle) >= len(h.chunks) || (kind != abi.ViewJSON && kind != abi.ViewForm) {
		return abi.Invalid
	}
	for i, v := range h.views {
		if v.kind == kind && v.of == handle {
			return count(i)
		}
	}
	if len(h.views) >= maxHandles {
		return abi.Limit
	}
	v := &view{kind: kind, of: handle}
	var held int
	switch seal := h.chunks[handle].seal; {
	case seal != nil && kind != abi.ViewJSON:
		return abi.Denied
	case seal != nil:
		held = len(seal.plain) * heldValue * seal.size / 2
	default:
		if code := h.parse(v); code < 0 {
			return code
		}
		if held = heldValue * v.root.values(); kind == abi.ViewForm {
			held = heldField * len(v.root.names)
		}
	}
	if !h.hold(held) {
		return abi.Limit
	}
	h.views = append(h.views, v)
	return count(len(h.views) - 1)
}

// parse makes the root of a view, if it has none yet.
func (h *host) parse(v *view) int32 {
	if v.root != nil {
		return 0
	}
	doc, code := h.open(v.of)
	if code < 0 {
		return code
	}
	var err error
	if v.of == 0 {
		doc, err = h.req.plain()
	}
	if err == nil {
		v.root, err = parseView(v.kind, doc)
	}
	if err != nil {
		return abi.Malformed
	}
	return 0
}

// at finds a value, nil where there is none.
func (h *host) at(handle int32, path string) (*node, int32) {
	if handle < 0 || int(handle) >= len(h.views) {
		return nil, abi.Invalid
	}
	if code := h.parse(h.views[handle]); code < 0 {
		return nil, code
	}
	if len(path) > maxPath {
		return nil, abi.Limit
	}
	tokens, err := splitPath(path)
	if err != nil {
		return nil, abi.Malformed
	}
	return h.views[handle].root.find(tokens), 0
}

// Kind is the ABI's kind.
func (h *host) Kind(handle int32, path string) int32 {
	n, code := h.at(handle, path)
	switch {
	case code < 0:
		return code
	case n == nil:
		return abi.KindAbsent
	}
	return n.kind
}

// there is at for the calls to which null is as good as absent.
func (h *host) there(handle int32, path string) (*node, int32) {
	n, code := h.at(handle, path)
	if code == 0 && (n == nil || n.kind == abi.KindNull) {
		return nil, abi.Absent
	}
	return n, code
}

// Get is the ABI's get.
func (h *host) Get(handle int32, path string, out []byte) int32 {
	n, code := h.there(handle, path)
	if code < 0 {
		return code
	}
	return fill(out, n.text)
}

// Len is the ABI's len.
func (h *host) Len(handle int32, path string) int32 {
	n, code := h.there(handle, path)
	if code < 0 {
		return code
	}
	return n.length()
}

// NameAt is the ABI's name_at.
func (h *host) NameAt(handle int32, path string, i int32, out []byte) int32 {
	n, code := h.there(handle, path)
	switch {
	case code < 0:
		return code
	case n.kind != abi.KindObject:
		return abi.Malformed
	case i < 0 || int(i) >= len(n.names):
		return abi.Absent
	}
	return fill(out, n.names[i])
}

// settle applies the manifest's defaults and writes settings as a plugin reads
// them: a string as it is, anything else as JSON.
func settle(defaults, given map[string]json.RawMessage) (map[string]string, error) {
	texts := make(map[string]string)
	for _, from := range []map[string]json.RawMessage{defaults, given} {
		for name, raw := range from {
			if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '"' {
				var s string
				if err := json.Unmarshal(raw, &s); err != nil {
					return nil, err
				}
				texts[name] = s
				continue
			}
			text, err := compact(string(raw))
			if err != nil {
				return nil, err
			}
			texts[name] = string(text)
		}
	}
	return texts, nil
}
