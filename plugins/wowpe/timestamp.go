package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

// timestamp turns "M/D/YYYY h:mm:ss AM", the month first, into RFC 3339. What is
// not that becomes a text that is no time either, which the event passes over.
func timestamp(text, zone string) string {
	words := strings.Split(spaced(text), " ")
	if len(words) != 3 {
		return ""
	}
	day, clock := strings.Split(words[0], "/"), strings.Split(words[1], ":")
	if len(day) != 3 || len(clock) != 3 {
		return ""
	}
	hour, ok := postern.Minor(clock[0])
	if !ok || len(clock[0]) > 2 || hour < 1 || hour > 12 {
		return ""
	}
	hour %= 12
	switch words[2] {
	case "AM":
	case "PM":
		hour += 12
	default:
		return ""
	}
	return day[2] + "-" + two(day[0]) + "-" + two(day[1]) +
		"T" + two(postern.Decimal(hour, 0)) + ":" + clock[1] + ":" + clock[2] + zone
}

// spaced has a space for the narrow one that .NET with newer locale data writes
// before AM and PM.
func spaced(text string) string { return strings.ReplaceAll(text, "\u202f", " ") }

// two puts a zero before a single digit.
func two(digits string) string {
	if len(digits) == 1 {
		return "0" + digits
	}
	return digits
}
