package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/bolt/internal/disk"
)

// keyTally of bucketState is what a clean end left in state.db. Every row has a
// checksum, and nothing else would show that one is missing.
var keyTally = []byte("tally")

// tally counts the keys of every bucket but bucketState, by name.
func tally(tx *bbolt.Tx) ([]byte, error) {
	var out []byte
	err := tx.ForEach(func(name []byte, b *bbolt.Bucket) (err error) {
		if !bytes.Equal(name, bucketState) {
			out, err = appendTally(out, name, b)
		}
		return err
	})
	return out, err
}

func appendTally(out, name []byte, b *bbolt.Bucket) ([]byte, error) {
	keys := uint64(0)
	err := b.ForEach(func(k, v []byte) (err error) {
		keys++
		if v == nil {
			if inside := b.Bucket(k); inside != nil {
				out, err = appendTally(out, k, inside)
			}
		}
		return err
	})
	out = binary.BigEndian.AppendUint64(append(out, name...), keys)
	return out, err
}

func putTally(tx *bbolt.Tx) error {
	t, err := tally(tx)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketState).Put(keyTally, t)
}

// checkTally compares what is in state.db with what a clean end left; an earlier
// version left nothing.
func checkTally(tx *bbolt.Tx) error {
	want := tx.Bucket(bucketState).Get(keyTally)
	if want == nil {
		return nil
	}
	got, err := tally(tx)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("it is %w: rows are missing", disk.ErrDamaged)
	}
	return err
}
