package sdktest

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern/postern/sdk/internal/abi"
)

// The ABI's limits, docs/plugin-abi.md §11.
const (
	maxEvents    = 1000
	maxHandles   = 1024
	maxChecks    = 65
	maxText      = 4096
	maxParts     = 16
	maxComponent = 512
	maxPath      = 1024
	maxAnswer    = 64 << 10
	maxDetail    = 256
)

// host is the ABI's host for one callback, from the ABI's text.
type host struct {
	req      *request
	received time.Time
	secrets  map[string]*secret
	settings map[string]string
	tokens   map[string]int // which value each token had
	signing  bool
	log      func(line string)

	chunks [][]byte
	views  []*view
	signed []*signed

	evidence []evidence
	events   []*event
	aside    []aside
	ack      *answer
	response *answer
	reason   int32
	detail   string
	out      *request
}

type view struct {
	kind, of int32
	root     *node
}

type signed struct {
	secret *secret
	text   []byte
	body   bool
	checks int
}

var _ abi.Host = (*host)(nil)

func fill(out []byte, text string) int32 {
	copy(out, text)
	return int32(len(text))
}

func (h *host) Read(handle, offset int32, out []byte) int32 {
	if handle < 0 || int(handle) >= len(h.chunks) {
		return abi.Invalid
	}
	b := h.chunks[handle]
	copy(out, b[min(int(uint32(offset)), len(b)):])
	return int32(len(b))
}

func (h *host) Method(out []byte) int32 { return fill(out, h.req.method) }
func (h *host) Target(out []byte) int32 { return fill(out, h.req.target) }
func (h *host) URL(out []byte) int32    { return fill(out, h.req.public+h.req.target) }

func (h *host) Query(name string, i int32, out []byte) int32 {
	_, query, _ := strings.Cut(h.req.target, "?")
	values, _ := url.ParseQuery(query)
	if i < 0 || int(i) >= len(values[name]) {
		return abi.Absent
	}
	return fill(out, values[name][i])
}

