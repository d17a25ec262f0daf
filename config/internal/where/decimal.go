package where

import (
	"errors"
	"math/big"

	"github.com/postern/postern/host"
)

// decimal is an exact number.
type decimal struct{ *big.Rat }

// comparisons of two decimals, by what Cmp says of them.
var comparisons = map[string]func(int) bool{
	"<":  func(c int) bool { return c < 0 },
	"<=": func(c int) bool { return c <= 0 },
	">":  func(c int) bool { return c > 0 },
	">=": func(c int) bool { return c >= 0 },
	"==": func(c int) bool { return c == 0 },
	"!=": func(c int) bool { return c != 0 },
}

var errDecimal = errors.New("is no plain decimal text and no whole number")

// toDecimal reads an amount's text, or takes a whole number. A float is none: it
// is not what was written.
func toDecimal(v any) (decimal, error) {
	switch v := v.(type) {
	case int:
		return decimal{new(big.Rat).SetInt64(int64(v))}, nil
	case string:
		// The form has no exponent: a few letters must not become a long number.
		if host.IsAmount(v) {
			if r, ok := new(big.Rat).SetString(v); ok {
				return decimal{r}, nil
			}
		}
	}
	return decimal{}, errDecimal
}
