package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// resync puts the records of the last transaction again, in a transaction with
// syncs of its own.
//
// Invariant 13: after a sync has failed the kernel shows pages that are not on
// the disk. What was read back from them would be answered as a duplicate, and
// lost with the power.
//
// touches are keys on pages that the last transaction wrote beside those of
// its own keys, because they were split off.
func (s *Store) resync(touches []pages.Touch) error {
	n := 0
	err := s.update(s.active().db, func(tx *bbolt.Tx) (err error) {
		if n, err = putAgain(tx); err != nil {
			return err
		}
		for _, t := range touches {
			b := tx.Bucket([]byte(t.Bucket))
			if t.Bucket == string(bucketLog) {
				b.FillPercent = fillLog
			}
			if err := b.Put(t.Key, clone(b.Get(t.Key))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
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

// compactState writes state.db anew, into another file: it is small, and the
// rows of its last transaction are not known.
func (s *Store) compactState(path string) (err error) {
	temp := path + tempSuffix
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	src, err := openDB(path, true, 0, s.options.openFile)
	if err != nil {
		return err
	}
	dst, err := bbolt.Open(temp, fileMode, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return errors.Join(err, src.Close())
	}
	err = guard(func() error { return bbolt.Compact(dst, src, maxBatchBytes) })
	if err := errors.Join(err, dst.Close(), src.Close()); err != nil {
		return fmt.Errorf("write %s anew: %w", path, err)
	}
	return install(temp, path)
}
