package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

// maxID is the longest text that the host takes as a component of a dedup key.
const maxID = 512

// id is the string or number at path, and nothing for anything else and for
// what is longer than any id.
func id(v postern.View, path string) string {
	text, kind := v.Get(path)
	if len(text) > maxID || (kind != postern.String && kind != postern.Number) {
		return ""
	}
	return text
}

func isPresent(text string) bool { return text != "" }

// isCode reports whether text is one of the five codes of a status.
func isCode(text string) bool { return len(text) == 1 && text[0] >= '0' && text[0] <= '4' }

func isYesOrNo(text string) bool { return text == "Y" || text == "N" }

// isAmount reports whether text is a decimal without sign, exponent or a
// superfluous zero in front, as the host takes it for an event.
func isAmount(text string) bool {
	whole, fraction, point := strings.Cut(text, ".")
	_, ok := postern.Minor(whole)
	if point {
		_, digits := postern.Minor(fraction)
		ok = ok && digits && len(fraction) <= 12
	}
	return ok && (len(whole) == 1 || whole[0] != '0')
}

func isCurrency(text string) bool {
	for i := range len(text) {
		if text[i] < 'A' || text[i] > 'Z' {
			return false
		}
	}
	return len(text) == 3
}

// isTime reports whether text is a moment in UTC in the form that SingleView
// documents, YYYY-MM-DDTHH:MM:SSZ, and in the calendar.
func isTime(text string) bool {
	if len(text) != len("2006-01-02T15:04:05Z") ||
		text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':' || text[19] != 'Z' {
		return false
	}
	year, ok := postern.Minor(text[:4])
	month := number(text[5:7], 1, 12)
	return ok && year >= 1970 && month > 0 && number(text[8:10], 1, daysIn(year, month)) > 0 &&
		number(text[11:13], 0, 23) >= 0 && number(text[14:16], 0, 59) >= 0 && number(text[17:19], 0, 59) >= 0
}

// number is the number of digits only that text is, -1 where it is none or not
// from least to most.
func number(text string, least, most int64) int64 {
	n, ok := postern.Minor(text)
	if !ok || n < least || n > most {
		return -1
	}
	return n
}

func daysIn(year, month int64) int64 {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}
