// Command singleview is the plugin for SingleView's webhooks: it tells the
// payments of a batch, and the charges of a batch, one event each. README.md
// says what is known of the sender and what is not.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.Register(postern.Plugin{Handle: handle, Sign: sign}) }

func main() {}

// room is how many events and items set aside a callback may have.
const room = 1000

// service is what a callback is about.
type service struct {
	name    string // as SingleView writes it
	setting string // the operator's word for it
	family  string // of its events
	amount  string // the member that holds their amount
}

var services = [...]service{
	{"svWebHookPaymentStatus", "status", "payment", "/amount"},
	{"svWebHookPaymentCharge", "charge", "charge", "/chargeAmount"},
}

// batch is a callback whose items are told one by one.
type batch struct {
	*postern.Callback
	service service
	body    postern.View
	proof   postern.Evidence
	company string
}

func handle(cb *postern.Callback) postern.Verdict {
	proof, ok := cb.Token("token")
	if !ok {
		return cb.Reject(postern.NotVerified, "the token is not bound")
	}
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	b := batch{cb, serviceOf(body.Text("/service")), body, proof, id(body, "/companyCode")}
	switch {
	case b.service.name == "":
		return cb.Reject(postern.NotUnderstood, "service is neither svWebHookPaymentStatus nor svWebHookPaymentCharge")
	case cb.Setting("service") != "any" && cb.Setting("service") != b.service.setting:
		return cb.Reject(postern.NotUnderstood, "service is not the one of this endpoint")
	case b.company == "":
		return cb.Reject(postern.Malformed, "companyCode is absent or no id")
	case !isExpected(cb, b.company):
		return cb.Reject(postern.NotUnderstood, "companyCode is none of company_codes")
	}
	list, ok := items(body)
	if !ok {
		return cb.Reject(postern.Malformed, "there is not one array, payments or payment")
	}
	count := body.Len(list)
	if count == 0 {
		return cb.Ignore("no payments")
	}
	told := count
	if count > room {
		// One place is left for the whole array, so that nothing is lost.
		told = room - 1
		cb.SetAside(body, list, "more than 1000 items: those after the first 999 are told by no event")
	}
	for i := range told {
		b.tell(list + "/" + postern.Decimal(int64(i), 0))
	}
	return cb.Accept()
}

func serviceOf(name string) service {
	for _, s := range services {
		if s.name == name {
			return s
		}
	}
	return service{}
}

// isExpected reports whether the operator takes callbacks about a company.
func isExpected(cb *postern.Callback, company string) bool {
	setting, err := cb.Decode(cb.Setting("company_codes"), postern.Raw)
	if err != nil {
		return false
	}
	codes, err := setting.JSON()
	if err != nil {
		return false
	}
	for i := range codes.Len("") {
		if codes.Text("/"+postern.Decimal(int64(i), 0)) == company {
			return true
		}
	}
	return codes.Len("") == 0
}

// items is the path of the batch: the samples call it payments, the tables
// payment. With both there is no telling which one is meant; null is none.
func items(body postern.View) (list string, ok bool) {
	many, one := body.Kind("/payments"), body.Kind("/payment")
	if many == postern.Array && one <= postern.Null {
		return "/payments", true
	}
	return "/payment", one == postern.Array && many <= postern.Null
}

// tell makes the event of an item, or sets the item aside. Every text is looked
// at before the event begins: a setter that failed would take the whole batch
// with it, and after three such SingleView calls no more.
func (b batch) tell(item string) {
	var flaw string
	read := func(name string, is func(string) bool, want string) string {
		text := id(b.body, item+name)
		if flaw == "" && !is(text) {
			flaw = name[1:] + " is not " + want
		}
		return text
	}
	if b.body.Kind(item) != postern.Object {
		b.SetAside(b.body, item, "the item is not an object")
		return
	}
	payID, seqNum, svRefID := read("/payId", isPresent, "an id"), read("/seqNum", isPresent, "an id"), read("/svRefId", isPresent, "an id")
	// A number that is absent is not 0, which would be a success.
	status, approval := read("/status", isCode, "one of 0 to 4"), read("/approval_status", isCode, "one of 0 to 4")
	amount, currency := plain(read(b.service.amount, isAmount, "a plain decimal")), read("/currency", postern.IsCurrency, "three capitals")
	var charge []string
	if b.service.family == "charge" {
		charge = []string{amount, read("/bankCharges", isYesOrNo, "Y or N")}
	}
	if flaw != "" {
		b.SetAside(b.body, item, flaw)
		return
	}

	word := fact(status, approval)
	key := []string{b.service.name, b.company, payID, seqNum, svRefID, word}
	if word == "pending" || word == "notified" {
		// Each step of what is open is news. What has ended ended once: who
		// approves it afterwards must not have it posted again.
		key = append(key, status, approval)
	}
	ev := b.Event(b.proof).
		Type(b.service.family+"."+word).
		Subject(svRefID).
		Key(append(key, charge...)...).
		ProviderStatus(statuses[status[0]-'0']).
		Amount(amount, currency).
		MerchantRef(payID).
		ProviderRef(svRefID).
		Time(b.body.Text(item+"/txnDate")).
		ProviderData(b.body, item)
	if word == "notified" {
		ev.Confirm()
	} else {
		ev.Status(word)
	}
}

// statuses are SingleView's words for the statuses 0 to 4.
var statuses = [...]string{"COMPLETED", "FAILED", "BANK PROCESS", "ONHOLD", "OPEN"}

// fact is Postern's word for a payment's status and its approval's.
func fact(status, approval string) string {
	rejected := approval == "4"
	switch {
	case status == "0" && rejected:
		// The one says that the money has gone, the other that it must not.
		return "notified"
	case status == "0":
		return "succeeded"
	case status == "1":
		return "failed"
	case rejected:
		return "canceled"
	}
	return "pending"
}

// sign has nothing to do: the host puts the token in.
func sign(*postern.Unsigned) error { return nil }
