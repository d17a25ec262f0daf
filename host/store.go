package host

import (
	"context"
	"fmt"
	"time"
)

// Kind is what became of a recorded callback.
type Kind uint8

// The kinds of a record. The numbers are stored: never renumber.
const (
	Accepted Kind = 1 // accepted, with events
	Ignored  Kind = 2 // verified, of no interest, no events
	Kept     Kind = 3 // Postern was unable to judge it; to be reprocessed
	Held     Kind = 4 // accepted, and a guard holds it; to be released
)

// Waits reports whether a record of this kind waits for an operator.
func (k Kind) Waits() bool { return k == Kept || k == Held }

// String names the kind as in logs and the CLI.
func (k Kind) String() string {
	switch k {
	case Accepted:
		return "accepted"
	case Ignored:
		return "ignored"
	case Kept:
		return "kept"
	case Held:
		return "held"
	}
	return "unknown"
}

// Record is one callback and everything that follows from it, the unit of
// durability: it is stored whole or not at all.
type Record struct {
	Kind     Kind
	Tenant   string
	Endpoint string
	Provider string
	// Plugin is the version that judged it.
	Plugin string
	// Detail is the plugin's or the host's remark (why ignored, why kept), or the
	// guard's (why held).
	Detail   string
	Callback Callback
	Evidence []Evidence
	Events   []Event
	// Aside are the items set aside. Of kind Held the first stands for the hold
	// itself: its Reason is the guard's name, and its Key is made of the identity
	// of all that is held, so that the same is not held twice.
	Aside []Aside
}

// Disposition is what the store did with one event or item of a record.
type Disposition uint8

// The dispositions. The numbers are stored: never renumber.
const (
	Stored     Disposition = 1 // new
	Duplicate  Disposition = 2 // seen before with the same content; not stored again
	Conflicted Disposition = 3 // seen before with other content; stored and marked
	SetAside   Disposition = 4 // stored as an item set aside
	Withheld   Disposition = 5 // stored in a record of kind Held; it has no dedup key and is not delivered
)

// Counts reports whether what has the disposition has a dedup key, and if it is
// an event is delivered.
func (d Disposition) Counts() bool { return d != Duplicate && d != Withheld }

// String names the disposition as in logs, metrics and the CLI.
func (d Disposition) String() string {
	switch d {
	case Stored:
		return "stored"
	case Duplicate:
		return "duplicate"
	case Conflicted:
		return "conflict"
	case SetAside:
		return "set-aside"
	case Withheld:
		return "held"
	}
	return "unknown"
}

// Receipt is the proof that a callback is durable. Nobody but a store makes
// one.
type Receipt struct {
	// Seq is the sequence of the record; for a callback whose every event is a
	// duplicate, nothing is written and Seq is zero.
	Seq uint64
	// Events and Aside hold one disposition for each of the record's.
	Events []Disposition
	Aside  []Disposition
}

// Appender makes callbacks durable.
type Appender interface {
	// Append stores rec and returns once it is on the disk, together with
	// every other effect of it (invariant 2: all or none). The dedup state it
	// judges by is the one after every earlier Append; a duplicate is
	// answered only when the first one is durable.
	//
	// A record with at least one new, conflicting or newly set aside item is
	// stored with all its items, those that are duplicates being marked and
	// never delivered. One without anything new is not stored. Kinds Ignored
	// and Kept are always stored.
	//
	// Of kind Held nothing counts but the key of the hold, the first item set
	// aside: all else is Withheld, and has no dedup key until a record of kind
	// Accepted has it. It is not stored if that key is known, or if all that it
	// holds is stored already; then every disposition is Duplicate.
	//
	// It blocks for one commit. rec must not change until it returns, and is
	// not kept. ctx is looked at only while waiting in the queue: an Append
	// that has begun is finished. Where an engine cannot tell whether a commit
	// went through it tries again, and the receipt may then say Duplicate, with Seq
	// zero, for what this very call stored.
	//
	// Errors carry a [Code]: StoreFull (queue or disk; heals itself), KeptFull
	// (too many kept and held callbacks) or StoreUnavailable (the engine failed and
	// accepts nothing more).
	Append(ctx context.Context, rec *Record) (Receipt, error)
}

