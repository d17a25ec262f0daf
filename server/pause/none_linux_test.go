package pause

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// none leaves the process without a file descriptor for the time of a test.
func none(t *testing.T) {
	t.Helper()
	timers = sync.Pool{}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
	if take() != nil {
		t.Fatal("there is a timer without a file descriptor")
	}
}
