package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Hash is the first 16 bytes of a SHA-256: a dedup key, and with it an event's
// identity.
type Hash [16]byte

// idEncoding is lower-case base32 without padding: 26 characters for a Hash.
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID is the hash as an event's id.
func (h Hash) ID() string { return idEncoding.EncodeToString(h[:]) }

// ParseID is the inverse of [Hash.ID].
func ParseID(id string) (Hash, error) {
	var h Hash
	b, err := idEncoding.DecodeString(id)
	// One id has one spelling: the decoder passes over line breaks and the bits
	// beyond the last byte.
	if err != nil || len(b) != len(h) || idEncoding.EncodeToString(b) != id {
		return h, fmt.Errorf("event id %q is not 26 characters of a-z and 2-7", id)
	}
	copy(h[:], b)
	return h, nil
}

// Content is what makes two events with one dedup key the same or a conflict:
// 8 bytes of SHA-256 over type, subject, status, amount, currency and
// references, and nothing else (never provider data, times or attempts).
type Content [8]byte

// Event is one canonical fact, complete. It is a CloudEvents 1.0 event;
// [Event.MarshalJSON] writes it in the JSON format. It owns its memory.
type Event struct {
	// Key is the dedup key and the event's identity; ConflictKey is its
	// identity if it turns out to be a conflict.
	Key         Hash
	ConflictKey Hash
	Content     Content
	// Conflict says that another event with the same dedup key and other
	// content was stored before. Set by the store.
	Conflict bool

	Source     string
	Type       string
	Subject    string
	Time       time.Time
	Received   time.Time
	Tenant     string
	Endpoint   string
	Provider   string
	VerifiedBy Algorithm
	Covers     Covers
	// Confirm: the evidence does not cover the fact; fetch it back first.
	Confirm bool
	// Sandbox: from the provider's test environment.
	Sandbox bool
	// Data is a JSON object; see docs/events.md.
	Data json.RawMessage
	// Annotations are what guards added, in the order they did; no name twice.
	Annotations []Annotation
}

// ID is the event's id: the same after restore, reprocess and copy, on any
// node and any store (26 characters of lower-case base32).
func (e *Event) ID() string {
	if e.Conflict {
		return e.ConflictKey.ID()
	}
	return e.Key.ID()
}

