package bolt

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/bolt/internal/disk"
)

// resync puts the records of the last transaction again, in a transaction with
// syncs of its own.
//
// Invariant 13 asks for it. It comes after disk.Durable, which alone is enough, and
// is there for what the kernel or the disk may do against their word; that is
// why a disk too full for it does not keep the store from opening.
func (s *Store) resync() error {
	n := 0
	err := s.update(s.active().db, func(tx *bbolt.Tx) (err error) {
		n, err = putAgain(tx)
		return err
	})
	switch {
	case disk.IsFull(err):
		s.options.Log.Warn("store synced after an unclean end, last records not put again", "dir", s.dir, "err", err)
		return nil
	case err != nil:
		return fmt.Errorf("resync %s: %w", s.active().path, err)
	}
	s.options.Log.Warn("store resynced after an unclean end", "dir", s.dir, "records", n)
	return nil
}

// putAgain writes the bytes of the last transaction under their keys again and
// returns the number of records.
func putAgain(tx *bbolt.Tx) (int, error) {
	meta, log, kept := tx.Bucket(bucketMeta), tx.Bucket(bucketLog), tx.Bucket(bucketKept)
	mark := bytes.Clone(meta.Get(keyBatch))
	m, err := parseMark(mark)
	if err != nil {
		return 0, err
	}
	type pair struct{ key, value []byte }
	var records []pair
	c := log.Cursor()
	for k, v := c.Seek(seqKey(m.first)); k != nil; k, v = c.Next() {
		records = append(records, pair{bytes.Clone(k), bytes.Clone(v)})
	}
	log.FillPercent = fillLog
	for _, r := range records {
		if err := log.Put(r.key, r.value); err != nil {
			return 0, err
		}
		if k, _ := kept.Cursor().Seek(r.key); string(k) == string(r.key) {
			if err := kept.Put(r.key, nil); err != nil {
				return 0, err
			}
		}
	}
	return len(records), meta.Put(keyBatch, mark)
}
