// Package postgres keeps events in PostgreSQL, for several nodes that share one
// store: any number of processes open one schema, and each may die at any time.
// It implements [host.Store] but for Timeline and Search.
//
// # Tables
//
// The log is the table records: one row for each callback, by sequence, in
// partitions of a range of sequences. The table dedup has the key of every event
// and of every item set aside, in partitions by its hash, and says which batch
// and place it came in; batches says at which sequence a batch begins. counter is
// one row: the version of the schema, the next sequence, and how many callbacks
// are kept. sinks, deliveries and dead are the queue, rejected the quarantine.
//
// # An append
//
// One goroutine of each node commits what has come together. It puts the dedup
// keys of the whole batch, sorted, then takes the batch's sequences out of the
// counter's row, which stays locked until the commit. So the order of sequences
// is the order of commits, and a cursor that has seen a sequence has seen all
// below it. A number of a serial column is drawn without such a lock: a reader
// may see 7 before 6 is there, go on behind it, and never see 6.
//
// A sequence is left out for a callback of a batch that had nothing new.
//
// # The queue
//
// What a sink has taken from the log and not settled is a row of deliveries. A
// lease is a token and a time in that row, so that it holds for all nodes; it is
// given out under a lock of the sink's row. Leases and retries live by the
// server's clock: times that come in and go out are shifted by what this
// machine's clock differs from it.
//
// # What is asked of the server
//
// PostgreSQL 13 or later, with fsync, full_page_writes and synchronous_commit
// on; every new connection is checked. A pooler between must keep a session on
// one connection: search_path is set at its beginning, and statements are
// prepared.
package postgres