// From says where a new subscription starts.
type From string

// Where a subscription can start.
const (
	FromNow    From = "now"    // after the newest record
	FromOldest From = "oldest" // at the oldest record still there
)

// Order says which deliveries of one sink wait for each other.
type Order string

// The orders.
const (
	OrderNone    Order = "none"    // none waits
	OrderSubject Order = "subject" // one waits for the earlier ones of its subject
)

// Subscription is what a sink wants, and how.
type Subscription struct {
	Filter Filter
	// From counts only for a sink that the store has never seen; a known one
	// goes on where it was. It has no default.
	From From
	// Order counts from the next Lease on; empty means OrderNone.
	Order Order
}

// Delivery is one event leased to one sink.
type Delivery struct {
	// Token proves the lease; a settle with another token is ignored.
	Token uint64
	Sink  string
	Event Event
	// Attempt counts from 1 and includes the one this lease is for.
	Attempt int
	// First is when the first attempt was leased.
	First time.Time
}

// Outcome is what became of a delivery.
type Outcome uint8

// The outcomes.
const (
	Done  Outcome = 1 // the other side has it
	Again Outcome = 2 // to be retried at Settlement.At
	Dead  Outcome = 3 // given up; waits as a dead letter
)

// String names the outcome as in logs and metrics.
func (o Outcome) String() string {
	switch o {
	case Done:
		return "done"
	case Again:
		return "retry"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// MaxReason is how many bytes a store keeps of a settlement's reason, and as
// many of its answer.
const MaxReason = 1024

// Settlement ends a lease.
type Settlement struct {
	Token   uint64
	Outcome Outcome
	// At is when to try again, for Again.
	At time.Time
	// Reason is the last error, at most MaxReason bytes are kept; for Again and
	// Dead. It holds no secret: sinks see to that.
	Reason string
	// Answer is what the other side last said, in the same bounds; see
	// [WithAnswer].
	Answer string
}

// Leased is the answer to a Lease.
type Leased struct {
	Deliveries []Delivery
	// Next is when something else falls due for this sink (a retry, an expiring
	// lease) unless an append, settle, resume, redrive or replay on this store
	// makes it sooner; zero means nothing will. An engine that several processes
	// share names a time at which to look again.
	Next time.Time
}

// DeadLetter is a delivery that was given up.
type DeadLetter struct {
	Sink     string    `json:"sink"`
	Event    Event     `json:"event"`
	Attempts int       `json:"attempts"`
	First    time.Time `json:"first_attempt"`
	Died     time.Time `json:"died"`
	Reason   string    `json:"reason"`
	Answer   string    `json:"answer,omitempty"`
}

// Lag is how far a sink is behind.
type Lag struct {
	// Records is an upper bound of the records not yet looked at.
	Records uint64 `json:"records"`
	// Leased, Retrying and Dead are deliveries in that state. Parked ones were
	// taken from the log and wait for an earlier one of their subject.
	Leased   int `json:"leased"`
	Retrying int `json:"retrying"`
	Parked   int `json:"parked"`
	Dead     int `json:"dead"`
	// Paused says that nothing is leased until the sink is resumed.
	Paused bool `json:"paused"`
	// Replay is the replay under way, nil for none.
	Replay *Replay `json:"replay,omitempty"`
}

// Replay is a range of events on its way to a sink again.
type Replay struct {
	// From and To bound the events: from the one at From on to the last one
	// before To.
	From Cursor `json:"from"`
	To   Cursor `json:"to"`
	// At is how far the range was looked at, Taken how many events of it the
	// sink wanted so far. What is taken may still be under way, or be a retry.
	At    Cursor `json:"at"`
	Taken uint64 `json:"taken"`
}

// Queue hands stored events to sinks, at least once each.
//
// An event leaves a sink's queue only as Done or Dead (invariant 4). Attempts,
// due times and dead letters survive a crash; a lease does not: what was
// leased and not settled comes back, at once where the engine knows that who had
// it is gone, else when the lease ends (invariant 5). Attempts that were leased
// and never settled may be forgotten by a restart.
//
// With [OrderSubject] a Lease never returns an event while an earlier one of
// its subject (the same tenant, endpoint and subject; earlier by its place in
// the log) is leased, to be retried or parked for this sink, and returns no two
// of one subject at once. A dead letter holds nobody up: it counts again once it
// is redriven, and so does an event that is replayed; a later one that is leased
// at that moment is not called back. Events without a subject wait for nobody. A failing subject holds
// back nothing but itself, as far as the engine's bounds go.
type Queue interface {
	// Subscribe registers a sink or changes what it wants, and returns when
	// that is durable. A changed filter counts for what was not looked at yet.
	Subscribe(ctx context.Context, sink string, want Subscription) error
	// Unsubscribe forgets a sink, its position, retries, dead letters and replay.
	Unsubscribe(ctx context.Context, sink string) error
	// Sinks lists the subscribed sinks, sorted.
	Sinks(ctx context.Context) ([]string, error)
	// Lease takes up to n due deliveries of the sink for at most ttl, those of
	// a replay among them. It does not wait for any: an empty answer means
	// nothing is due now. A filter with an expression that nobody has compiled
	// since the store was opened is an error: see [Filter].
	Lease(ctx context.Context, sink string, n int, ttl time.Duration) (Leased, error)
	// Settle ends leases and returns when every Again and Dead among them is
	// durable. A Done may be lost in a crash, and the event is then delivered
	// again. A token that is not leased is ignored.
	Settle(ctx context.Context, sink string, s ...Settlement) error
	// Pause stops leasing to the sink until Resume, over restarts too. What is
	// leased can still be settled.
	Pause(ctx context.Context, sink string) error
	Resume(ctx context.Context, sink string) error
	// DeadLetters lists dead letters of the sink, the oldest first, at most n
	// of them, after the cursor (empty for the first page). The returned
	// cursor is empty at the end.
	DeadLetters(ctx context.Context, sink string, after Cursor, n int) ([]DeadLetter, Cursor, error)
	// Redrive makes dead letters due again, with their attempts counted from
	// zero: those with the given event ids, or all without any. It returns how
	// many.
	Redrive(ctx context.Context, sink string, ids ...string) (int, error)
	// Discard drops dead letters for good: those with the given event ids, or
	// all without any. It returns how many.
	Discard(ctx context.Context, sink string, ids ...string) (int, error)
	// Replay begins to deliver the events from one cursor on to the last one
	// before another to the sink again, as far as its filter lets them through
	// and they are still there; an empty from is the oldest, an empty to, or one
	// beyond it, the end as it is now, and a from behind to is nothing. It goes on
	// over restarts, beside what is new: an event may be under way as both. ErrBusy
	// says that one is under way.
	Replay(ctx context.Context, sink string, from, to Cursor) error
	// StopReplay ends the replay under way, if any: nothing more is taken from
	// its range. What was taken is delivered, unless it was never leased.
	StopReplay(ctx context.Context, sink string) error
	// Lag reports how far the sink is behind.
	Lag(ctx context.Context, sink string) (Lag, error)
}

// Cursor is a position in a store's order, opaque to everyone else. The empty
// Cursor is the beginning.
type Cursor string

// Page asks for a run of events.
type Page struct {
	// After starts behind this cursor; with Newest before it.
	After Cursor
	// Limit is the most events to return; zero means 100.
	Limit int
	// Newest walks from the newest event back.
	Newest bool
	Filter Filter
}

// StoredEvent is an event with its place in the log.
type StoredEvent struct {
	Seq    uint64
	Cursor Cursor
	Event  Event
}

// Reader reads what is stored. Every read checks the record's checksum: a
// damaged record is never wrong data. Callback and Event answer an error that
// names it; Range goes on behind it, and [Store] has it in its Status.
type Reader interface {
	// Callback returns the record with this sequence, events marked as
	// duplicates left out, or ErrNotFound.
	Callback(ctx context.Context, seq uint64) (*Record, error)
	// Event returns the event with this id, or ErrNotFound.
	Event(ctx context.Context, id string) (StoredEvent, error)
	// Range returns a page of events and the cursor of the next; when nothing
	// more matches now, that cursor is the place to go on from later.
	Range(ctx context.Context, p Page) ([]StoredEvent, Cursor, error)
	// Timeline returns the events of one subject of a tenant, oldest first.
	Timeline(ctx context.Context, tenant, subject string) ([]StoredEvent, error)
	// Search returns a page of events whose text matches.
	Search(ctx context.Context, text string, p Page) ([]StoredEvent, Cursor, error)
}

// Holding is what a guard holds: the events and the items set aside of a
// callback, complete, as they become durable facts once released.
type Holding struct {
	Guard  string
	Events []Event
	Aside  []Aside
}

// Rejected is a callback that became no event, or not yet: one that was refused,
// one that was kept, or one that is held.
type Rejected struct {
	// ID is given by the store: at most 64 characters of a-z, 0-9 and "-".
	ID string
	// Kept says that it is a record of kind Kept, which was acknowledged; Held
	// is not nil for one of kind Held, which was too.
	Kept bool
	Held *Holding
	// Reason is one of the few names of a ring: see [Quarantine]. "kept" for
	// what was kept, "held" for what is held.
	Reason   string
	Detail   string
	Tenant   string
	Endpoint string
	Provider string
	Plugin   string
	// Evidence is what verified it all the same, for one that was kept or not
	// understood.
	Evidence []Evidence
	// Callback is the first of the like; its tokens are masked.
	Callback Callback
	// Count is how often the same body came to this endpoint for this reason,
	// Last when it last did.
	Count uint64
	Last  time.Time
}

// Wanted says which rejected callbacks are meant; an empty field is no
// condition.
type Wanted struct {
	Tenant   string
	Endpoint string
	Reason   string
}

// Quarantine holds what could not be verified or understood, to be run again
// when the plugin, the secret or the setting is mended (invariant 9), and shows
// the kept and the held callbacks, which an Append made, beside it.
//
// What was refused lies in a ring for each endpoint and reason: a flood in one
// pushes out its own oldest and nothing else, and equal bodies take one place.
// What was kept or is held is in no ring and stays until it is dropped by name.
type Quarantine interface {
	// Put takes what was refused. Nobody waits for it: it returns before the
	// callback is durable, which it is after a second or so. An error says that
	// there was no room for it at the moment. r must not change any more; its ID,
	// Count and Last are the store's to give.
	Put(ctx context.Context, r *Rejected) error
	// List lists by time of receipt, the oldest first, at most n after the cursor
	// (empty for the first page). The returned cursor is empty at the end; before
	// it a page may have fewer than n, or none.
	List(ctx context.Context, want Wanted, after Cursor, n int) ([]Rejected, Cursor, error)
	// Get returns one, or ErrNotFound.
	Get(ctx context.Context, id string) (*Rejected, error)
	// Drop forgets one for good, durably; ErrNotFound if it is not there. The
	// record of a kept or held callback stays in the log; it only counts as one
	// no more.
	Drop(ctx context.Context, id string) error
}

// Status is how a store is doing.
type Status struct {
	// Engine is the name of the engine, as in the configuration.
	Engine string `json:"engine"`
	// Full says why nothing is appended for now; empty when it is.
	Full string `json:"full,omitempty"`
	// Bytes are what the store takes up, Free what is left to it; zero when the
	// engine does not know.
	Bytes int64 `json:"bytes"`
	Free  int64 `json:"free"`
	// Segments are the parts of the log, Oldest the receipt of the oldest
	// record's callback; zero without a record.
	Segments int       `json:"segments"`
	Oldest   time.Time `json:"oldest,omitzero"`
	// Kept are callbacks waiting to be reprocessed, Held those waiting to be
	// released, Quarantined those refused.
	Kept        int `json:"kept"`
	Held        int `json:"held"`
	Quarantined int `json:"quarantined"`
	// Damaged names what was found damaged and moved aside, and what was lost
	// with it, a line each.
	Damaged []string `json:"damaged,omitempty"`
}

// Store is an engine: all four roles, and a life. Consumers take only the role
// they need.
type Store interface {
	Appender
	Queue
	Quarantine
	Reader
	// Status reports how the store is doing. It does not wait for the disk.
	Status(ctx context.Context) (Status, error)
	// Failed is closed when the engine has failed and accepts nothing more
	// (invariant 13); the process should end and be started again.
	Failed() <-chan struct{}
	// Close writes what is unwritten and frees the files. Nothing may be
	// called after it.
	Close() error
}

// Unsupported answers [ErrUnsupported] to whatever an engine does not do. An
// engine embeds it and has methods of its own for the rest.
type Unsupported struct{}

// Pause answers ErrUnsupported.
func (Unsupported) Pause(context.Context, string) error {
	return fmt.Errorf("pause: %w", ErrUnsupported)
}

// Resume answers ErrUnsupported.
func (Unsupported) Resume(context.Context, string) error {
	return fmt.Errorf("resume: %w", ErrUnsupported)
}

// Replay answers ErrUnsupported.
func (Unsupported) Replay(context.Context, string, Cursor, Cursor) error {
	return fmt.Errorf("replay: %w", ErrUnsupported)
}

// StopReplay answers ErrUnsupported.
func (Unsupported) StopReplay(context.Context, string) error {
	return fmt.Errorf("stop a replay: %w", ErrUnsupported)
}

// Sinks answers ErrUnsupported.
func (Unsupported) Sinks(context.Context) ([]string, error) {
	return nil, fmt.Errorf("list the sinks: %w", ErrUnsupported)
}

// Put answers ErrUnsupported.
func (Unsupported) Put(context.Context, *Rejected) error {
	return fmt.Errorf("quarantine: %w", ErrUnsupported)
}

// List answers ErrUnsupported.
func (Unsupported) List(context.Context, Wanted, Cursor, int) ([]Rejected, Cursor, error) {
	return nil, "", fmt.Errorf("list the quarantine: %w", ErrUnsupported)
}

// Get answers ErrUnsupported.
func (Unsupported) Get(context.Context, string) (*Rejected, error) {
	return nil, fmt.Errorf("read the quarantine: %w", ErrUnsupported)
}

// Drop answers ErrUnsupported.
func (Unsupported) Drop(context.Context, string) error {
	return fmt.Errorf("drop from the quarantine: %w", ErrUnsupported)
}

// Status answers ErrUnsupported.
func (Unsupported) Status(context.Context) (Status, error) {
	return Status{}, fmt.Errorf("status: %w", ErrUnsupported)
}

// Timeline answers ErrUnsupported.
func (Unsupported) Timeline(context.Context, string, string) ([]StoredEvent, error) {
	return nil, fmt.Errorf("timeline: %w", ErrUnsupported)
}

// Search answers ErrUnsupported.
func (Unsupported) Search(context.Context, string, Page) ([]StoredEvent, Cursor, error) {
	return nil, "", fmt.Errorf("search: %w", ErrUnsupported)
}

// cursorForm has a fixed width, so that cursors sort as text; for engines whose
// position is a sequence and an index.
const cursorForm = "%016x%04x"

// CursorAt makes the cursor of an event at a sequence and an index.
func CursorAt(seq uint64, index int) Cursor {
	return Cursor(fmt.Sprintf(cursorForm, seq, index))
}

// At is the inverse of [CursorAt].
func (c Cursor) At() (seq uint64, index int, err error) {
	if c == "" {
		return 0, 0, nil
	}
	if _, err := fmt.Sscanf(string(c), cursorForm, &seq, &index); err != nil || CursorAt(seq, index) != c {
		return 0, 0, fmt.Errorf("cursor %q is not one of this store's", string(c))
	}
	return seq, index, nil
}
