package pages

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

// TestFresh puts keys in an order that splits pages of every kind, and looks at
// every transaction: once the keys that Fresh names are put again, no page that
// the transaction wrote is in the tree any more.
func TestFresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	r := rand.New(rand.NewPCG(1, 2))
	seq := uint64(0)
	commit := func(fn func(rising, random *bbolt.Bucket) error) {
		t.Helper()
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error {
			rising, err := tx.CreateBucketIfNotExists([]byte("rising"))
			if err != nil {
				return err
			}
			random, err := tx.CreateBucketIfNotExists([]byte("random"))
			if err != nil {
				return err
			}
			rising.FillPercent = 0.95
			return fn(rising, random)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	splits := 0
	for range 60 {
		puts := 1 + r.IntN(40)
		commit(func(rising, random *bbolt.Bucket) error {
			for range puts {
				seq++
				key := binary.BigEndian.AppendUint64(nil, seq)
				if err := rising.Put(key, make([]byte, 50+r.IntN(900))); err != nil {
					return err
				}
				key = binary.BigEndian.AppendUint64(nil, r.Uint64())
				if err := random.Put(append(key, key...), make([]byte, 17)); err != nil {
					return err
				}
			}
			return nil
		})
		wrote := freshPages(t, path)
		touches, err := Fresh(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(touches) > 2*puts {
			splits++
		}
		commit(func(rising, random *bbolt.Bucket) error {
			for _, touch := range touches {
				b := rising
				if touch.Bucket == "random" {
					b = random
				}
				value := slices.Clone(b.Get(touch.Key))
				if value == nil {
					t.Errorf("key %x is not in %s", touch.Key, touch.Bucket)
				}
				if err := b.Put(touch.Key, value); err != nil {
					return err
				}
			}
			return nil
		})
		for _, id := range reachable(t, path) {
			if slices.Contains(wrote, id) {
				t.Fatalf("page %d of %v was not written again", id, wrote)
			}
		}
	}
	if splits == 0 {
		t.Error("no transaction wrote more leaves than it put keys: nothing was shown")
	}
}

// TestFresh_laterCommitHadBegun overwrites pages of the tree before the last,
// as a commit does that is cut short: they are free by then.
func TestFresh_laterCommitHadBegun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put(binary.BigEndian.AppendUint64(nil, uint64(i*7919%200)), make([]byte, 100))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, now := load(t, path)
	defer f.Close()
	before, err := readMeta(f, now.pageSize*int64((now.tx+1)%2))
	if err != nil {
		t.Fatal(err)
	}
	gone := without(walk(t, f, now, before.root), walk(t, f, now, now.root))
	if len(gone) < 2 {
		t.Fatalf("pages %v are of the last but one only, want some", gone)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range gone {
		// Into nothing that is a page, and into a page that leads to itself.
		for _, flags := range []byte{0, isBranch} {
			b := slices.Clone(whole)
			page := b[int64(id)*now.pageSize:][:now.pageSize]
			page[8] = flags
			for i := headerSize; i < len(page); i += 8 {
				binary.NativeEndian.PutUint64(page[i:], id)
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Fresh(path); err != nil {
				t.Errorf("page %d overwritten: %v", id, err)
			}
		}
	}
}

// freshPages are the pages that the last transaction wrote, found the simple
// way: all that are reachable now and were not before.
func freshPages(t *testing.T, path string) []uint64 {
	t.Helper()
	f, now := load(t, path)
	defer f.Close()
	before, err := readMeta(f, now.pageSize*int64((now.tx+1)%2))
	if err != nil {
		t.Fatal(err)
	}
	return without(walk(t, f, now, now.root), walk(t, f, now, before.root))
}

func reachable(t *testing.T, path string) []uint64 {
	t.Helper()
	f, now := load(t, path)
	defer f.Close()
	return walk(t, f, now, now.root)
}

func load(t *testing.T, path string) (*os.File, meta) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newest(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, m
}

// walk lists the pages of all buckets under a root.
func walk(t *testing.T, f *os.File, m meta, root uint64) []uint64 {
	t.Helper()
	tr := &trees{f: f, meta: m}
	buckets, err := tr.buckets(root)
	if err != nil {
		t.Fatal(err)
	}
	var all []uint64
	for _, id := range buckets {
		ids := []uint64{id}
		for len(ids) > 0 {
			id := ids[0]
			ids = ids[1:]
			if id == 0 {
				continue
			}
			p, err := tr.page(id)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, id)
			ids = append(ids, p.children()...)
		}
	}
	return all
}
