package cache

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// entry makes an entry of so many bytes that was opened so long ago, and closes
// it.
func entry(t *testing.T, c *Cache, key string, size int, ago time.Duration) *Entry {
	t.Helper()
	e, err := c.Take(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.Dir, "code"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-ago)
	if err := os.Chtimes(e.Dir, at, at); err != nil {
		t.Fatal(err)
	}
	return e
}

// entries are the keys in a directory.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range found {
		names = append(names, d.Name())
	}
	return names
}

// What was opened longest ago makes room, and nothing that is open.
func TestTrim(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c, err := Open(dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	shut := func(e *Entry) {
		t.Helper()
		if err := e.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	oldest := entry(t, c, "oldest", 400, 4*time.Hour)
	shut(entry(t, c, "older", 400, 3*time.Hour))
	shut(entry(t, c, "old", 400, 2*time.Hour))
	shut(entry(t, c, "new", 200, time.Hour))
	trimmed := func(want ...string) {
		t.Helper()
		if err := c.Trim(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		if got := entries(t, dir); !slices.Equal(got, want) {
			t.Errorf("left are %v, want %v", got, want)
		}
	}
	trimmed("oldest", "old", "new")
	// One that is opened again is the newest.
	shut(entry(t, c, "newer", 200, 30*time.Minute))
	again, err := c.Take("old")
	if err != nil {
		t.Fatal(err)
	}
	shut(again)
	trimmed("oldest", "old", "newer")
	shut(oldest)
	shut(oldest) // counts once
	shut(entry(t, c, "newest", 200, 0))
	trimmed("old", "newer", "newest")
}

// Two that hold one entry: it stays until both have let go.
func TestTrim_heldTwice(t *testing.T) {
	dir := t.TempDir()
	c, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	first, second := entry(t, c, "one", 1, time.Hour), entry(t, c, "one", 1, time.Hour)
	for i, step := range []*Entry{first, second, nil} {
		if err := c.Trim(); err != nil {
			t.Fatal(err)
		}
		if got, want := len(entries(t, dir)), 1; i < 2 && got != want || i == 2 && got != 0 {
			t.Errorf("after %d closed: %d entries", i, got)
		}
		if err := step.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A directory that others can write to, or that has anything of theirs in it, is
// refused before anything of it is run.
func TestOpen_private(t *testing.T) {
	for _, c := range []struct {
		name  string
		make  func(dir string) error
		wrong string
	}{
		{"all is ours", func(dir string) error { return os.Mkdir(filepath.Join(dir, "key"), 0o700) }, ""},
		{"others read", func(dir string) error { return os.Chmod(dir, 0o755) }, ""},
		{"the group writes", func(dir string) error { return os.Chmod(dir, 0o770) }, " has mode 0770: others can have code run by it; remove it, and keep it at 0700"},
		{"all write, and only their own", func(dir string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }, " has mode 0777: "},
		{"a file below that all write", func(dir string) error {
			below := filepath.Join(dir, "key")
			if err := os.Mkdir(below, 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(below, "code"), nil, 0o600); err != nil {
				return err
			}
			return os.Chmod(filepath.Join(below, "code"), 0o666)
		}, "/key/code has mode 0666: "},
		{"a link that leads nowhere", func(dir string) error { return os.Symlink("/nowhere", filepath.Join(dir, "key")) }, "/key is a symbolic link: "},
		{"another user's", func(dir string) error {
			file := filepath.Join(dir, "key")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			return os.Chown(file, 65534, 65534)
		}, "/key belongs to another user, who can have code run by it; remove it, or set plugins.cache to a directory of your own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, 1)
			switch {
			case c.wrong == "" && err != nil:
				t.Errorf("Open = %v", err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong) || !strings.Contains(err.Error(), dir)):
				t.Errorf("Open = %v, want …%s…", err, c.wrong)
			}
			if info, _ := os.Stat(dir); c.wrong == "" && info.Mode().Perm() != 0o700 {
				t.Errorf("its mode is %v, want 0700", info.Mode())
			}
		})
	}
}

// A link to a directory of ours is what its target is.
func TestOpen_link(t *testing.T) {
	target := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, 1); err != nil {
		t.Errorf("Open = %v", err)
	}
	if err := os.Chmod(target, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, 1); err == nil {
		t.Error("a link to what others can write is taken")
	}
}

// The zero cache keeps nothing.
func TestCache_zero(t *testing.T) {
	c := new(Cache)
	e, err := c.Take("key")
	if err != nil || e.Dir != "" || e.Code == nil {
		t.Fatalf("Take = %+v, %v", e, err)
	}
	if err := c.Trim(); err != nil {
		t.Error(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
