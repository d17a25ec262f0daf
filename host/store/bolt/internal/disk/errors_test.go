package disk

import (
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

// TestInvariant13_aSyncThatFailsForWantOfRoomIsNotAFullDisk: it is so also where
// a segment ends and the next one begins.
func TestInvariant13_aSyncThatFailsForWantOfRoomIsNotAFullDisk(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{syscall.ENOSPC, true},
		{&fs.PathError{Op: "open", Path: "x.db.tmp", Err: syscall.ENOSPC}, true},
		{&fs.PathError{Op: "sync", Path: "x.db.tmp", Err: syscall.EDQUOT}, true},
		{fmt.Errorf("%w: %w", ErrNamed, syscall.ENOSPC), false},
		{syscall.EIO, false},
		{nil, false},
	} {
		if got := IsShort(c.err); got != c.want {
			t.Errorf("isShort(%v) = %t, want %t", c.err, got, c.want)
		}
	}
}
