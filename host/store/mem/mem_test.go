package mem_test

import (
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
	"github.com/postern/postern/host/store/storetest"
)

func TestStore(t *testing.T) {
	const never = "the model has no index"
	storetest.Run(t, storetest.Engine{
		Open: func(_ *testing.T, _ string, now func() time.Time) host.Store {
			return mem.New(mem.Options{Now: now, MaxKept: storetest.KeptBound, MaxRing: storetest.RingBound})
		},
		NoTimeline: never, NoSearch: never,
	})
}
