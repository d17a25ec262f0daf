// Package watch tells when files have changed, however they were put there: written
// over, renamed into place, or by a link that was turned to other ones.
package watch

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options of a [Watcher]. Paths and Changed are required.
type Options struct {
	// Paths are the files to watch, and the directories with what is in them, which
	// need not be there yet. It is asked again after each change.
	Paths func() (files, directories []string)
	// Changed is called when any of them has, or may have, and at the start. It is
	// not called concurrently and may block: what changes meanwhile is told
	// afterwards.
	Changed func()
	// Quiet is how long nothing must happen before Changed is called, and Most the
	// longest that it is put off. Zero means 300 ms and 2 s.
	Quiet, Most time.Duration
	// Log takes what cannot be watched; nil discards it.
	Log *slog.Logger
}

// Watcher watches. Make one with [Start] and close it.
type Watcher struct {
	o     Options
	files *fsnotify.Watcher
	// names are the files and the links that lead to them, wide the directories of
	// which everything counts; both without links in their directories.
	names, wide map[string]bool
	// watched are the directories that are watched for it.
	watched map[string]bool

	stop    sync.Once
	stopped chan struct{}
	done    chan struct{}
}

// Start begins to watch. The error says that this system cannot.
func Start(o Options) (*Watcher, error) {
	if o.Quiet == 0 {
		o.Quiet, o.Most = 300*time.Millisecond, 2*time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	w := &Watcher{o: o, files: files, watched: make(map[string]bool), stopped: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.run(files.Events, files.Errors)
		_ = files.Close() // nobody waits for anything of it
	}()
	return w, nil
}

// Close ends the watching. It waits for Changed to return.
func (w *Watcher) Close() {
	w.stop.Do(func() { close(w.stopped) })
	<-w.done
}

// run gathers events until the files are quiet, or have not been for long enough.
func (w *Watcher) run(events <-chan fsnotify.Event, failed <-chan error) {
	w.tell()
	due := time.NewTimer(w.o.Quiet)
	due.Stop()
	var first time.Time // of the events since the last time; zero for none
	for {
		touched := false
		select {
		case <-w.stopped:
			return
		case e := <-events:
			touched = w.counts(e.Name)
		case err := <-failed:
			// What was lost in between may have been anything.
			w.o.Log.Warn("watch files", "err", err)
			touched = true
		case <-due.C:
			first = time.Time{}
			w.tell()
		}
		if !touched {
			continue
		}
		if first.IsZero() {
			first = time.Now()
		}
		due.Reset(min(w.o.Quiet, w.o.Most-time.Since(first)))
	}
}

// counts reports whether something of that name is watched for, or is a directory
// with such in it, which has gone then.
func (w *Watcher) counts(name string) bool {
	return w.names[name] || w.wide[filepath.Dir(name)] || w.watched[name]
}

// tell says that something changed; again where something is watched from now on
// that was not when it was looked at.
func (w *Watcher) tell() {
	w.arm()
	w.o.Changed()
	for w.arm() {
		w.o.Changed()
	}
}

// arm watches the directories in which the files, and the links that lead to them,
// are now. It reports whether one was not watched before.
func (w *Watcher) arm() (more bool) {
	files, directories := w.o.Paths()
	w.names, w.wide = make(map[string]bool), make(map[string]bool)
	want := make(map[string]bool)
	lead := func(path string) string {
		all := trail(path)
		for _, name := range all {
			w.names[name] = true
			want[filepath.Dir(name)] = true
		}
		return all[len(all)-1]
	}
	for _, file := range files {
		lead(file)
	}
	for _, dir := range directories {
		end := lead(dir)
		w.wide[end], want[end] = true, true
		// What cannot be read is told by whoever reads it.
		found, _ := os.ReadDir(end)
		for _, d := range found {
			if d.Type()&os.ModeSymlink != 0 {
				lead(filepath.Join(end, d.Name()))
			}
		}
	}
	for dir := range w.watched {
		// One that is gone, and perhaps there again, is watched no more.
		if !want[dir] || !slices.Contains(w.files.WatchList(), dir) {
			_ = w.files.Remove(dir)
			delete(w.watched, dir)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(want)) {
		if w.watched[dir] {
			continue
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue // the directory above it is watched
		}
		if err := w.files.Add(dir); err != nil {
			w.o.Log.Warn("a directory is not watched; SIGHUP has its files read again", "directory", dir, "err", err)
			continue
		}
		w.watched[dir], more = true, true
	}
	return more
}

// trail are the links that one follows from a path, each as it stands in a directory
// that is none, and at the end what they lead to: the path itself, if it is no link.
// It ends early at what is not there.
func trail(path string) []string {
	const most = 40 // links, as for the kernel
	rest, err := filepath.Abs(path)
	if err != nil {
		return []string{path}
	}
	var links []string
	at := filepath.VolumeName(rest) + string(filepath.Separator)
	for rest = rest[len(at):]; rest != "" && len(links) < most; {
		var name string
		name, rest, _ = strings.Cut(rest, string(filepath.Separator))
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			return append(links, next)
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		links = append(links, next)
		target, err := os.Readlink(next)
		if err != nil {
			return links
		}
		if filepath.IsAbs(target) {
			at = filepath.VolumeName(target) + string(filepath.Separator)
			target = target[len(at):]
		}
		rest = filepath.Join(target, rest)
		if rest == "." {
			rest = ""
		}
	}
	return append(links, at)
}
