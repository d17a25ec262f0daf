// Package pages looks after a bbolt file from outside, before bbolt maps it: a
// mapped file that is cut off or overwritten ends the process instead of
// returning an error.
package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The form of a meta page, as bbolt writes it in the machine's byte order:
// behind a page header magic, version, page size and flags (4 bytes each), the
// root bucket (16), then freelist, high-water mark, transaction and checksum
// (8 each).
const (
	magic       = 0xED0CDAED
	version     = 2
	headerSize  = 16
	metaSize    = 64
	checksumAt  = 56
	minPageSize = 1 << 10
	maxPageSize = 1 << 24
)

// meta is what a meta page says.
type meta struct {
	pageSize int64
	root     uint64
	freelist uint64
	high     uint64 // the first page that is not used
	tx       uint64
}

// Check reports what keeps the bbolt file from being opened: no valid meta page
// of this version, or fewer bytes than the newest transaction uses.
func Check(path string) error {
	f, err := os.Open(path) //nolint:gosec // the store's own file
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	_, err = newest(f)
	return err
}

// Rewrite writes the meta page of the newest transaction again, as it is, and
// syncs the file: it may have been read from a page cache that takes it for
// written, after a sync of it that failed. A new transaction must not come
// first: it uses the pages that are free by this meta page, and they are those
// of the transaction before, which the disk may still have as the newest.
//
// It is enough for the whole transaction to be on the disk, because bbolt writes
// a meta page only after a sync of all other pages, and of a file that has
// grown, has succeeded. It takes no room on the disk where a file is overwritten
// in place.
func Rewrite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the store's own file
	if err != nil {
		return err
	}
	return errors.Join(rewrite(f), f.Close())
}

func rewrite(f *os.File) error {
	m, err := newest(f)
	if err != nil {
		return err
	}
	at := m.pageSize * int64(m.tx%2)
	b := make([]byte, m.pageSize)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	return f.Sync()
}

// newest returns the meta page of the last transaction.
func newest(f *os.File) (meta, error) {
	info, err := f.Stat()
	if err != nil {
		return meta{}, err
	}
	m, found := meta{}, false
	consider := func(at int64) {
		if got, err := readMeta(f, at); err == nil && (!found || got.tx > m.tx) {
			m, found = got, true
		}
	}
	consider(0)
	if found {
		consider(m.pageSize)
	}
	// The first one was torn: its page size, and so the second's place, is
	// unknown.
	for at := int64(minPageSize); !found && at <= maxPageSize; at *= 2 {
		consider(at)
	}
	if !found {
		return meta{}, errors.New("it has no valid meta page")
	}
	if need := int64(m.high) * m.pageSize; m.high > 1<<40 || need > info.Size() { //nolint:gosec // bounded beside
		return meta{}, fmt.Errorf("it is cut off: %d bytes of %d pages", info.Size(), m.high)
	}
	return m, nil
}

func readMeta(f io.ReaderAt, at int64) (meta, error) {
	var b [metaSize]byte
	if _, err := f.ReadAt(b[:], at+headerSize); err != nil {
		return meta{}, err
	}
	sum := fnv.New64a()
	sum.Write(b[:checksumAt]) //nolint:gosec // a hash does not fail
	order := binary.NativeEndian
	switch {
	case order.Uint32(b[0:]) != magic, order.Uint32(b[4:]) != version:
		return meta{}, errors.New("no meta page")
	case order.Uint64(b[checksumAt:]) != sum.Sum64():
		return meta{}, errors.New("checksum of the meta page")
	}
	m := meta{
		pageSize: int64(order.Uint32(b[8:])),
		root:     order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]),
		high:     order.Uint64(b[40:]),
		tx:       order.Uint64(b[48:]),
	}
	if m.pageSize < minPageSize || m.pageSize > maxPageSize {
		return meta{}, errors.New("page size out of range")
	}
	return m, nil
}
