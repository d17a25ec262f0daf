package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"github.com/postern/postern/host"
)

// plan is the form of plugins/*/testdata/matrix.json: which callbacks the
// provider sends, and what does not apply to it. Adding a provider to the
// matrix is adding this file.
type plan struct {
	// Credentials are all the places that a callback is verified by. A case
	// that spoils one is run for each.
	Credentials []credential `json:"credentials"`
	// Items is the JSON Pointer to the array of a batch; empty where not.batch
	// says why there is none.
	Items string `json:"items"`
	// Not says why a case does not apply, by its name.
	Not  map[string]string `json:"not"`
	Rows []row             `json:"rows"`
	// Mutations are for mutation_test.go.
	Mutations []mutations `json:"mutations"`
}

// row is one status of the provider.
type row struct {
	// Status is the row's label: what the provider says, in its words.
	Status string `json:"status"`
	// Golden is an accepted callback of that status, and Later one that can
	// follow it for the same transaction.
	Golden string `json:"golden"`
	Later  string `json:"later"`
	// Credentials and Not stand over the plan's.
	Credentials []credential      `json:"credentials"`
	Not         map[string]string `json:"not"`
}

// trial is a row with its golden, ready to be spoilt.
type trial struct {
	*provider

	row         *row
	golden      golden
	credentials []credential
}

// errEmpty is a cell for which the plan has neither data nor a reason.
var errEmpty = errors.New("the cell is empty")

// columns are the cases, each derived from the row's golden. A case says what
// came out, as measured, and what is wrong with that.
var columns = []struct {
	name string
	run  func(*trial) (string, error)
	// always is a case that no plan may leave out.
	always bool
}{
	{"accept", (*trial).accept, true},
	{"bad", (*trial).bad, false},
	{"missing", (*trial).missing, false},
	{"truncated", (*trial).truncated, false},
	{"other-key", (*trial).otherKey, false},
	{"rotated", (*trial).rotated, false},
	{"duplicate", (*trial).duplicate, true},
	{"later status", (*trial).later, false},
	{"batch", (*trial).batch, false},
	{"malformed", (*trial).malformed, true},
}

// table is what the matrix found: cells to print, the reasons of what does not
// apply, and everything that is wrong.
type table struct {
	cells, legend, problems []string
}

// judge runs every case of every row.
func (p *provider) judge() *table {
	out := &table{}
	for i := range p.plan.Rows {
		p.judgeRow(&p.plan.Rows[i], out)
	}
	for _, problem := range p.unlisted() {
		out.problems = append(out.problems, p.name+": "+problem)
	}
	return out
}

func (p *provider) judgeRow(r *row, out *table) {
	line := []string{p.name, r.Status}
	g, err := p.golden(r.Golden)
	if err != nil {
		out.problems = append(out.problems, fmt.Sprintf("%s: %s: %v", p.name, r.Status, err))
	}
	tr := &trial{p, r, g, p.plan.Credentials}
	if len(r.Credentials) > 0 {
		tr.credentials = r.Credentials
	}
	for _, c := range columns {
		why, whose := p.plan.Not[c.name], p.name
		if own := r.Not[c.name]; own != "" {
			why, whose = own, p.name+" "+r.Status
		}
		if why != "" && !c.always {
			line = append(line, "n/a")
			out.legend = append(out.legend, fmt.Sprintf("%s of %s: %s", c.name, whose, why))
			continue
		}
		cell, err := "", err
		if g.Golden != nil {
			cell, err = c.run(tr)
		}
		if err != nil {
			out.problems = append(out.problems, fmt.Sprintf("%s: %s: %s: got %q: %v", p.name, r.Status, c.name, cell, err))
		}
		line = append(line, cell)
	}
	out.cells = append(out.cells, strings.Join(line, "\t"))
}

// unlisted names the statuses that an accepted golden has and no row does.
func (p *provider) unlisted() []string {
	listed := map[[2]string]bool{}
	for i := range p.plan.Rows {
		if g, err := p.golden(p.plan.Rows[i].Golden); err == nil {
			for _, e := range g.expect.Events {
				listed[[2]string{e.Type, e.ProviderStatus}] = true
			}
		}
	}
	var found []string
	for i := range p.goldens {
		for _, e := range p.goldens[i].expect.Events {
			if !listed[[2]string{e.Type, e.ProviderStatus}] {
				found = append(found, fmt.Sprintf("no row has %s with the provider's status %q, which the golden %s has",
					e.Type, e.ProviderStatus, p.goldens[i].Name))
			}
		}
	}
	return found
}

