package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

// timestamp turns "M/D/YYYY h:mm:ss AM", the month first, into RFC 3339; what is
// not that is returned as nothing. The host refuses a day that there is not.
func timestamp(text, zone string) string {
	words := strings.Split(text, " ")
	if len(words) != 3 || words[2] != "AM" && words[2] != "PM" {
		return ""
	}
	day, clock := strings.Split(words[0], "/"), strings.Split(words[1], ":")
	if len(day) != 3 || len(clock) != 3 {
		return ""
	}
	month, dayOfMonth, year := number(day[0], 1, 2), number(day[1], 1, 2), number(day[2], 4, 4)
	hour, minute, second := number(clock[0], 1, 2), number(clock[1], 2, 2), number(clock[2], 2, 2)
	if month < 1 || dayOfMonth < 1 || year < 0 || hour < 1 || hour > 12 || minute < 0 || second < 0 {
		return ""
	}
	hour %= 12
	if words[2] == "PM" {
		hour += 12
	}
	return pad(year, 4) + "-" + pad(month, 2) + "-" + pad(dayOfMonth, 2) +
		"T" + pad(hour, 2) + ":" + pad(minute, 2) + ":" + pad(second, 2) + zone
}

// number reads a number of least to most digits; -1 is none.
func number(text string, least, most int) int64 {
	n, ok := postern.Minor(text)
	if !ok || len(text) < least || len(text) > most {
		return -1
	}
	return n
}

// pad writes a number with zeros before it, up to four digits.
func pad(n int64, width int) string {
	text := postern.Decimal(n, 0)
	return "0000"[:max(0, width-len(text))] + text
}
