package show

import (
	"strconv"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/server/cli/internal/screen"
)

// Store writes how a store is doing.
func Store(s *screen.Screen, now time.Time, dir string, st *host.Status) {
	s.Printf("%s\n", s.Paint(screen.Bold, "store "+screen.Clean(dir)))
	s.Field("engine", screen.Text(st.Engine))
	if st.Full != "" {
		s.Field("full", screen.Text(st.Full+": callbacks are answered 503 until there is room").In(screen.Bad))
	}
	if st.Bytes > 0 {
		s.Field("size", screen.Text(size(st.Bytes)))
	}
	if st.Free > 0 {
		s.Field("free", screen.Text(size(st.Free)))
	}
	s.Field("segments", screen.Text(strconv.Itoa(st.Segments)))
	if !st.Oldest.IsZero() {
		s.Field("oldest", screen.Text(stamp(st.Oldest)+", "+Age(now.Sub(st.Oldest))+" ago"))
	}
	kept := number(st.Kept)
	if st.Kept > 0 {
		kept = kept.In(screen.Odd)
	}
	s.Field("kept", kept)
	if st.Held > 0 {
		s.Field("held", number(st.Held).In(screen.Odd))
	}
	s.Field("quarantined", number(st.Quarantined))
	for _, line := range st.Damaged {
		s.Field("damaged", screen.Text(line).In(screen.Bad))
	}
}
