package mem_test

import (
	"testing"
	"time"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/mem"
	"github.com/postern/postern/host/store/storetest"
)

func TestStore(t *testing.T) {
	const later = "the model has only what every engine has"
	storetest.Run(t, storetest.Engine{
		Open: func(_ *testing.T, _ string, now func() time.Time) host.Store {
			return mem.New(mem.Options{Now: now, MaxKept: storetest.KeptBound})
		},
		NoQuarantine: later, NoReplay: later, NoTimeline: later, NoSearch: later,
	})
}
