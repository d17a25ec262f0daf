package storetest

import "github.com/postern/postern/host/store/storetest/internal/sample"

// Sample records for the tests of what stands on a store. SampleEvent(n, content)
// is event n with the content numbered content: the same n is the same dedup key,
// and another content is a conflict with it. SampleRecord(n, events...) is an
// accepted callback, with SampleEvent(n, 0) where no events are given; the others
// are items set aside, and callbacks that were ignored, kept, held or refused.
var (
	SampleEvent    = sample.Event
	SampleRecord   = sample.Record
	SampleAside    = sample.Aside
	SampleIgnored  = sample.Ignored
	SampleKept     = sample.Kept
	SampleHeld     = sample.Held
	SampleRejected = sample.Rejected
)

var (
	sampleTime = sample.Time
	sampleID   = sample.ID
	number     = sample.Number
)
