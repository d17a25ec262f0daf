package bolt

import (
	"errors"
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest"
)

func TestStore(t *testing.T) { storetest.Run(t, engine(Options{})) }

// engine is the store as the suites see it.
func engine(o Options) storetest.Engine {
	const later = "not built yet"
	return storetest.Engine{
		Open: func(t *testing.T, dir string, now func() time.Time) host.Store {
			o.Now, o.MaxKept, o.RingEntries = now, storetest.KeptBound, storetest.RingBound
			return open(t, dir, o)
		},
		OpenRotating: func(t *testing.T, dir string, now func() time.Time) host.Store {
			o.Now, o.MaxKept, o.RingEntries, o.SegmentSize = now, storetest.KeptBound, storetest.RingBound, 1<<20
			return open(t, dir, o)
		},
		Reopens:    true,
		Kill:       func(t *testing.T, s host.Store) { kill(t, s.(*Store)) },
		NoTimeline: later, NoSearch: later,
	}
}

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kill frees what the store holds, as the end of the process would: what is
// known in memory only is lost.
func kill(t *testing.T, s *Store) {
	t.Helper()
	s.fail(errors.New("killed by the test"))
	s.appends.Close()
	s.changes.Close()
	s.stopTending()
	if err := s.release(false); err != nil {
		t.Fatal(err)
	}
}
