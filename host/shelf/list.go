package shelf

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/mod/semver"
)

// Entry is one version on the shelf.
type Entry struct {
	// Plugin has no Code. Of one that Err is about it has what its file's name says.
	Plugin
	// Current marks the one that a bare name means.
	Current bool
	// Err is why it would not be loaded; nil if it would.
	Err error
}

// Names are those of all plugins on the shelf, in order.
func (s *Shelf) Names() ([]string, error) {
	root, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	var names []string
	for _, at := range everything(root) {
		names = append(names, at.name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// List is everything on the shelf, each verified as Read does: by name, the newest
// version first. The error is one of the directory.
func (s *Shelf) List() ([]Entry, error) {
	root, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	if _, err := versions(root); err != nil {
		return nil, err
	}
	var all []Entry
	for _, at := range everything(root) {
		var e Entry
		if p, err := s.take(root, at); err == nil {
			e.Plugin = *p
			e.Code = nil
		} else {
			e = Entry{Plugin: Plugin{Name: at.name, Version: at.version, Sum: at.sum, Path: filepath.Join(s.o.Dir, at.file)}, Err: err}
		}
		current, err := s.current(root, at.name)
		e.Current = err == nil && current != nil && *current == at
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), -semver.Compare("v"+a.Version, "v"+b.Version))
	})
	return all, nil
}
