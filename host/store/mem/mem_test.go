package mem_test

import (
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
	"github.com/postern/postern/host/store/storetest"
)

const noIndex = "the model has no index"

var engine = storetest.Engine{
	Open: func(_ *testing.T, _ string, now func() time.Time) host.Store {
		return mem.New(mem.Options{Now: now, MaxKept: storetest.KeptBound, MaxRing: storetest.RingBound})
	},
	NoTimeline: noIndex, NoSearch: noIndex,
}

func TestStore(t *testing.T) { storetest.Run(t, engine) }

func TestSimulate(t *testing.T) {
	storetest.SimulateSeeds(t, engine, 8, 40_000)
}
