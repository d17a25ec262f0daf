// Command wibmo is the plugin for the callbacks of Wibmo's prepaid platform:
// it tells credits and debits of a wallet. README.md says what is known of the
// sender and what is not.
package main

import postern "github.com/postern/postern/sdk"

func init() { postern.Register(postern.Plugin{Handle: handle, Sign: sign}) }

func main() {}

func handle(cb *postern.Callback) postern.Verdict {
	proof, ok := identify(cb)
	if !ok {
		return cb.Reject(postern.NotVerified, "a static header is not bound")
	}
	body, err := cb.JSON()
	if err != nil || body.Kind("") != postern.Object {
		return cb.Reject(postern.Malformed, "body is not a JSON object")
	}
	direction := upper(body.Text("/transactionType"))
	if direction != "CR" && direction != "DR" {
		return cb.Reject(postern.NotUnderstood, "transactionType is neither CR nor DR: "+direction)
	}
	minor, ok := units(body, "/transactionAmount")
	if !ok {
		return cb.Reject(postern.Malformed, "transactionAmount is not a whole number of minor units")
	}

	id, status := body.Text("/prepaidTransactionId"), upper(body.Text("/transactionStatus"))
	ev := cb.Event(proof).
		Subject(id).
		Key(id, direction, status).
		Time(timestamp(body.Text("/transactionDateTime"), cb.Setting("time_zone"))).
		ProviderStatus(status).
		Amount(postern.Decimal(minor, 2), cb.Setting("currency")).
		Minor(minor).
		ProviderRef(id).
		Method(body.Text("/implType")).
		Party(body.Text("/customerId")).
		ProviderData(body, "")
	switch status {
	case "SUCCESS":
		ev.Type(moved(direction)).Status("succeeded")
	case "FAILED":
		ev.Type("transfer.failed").Status("failed")
	default:
		// The provider's documentation does not list the words. A fact is not
		// made of one that is not known.
		ev.Type("transfer.notified").Confirm()
	}
	return cb.Accept()
}

// identify asks for every static header: all of them are the proof, the first
// stands for them.
func identify(cb *postern.Callback) (postern.Evidence, bool) {
	proof, ok := cb.Token("customer-id")
	for _, name := range [...]string{"client-id", "bank-id"} {
		_, bound := cb.Token(name)
		ok = ok && bound
	}
	cb.Token("entity-id")
	return proof, ok
}

// moved is the type of a transaction that took place. Each direction has its
// own, so that a sink that wants the one never takes the other for it.
func moved(direction string) string {
	if direction == "CR" {
		return "transfer.credited"
	}
	return "transfer.debited"
}

// units reads an amount of implied decimals, sent as a number or as digits in
// a string.
func units(body postern.View, path string) (int64, bool) {
	return postern.Minor(body.Text(path))
}

// timestamp turns YYYYMMDDHHMMSS into RFC 3339; what is not that is returned
// as nothing, for which the time of receipt stands.
func timestamp(t, zone string) string {
	if _, digits := postern.Minor(t); !digits || len(t) != len("20060102150405") {
		return ""
	}
	return t[:4] + "-" + t[4:6] + "-" + t[6:8] + "T" + t[8:10] + ":" + t[10:12] + ":" + t[12:14] + zone
}

// upper is ASCII only: Unicode's folding makes an S of other letters too.
func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// sign has nothing to do: the host puts the static headers in.
func sign(*postern.Unsigned) error { return nil }
