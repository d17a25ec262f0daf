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
// opened, and put back after the last one is closed. A process that ended because
// a sync failed leaves pages in the page cache that the kernel takes for written
// and that are not on the disk; what they say must not be acknowledged as a
// duplicate. Where the mark is missing, Open therefore writes the newest meta
// page of state.db and of the active segment again, as it is, and syncs both
// files, before it begins a transaction in either.
//
// That is enough, because of the order in bbolt's Tx.Commit: grow lengthens and
// syncs the file, write writes all pages but the meta page, those of the freelist
// among them, and syncs, and only then does writeMeta write the meta page, and
// sync. An error on the way ends the commit before the next step. So when a meta
// page can be read, all it leads to was synced with success, and nothing but the
// page itself can be missing on the disk; and the pages of a commit that came no
// further than write are free by that meta page. It must come first because the
// next transaction overwrites what only the last but one uses, and that one may
// be the newest the disk has.
//
// The records of the last commit are then put again, with their dedup keys and
// kept marks, in a transaction of their own. Invariant 13 asks for this belt with
// the braces: it is redundant as long as a sync that succeeds means what it says,
// and no test can lose a record by leaving it out. On a full disk it is left out.
//
// # Failure
//
// A full disk fails a commit and nothing else: the write is refused, bbolt rolls
// back, and the next commit tries again. Any other failure of a commit ends the
// store: what is on the disk is unknown, and every later call fails.
package bolt
