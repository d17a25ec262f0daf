package postern

// maxScale is the longest fraction of a number of minor units: any int64 has
// at most 19 digits.
const maxScale = 18

// Decimal writes minor units as plain decimal text: Decimal(5000, 2) is
// "50.00". Scale is the number of digits after the point, 0 to 18; beyond that
// the text is empty.
func Decimal(units int64, scale int) string {
	if scale < 0 || scale > maxScale {
		return ""
	}
	var buf [24]byte
	// Below zero there is room for every int64, above it not.
	rest := min(units, -units)
	i := len(buf)
	for digits := 0; rest < 0 || digits <= scale; digits++ {
		if digits == scale && scale > 0 {
			i--
			buf[i] = '.'
		}
		i--
		buf[i] = byte('0' - rest%10)
		rest /= 10
	}
	if units < 0 {
		i--
		buf[i] = '-'
	}
	return string(buf[i:])
}

// Minor reads digits without sign, point or exponent as minor units, and
// reports whether the text was that and fits.
func Minor(text string) (units int64, ok bool) {
	if text == "" {
		return 0, false
	}
	for i := range len(text) {
		digit := int64(text[i]) - '0'
		if digit < 0 || digit > 9 || units > (1<<63-1-digit)/10 {
			return 0, false
		}
		units = units*10 + digit
	}
	return units, true
}

// IsAmount reports whether text is an amount as the host takes it for an event:
// plain decimal, at most 24 digits before the point and 12 after it, a minus or
// none, no exponent, no superfluous zero in front. See docs/goldens.md §3.
func IsAmount(text string) bool {
	if text != "" && text[0] == '-' {
		text = text[1:]
	}
	whole := digits(text)
	if whole == 0 || whole > 24 || (text[0] == '0' && whole > 1) {
		return false
	}
	text = text[whole:]
	if text == "" {
		return true
	}
	fraction := digits(text[1:])
	return text[0] == '.' && fraction > 0 && fraction <= 12 && fraction == len(text)-1
}

// CompareAmounts says whether a is less than b (-1), the same (0) or more (1),
// digit by digit: amounts have more of them than a number holds. It is false for
// a text that is no amount ([IsAmount]).
func CompareAmounts(a, b string) (order int, ok bool) {
	if !IsAmount(a) || !IsAmount(b) {
		return 0, false
	}
	sizeA, belowA := size(a)
	sizeB, belowB := size(b)
	switch {
	case belowA && belowB:
		return compareSizes(sizeB, sizeA), true
	case belowA:
		return -1, true
	case belowB:
		return 1, true
	}
	return compareSizes(sizeA, sizeB), true
}

// size is an amount without its minus, and whether it is below zero.
func size(amount string) (size string, below bool) {
	if amount[0] != '-' {
		return amount, false
	}
	return amount[1:], compareSizes(amount[1:], "0") > 0
}

// compareSizes is CompareAmounts for two amounts without a minus.
func compareSizes(a, b string) int {
	wholeA, wholeB := digits(a), digits(b)
	switch {
	case wholeA < wholeB:
		return -1
	case wholeA > wholeB:
		return 1
	}
	for i := range max(len(a), len(b)) {
		switch x, y := digitAt(a, i), digitAt(b, i); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
	}
	return 0
}

// digitAt is the i-th character of an amount, of which zeros follow without end.
// The point, where both have the same digits before it, is a zero to none.
func digitAt(s string, i int) byte {
	if i >= len(s) || s[i] == '.' {
		return '0'
	}
	return s[i]
}

// digits counts the digits at the start of text.
func digits(text string) int {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}

// IsCurrency reports whether text is a currency as the host takes it for an
// event: three capitals of ASCII. That the code is assigned is not checked.
func IsCurrency(text string) bool {
	if len(text) != 3 {
		return false
	}
	for i := range len(text) {
		if text[i] < 'A' || text[i] > 'Z' {
			return false
		}
	}
	return true
}
