// Package show lays out for people what the admin routes answer. A list that is
// empty is said to be; what has no value is left out.
package show

import (
	"fmt"
	"strings"
	"time"
)

// Age is a time span in its largest whole unit.
func Age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// Count is "1 event", "2 events", "2 retries".
func Count[T int | int64 | uint64](n T, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok {
		one = stem + "ie"
	}
	return fmt.Sprint(n) + " " + one + "s"
}

// size is a number of bytes in its largest unit, to a tenth.
func size(n int64) string {
	for _, u := range []struct {
		name string
		exp  int
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n >= 1<<u.exp {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(int64(1)<<u.exp), u.name)
		}
	}
	return Count(n, "byte")
}