// outcome is a callback's answer and what the store did, as a cell.
func outcome(answer host.Answer, rec *host.Record, receipt host.Receipt) string {
	words := []string{fmt.Sprint(answer.Status)}
	if rec != nil && rec.Kind != host.Accepted {
		words = append(words, rec.Kind.String())
	}
	counts := map[host.Disposition]int{}
	for _, d := range slices.Concat(receipt.Events, receipt.Aside) {
		counts[d]++
	}
	for _, d := range slices.Sorted(maps.Keys(counts)) {
		word := d.String()
		if counts[d] > 1 {
			word = fmt.Sprintf("%d %s", counts[d], word)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// accept takes the golden as it is.
func (tr *trial) accept() (string, error) {
	d, err := tr.desk(&tr.golden, tr.golden.Secrets)
	if err != nil {
		return "", err
	}
	answer, rec, receipt := d.take(&tr.golden)
	return outcome(answer, rec, receipt), tr.check(answer, rec, receipt, &tr.golden.expect, 0)
}

// check compares a record with what the golden expects, where every bound
// value stands older places further down. All its events must be new.
func (tr *trial) check(answer host.Answer, rec *host.Record, receipt host.Receipt, want *expected, older int) error {
	if answer.Status < 200 || answer.Status > 299 || rec == nil || receipt.Seq == 0 {
		return fmt.Errorf("it is not taken: %s", answer.Body)
	}
	kind := host.Accepted
	if want.Verdict == "ignore" {
		kind = host.Ignored
	}
	if rec.Kind != kind {
		return fmt.Errorf("the record is of kind %v, want %v", rec.Kind, kind)
	}
	if len(want.Evidence) == 0 && !tr.golden.Unverified {
		return errors.New("the golden has no evidence")
	}
	ack := want.Answer
	if ack == nil {
		declared := tr.module.Manifest().AckDecl
		ack = &reply{declared.Status, declared.ContentType, declared.Body}
	}
	if got := (reply{answer.Status, answer.ContentType, string(answer.Body)}); got != *ack {
		return fmt.Errorf("the answer is %v, want %v", got, *ack)
	}
	evidence := slices.Clone(want.Evidence)
	for i := range evidence {
		evidence[i].Value += older
	}
	if diff := cmp.Diff(evidence, rec.Evidence[:min(len(rec.Evidence), len(evidence))]); diff != "" {
		return fmt.Errorf("evidence:\n%s", diff)
	}
	return sameEvents(rec, receipt, want)
}

func sameEvents(rec *host.Record, receipt host.Receipt, want *expected) error {
	if len(rec.Events) != len(want.Events) {
		return fmt.Errorf("%d events, want %d", len(rec.Events), len(want.Events))
	}
	for i := range rec.Events {
		ev, w := &rec.Events[i], &want.Events[i]
		var data struct{ Status string }
		if err := json.Unmarshal(ev.Data, &data); err != nil {
			return err
		}
		if ev.Type != w.Type || data.Status != w.Status || ev.Subject != w.Subject {
			return fmt.Errorf("event %d: %s of %q with status %q, want %s of %q with %q",
				i, ev.Type, ev.Subject, data.Status, w.Type, w.Subject, w.Status)
		}
		if receipt.Events[i] != host.Stored {
			return fmt.Errorf("event %d: %v, want it to be new", i, receipt.Events[i])
		}
	}
	return nil
}

// spoil changes each credential in turn and wants the one answer of a callback
// that is not verified.
func (tr *trial) spoil(change func(string) string) (string, error) {
	if len(tr.credentials) == 0 {
		return "", errEmpty
	}
	cell, wrong := "", []error(nil)
	for _, c := range tr.credentials {
		spoilt := tr.golden
		if err := c.alter(&spoilt, change); err != nil {
			return cell, err
		}
		var err error
		cell, err = tr.refused(&spoilt, tr.golden.Secrets)
		wrong = append(wrong, err)
	}
	return times(cell, len(tr.credentials)), errors.Join(wrong...)
}

func times(cell string, n int) string {
	if n == 1 {
		return cell
	}
	return fmt.Sprintf("%s ×%d", cell, n)
}

// refused takes a callback that must not be verified: the uniform answer, no
// record.
func (tr *trial) refused(g *golden, secrets map[string][]string) (string, error) {
	d, err := tr.desk(&tr.golden, secrets)
	if err != nil {
		return "", err
	}
	answer, rec, receipt := d.take(g)
	cell := outcome(answer, rec, receipt)
	if rec != nil {
		return cell, errors.New("it made a record")
	}
	if diff := cmp.Diff(host.Failure(host.CallbackNotVerified), answer); diff != "" {
		return cell, fmt.Errorf("the answer is not the one for every cause:\n%s", diff)
	}
	return cell, nil
}

func (tr *trial) bad() (string, error) {
	return tr.spoil(func(s string) string { return otherText(s, len(s)/2) })
}

func (tr *trial) missing() (string, error) { return tr.spoil(nil) }

func (tr *trial) truncated() (string, error) {
	return tr.spoil(func(s string) string { return s[:len(s)/2] })
}

// otherKey binds the endpoint with another value of each secret in turn.
func (tr *trial) otherKey() (string, error) {
	names := slices.Sorted(maps.Keys(tr.golden.Secrets))
	if len(names) == 0 {
		return "", errEmpty
	}
	cell, wrong := "", []error(nil)
	for _, name := range names {
		secrets := maps.Clone(tr.golden.Secrets)
		secrets[name] = others(secrets[name])
		var err error
		cell, err = tr.refused(&tr.golden, secrets)
		wrong = append(wrong, err)
	}
	return times(cell, len(names)), errors.Join(wrong...)
}

func others(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		const form = "whsec_" // a key of the form must begin so
		rest, has := strings.CutPrefix(v, form)
		if out[i] = otherText(rest, 0); has {
			out[i] = form + out[i]
		}
	}
	return out
}

// rotated binds a new value of every secret before the one that the callback
// was made with, which still counts and is recorded as the older one.
func (tr *trial) rotated() (string, error) {
	secrets := make(map[string][]string)
	for name, values := range tr.golden.Secrets {
		secrets[name] = append(others(values[:1]), values...)
	}
	if len(secrets) == 0 {
		return "", errEmpty
	}
	d, err := tr.desk(&tr.golden, secrets)
	if err != nil {
		return "", err
	}
	answer, rec, receipt := d.take(&tr.golden)
	cell := outcome(answer, rec, receipt)
	if rec != nil && len(rec.Evidence) > 0 {
		cell += fmt.Sprintf(" by value %d", rec.Evidence[0].Value)
	}
	return cell, tr.check(answer, rec, receipt, &tr.golden.expect, 1)
}

// duplicate takes the same callback twice. What gives no event has nothing to
// be a duplicate of: it is recorded again.
func (tr *trial) duplicate() (string, error) {
	d, err := tr.desk(&tr.golden, tr.golden.Secrets)
	if err != nil {
		return "", err
	}
	first, _, _ := d.take(&tr.golden)
	answer, rec, receipt := d.take(&tr.golden)
	return outcome(answer, rec, receipt), errors.Join(sameAnswer(first, answer), repeated(rec, receipt, &tr.golden.expect))
}

func sameAnswer(first, second host.Answer) error {
	if diff := cmp.Diff(first, second); diff != "" {
		return fmt.Errorf("a repeat is answered unlike the first:\n%s", diff)
	}
	return nil
}

// repeated wants every event to be a duplicate.
func repeated(rec *host.Record, receipt host.Receipt, want *expected) error {
	if rec == nil || len(receipt.Events) != len(want.Events) || len(receipt.Aside) != len(want.Aside) {
		return errors.New("the repeat is not taken as the first was")
	}
	for i, disposition := range slices.Concat(receipt.Events, receipt.Aside) {
		if disposition != host.Duplicate {
			return fmt.Errorf("event %d of the repeat: %v", i, disposition)
		}
	}
	return nil
}

// later takes the row's golden, then a later status of the same transaction,
// which must be new, then the first once more, which must not.
func (tr *trial) later() (string, error) {
	if tr.row.Later == "" {
		return "", errEmpty
	}
	then, err := tr.provider.golden(tr.row.Later)
	if err != nil {
		return "", err
	}
	if len(tr.golden.expect.Events) > 0 && !slices.ContainsFunc(then.expect.Events, func(e event) bool {
		return slices.ContainsFunc(tr.golden.expect.Events, func(f event) bool { return f.Subject == e.Subject })
	}) {
		return "", fmt.Errorf("%s and %s are not of one transaction", tr.row.Golden, tr.row.Later)
	}
	d, err := tr.desk(&tr.golden, tr.golden.Secrets)
	if err != nil {
		return "", err
	}
	d.take(&tr.golden)
	answer, rec, receipt := d.take(&then)
	cell := outcome(answer, rec, receipt)
	if err := tr.check(answer, rec, receipt, &then.expect, 0); err != nil {
		return cell, err
	}
	_, rec, receipt = d.take(&tr.golden)
	return cell, repeated(rec, receipt, &tr.golden.expect)
}

// batch puts into one callback the row's items, one that is nothing, and those
// of another status of the transaction: each good one is stored, the bad one
// set aside.
func (tr *trial) batch() (string, error) {
	if tr.plan.Items == "" {
		return "", errEmpty
	}
	want := tr.golden.expect
	want.Events = slices.Clone(want.Events)
	texts := []string{`{}`}
	if name := tr.partner(); name != "" {
		other, err := tr.provider.golden(name)
		if err != nil {
			return "", err
		}
		inner, err := items(other.body, tr.plan.Items)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		texts = append(texts, inner)
		want.Events = append(want.Events, other.expect.Events...)
	}
	inner, err := items(tr.golden.body, tr.plan.Items)
	if err != nil {
		return "", err
	}
	many := tr.golden
	many.body = []byte(strings.Replace(string(many.body), inner, inner+","+strings.Join(texts, ","), 1))
	d, err := tr.desk(&tr.golden, tr.golden.Secrets)
	if err != nil {
		return "", err
	}
	answer, rec, receipt := d.take(&many)
	cell := outcome(answer, rec, receipt)
	if err := tr.check(answer, rec, receipt, &want, 0); err != nil {
		return cell, err
	}
	if len(receipt.Aside) != len(want.Aside)+1 || slices.Contains(receipt.Aside, host.Duplicate) {
		return cell, fmt.Errorf("items set aside: %v, want one more than without the bad one", receipt.Aside)
	}
	return cell, nil
}

// partner is a golden of another status of the row's transaction.
func (tr *trial) partner() string {
	if tr.row.Later != "" {
		return tr.row.Later
	}
	for i := range tr.plan.Rows {
		if tr.plan.Rows[i].Later == tr.row.Golden {
			return tr.plan.Rows[i].Golden
		}
	}
	return ""
}

// items is the text between the brackets of an array.
func items(body []byte, pointer string) (string, error) {
	all, err := members(body)
	if err != nil {
		return "", err
	}
	for _, m := range all {
		if text := string(body[m.value:m.end]); m.path == pointer && len(text) > 2 && text[0] == '[' {
			return text[1 : len(text)-1], nil
		}
	}
	return "", fmt.Errorf("no array with items at %s", pointer)
}

// malformed cuts the body in half. Where the signature covers the body's bytes
// that is first of all not verified. Where a token says whose it is, and the
// provider does not send again, it is kept as it came.
func (tr *trial) malformed() (string, error) {
	half := tr.golden
	half.body = half.body[:len(half.body)/2]
	d, err := tr.desk(&tr.golden, tr.golden.Secrets)
	if err != nil {
		return "", err
	}
	answer, rec, receipt := d.take(&half)
	cell := outcome(answer, rec, receipt)
	switch {
	case rec == nil && (answer.Status == http.StatusBadRequest || answer.Status == http.StatusUnauthorized):
		return cell, nil
	case rec != nil && rec.Kind == host.Kept && len(rec.Evidence) > 0 && d.ep.Unable == host.Keep:
		return cell, nil
	}
	return cell, errors.New("half a body is neither refused nor kept as it came")
}

// TestMatrix prints provider × status × case. A cell is what came out, by the
// real sandbox, the pipeline and a store in memory: the answer's status and
// what became of the events.
func TestMatrix(t *testing.T) {
	out := t.Output()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	heads := []string{"provider", "status"}
	for _, c := range columns {
		heads = append(heads, c.name)
	}
	fmt.Fprintln(w, strings.Join(heads, "\t"))
	var legend []string
	for _, name := range providerNames(t) {
		t.Run(name, func(t *testing.T) {
			found := loadProvider(t, name).judge()
			if len(found.cells) == 0 {
				t.Error("it has no row")
			}
			for _, problem := range found.problems[:min(20, len(found.problems))] {
				t.Error(problem)
			}
			fmt.Fprintln(w, strings.Join(found.cells, "\n"))
			for _, line := range found.legend {
				if !slices.Contains(legend, line) {
					legend = append(legend, line)
				}
			}
		})
	}
	w.Flush()
	for _, line := range legend {
		fmt.Fprintln(out, "n/a:", line)
	}
	fmt.Fprintln(w, "\nfuel of a golden\tleast\tmiddle\tmost")
	for _, name := range providerNames(t) {
		fmt.Fprintln(w, loadProvider(t, name).fuel(t))
	}
	w.Flush()
}

// fuel says what the goldens burn, the same on every machine, and which the most.
func (p *provider) fuel(t *testing.T) string {
	t.Helper()
	var all []int64
	most := ""
	for i := range p.goldens {
		g := &p.goldens[i]
		ep, err := p.endpoint(g, g.Secrets)
		if err != nil {
			t.Fatalf("%s: golden %s: %v", p.name, g.Name, err)
		}
		res, err := ep.Judge(t.Context(), g.callback())
		if err != nil {
			t.Fatalf("%s: golden %s: %v", p.name, g.Name, err)
		}
		if len(all) == 0 || res.Fuel > slices.Max(all) {
			most = g.Name
		}
		all = append(all, res.Fuel)
	}
	slices.Sort(all)
	return fmt.Sprintf("%s, %d\t%d\t%d\t%d (%s)", p.name, len(all), all[0], all[len(all)/2], all[len(all)-1], most)
}

// spoiled is a plugin that does something wrong with what the real one says.
type spoiled struct {
	host.Plugin

	spoil func(host.Result) host.Result
}

func (s spoiled) Handle(ctx context.Context, cb *host.Callback) (host.Result, error) {
	res, err := s.Plugin.Handle(ctx, cb)
	return s.spoil(res), err
}

// TestMatrix_notices breaks a plan, and a plugin, in every way that the matrix
// is there to find. A matrix that says nothing about it is no matrix.
func TestMatrix_notices(t *testing.T) {
	p := loadProvider(t, "ottu")
	whole := p.plan
	good := p.judge()
	if len(good.problems) > 0 {
		t.Fatalf("unbroken: %q", good.problems)
	}
	paid, err := p.golden("paid")
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.desk(&paid, paid.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	always, err := d.ep.Judge(t.Context(), paid.callback())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		plan  func(*plan)
		spoil func(host.Result) host.Result
		want  string
	}{
		{"a row is taken out", func(p *plan) { p.Rows = p.Rows[1:] }, nil, `no row has payment.pending with the provider's status "created"`},
		{"a row's golden is taken out", func(p *plan) { p.Rows[0].Golden = "gone" }, nil, `created: accept: got ""`},
		{"a later status is taken out", func(p *plan) { p.Rows[0].Later = "" }, nil, "created: later status: got \"\": the cell is empty"},
		{"a later status is of another payment", func(p *plan) { p.Rows[0].Later = "subscription" }, nil, "created: later status: got \"\": created and subscription are not of one transaction"},
		{"a reason is taken out", func(p *plan) { p.Not = map[string]string{"batch": ""} }, nil, "created: batch: got \"\": the cell is empty"},
		{"a reason stands for accept", func(p *plan) { p.Not = map[string]string{"batch": "one", "accept": "none"}; p.Rows[0].Golden = "gone" }, nil, "created: accept: got"},
		{"no credential is named", func(p *plan) { p.Credentials = nil }, nil, "created: bad: got \"\": the cell is empty"},
		{"a credential stands elsewhere", func(p *plan) { p.Credentials = []credential{"header:X-Signature"} }, nil, "created: bad: got \"\": no header X-Signature"},
		{"the plugin takes anything", nil, func(host.Result) host.Result { return always }, `paid: bad: got "200 stored"`},
		{"the plugin takes half a body", nil, func(host.Result) host.Result { return always }, `paid: malformed: got "200 stored"`},
		{"the plugin takes another key's", nil, func(host.Result) host.Result { return always }, `paid: other-key: got "200 stored"`},
		{"the plugin forgets the state in the key", nil, func(res host.Result) host.Result {
			for i := range res.Events {
				res.Events[i].Key = res.Events[i].Key[:min(2, len(res.Events[i].Key))]
			}
			return res
		}, `created: later status: got "200 conflict"`},
		{"the plugin never makes the same key", nil, func(res host.Result) host.Result {
			for i := range res.Events {
				res.Events[i].Key = []string{rand.Text()}
			}
			return res
		}, `paid: duplicate: got "200 stored"`},
		{"the plugin tells another status", nil, func(res host.Result) host.Result {
			for i := range res.Events {
				res.Events[i].Status = "pending"
			}
			return res
		}, "paid: accept: got"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.plan, p.replace = whole, nil
			p.plan.Rows = slices.Clone(whole.Rows)
			if c.plan != nil {
				c.plan(&p.plan)
			}
			if c.spoil != nil {
				p.replace = func(real host.Plugin) host.Plugin { return spoiled{real, c.spoil} }
			}
			problems := p.judge().problems
			if !slices.ContainsFunc(problems, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("%d problems, none with %q:\n%s", len(problems), c.want, strings.Join(problems, "\n"))
			}
		})
	}
}
