package segment

import (
	"bytes"
	"errors"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/bolt/internal/disk"
	"github.com/postern/postern/host/store/bolt/internal/pages"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// copyBatch is how many records the copy of a segment gets in a transaction.
const copyBatch = 512

// Salvaged is what became of a damaged segment: the records that were copied, the
// last of them, and the pages or records that could not be read.
type Salvaged struct {
	Copied int
	Last   uint64
	Lost   int
}

// Salvage replaces a damaged segment by a new one that has every record of it
// that can be read. It does not keep the damaged one.
func Salvage(dir string, h Head) (Salvaged, error) {
	path := Path(dir, h.First)
	h.mended = true
	var c copier
	err := disk.CreateFile(path, pageSize, func(db *bbolt.DB) error {
		err := db.Update(func(tx *bbolt.Tx) error { return fill(tx, h) })
		if err != nil {
			return err
		}
		c = copier{to: db, mark: Mark{First: h.First}}
		return c.copyFrom(path)
	})
	return Salvaged{c.copied, c.mark.Last, c.lost}, err
}

// copier writes records into a segment, many in a transaction.
type copier struct {
	to           *bbolt.DB
	mark         Mark
	copied, lost int
	batch        []salvaged
}

type salvaged struct {
	seq   uint64
	value []byte
	kept  bool
}

func (c *copier) put(r salvaged) error {
	c.batch = append(c.batch, r)
	if len(c.batch) < copyBatch {
		return nil
	}
	return c.flush()
}

func (c *copier) flush() error {
	err := c.to.Update(func(tx *bbolt.Tx) error {
		log, kept := tx.Bucket(BucketLog), tx.Bucket(BucketKept)
		log.FillPercent = Fill
		for i := range c.batch {
			r := &c.batch[i]
			if err := log.Put(disk.Number(r.seq), r.value); err != nil {
				return err
			}
			if r.kept {
				c.mark.Kept++
				if err := kept.Put(disk.Number(r.seq), nil); err != nil {
					return err
				}
			}
			c.mark.Last = max(c.mark.Last, r.seq)
		}
		return tx.Bucket(BucketMeta).Put(KeyBatch, c.mark.Encode())
	})
	c.copied += len(c.batch)
	c.batch = c.batch[:0]
	return err
}

// copyFrom puts what can be read of the records in the segment at path into
// another one.
func (c *copier) copyFrom(path string) error {
	from, err := pages.OpenTree(path)
	if disk.IsDamage(disk.Damage(path, err)) {
		c.lost++
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // nothing was written
	err = from.Each(BucketLog, func(key, value []byte) error {
		seq, err := disk.ParseNumber(key)
		if err == nil && seq >= c.mark.First {
			var e record.Entry
			if e, err = record.Look(value, seq); err == nil {
				return c.put(salvaged{seq, bytes.Clone(value), e.Kind.Waits()})
			}
		}
		c.lost++
		return nil
	}, func(error) { c.lost++ })
	return errors.Join(err, c.flush())
}
