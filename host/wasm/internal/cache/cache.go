// Package cache keeps what modules were compiled to in a directory, within a
// bound and out of the reach of others: what lies in it is run as machine code.
package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
)

// Cache is a directory with an entry, a directory again, for each module. The
// zero Cache keeps nothing. It is safe for concurrent use; several processes may
// share its directory.
type Cache struct {
	root  string
	limit int64 // bytes

	mu sync.Mutex
	// used counts the entries that are open, by key.
	used map[string]int
}

// Open makes the directory with mode 0700, if it is not there, and keeps to limit
// bytes in it. It refuses one that holds anything that another user could have
// put there. An empty root keeps nothing.
func Open(root string, limit int64) (*Cache, error) {
	if root == "" {
		return &Cache{}, nil
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make the cache of compiled plugins: %w", err)
	}
	root, err := filepath.EvalSymlinks(root)
	if err == nil {
		err = private(root)
	}
	if err != nil {
		return nil, fmt.Errorf("open the cache of compiled plugins: %w", err)
	}
	// Who may read it now may not for long.
	if err := os.Chmod(root, 0o700); err != nil { //nolint:gosec // a directory needs its x bits
		return nil, fmt.Errorf("close the cache of compiled plugins to others: %w", err)
	}
	return &Cache{root: root, limit: limit, used: make(map[string]int)}, nil
}

// private refuses a directory in which something is, or may be put, by another
// user than that of this process.
func private(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // another process makes room
		case err != nil:
			return err
		case d.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a symbolic link: what it leads to may be another user's; remove it", path)
		case !mine(info):
			return fmt.Errorf("%s belongs to another user, who can have code run by it; remove it, or set plugins.cache to a directory of your own", path)
		case info.Mode().Perm()&0o022 != 0:
			return fmt.Errorf("%s has mode %#o: others can have code run by it; remove it, and keep it at 0700", path, info.Mode().Perm())
		}
		return nil
	})
}

// Entry is what is kept of one module while it is in use. Nil keeps nothing.
type Entry struct {
	// Dir is where; empty for nowhere.
	Dir string
	// Code is what the engine keeps there, and in memory until it is closed. An
	// engine of its own for each module is what lets go of all its code.
	Code wazero.CompilationCache

	cache *Cache
	key   string
	once  sync.Once
}

// Take opens the entry of a module, which it makes if it is not there. Until it
// is closed it stays, whatever the bound. The key names all that the code depends
// on.
func (c *Cache) Take(key string) (*Entry, error) {
	e := &Entry{cache: c, key: key}
	if c.root == "" {
		e.Code = wazero.NewCompilationCache()
		return e, nil
	}
	e.Dir = filepath.Join(c.root, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep a compiled plugin: %w", err)
	}
	now := time.Now()
	if err := os.Chtimes(e.Dir, now, now); err != nil {
		return nil, fmt.Errorf("keep a compiled plugin: %w", err)
	}
	var err error
	if e.Code, err = wazero.NewCompilationCacheWithDir(e.Dir); err != nil {
		return nil, fmt.Errorf("keep a compiled plugin: %w", err)
	}
	c.used[key]++
	return e, nil
}

// Close lets go of the code in memory, which nothing may run any more, and of the
// entry. It may be called again.
func (e *Entry) Close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	var err error
	e.once.Do(func() {
		err = e.Code.Close(ctx)
		if e.Dir == "" {
			return
		}
		e.cache.mu.Lock()
		defer e.cache.mu.Unlock()
		if e.cache.used[e.key]--; e.cache.used[e.key] == 0 {
			delete(e.cache.used, e.key)
		}
	})
	return err
}

// Trim removes entries until all have no more bytes than the bound: the one that
// was opened longest ago first, and none that is open here.
func (c *Cache) Trim() error {
	if c.root == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := os.ReadDir(c.root)
	if err != nil {
		return fmt.Errorf("keep the cache of compiled plugins small: %w", err)
	}
	type kept struct {
		name   string
		size   int64
		opened time.Time
	}
	var all []kept
	var total int64
	for _, d := range found {
		info, err := d.Info()
		if err != nil {
			continue // another process has removed it
		}
		k := kept{d.Name(), sizeOf(filepath.Join(c.root, d.Name())), info.ModTime()}
		total += k.size
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b kept) int {
		return cmp.Or(a.opened.Compare(b.opened), cmp.Compare(a.name, b.name))
	})
	var wrong []error
	for _, k := range all {
		if total <= c.limit {
			break
		}
		if c.used[k.name] > 0 {
			continue
		}
		wrong = append(wrong, os.RemoveAll(filepath.Join(c.root, k.name)))
		total -= k.size
	}
	return errors.Join(wrong...)
}

// sizeOf is how many bytes the files below a path have.
func sizeOf(path string) int64 {
	var total int64
	// What cannot be looked at counts as nothing: another process removes it.
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}
