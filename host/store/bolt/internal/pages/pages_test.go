package pages_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host/store/bolt/internal/pages"
)

func write(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put(fmt.Append(nil, i), make([]byte, 10_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		ok     bool
	}{
		{"whole", func(b []byte) []byte { return b }, true},
		{"first meta page torn", func(b []byte) []byte { b[20] ^= 1; return b }, true},
		{"second meta page torn", func(b []byte) []byte { b[4096+30] ^= 1; return b }, true},
		{"both torn", func(b []byte) []byte { b[20] ^= 1; b[4096+30] ^= 1; return b }, false},
		{"cut off", func(b []byte) []byte { return b[:5*4096] }, false},
		{"cut inside the meta pages", func(b []byte) []byte { return b[:40] }, false},
		{"empty", func([]byte) []byte { return nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := pages.Check(path); (err == nil) != c.ok {
				t.Errorf("Check = %v, want ok %t", err, c.ok)
			}
		})
	}
	if err := pages.Check(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there: no error")
	}
}
