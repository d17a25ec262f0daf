package sdktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/sdk/internal/abi"
)

// result is what a golden expects; docs/goldens.md §2.
type result struct {
	Verdict  string     `json:"verdict"`
	Reason   string     `json:"reason,omitempty"`
	Detail   string     `json:"detail,omitempty"`
	Evidence []evidence `json:"evidence,omitempty"`
	Answer   *answer    `json:"answer,omitempty"`
	Events   []*event   `json:"events,omitempty"`
	Aside    []aside    `json:"aside,omitempty"`
}

type evidence struct {
	Secret    string `json:"secret"`
	Value     int    `json:"value"`
	Algorithm string `json:"algorithm"`
	Covers    string `json:"covers"`
}

type answer struct {
	Status      int32  `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body,omitempty"`
}

type event struct {
	Evidence       int32           `json:"evidence"`
	Type           string          `json:"type,omitempty"`
	Subject        string          `json:"subject,omitempty"`
	Time           string          `json:"time,omitempty"`
	Key            []string        `json:"key,omitempty"`
	Status         string          `json:"status,omitempty"`
	ProviderStatus string          `json:"provider_status,omitempty"`
	Amount         string          `json:"amount,omitempty"`
	Currency       string          `json:"currency,omitempty"`
	Minor          *int64          `json:"minor,omitempty"`
	References     references      `json:"references,omitzero"`
	Method         string          `json:"method,omitempty"`
	Party          string          `json:"party,omitempty"`
	Confirm        bool            `json:"confirm,omitempty"`
	Sandbox        bool            `json:"sandbox,omitempty"`
	ProviderData   json.RawMessage `json:"provider_data,omitempty"`

	at time.Time
}

type references struct {
	Merchant string `json:"merchant,omitempty"`
	Provider string `json:"provider,omitempty"`
	Bank     string `json:"bank,omitempty"`
}

type aside struct {
	Reason string          `json:"reason"`
	Item   json.RawMessage `json:"item"`
}

const (
	wordAccept  = "accept"
	wordIgnore  = "ignore"
	wordRespond = "respond"
	wordReject  = "reject"
)

var (
	verdicts = map[int32]string{
		abi.VerdictAccept: wordAccept, abi.VerdictIgnore: wordIgnore,
		abi.VerdictRespond: wordRespond, abi.VerdictReject: wordReject,
	}
	reasons = map[int32]string{
		0: "not-verified", abi.ReasonNotVerified: "not-verified",
		abi.ReasonMalformed: "malformed", abi.ReasonNotUnderstood: "not-understood",
	}
)

func refused(detail string) *result {
	return &result{Verdict: wordReject, Reason: "not-verified", Detail: detail}
}

// finish turns a verdict and what was said into a result. An error means that
// the plugin failed.
func (h *host) finish(verdict int32, unverified bool) (*result, error) {
	r := &result{Verdict: verdicts[verdict], Evidence: h.evidence}
	if r.Verdict == wordAccept && h.broken != "" {
		r.Verdict, h.reason, h.detail = wordReject, abi.ReasonMalformed, h.broken
	}
	switch r.Verdict {
	case wordAccept:
		r.Answer, r.Events, r.Aside = h.ack, h.events, h.aside
	case wordIgnore:
		r.Answer, r.Detail = h.ack, h.detail
	case wordRespond:
		if h.response == nil {
			return nil, fmt.Errorf("the plugin said respond and gave no answer")
		}
		r.Answer = h.response
	case wordReject:
		r.Reason, r.Detail = reasons[h.reason], h.detail
	default:
		return nil, fmt.Errorf("the plugin returned %d, which is no verdict", verdict)
	}
	if !unverified && !r.proven() {
		return refused("the plugin said " + r.Verdict + " without evidence"), nil
	}
	for i, e := range r.Events {
		err := r.checkKey(e)
		if err == nil {
			err = e.check()
		}
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	return r, nil
}

// checkKey holds an event to a dedup key of its own where nobody vouches for
// the body, whose hash would be the key.
func (r *result) checkKey(e *event) error {
	if e.Evidence >= 0 && len(e.Key) == 0 && !e.Confirm && r.Evidence[e.Evidence].Covers == "fields" {
		return errors.New("no dedup key, no confirm, and the evidence covers fields only")
	}
	return nil
}

func (r *result) proven() bool {
	if r.Verdict != wordAccept && r.Verdict != wordIgnore {
		return true
	}
	for _, e := range r.Events {
		if e.Evidence < 0 {
			return false
		}
	}
	return len(r.Evidence) > 0
}

var (
	typeForm     = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}(\.[a-z0-9][a-z0-9_-]{0,62}){1,4}$`)
	amountForm   = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,23})(\.[0-9]{1,12})?$`)
	currencyForm = regexp.MustCompile(`^[A-Z]{3}$`)
)

// check is docs/goldens.md §3. It also fills what is derived.
func (e *event) check() error {
	switch {
	case !typeForm.MatchString(e.Type):
		return fmt.Errorf("type %q is not of the form family.fact", e.Type)
	case (e.Amount == "") != (e.Currency == ""):
		return fmt.Errorf("amount %q and currency %q: both or neither", e.Amount, e.Currency)
	case e.Amount != "" && !amountForm.MatchString(e.Amount):
		return fmt.Errorf("amount %q is not plain decimal text", e.Amount)
	case e.Currency != "" && !currencyForm.MatchString(e.Currency):
		return fmt.Errorf("currency %q is not three capitals", e.Currency)
	case e.Minor != nil && e.Amount == "":
		return fmt.Errorf("minor %d stands without an amount", *e.Minor)
	}
	if err := e.checkWords(); err != nil {
		return err
	}
	if e.at.IsZero() {
		return nil
	}
	if y := e.at.UTC().Year(); y < 1970 || y > 9999 {
		return fmt.Errorf("time %v is out of range", e.at)
	}
	layout := "2006-01-02T15:04:05Z"
	at := e.at.UTC().Truncate(time.Millisecond)
	if at.Nanosecond() != 0 {
		layout = "2006-01-02T15:04:05.000Z"
	}
	e.Time = at.Format(layout)
	return nil
}

var (
	moneyFamilies = []string{"payment", "payout", "transfer", "charge"}
	moneyFacts    = []string{
		"pending", "succeeded", "failed", "reversed", "refunded", "authorized", "captured", "voided", "canceled", "expired",
	}
)

// checkWords holds an event about money to the words of docs/events.md.
func (e *event) checkWords() error {
	family, fact, _ := strings.Cut(e.Type, ".")
	if !slices.Contains(moneyFamilies, family) {
		return nil
	}
	status := fact
	switch {
	case fact == "notified":
		if status = ""; !e.Confirm {
			return fmt.Errorf("type %q without confirm", e.Type)
		}
	case family == "transfer" && (fact == "credited" || fact == "debited"):
		status = "succeeded"
	case !slices.Contains(moneyFacts, fact):
		return fmt.Errorf("type %q is no fact about money", e.Type)
	}
	if e.Status != status {
		return fmt.Errorf("type %q with status %q, want %q", e.Type, e.Status, status)
	}
	return nil
}

// canonical is the compact form that goldens compare.
func canonical(r any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
