package segment

import (
	"bytes"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/bolt/internal/disk"
)

// PutAgain writes the bytes of the last transaction under their keys again and
// returns the number of records.
func PutAgain(tx *bbolt.Tx) (int, error) {
	meta, log, kept := tx.Bucket(BucketMeta), tx.Bucket(BucketLog), tx.Bucket(BucketKept)
	mark := bytes.Clone(meta.Get(KeyBatch))
	m, err := ParseMark(mark)
	if err != nil {
		return 0, err
	}
	type pair struct{ key, value []byte }
	var records []pair
	c := log.Cursor()
	for k, v := c.Seek(disk.Number(m.First)); k != nil; k, v = c.Next() {
		records = append(records, pair{bytes.Clone(k), bytes.Clone(v)})
	}
	log.FillPercent = Fill
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
	return len(records), meta.Put(KeyBatch, mark)
}
