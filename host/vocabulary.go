package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The closed vocabulary of the families about money. A sink acts on these
// words: one that a plugin made up would be read as whatever comes nearest.
// docs/events.md lists them, docs/schema says them as JSON Schema.
var (
	moneyFamilies = []string{"payment", "payout", "transfer", "charge"}
	// moneyFacts are the states of a transaction; each is its status too.
	moneyFacts = []string{
		"pending", "succeeded", "failed", "reversed", "refunded",
		"authorized", "captured", "voided", "canceled", "expired",
	}
	// transferFacts say which way the money went; only a transfer has them.
	transferFacts = []string{"credited", "debited"}
)

const (
	// factNotified: something happened, and what it was must be asked for.
	factNotified = "notified"
	// statusSucceeded is the status of money that has moved.
	statusSucceeded = "succeeded"
)

// checkWords reports what is not of the vocabulary, with the words that are.
// Other families have words of their own.
func (d *Draft) checkWords() error {
	family, fact, _ := strings.Cut(d.Type, ".")
	switch {
	case !slices.Contains(moneyFamilies, family):
		return nil
	case fact == factNotified:
		if !d.Confirm {
			return errors.New("confirm is not set: " + d.Type + " is a hint, the fact must be asked for")
		}
		return d.wantStatus("")
	case family == "transfer" && slices.Contains(transferFacts, fact):
		return d.wantStatus(statusSucceeded)
	case slices.Contains(moneyFacts, fact):
		return d.wantStatus(fact)
	}
	words := append(slices.Clone(moneyFacts), factNotified)
	if family == "transfer" {
		words = append(words, transferFacts...)
	}
	return fmt.Errorf("type %q: after %s. comes one of %s", d.Type, family, strings.Join(words, ", "))
}

func (d *Draft) wantStatus(want string) error {
	if d.Status == want {
		return nil
	}
	if want == "" {
		return fmt.Errorf("status %q: %s has none", d.Status, d.Type)
	}
	return fmt.Errorf("status %q: that of %s is %s", d.Status, d.Type, want)
}
