package pages_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/bolt/internal/pages"
)

// grow makes a file with a bucket of many pages, values that take several, a
// bucket inside a bucket and free pages.
func grow(t testing.TB) (path string, want map[string]string) {
	t.Helper()
	path, want = filepath.Join(t.TempDir(), "x.db"), make(map[string]string)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 4096, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			in, err := tx.CreateBucketIfNotExists([]byte("other"))
			if err != nil {
				return err
			}
			if in, err = in.CreateBucketIfNotExists([]byte("inside")); err != nil {
				return err
			}
			if err := in.Put(fmt.Appendf(nil, "%04d", round), make([]byte, 300)); err != nil {
				return err
			}
			for range 60 {
				key, value := fmt.Sprintf("%08x", r.Uint32()), bytes.Repeat([]byte{byte(round)}, r.IntN(700))
				if r.IntN(50) == 0 {
					value = make([]byte, 9000)
				}
				want[key] = string(value)
				if err := b.Put([]byte(key), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path, want
}

func each(t testing.TB, path string) (got map[string]string, lost int, err error) {
	t.Helper()
	got = make(map[string]string)
	tree, err := pages.OpenTree(path)
	if err != nil {
		return nil, 0, err
	}
	defer tree.Close()
	err = tree.Each([]byte("b"), func(k, v []byte) error {
		got[string(k)] = string(v)
		return nil
	}, func(error) { lost++ })
	return got, lost, err
}

func TestTree(t *testing.T) {
	path, want := grow(t)
	got, lost, err := each(t, path)
	if err != nil || lost != 0 || len(got) != len(want) {
		t.Fatalf("%d keys, %d lost, %v, want %d", len(got), lost, err, len(want))
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("key %s: %d bytes, want %d", k, len(got[k]), len(v))
		}
	}
	for _, whole := range []bool{false, true} {
		if err := pages.Verify(path, whole); err != nil {
			t.Errorf("verify, whole %t: %v", whole, err)
		}
	}
}

// TestTree_damage flips bits and clears pages: whatever is read is read right or
// is lost, and what Verify passes bbolt can open and walk through.
func TestTree_damage(t *testing.T) {
	path, want := grow(t)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	found := 0
	for range 600 {
		b := bytes.Clone(good)
		// Headers and elements rather than values.
		at := 4096*(2+r.IntN(len(b)/4096-2)) + r.IntN(200)
		if r.IntN(4) == 0 {
			clear(b[at&^4095 : at&^4095+4096])
		} else {
			b[at] ^= 1 << r.IntN(8)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, lost, err := each(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := pages.Verify(path, true); err != nil {
			found++
			continue
		}
		if lost > 0 {
			t.Fatalf("byte %d: %d lost in a file that passes", at, lost)
		}
		walk(t, path)
		if len(got) != len(want) {
			t.Fatalf("byte %d: %d keys of %d in a file that passes", at, len(got), len(want))
		}
	}
	if found < 100 {
		t.Errorf("%d of 600 damages were found", found)
	}
}

// walk reads and writes the file through bbolt.
func walk(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("b"))
		if err := b.ForEach(func(_, _ []byte) error { return nil }); err != nil {
			return err
		}
		return b.Put([]byte("zzzz"), make([]byte, 20_000))
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