func (h *host) Header(name string, i int32, out []byte) int32 {
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

func (h *host) Setting(name string, out []byte) int32 {
	text, ok := h.settings[name]
	if !ok {
		return abi.Absent
	}
	return fill(out, text)
}

func (h *host) Now() int64 { return h.received.UnixMilli() }

func (h *host) Log(_ int32, text string) { h.log(text) }

func (h *host) Bytes(encoding int32, text string) int32 {
	b, err := fromText(encoding, text)
	switch {
	case !isEncoding(encoding):
		return abi.Invalid
	case err != nil:
		return abi.Malformed
	case len(h.chunks) >= maxHandles:
		return abi.Limit
	}
	h.chunks = append(h.chunks, b)
	return int32(len(h.chunks) - 1)
}

func (h *host) Hash(algorithm, handle int32, out []byte) int32 {
	if handle < 0 || int(handle) >= len(h.chunks) {
		return abi.Invalid
	}
	sum := digest(algorithm, h.chunks[handle])
	if sum == nil {
		return abi.Invalid
	}
	return fill(out, string(sum))
}

func (h *host) View(kind, handle int32) int32 {
	if handle < 0 || int(handle) >= len(h.chunks) || (kind != abi.ViewJSON && kind != abi.ViewForm) {
		return abi.Invalid
	}
	for i, v := range h.views {
		if v.kind == kind && v.of == handle {
			return int32(i)
		}
	}
	if len(h.views) >= maxHandles {
		return abi.Limit
	}
	root, err := parseView(kind, h.chunks[handle])
	if err != nil {
		return abi.Malformed
	}
	h.views = append(h.views, &view{kind, handle, root})
	return int32(len(h.views) - 1)
}

// at finds a value, nil where there is none.
func (h *host) at(handle int32, path string) (*node, int32) {
	if handle < 0 || int(handle) >= len(h.views) {
		return nil, abi.Invalid
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

func (h *host) Get(handle int32, path string, out []byte) int32 {
	n, code := h.there(handle, path)
	if code < 0 {
		return code
	}
	return fill(out, n.text)
}

func (h *host) Len(handle int32, path string) int32 {
	n, code := h.there(handle, path)
	if code < 0 {
		return code
	}
	return n.length()
}

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

func (h *host) Reason(code int32, text string) int32 {
	if code < 0 || code > abi.ReasonNotUnderstood {
		return abi.Invalid
	}
	h.reason, h.detail = code, shorten(text)
	return 0
}

// shorten keeps at most 256 bytes of whole characters.
func shorten(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxDetail {
		return text
	}
	end := maxDetail
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

func (h *host) EventBegin(evidence int32) int32 {
	switch {
	case evidence < -1 || int(evidence) >= len(h.evidence):
		return abi.Invalid
	case len(h.events)+len(h.aside) >= maxEvents:
		return abi.Limit
	}
	h.events = append(h.events, &event{Evidence: evidence})
	return int32(len(h.events) - 1)
}

func (h *host) newest() *event {
	if len(h.events) == 0 {
		return nil
	}
	return h.events[len(h.events)-1]
}

func (h *host) Set(field int32, text string) int32 {
	e := h.newest()
	switch {
	case e == nil:
		return abi.Invalid
	case !utf8.ValidString(text):
		return abi.Malformed
	case field == abi.FieldKey:
		return e.addKey(text)
	case field == abi.FieldProviderData:
		data, err := compact(text)
		if err != nil {
			return abi.Malformed
		}
		e.ProviderData = data
		return 0
	case len(text) > maxText:
		return abi.Limit
	case field == abi.FieldTime:
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return abi.Malformed
		}
		e.at = at
		return 0
	}
	return e.setText(field, text)
}

func (e *event) addKey(text string) int32 {
	switch {
	case text == "":
		return abi.Malformed
	case len(text) > maxComponent || len(e.Key) >= maxParts:
		return abi.Limit
	}
	e.Key = append(e.Key, text)
	return 0
}

func (e *event) setText(field int32, text string) int32 {
	if field >= abi.FieldRefMerchant && field <= abi.FieldRefBank {
		if e.References == nil {
			e.References = &references{}
		}
	}
	var to *string
	switch field {
	case abi.FieldType:
		to = &e.Type
	case abi.FieldSubject:
		to = &e.Subject
	case abi.FieldStatus:
		to = &e.Status
	case abi.FieldProviderStatus:
		to = &e.ProviderStatus
	case abi.FieldAmount:
		to = &e.Amount
	case abi.FieldCurrency:
		to = &e.Currency
	case abi.FieldRefMerchant:
		to = &e.References.Merchant
	case abi.FieldRefProvider:
		to = &e.References.Provider
	case abi.FieldRefBank:
		to = &e.References.Bank
	case abi.FieldMethod:
		to = &e.Method
	case abi.FieldParty:
		to = &e.Party
	default:
		return abi.Invalid
	}
	*to = text
	return 0
}

func (h *host) SetInt(field int32, value int64) int32 {
	e := h.newest()
	if e == nil {
		return abi.Invalid
	}
	switch field {
	case abi.FieldTime:
		e.at = time.UnixMilli(value)
	case abi.FieldMinor:
		e.Minor = &value
	case abi.FieldConfirm:
		e.Confirm = value == 1
	case abi.FieldSandbox:
		e.Sandbox = value == 1
	default:
		return abi.Invalid
	}
	return 0
}

func (h *host) Map(field, handle int32, path string) int32 {
	n, code := h.there(handle, path)
	switch {
	case code < 0:
		return code
	case field == abi.FieldProviderData:
		return h.Set(field, n.json)
	}
	return h.Set(field, n.text)
}

func (h *host) SetAside(handle int32, path, reason string) int32 {
	n, code := h.at(handle, path)
	switch {
	case code < 0:
		return code
	case n == nil:
		return abi.Absent
	case len(h.events)+len(h.aside) >= maxEvents:
		return abi.Limit
	}
	item, err := compact(n.json)
	if err != nil {
		return abi.Malformed
	}
	h.aside = append(h.aside, aside{shorten(reason), item})
	return 0
}

func newAnswer(status int32, contentType, body string) (*answer, int32) {
	visible := strings.IndexFunc(contentType, func(r rune) bool { return r < ' ' || r > '~' }) < 0
	switch {
	case status < 200 || status > 299 || !visible:
		return nil, abi.Invalid
	case len(body) > maxAnswer:
		return nil, abi.Limit
	}
	return &answer{status, contentType, body}, 0
}

func (h *host) Ack(status int32, contentType, body string) int32 {
	a, code := newAnswer(status, contentType, body)
	if code == 0 {
		h.ack = a
	}
	return code
}

func (h *host) Respond(status int32, contentType, body string) int32 {
	if h.response != nil {
		body = h.response.Body + body
	}
	a, code := newAnswer(status, contentType, body)
	if code == 0 {
		h.response = a
	}
	return code
}

func (h *host) RespondMAC(name, text string, encoding int32) int32 {
	s := h.key(name)
	switch {
	case s == nil || s.respond == nil || !s.respond.MatchString(text):
		return abi.Denied
	case !isEncoding(encoding) || h.response == nil:
		return abi.Invalid
	}
	mac := toText(encoding, s.mac(0, []byte(text)))
	return h.Respond(h.response.Status, h.response.ContentType, mac)
}

func (h *host) prove(e evidence) int32 {
	if len(h.evidence) >= maxHandles {
		return abi.Limit
	}
	h.evidence = append(h.evidence, e)
	return int32(len(h.evidence) - 1)
}

func (h *host) Token(name string) int32 {
	which, ok := h.tokens[name]
	if !ok {
		return abi.Denied
	}
	return h.prove(evidence{name, which, "static-token", "none"})
}

// key finds a bound secret that makes MACs.
func (h *host) key(name string) *secret {
	s := h.secrets[name]
	if s == nil || s.isToken() || len(s.keys) == 0 {
		return nil
	}
	return s
}

func (h *host) SignedBegin(name string) int32 {
	s := h.key(name)
	switch {
	case s == nil:
		return abi.Denied
	case len(h.signed) >= maxHandles:
		return abi.Limit
	}
	h.signed = append(h.signed, &signed{secret: s})
	return int32(len(h.signed) - 1)
}

func (h *host) signature(handle int32) *signed {
	if handle < 0 || int(handle) >= len(h.signed) {
		return nil
	}
	return h.signed[handle]
}

func (h *host) SignedBytes(handle int32, text string) int32 {
	s := h.signature(handle)
	if s == nil {
		return abi.Invalid
	}
	s.text = append(s.text, text...)
	return 0
}

func (h *host) SignedBody(handle int32) int32 {
	s := h.signature(handle)
	if s == nil {
		return abi.Invalid
	}
	s.text = append(s.text, h.req.body...)
	s.body = true
	return 0
}

func (h *host) SignedCheck(handle int32, signature string, encoding int32) int32 {
	s := h.signature(handle)
	if s == nil || !isEncoding(encoding) {
		return abi.Invalid
	}
	if s.checks++; s.checks > maxChecks {
		return abi.Limit
	}
	b, err := fromText(encoding, signature)
	if err != nil {
		return abi.Unverified
	}
	which := s.secret.match(s.text, b)
	if which < 0 {
		return abi.Unverified
	}
	covers := "fields"
	if s.body {
		covers = "body"
	}
	return h.prove(evidence{s.secret.Name, which, s.secret.Use, covers})
}

func (h *host) CoversBody(handle, algorithm int32, text string, encoding int32) int32 {
	if handle < 0 || int(handle) >= len(h.evidence) || h.evidence[handle].Covers == "none" {
		return abi.Invalid
	}
	sum := digest(algorithm, h.req.body)
	said, err := fromText(encoding, text)
	switch {
	case sum == nil || !isEncoding(encoding):
		return abi.Invalid
	case err != nil || subtle.ConstantTimeCompare(sum, said) != 1:
		return abi.Unverified
	}
	if algorithm != abi.CRC32 {
		h.evidence[handle].Covers = "body"
	}
	return 0
}

func (h *host) Sign(handle, encoding int32, out []byte) int32 {
	s := h.signature(handle)
	switch {
	case !h.signing:
		return abi.Denied
	case s == nil || !isEncoding(encoding):
		return abi.Invalid
	}
	return fill(out, toText(encoding, s.secret.mac(0, s.text)))
}

func (h *host) OutHeader(name, value string) int32 {
	if !h.signing {
		return abi.Denied
	}
	kept := h.out.headers[:0:0]
	for _, f := range h.out.headers {
		if !strings.EqualFold(f.name, name) {
			kept = append(kept, f)
		}
	}
	h.out.headers = append(kept, field{name, value})
	return 0
}

func (h *host) OutBody(body string) int32 {
	if !h.signing {
		return abi.Denied
	}
	h.out.body = []byte(body)
	return 0
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
