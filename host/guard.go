package host

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Guard is a tenant's module, bound to the settings that one endpoint has for
// it. It judges the events that the provider's plugin gave for a callback.
//
// Guard must not keep or change cb and events, and what it returns owns its
// memory. The same callback and events give the same Ruling (invariant 11). It
// blocks as [Plugin.Handle] does, and its errors have the same codes: they mean
// that it failed, not that it refused.
//
// Implementations are safe for concurrent use.
type Guard interface {
	Guard(ctx context.Context, cb *Callback, events []Event) (Ruling, error)
}

// GuardVerdict is what a guard says of a callback's events.
type GuardVerdict uint8

// The verdicts of a guard. The numbers are those of the ABI.
const (
	Pass   GuardVerdict = 1 // nothing against them
	Hold   GuardVerdict = 2 // durable and acknowledged, and delivered once released
	Refuse GuardVerdict = 4 // rejected
)

// String names the verdict as in logs, metrics and goldens.
func (v GuardVerdict) String() string {
	switch v {
	case Pass:
		return "pass"
	case Hold:
		return "hold"
	case Refuse:
		return "reject"
	}
	return "failed"
}

// Ruling is everything a guard said of one callback.
type Ruling struct {
	Verdict GuardVerdict
	// Detail says why they are held or rejected: the guard's text for operators,
	// at most 256 bytes; it is never sent to the provider.
	Detail string
	// Notes are what it adds to the events, in the order it did.
	Notes []Note
	// Fuel is what it burnt, and Memory its linear memory; see [Result].
	Fuel, Memory int64
}

// Note is an annotation of the event with this index.
type Note struct {
	Event int
	Annotation
}

// Annotation is an extension attribute that a guard gave an event. It is no part
// of its identity or [Content]. The name begins with the guard's, without "-".
type Annotation struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Limits on what guards may add to one event.
const (
	MaxAnnotations     = 16   // of one event
	MaxAnnotation      = 1024 // bytes of a value
	maxAnnotationChars = 40   // of a name, of a-z and 0-9
)

var annotationForm = regexp.MustCompile(`^[a-z0-9]{1,` + strconv.Itoa(maxAnnotationChars) + `}$`)

// attributes are the names that an event has of CloudEvents or of the host, and
// those that a binding of CloudEvents takes for the body.
var attributes = []string{
	"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "database64",
	"tenant", "provider", "verifiedby", "covers", "receivedtime", "dedupkey", "conflict", "confirm", "sandbox",
}

// IsAnnotation reports whether name can be that of an annotation: 1 to 40 of a-z
// and 0-9, and no attribute that an event has anyway.
func IsAnnotation(name string) bool {
	return annotationForm.MatchString(name) && !slices.Contains(attributes, name)
}

// IsAnnotationText reports whether text can be an annotation's value: UTF-8
// without control characters, not empty. Its length is not looked at.
func IsAnnotationText(text string) bool {
	for _, r := range text {
		if unicode.IsControl(r) {
			return false
		}
	}
	return text != "" && utf8.ValidString(text)
}

// BoundGuard is a guard as one endpoint has it.
type BoundGuard struct {
	// Name is the guard's, Version names its module as [Endpoint.PluginVersion]
	// does the plugin's.
	Name    string
	Version string
	Guard   Guard
}

// GuardSaid is one guard's part in an [Observation]; a zero Verdict says that it
// failed.
type GuardSaid struct {
	Name    string
	Verdict GuardVerdict
}

// guard has the endpoint's guards judge a record that is accepted, in their
// order: each sees what the ones before it added. It ends with the first that
// rejects, and says why. What one holds the others still judge: whoever releases
// it later relies on every rule having been asked. Of several that hold, the
// first is named.
//
// The error is that of a guard that failed, or broke the rules.
func (e *Endpoint) guard(ctx context.Context, rec *Record, seen *Observation) (refused string, err error) {
	if rec.Kind != Accepted {
		return "", nil
	}
	holder, why := "", ""
	for _, g := range e.Guards {
		said, err := g.Guard.Guard(ctx, &rec.Callback, rec.Events)
		if err == nil {
			err = rec.annotate(said.Notes)
		}
		if err != nil {
			seen.Guards = append(seen.Guards, GuardSaid{Name: g.Name})
			return "", fmt.Errorf("guard %s: %w", g.Name, err)
		}
		seen.Guards = append(seen.Guards, GuardSaid{g.Name, said.Verdict})
		seen.Fuel += said.Fuel
		switch said.Verdict {
		case Pass:
		case Hold:
			if holder == "" {
				holder, why = g.Name, said.Detail
			}
		case Refuse:
			return g.Name + ": " + said.Detail, nil
		default:
			return "", Errorf(PluginFailed, "guard %s: %d is no verdict", g.Name, said.Verdict)
		}
	}
	if holder != "" {
		rec.hold(holder, why)
	}
	return "", nil
}

