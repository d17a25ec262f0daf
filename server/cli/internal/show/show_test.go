package show

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 2 * time.Hour: "2h", 47 * time.Hour: "47h", 48 * time.Hour: "2d",
	} {
		if got := Age(d); got != want {
			t.Errorf("Age(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for want, got := range map[string]string{
		"0 events": Count(0, "event"), "1 event": Count(1, "event"), "2 events": Count(2, "event"),
		"1 delivery": Count(1, "delivery"), "2 deliveries": Count(2, "delivery"),
	} {
		if got != want {
			t.Errorf("Count = %q, want %q", got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		1: "1 byte", 1023: "1023 bytes", 1024: "1.0 KiB", 12 << 20: "12.0 MiB", 5<<30 + 1<<29: "5.5 GiB", 3 << 40: "3.0 TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
