package storetest

import (
	"testing"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/storetest/internal/held"
)

var heldTests = []test{
	{name: "Held", run: holds(held.Whole), not: noQuarantine},
	{name: "Held_whatIsStoredAlready", run: holds(held.Stored)},
	{name: "Held_batch", run: holds(held.Batch), not: noQuarantine},
	{name: "Held_bound", run: holds(held.Bounded), not: noQuarantine},
}

func holds(run func(*held.Suite)) func(*testing.T, *fixture) {
	return func(_ *testing.T, f *fixture) { run(f.held()) }
}

func (f *fixture) held() *held.Suite {
	return &held.Suite{
		T: f.t, Store: func() host.Store { return f.Store }, Reopen: f.reopen, Same: f.same,
		Bound: KeptBound, Status: f.engine.NoStatus == "",
	}
}

func reopenHeld(_ *testing.T, f *fixture, killed bool) { held.Reopened(f.held(), killed) }
