// Package bolt keeps events in bbolt files in one directory: the store of a
// single machine, and the default.
//
// # Files
//
//	LOCK                       flock of the directory, and the mark of a clean end
//	state.db                   how far each sink is, retries, parked deliveries, dead letters,
//	                           reserved sequences, kept callbacks that were dropped
//	quarantine.db              what was refused, in rings
//	seg/<sequence>.db          the log from that sequence on; the last one is active
//	dedup/<first>-<last>.db    the dedup keys of the records from one sequence to another
//	damaged/                   what was found damaged, as it was
//
// A segment has the buckets l (sequence to record), k (sequences of kept
// callbacks) and m (form, first sequence, the last one before it, when it was
// made, what the last commit left). A file is created under another name, synced
// and renamed, and its directory synced: it is there whole or not at all.
//
// # Packages
//
// This one has the store: which segments there are, state.db, and what is asked
// of both. Below it, in internal:
//
//	disk        making, opening and locking files, and what their errors mean
//	pages       the pages of a bbolt file, looked at without bbolt
//	segment     one file of the log
//	keys        the dedup keys, in memory and in files; dedup has their coding
//	record      the coding of records, rows and positions
//	queue       what is open of a sink
//	quarantine  quarantine.db
//	commit      the group committer
//
// # Dedup keys
//
// They ride in the header of their record, so that a commit writes the end of
// one tree and no random page. Those of the last commits are in memory too; once
// they are many, or the part of the log that has them is long, they are written
// sorted to a file in dedup/, and neighbours are merged so that at most eight
// remain. A key that is new is looked for in the memory and in a filter for each
// file, and nearly never in a file. The log has every key that is in no file: an
// open reads that end of it again. A file of keys is removed once the window has
// passed since its newest, and the segments of its records are gone.
//
// # Segments
//
// The committer begins a new one when the active one is full or old. One that
// has ended is removed when it is past its retention, no sink needs anything of
// it, no callback kept in it waits, and its keys are in files. Removing it is
// unlinking a file, beside the committer.
//
// # Sinks
//
// A sink walks through the log; a replay is a second walk of it, with its own
// position and window, and shares the room of every Lease with the first. With
// order by subject only the first open delivery of a subject is leased. Those
// behind it are parked: they get a row, in the transaction that moves the position
// past them, and so hold up neither the position nor the window. Nor does what is
// leased for long: where the window is full it gets a row too.
//
// What is open is in memory, and bounded: by 100,000 rows of a sink, and with order
// by 10,000 of one subject. At either bound the walk stops where it is, and what
// comes after waits, other subjects too, until some of it is settled.
//
// After a restart a row may lie ahead of what was looked at. With order it waits
// until the walk has come there: what was leased before it, and had no row, is of
// the log again. Package queue has all of this.
//
// # Who writes what, and when
//
// One goroutine commits to the active segment, one to state.db, one to
// quarantine.db; each takes all requests that have come together into one
// transaction. Everything that costs time (encoding, compressing, checksums) is
// done before, in the goroutine of the caller. One more goroutine writes and
// merges files of keys, mends what is damaged and removes what has expired.
//
// A callback's record, its keys in it, and its kept mark are one transaction in
// the segment; nothing about it is in state.db, so the two files never have to
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
// The records of the last commit are then put again, with their kept marks, in a
// transaction of their own. Invariant 13 asks for this belt with the braces: it is
// redundant as long as a sync that succeeds means what it says, and no test can
// lose a record by leaving it out. It is left out on a full disk, and for a segment
// above 64 MiB: bbolt trusts the list of free pages in the file, which has no
// checksum, and checking it means reading all pages. Such a segment is not
// written to again after any restart; a new one is begun.
//
// # Damage
//
// bbolt's pages have no checksums, and a wrong one can lead bbolt in circles or
// end the process. Before bbolt opens state.db, or a segment to write to it, all
// pages of the file are walked without it; a closed segment is walked, but for the
// lowest level, before it is first read. Records, blocks of keys and rows have
// checksums of their own, each record names the one before, each block the hashes
// it answers for, and the meta bucket says where the log ends: what is missing is
// as sure to be found as what is wrong. The last transaction of a segment that is
// closed changes nothing, so that each of bbolt's two meta pages leads to all of it.
//
// A damaged segment goes to damaged/ and what can be read of it takes its place; a
// damaged file of keys is written again from the log. A record that cannot be read
// is passed over by Range and Lease; Callback and Event say so, and so does Status.
// state.db cannot be replaced without an operator: see [Options.Cursors].
//
// # Failure
//
// A full disk fails a commit and nothing else: the write is refused, bbolt rolls
// back, and the next commit tries again. Any other failure of a commit ends the
// store: what is on the disk is unknown, and every later call fails.
package bolt
