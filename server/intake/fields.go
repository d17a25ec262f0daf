package intake

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// maxFields is how many fields a head may have.
const maxFields = 100

// lists are the fields whose values are lists, so that several are read as one.
// Any other that stands twice is read by some from the front and by others from
// the back.
var lists = map[string]bool{
	"accept": true, "accept-charset": true, "accept-encoding": true, "accept-language": true,
	"baggage": true, "cache-control": true, "connection": true, "cookie": true, "forwarded": true,
	"link": true, "pragma": true, "te": true, "tracestate": true, "via": true, "warning": true,
	"x-forwarded-for": true,
}

// framing are the fields that say where a request ends and whose it is.
var framing = map[string]bool{
	"connection": true, "content-encoding": true, "content-length": true, "expect": true,
	"host": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

// fields is what the fields of a head say together.
type fields struct {
	count  int
	values map[string]string
}

// add notes a field, unless it cannot be taken.
//
// An underscore counts as a hyphen: CGI and what is like it know no difference,
// and X_Sig beside X-Sig is one signature for them and another for us.
func (f *fields) add(name, value string) bool {
	f.count++
	if f.values == nil {
		f.values = make(map[string]string, 16)
	}
	key := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if framing[key] && strings.Contains(name, "_") {
		return false
	}
	if _, again := f.values[key]; again && !lists[key] {
		return false
	}
	f.values[key] = value
	switch key {
	case "host":
		return goodHost(value)
	case "content-length":
		return goodLength(value)
	case "transfer-encoding":
		return strings.EqualFold(value, "chunked")
	case "expect":
		return value == "100-continue"
	case "trailer":
		// What comes after the body was signed by nobody who signs headers.
		return false
	}
	return true
}

// framed judges the framing that the fields make together: one Host, one way to
// tell how long the body is, and the way that fasthttp has gone.
func (f *fields) framed(h *fasthttp.RequestHeader) bool {
	name, named := f.values["host"]
	length, measured := f.values["content-length"]
	_, chunked := f.values["transfer-encoding"]
	if measured && chunked || h.IsHTTP11() && !named || string(h.Host()) != name {
		return false
	}
	_, expects := f.values["expect"]
	if h.IsGet() || h.IsHead() {
		// A body where none is expected is skipped by some and read by others.
		return !expects && !chunked && (!measured || length == "0")
	}
	taken := h.ContentLength()
	switch {
	case expects && (!h.IsHTTP11() || !chunked && (!measured || length == "0")):
		// Some answer 100 for this and others do not; there is no body to wait for.
		return false
	case chunked:
		return h.IsHTTP11() && (taken == -1 || taken == 0) // 0 once it was read and empty
	case measured:
		return strconv.Itoa(taken) == length
	}
	return taken == -2 || taken == 0
}

// cut says that the body is larger than what is taken; see
// [Server.unannounce].
func (f *fields) cut(h *fasthttp.RequestHeader) bool {
	length, measured := f.values["content-length"]
	return measured && length != "0" && h.ContentLength() == 0 && !h.IsGet() && !h.IsHead()
}

// decodable says that the body has one layer of a coding that the host can take
// off, or none.
func (f *fields) decodable() bool {
	coding, ok := f.values["content-encoding"]
	return !ok || slices.Contains(codings, strings.ToLower(coding))
}

// codings are those of Content-Encoding, as told to whoever sends another (RFC
// 7694).
var codings = []string{"gzip", "deflate", "identity"}

// goodLength is a number as everybody writes it: what is skipped in front of one
// or read in another base makes it two numbers.
func goodLength(value string) bool {
	if value == "" || value[0] == '0' && value != "0" {
		return false
	}
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return false
		}
	}
	return true
}

// goodHost is a name or an address, and perhaps a port.
func goodHost(value string) bool {
	name, port, hasPort := value, "", false
	if i := strings.LastIndexByte(value, ':'); i > strings.LastIndexByte(value, ']') {
		name, port, hasPort = value[:i], value[i+1:], true
	}
	if _, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || !goodLength(port)) {
		return false
	}
	if in, ok := strings.CutPrefix(name, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(in, "]"))
		return err == nil && addr.Is6() && addr.Zone() == "" && strings.HasSuffix(in, "]")
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return name != ""
}

// chunked says that the body came in chunks, of a head that is well formed.
func chunked(h *fasthttp.RequestHeader) bool {
	for raw := h.RawHeaders(); !atEnd(raw); {
		name, _, rest, ok := field(raw)
		if !ok || strings.EqualFold(string(name), "transfer-encoding") {
			return ok
		}
		raw = rest
	}
	return false
}

// closes says that the sender wants the connection closed behind the answer, of
// the fields of a head that is well formed.
func closes(raw []byte) bool {
	for !atEnd(raw) {
		name, value, rest, ok := field(raw)
		if !ok {
			break
		}
		raw = rest
		if !strings.EqualFold(string(name), "Connection") {
			continue
		}
		for option := range strings.SplitSeq(string(value), ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), "close") {
				return true
			}
		}
	}
	return false
}

// trailed says that fields came after the body. fasthttp has put them among the
// others, so there are more than the head has.
func trailed(h *fasthttp.RequestHeader) bool {
	count := 0
	for raw := h.RawHeaders(); !atEnd(raw); {
		name, value, rest, ok := field(raw)
		if !ok {
			return true
		}
		raw = rest
		key := strings.ToLower(string(name))
		// fasthttp forgets these if they are empty.
		if len(value) > 0 || key != "content-type" && key != "user-agent" {
			count += counted(key)
		}
	}
	for name := range h.All() {
		count -= counted(strings.ToLower(string(name)))
	}
	return count != 0
}

// counted is 0 for the fields that fasthttp makes itself or takes apart. It lets
// none of them stand in a trailer.
func counted(key string) int {
	switch key {
	case "connection", "content-length", "cookie", "transfer-encoding":
		return 0
	}
	return 1
}