// cloudEvent is the JSON format of CloudEvents 1.0 with Postern's extension
// attributes.
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Tenant          string          `json:"tenant"`
	Provider        string          `json:"provider"`
	VerifiedBy      Algorithm       `json:"verifiedby"`
	Covers          Covers          `json:"covers"`
	Received        time.Time       `json:"receivedtime"`
	DedupKey        string          `json:"dedupkey"`
	Conflict        bool            `json:"conflict,omitempty"`
	Confirm         string          `json:"confirm,omitempty"`
	Sandbox         bool            `json:"sandbox,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// MarshalJSON writes the event in the CloudEvents JSON format. Called through
// json.Marshal it comes out with "<" escaped; called itself, as it is.
func (e Event) MarshalJSON() ([]byte, error) {
	ce := cloudEvent{
		SpecVersion: "1.0", ID: e.ID(), Source: e.Source, Type: e.Type,
		Subject: e.Subject, Time: e.Time, DataContentType: "application/json",
		Tenant: e.Tenant, Provider: e.Provider, VerifiedBy: e.VerifiedBy,
		Covers: e.Covers, Received: e.Received, DedupKey: hex.EncodeToString(e.Key[:]),
		Conflict: e.Conflict, Sandbox: e.Sandbox, Data: e.Data,
	}
	if e.Confirm {
		ce.Confirm = "required"
	}
	text, err := encode(ce)
	for _, a := range e.Annotations {
		var value []byte
		if value, err = encode(a.Value); err != nil {
			break
		}
		text = append(append(append(text[:len(text)-1], `,"`+a.Name+`":`...), value...), '}')
	}
	return text, err
}

// encode is json.Marshal without writing the provider's "<" as "\u003c".
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// data is the data of a payment event; see docs/events.md.
type data struct {
	Status         string          `json:"status,omitempty"`
	ProviderStatus string          `json:"provider_status,omitempty"`
	Amount         *amount         `json:"amount,omitempty"`
	References     *References     `json:"references,omitempty"`
	Method         string          `json:"method,omitempty"`
	Party          string          `json:"party,omitempty"`
	ProviderData   json.RawMessage `json:"provider_data,omitempty"`
}

type amount struct {
	Value    string `json:"value"`
	Currency string `json:"currency"`
	Minor    *int64 `json:"minor,omitempty"`
}

// complete turns a plugin's checked draft into an event: what the plugin may
// not say (identity, tenant, how it was verified) comes from the host.
func (e *Endpoint) complete(cb *Callback, res *Result, i int) (Event, error) {
	d := &res.Events[i]
	proof := Evidence{Algorithm: None}
	if d.Evidence >= 0 {
		proof = res.Evidence[d.Evidence]
	}
	ev := Event{
		Source: e.Source(), Type: d.Type, Subject: d.Subject,
		Time: d.Time.UTC(), Received: cb.Received.UTC(),
		Tenant: e.Tenant, Endpoint: e.Name, Provider: e.Provider,
		VerifiedBy: proof.Algorithm, Covers: proof.Covers,
		Confirm: d.Confirm, Sandbox: d.Sandbox,
	}
	if d.Time.IsZero() {
		ev.Time = ev.Received
	}
	ev.Key, ev.Content, ev.ConflictKey = e.identify(cb, d, proof.Algorithm.Strength(), i)
	var err error
	if ev.Data, err = d.data(); err != nil {
		return Event{}, fmt.Errorf("event %d: %w", i, err)
	}
	return ev, nil
}

// identify derives the dedup key, the content and the conflict's key.
//
// Invariant 14: every component is length-prefixed and the scope is tenant,
// endpoint and strength of verification, so that no other tenant and no weaker
// callback can name this key; without components it is the body itself.
func (e *Endpoint) identify(cb *Callback, d *Draft, s Strength, i int) (Hash, Content, Hash) {
	h := e.scope("event", s)
	if len(d.Key) == 0 {
		sum := sha256.Sum256(cb.Body)
		put(h, string(sum[:]))
		put(h, strconv.Itoa(i))
	}
	for _, component := range d.Key {
		put(h, component)
	}
	key := h.Sum(nil)

	c := sha256.New()
	for _, part := range []string{
		d.Type, d.Subject, d.Status, d.Amount, d.Currency,
		d.References.Merchant, d.References.Provider, d.References.Bank,
	} {
		put(c, part)
	}
	content := c.Sum(nil)
	put(h, string(content))
	return Hash(key[:16]), Content(content[:8]), Hash(h.Sum(nil)[:16])
}

// scope starts a key of this endpoint. The first component names the version
// of the rule: changing it changes every id.
func (e *Endpoint) scope(kind string, s Strength) hash.Hash {
	h := sha256.New()
	put(h, "postern1 "+kind)
	put(h, e.Tenant)
	put(h, e.Name)
	put(h, strconv.Itoa(int(s)))
	return h
}

func put(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

func (d *Draft) data() (json.RawMessage, error) {
	out := data{
		Status: d.Status, ProviderStatus: d.ProviderStatus,
		Method: d.Method, Party: d.Party, ProviderData: d.ProviderData,
	}
	// Whatever of the three is there is written: a draft that was not checked
	// must not lose the half that makes it wrong.
	if d.Amount != "" || d.Currency != "" || d.Minor != nil {
		out.Amount = &amount{Value: d.Amount, Currency: d.Currency, Minor: d.Minor}
	}
	if d.References != (References{}) {
		out.References = &d.References
	}
	return encode(out)
}

// Limits on what a plugin may say of one event, in bytes.
const (
	MaxEvents    = 1000 // events and items set aside per callback
	MaxText      = 4096 // any text field of a draft
	MaxKeyLength = 512  // one component of a dedup key
	MaxKeyParts  = 16   // components of a dedup key
)

// IsType reports whether s has the form of an event's type: family.fact, two to
// five parts of 1 to 63 letters a-z, digits and "-", from the second on "_" too,
// none beginning with either.
func IsType(s string) bool {
	parts := 0
	for rest, more := s, true; more; parts++ {
		var part string
		part, rest, more = strings.Cut(rest, ".")
		if !isPart(part, parts > 0) {
			return false
		}
	}
	return 2 <= parts && parts <= 5
}

func isPart(s string, underscores bool) bool {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			continue
		}
		if i == 0 || c != '-' && (c != '_' || !underscores) {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 63
}

// IsAmount reports whether s is plain decimal text: no exponent, no leading
// zero, no sign but a minus, at most 24 digits and 12 behind the point.
func IsAmount(s string) bool {
	whole, part, pointed := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	return isDigits(whole, 24) && (whole == "0" || whole[0] != '0') && (!pointed || isDigits(part, 12))
}

func isDigits(s string, most int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= most
}

// IsCurrency reports whether s has the form of an ISO 4217 code: three letters
// A-Z.
func IsCurrency(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return len(s) == 3
}

// checkEvent reports what keeps the i-th draft from being an event.
//
// Invariant 14: where a signature speaks for some fields only, the rest of the
// body is anybody's to change, and with it the body's hash. Such an event needs
// components of its own, or says that it is a hint.
func (r *Result) checkEvent(i int) error {
	d := &r.Events[i]
	if d.Evidence >= 0 && len(d.Key) == 0 && !d.Confirm {
		if e := r.Evidence[d.Evidence]; e.Algorithm.Strength() == Cryptographic && e.Covers != CoversBody {
			return errors.New("no dedup key, and the evidence does not cover the body whose hash would be one")
		}
	}
	return d.check()
}

func (d *Draft) check() error {
	if !IsType(d.Type) {
		return fmt.Errorf("type %q is not of the form family.fact", d.Type)
	}
	if len(d.Key) > MaxKeyParts {
		return fmt.Errorf("dedup key has %d components, the limit is %d", len(d.Key), MaxKeyParts)
	}
	for _, k := range d.Key {
		if k == "" || len(k) > MaxKeyLength {
			return fmt.Errorf("a component of the dedup key has %d bytes, must be 1 to %d", len(k), MaxKeyLength)
		}
	}
	if d.Amount != "" && !IsAmount(d.Amount) {
		return fmt.Errorf("amount %q is not plain decimal text", d.Amount)
	}
	if (d.Amount == "") != (d.Currency == "") {
		return fmt.Errorf("amount %q and currency %q: set both or neither", d.Amount, d.Currency)
	}
	if d.Minor != nil && d.Amount == "" {
		return fmt.Errorf("minor %d stands without an amount", *d.Minor)
	}
	if d.Currency != "" && !IsCurrency(d.Currency) {
		return fmt.Errorf("currency %q is not an ISO 4217 code", d.Currency)
	}
	// In UTC, as the event has it: the year of another zone may be the next one.
	if y := d.Time.UTC().Year(); !d.Time.IsZero() && (y < 1970 || y > 9999) {
		return fmt.Errorf("time %v is not of the years 1970 to 9999", d.Time)
	}
	if err := d.checkWords(); err != nil {
		return err
	}
	return d.checkText()
}

func (d *Draft) checkText() error {
	for _, text := range [...]struct{ name, s string }{
		{"subject", d.Subject},
		{"status", d.Status},
		{"provider status", d.ProviderStatus},
		{"merchant reference", d.References.Merchant},
		{"provider reference", d.References.Provider},
		{"bank reference", d.References.Bank},
		{"method", d.Method},
		{"party", d.Party},
	} {
		if len(text.s) > MaxText || !utf8.ValidString(text.s) {
			return fmt.Errorf("%s is not UTF-8 of at most %d bytes", text.name, MaxText)
		}
	}
	return nil
}

// Filter is what a sink wants: every condition must hold, and an empty list is
// no condition.
type Filter struct {
	// Tenants, Providers, Types and VerifiedBy are globs ("payment.*") of names,
	// of types and of algorithms ("hmac-*").
	Tenants    []string `json:"tenants,omitempty"`
	Providers  []string `json:"providers,omitempty"`
	Types      []string `json:"types,omitempty"`
	VerifiedBy []string `json:"verified_by,omitempty"`
	// Where is the text of an expression, and Test what it was compiled to: both
	// or neither is set. A store remembers the text alone, so that a filter read
	// back from one has no Test and must not be asked: see [Filter.Ready].
	Where string            `json:"where,omitempty"`
	Test  func(*Event) bool `json:"-"`
	// Unverified and Conflicts let through what is otherwise held back.
	Unverified bool `json:"unverified,omitempty"`
	Conflicts  bool `json:"conflicts,omitempty"`
}

// Ready reports whether Match can be asked.
func (f *Filter) Ready() bool { return f.Where == "" || f.Test != nil }

// Clone copies the filter, so that it shares no list with f.
func (f *Filter) Clone() Filter {
	out := *f
	for _, list := range []*[]string{&out.Tenants, &out.Providers, &out.Types, &out.VerifiedBy} {
		*list = slices.Clone(*list)
	}
	return out
}

// Match reports whether ev passes. Test is asked last.
func (f *Filter) Match(ev *Event) bool {
	if ev.VerifiedBy.Strength() == Unproven && !f.Unverified {
		return false
	}
	// Invariant 3: a conflict reaches only those who asked for conflicts.
	if ev.Conflict && !f.Conflicts {
		return false
	}
	return oneOf(f.Tenants, ev.Tenant) && oneOf(f.Providers, ev.Provider) && oneOf(f.Types, ev.Type) &&
		oneOf(f.VerifiedBy, string(ev.VerifiedBy)) && (f.Test == nil || f.Test(ev))
}

func oneOf(globs []string, s string) bool {
	if len(globs) == 0 {
		return true
	}
	for _, g := range globs {
		// Dots are no separators to path.Match, so "payment.*" also takes
		// "payment.a.b"; a slash never stands in a name or a type.
		if ok, err := path.Match(strings.ToLower(g), s); err == nil && ok {
			return true
		}
	}
	return false
}
