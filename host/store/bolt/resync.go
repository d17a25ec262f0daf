package bolt

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// durable brings the last transaction of a bbolt file to the disk, before the
// file is opened for writing.
//
// Invariant 13: after a sync has failed the kernel shows pages that are not on
// the disk. What was read back from them would be answered as a duplicate, and
// lost with the power.
func durable(path string) error {
	if err := pages.Check(path); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	if err := pages.Rewrite(path); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// resync puts the records of the last transaction again, in a transaction with
// syncs of its own.
//
// Invariant 13 asks for it. It comes after durable, which alone is enough, and
// is there for what the kernel or the disk may do against their word; that is
// why a disk too full for it does not keep the store from opening.
func (s *Store) resync() error {
	n := 0
	err := s.update(s.active().db, func(tx *bbolt.Tx) (err error) {
		n, err = putAgain(tx)
		return err
	})
	switch {
	case isFull(err):
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
	meta, log := tx.Bucket(bucketMeta), tx.Bucket(bucketLog)
	from := clone(meta.Get(keyBatch))
	type pair struct{ key, value []byte }
	var records []pair
	c := log.Cursor()
	for k, v := c.Seek(from); k != nil; k, v = c.Next() {
		records = append(records, pair{clone(k), clone(v)})
	}
	log.FillPercent = fillLog
	for _, r := range records {
		if err := log.Put(r.key, r.value); err != nil {
			return 0, err
		}
		if err := putKeysAgain(tx, r.key, r.value); err != nil {
			return 0, err
		}
	}
	return len(records), meta.Put(keyBatch, from)
}

func putKeysAgain(tx *bbolt.Tx, key, value []byte) error {
	dedup, kept := tx.Bucket(bucketDedup), tx.Bucket(bucketKept)
	if k, _ := kept.Cursor().Seek(key); string(k) == string(key) {
		if err := kept.Put(key, nil); err != nil {
			return err
		}
	}
	seq := binary.BigEndian.Uint64(key)
	err := record.Keys(value, seq, func(h host.Hash, index int, content host.Content) error {
		return dedup.Put(h[:], place{seq: seq, index: index, content: content}.coded())
	})
	if err != nil {
		return fmt.Errorf("record %d: %w", seq, err)
	}
	return nil
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
