package main

import (
	"strings"

	postern "github.com/postern/postern/sdk"
)

// maxDigits is the longest number of milliseconds until the year 9999.
const maxDigits = 15

// instant reads a timestamp as milliseconds since 1970. A number has one
// spelling: a zero in front could be the end of what is signed before it.
func instant(text, form string) (ms int64, ok bool) {
	if form == "rfc3339" {
		return rfc3339(text)
	}
	return unix(text, form)
}

// unix reads seconds or milliseconds since 1970, without a zero in front.
func unix(text, form string) (ms int64, ok bool) {
	if text == "" || len(text) > maxDigits || text[0] == '0' {
		return 0, false
	}
	n, ok := postern.Minor(text)
	if form == "seconds" {
		n *= 1000
	}
	return n, ok
}

// rfc3339 reads a time down to the millisecond.
func rfc3339(text string) (ms int64, ok bool) {
	const whole = len("2006-01-02T15:04:05")
	if len(text) <= whole || len(text) > 40 {
		return 0, false
	}
	year, month, day := number(text, 0, 4, '-'), number(text, 5, 2, '-'), number(text, 8, 2, 'T')
	hour, minute, second := number(text, 11, 2, ':'), number(text, 14, 2, ':'), number(text, 17, 2, text[whole])
	if year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 ||
		minute < 0 || minute > 59 || second < 0 || second > 59 {
		return 0, false
	}
	rest := text[whole:]
	fraction := int64(0)
	if rest[0] == '.' {
		n := 1
		for ; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			if n <= 3 {
				fraction = fraction*10 + int64(rest[n]-'0')
			}
		}
		for i := n; i <= 3; i++ {
			fraction *= 10
		}
		if n == 1 {
			return 0, false
		}
		rest = rest[n:]
	}
	away, ok := offset(rest)
	return ((daysTo(year, month, day)*24+hour)*60+minute-away)*60_000 + second*1000 + fraction, ok
}

// offset reads Z or +05:30 in minutes.
func offset(text string) (minutes int64, ok bool) {
	if text == "Z" {
		return 0, true
	}
	if len(text) != len("+05:30") || (text[0] != '+' && text[0] != '-') {
		return 0, false
	}
	hours, minutes := number(text, 1, 2, ':'), number(text+" ", 4, 2, ' ')
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return 0, false
	}
	minutes += hours * 60
	if text[0] == '-' {
		minutes = -minutes
	}
	return minutes, true
}

// number reads the n digits of text at a place, behind which a byte must stand;
// -1 where that is not so.
func number(text string, at, n int, then byte) int64 {
	value, ok := postern.Minor(text[at : at+n])
	if !ok || text[at+n] != then {
		return -1
	}
	return value
}

// daysTo counts the days from 1970 to a day of the Gregorian calendar, whose
// year is taken to begin with March so that a leap day is its last.
func daysTo(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - 719468
}

// written is the timestamp of an instant, as a provider would write it.
func written(ms int64, form string) string {
	switch form {
	case "milliseconds":
		return postern.Decimal(ms, 0)
	case "seconds":
		return postern.Decimal(ms/1000, 0)
	}
	days, second := ms/86_400_000, ms/1000%86_400
	year := 1970 + days/366
	for daysTo(year+1, 1, 1) <= days {
		year++
	}
	month := int64(1)
	for month < 12 && daysTo(year, month+1, 1) <= days {
		month++
	}
	date := []string{postern.Decimal(year, 0), two(month), two(days - daysTo(year, month, 1) + 1)}
	clock := []string{two(second / 3600), two(second / 60 % 60), two(second % 60)}
	return strings.Join(date, "-") + "T" + strings.Join(clock, ":") + "Z"
}

func two(n int64) string {
	if n < 10 {
		return "0" + postern.Decimal(n, 0)
	}
	return postern.Decimal(n, 0)
}