// annotate adds what a guard said to the events. A guard can change nothing else.
func (r *Record) annotate(notes []Note) error {
	for _, n := range notes {
		if n.Event < 0 || n.Event >= len(r.Events) {
			return Errorf(PluginFailed, "an annotation of event %d, of %d", n.Event, len(r.Events))
		}
		ev := &r.Events[n.Event]
		same := func(a Annotation) bool { return a.Name == n.Name }
		if !IsAnnotation(n.Name) || !IsAnnotationText(n.Value) || len(n.Value) > MaxAnnotation ||
			len(ev.Annotations) >= MaxAnnotations || slices.ContainsFunc(ev.Annotations, same) {
			return Errorf(PluginFailed, "event %d cannot have the annotation %q", n.Event, n.Name)
		}
		ev.Annotations = append(ev.Annotations, n.Annotation)
	}
	return nil
}

// hold makes a record of what a guard holds: see [Held].
func (r *Record) hold(guard, why string) {
	h := (&Endpoint{Tenant: r.Tenant, Name: r.Endpoint}).scope("held", Unproven)
	for i := range r.Events {
		put(h, string(r.Events[i].ConflictKey[:]))
	}
	for i := range r.Aside {
		put(h, string(r.Aside[i].Key[:]))
	}
	r.Kind, r.Detail = Held, why
	r.Aside = slices.Insert(r.Aside, 0, Aside{Reason: guard, Key: Hash(h.Sum(nil)[:16])})
}

// Waiting is the record, which has this sequence and is of kind [Kept] or [Held],
// as the quarantine shows it. It shares its memory.
func (r *Record) Waiting(seq uint64) *Rejected {
	out := &Rejected{
		ID: r.Kind.String() + "-" + strconv.FormatUint(seq, 10), Reason: r.Kind.String(), Detail: r.Detail,
		Kept: r.Kind == Kept, Tenant: r.Tenant, Endpoint: r.Endpoint, Provider: r.Provider, Plugin: r.Plugin,
		Evidence: r.Evidence, Callback: r.Callback, Count: 1, Last: r.Callback.Received,
	}
	if r.Kind == Held && len(r.Aside) > 0 {
		out.Held = &Holding{Guard: r.Aside[0].Reason, Events: r.Events, Aside: r.Aside[1:]}
	}
	return out
}

// Release makes durable what a guard holds, as it was completed when it came, and
// has it delivered; then r is dropped. No plugin and no guard is asked. It blocks
// for two commits. r is not changed, and nothing is observed.
//
// It may be done any number of times, and by many at once: what an earlier one
// appended is a duplicate to the next, as is an event that came by another
// callback meanwhile.
//
// An error says that nothing was written, and has the code of [Appender]; or that
// the record is durable, which the receipt then tells, and r could not be dropped.
func (h *Host) Release(ctx context.Context, r *Rejected) (Receipt, error) {
	if r.Held == nil {
		return Receipt{}, Errorf(Internal, "release %s: no guard holds it", r.ID)
	}
	rec := &Record{
		Kind: Accepted, Tenant: r.Tenant, Endpoint: r.Endpoint, Provider: r.Provider, Plugin: r.Plugin,
		Detail: "released: " + r.Held.Guard + ": " + r.Detail, Callback: r.Callback, Evidence: r.Evidence,
		Events: slices.Clone(r.Held.Events), Aside: r.Held.Aside,
	}
	receipt, err := h.append(ctx, rec)
	if err != nil {
		return Receipt{}, fmt.Errorf("release %s: %w", r.ID, err)
	}
	h.Log.Info("callback released", "id", r.ID, "endpoint", "/"+r.Tenant+"/"+r.Endpoint,
		"guard", r.Held.Guard, "seq", receipt.Seq)
	return receipt, h.dropped(ctx, r, "release")
}
