package pause

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// timer is a timerfd. That it has expired is told to the runtime's poller as
// anything else that can be read is, when it happens.
type timer struct {
	fd   int
	file *os.File
}

// timers are those not in use. One that the collector takes is closed by its
// file.
var timers sync.Pool

func take() *timer {
	if t, ok := timers.Get().(*timer); ok {
		return t
	}
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	// The file owns fd from here on, and is not asked for it: that would make
	// its reads block a thread.
	return &timer{fd, os.NewFile(uintptr(fd), "timerfd")}
}

// exact reports whether it waited; if not, nothing has happened.
func exact(ctx context.Context, d time.Duration) bool {
	t := take()
	if t == nil {
		return false
	}
	once := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if unix.TimerfdSettime(t.fd, 0, &once, nil) != nil {
		_ = t.file.Close()
		return false
	}
	wake := context.AfterFunc(ctx, func() { _ = t.file.SetReadDeadline(time.Unix(1, 0)) })
	var expirations [8]byte
	_, err := t.file.Read(expirations[:])
	if wake() && err == nil {
		timers.Put(t)
		return true
	}
	// It may still expire, and its deadline lies in the past.
	_ = t.file.Close()
	return err == nil || ctx.Err() != nil
}
