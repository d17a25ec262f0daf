// Package bolt keeps events in bbolt files in one directory: the store of a
// single machine, and the default.
//
// # Files
//
//	LOCK                 flock of the directory, and the mark of a clean end
//	state.db             how far each sink is, retries, dead letters, reserved sequences
//	seg/<sequence>.db    the log from that sequence on; the last one is active
//
// A segment has the buckets l (sequence to record), d (dedup key to sequence,
// index and content), k (sequences of kept callbacks) and m (form, first
// sequence, first sequence of the last commit). Package record has the coding.
// A file is created under another name, synced and renamed, and its directory
// synced: it is there whole or not at all.
//
// # Who writes what, and when
//
// One goroutine commits to the active segment and one to state.db; each takes
// all requests that have come together into one transaction. Everything that
// costs time (encoding, compressing, checksums) is done before, in the
// goroutine of the caller.
//
// A callback's record, dedup keys and kept mark are one transaction in the
// segment; nothing about it is in state.db, so the two files never have to
// agree on a callback. Every retry and dead letter is written to state.db in
// the transaction that moves the sink's position past its event. A Done is
// written with the next such transaction, after 50 ms at the latest. Leases are
// in memory only.
//
// # What a crash can leave
//
// bbolt leaves each file at its last transaction, whole. Between the two files:
//
//   - A record without any trace in state.db: the sinks' positions are before
//     it, and they find it.
//   - A position before what was done: those are delivered again. The position
//     is that of the first event that is not over, and lists what is over or has
//     a row beyond it, so that neither is delivered as if it were new.
//   - A row or a position never points to a record that is lost with the power,
//     because readers stop at the last sequence whose commit has returned:
//     bbolt itself shows a transaction before the last sync of it.
//   - A sequence is never given out twice, even if a segment is lost: they are
//     reserved in state.db, a block at a time, before the segment uses them,
//     and the next is beyond the reserved ones, the log and every position.
//     After a crash the rest of a block is skipped; sequences rise, and are not
//     without gaps.
//   - state.db is created before the first segment. Segments without it are
//     therefore damage, and refused, rather than started over.
//
// The mark of a clean end is taken away, and synced, before any other file is
// opened, and put back after the last one is closed. Where it is missing, Open
// brings the last transactions to the disk again before it returns: it writes
// the meta page of the active segment again and syncs both files, puts the last
// commit of that segment again in a new transaction, with a key of every page
// that this commit had split off, and writes state.db anew. A process that ended
// because a sync failed leaves pages in the page cache that the kernel takes for
// written and that are not on the disk; what they say must not be acknowledged
// as a duplicate.
//
// # Failure
//
// A full disk fails a commit and nothing else: the write is refused, bbolt rolls
// back, and the next commit tries again. Any other failure of a commit ends the
// store: what is on the disk is unknown, and every later call fails.
package bolt
