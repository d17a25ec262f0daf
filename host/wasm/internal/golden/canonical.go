package golden

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern/postern/host"
)

// result is docs/goldens.md §2 as types: members in order, empty ones left out.
type result struct {
	Verdict  string          `json:"verdict"`
	Reason   string          `json:"reason,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	Evidence []host.Evidence `json:"evidence,omitempty"`
	Answer   *answer         `json:"answer,omitempty"`
	Events   []event         `json:"events,omitempty"`
	Aside    []host.Aside    `json:"aside,omitempty"`
}

type answer struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body,omitempty"`
}

type event struct {
	Evidence       int             `json:"evidence"`
	Type           string          `json:"type,omitempty"`
	Subject        string          `json:"subject,omitempty"`
	Time           string          `json:"time,omitempty"`
	Key            []string        `json:"key,omitempty"`
	Status         string          `json:"status,omitempty"`
	ProviderStatus string          `json:"provider_status,omitempty"`
	Amount         string          `json:"amount,omitempty"`
	Currency       string          `json:"currency,omitempty"`
	Minor          *int64          `json:"minor,omitempty"`
	References     host.References `json:"references,omitzero"`
	Method         string          `json:"method,omitempty"`
	Party          string          `json:"party,omitempty"`
	Confirm        bool            `json:"confirm,omitzero"`
	Sandbox        bool            `json:"sandbox,omitzero"`
	ProviderData   jsontext.Value  `json:"provider_data,omitempty"`
}

// Canonical is what a golden expects of a plugin that gave this result: compact
// JSON, equal byte for byte where two results are.
func (*Golden) Canonical(res host.Result) (jsontext.Value, error) {
	out := result{Verdict: res.Verdict.String(), Reason: res.Reason.String(), Evidence: res.Evidence, Aside: res.Aside}
	if res.Verdict == host.Reject || res.Verdict == host.Ignore {
		out.Detail = res.Detail
	}
	if a := res.Answer; a != nil {
		out.Answer = &answer{a.Status, a.ContentType, string(a.Body)}
	}
	for i := range res.Events {
		out.Events = append(out.Events, eventOf(&res.Events[i]))
	}
	return json.Marshal(out, jsontext.EscapeForJS(true), jsontext.PreserveRawStrings(true), jsontext.AllowDuplicateNames(true))
}

// CanonicalRuling is Canonical of what a guard said.
func (*Golden) CanonicalRuling(r host.Ruling) (jsontext.Value, error) {
	type annotation struct {
		Event int    `json:"event"`
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	out := struct {
		Verdict     string       `json:"verdict"`
		Detail      string       `json:"detail,omitempty"`
		Annotations []annotation `json:"annotations,omitempty"`
	}{Verdict: r.Verdict.String(), Detail: r.Detail}
	for _, n := range r.Notes {
		out.Annotations = append(out.Annotations, annotation{n.Event, n.Name, n.Value})
	}
	return json.Marshal(out, jsontext.EscapeForJS(true))
}

func eventOf(d *host.Draft) event {
	e := event{
		Evidence: d.Evidence, Type: d.Type, Subject: d.Subject, Key: d.Key, Status: d.Status,
		ProviderStatus: d.ProviderStatus, Amount: d.Amount, Currency: d.Currency, Minor: d.Minor, References: d.References,
		Method: d.Method, Party: d.Party, Confirm: d.Confirm, Sandbox: d.Sandbox, ProviderData: jsontext.Value(d.ProviderData),
	}
	if !d.Time.IsZero() {
		at := d.Time.UTC().Truncate(time.Millisecond)
		if e.Time = at.Format("2006-01-02T15:04:05Z"); at.Nanosecond() != 0 {
			e.Time = at.Format("2006-01-02T15:04:05.000Z")
		}
	}
	return e
}
