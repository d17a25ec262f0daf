package watch

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// seen is what a watcher's owner reads when it is told of a change.
type seen struct {
	t     *testing.T
	files []string
	dirs  []string
	// last is what was read, the files' contents and the names in the directories.
	last  atomic.Pointer[[]string]
	times atomic.Int64
	// inside, if set, is called first.
	inside func()
}

func (s *seen) start() {
	s.t.Helper()
	w, err := Start(Options{
		Paths: func() ([]string, []string) { return s.files, s.dirs },
		Changed: func() {
			if s.inside != nil {
				s.inside()
			}
			var all []string
			for _, f := range s.files {
				text, _ := os.ReadFile(f)
				all = append(all, string(text))
			}
			for _, d := range s.dirs {
				found, _ := os.ReadDir(d)
				for _, e := range found {
					all = append(all, e.Name())
				}
			}
			s.last.Store(&all)
			s.times.Add(1)
		},
		Quiet: time.Millisecond, Most: 20 * time.Millisecond,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(w.Close)
}

// until waits until what was read last is that.
func (s *seen) until(what string, want ...string) {
	s.t.Helper()
	bound := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if got := s.last.Load(); got != nil && slices.Equal(*got, want) {
			return
		}
		select {
		case <-tick.C:
		case <-bound:
			s.t.Fatalf("%s: it has read %q, want %q", what, *s.last.Load(), want)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// However a file is put there, the change is told.
func TestWatcher_file(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "postern.yaml")
	write(t, file, "one")
	s := &seen{t: t, files: []string{file}}
	s.start()
	s.until("at the start", "one")
	write(t, file, "two")
	s.until("written over", "two")
	write(t, file+"~", "three")
	must(t, os.Rename(file+"~", file))
	s.until("renamed over", "three")
	must(t, os.Remove(file))
	s.until("removed", "")
	write(t, file, "four")
	s.until("made again", "four")
	must(t, os.Rename(dir, dir+"-away"))
	s.until("its directory moved", "")
	must(t, os.Mkdir(dir, 0o700))
	write(t, file, "five")
	s.until("in another directory of that name", "five")
	must(t, os.RemoveAll(dir+"-away"))
}

// A Kubernetes volume: the file is a link through a link that is turned to another
// directory.
func TestWatcher_turnedLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lay := func(name, text string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		write(t, filepath.Join(dir, name, "postern.yaml"), text)
	}
	turn := func(to string) {
		must(t, os.Symlink(to, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	lay("..1", "one")
	turn("..1")
	file := filepath.Join(dir, "postern.yaml")
	must(t, os.Symlink("..data/postern.yaml", file))
	outside := filepath.Join(t.TempDir(), "postern.yaml")
	must(t, os.Symlink(file, outside))
	s := &seen{t: t, files: []string{outside}}
	s.start()
	s.until("at the start", "one")
	lay("..2", "two")
	turn("..2")
	s.until("the link turned", "two")
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	lay("..3", "three")
	turn("..3")
	s.until("the link turned again", "three")
	write(t, filepath.Join(dir, "..3", "postern.yaml"), "four")
	s.until("written where the links lead to", "four")
}

// What comes into a directory, also one that is not there at first, and what links
// in it lead to.
func TestWatcher_directory(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir, file := filepath.Join(top, "plugins"), filepath.Join(top, "ottu.wasm")
	write(t, file, "1")
	s := &seen{t: t, files: []string{file}, dirs: []string{dir}}
	s.start()
	s.until("at the start", "1")
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "a.wasm"), "")
	s.until("the directory is made", "1", "a.wasm")
	must(t, os.Symlink("../ottu.wasm", filepath.Join(dir, "b.wasm")))
	s.until("a link in it", "1", "a.wasm", "b.wasm")
	must(t, os.Remove(filepath.Join(dir, "a.wasm")))
	s.until("one removed", "1", "b.wasm")
	told := s.times.Load()
	write(t, filepath.Join(top, "something else"), "")
	write(t, file, "2")
	s.until("what the link leads to", "2", "b.wasm")
	if s.times.Load() == told {
		t.Error("nothing was told")
	}
}

// What changes while the last change is dealt with is told afterwards, and what is
// watched from then on is looked at once more.
func TestWatcher_meanwhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, later := filepath.Join(dir, "a"), filepath.Join(t.TempDir(), "b")
	write(t, file, "one")
	s := &seen{t: t, files: []string{file}}
	n := 0
	s.inside = func() {
		switch n++; n {
		case 1:
			// Its directory is not watched yet.
			s.files = append(s.files, later)
		case 2:
			write(t, later, "two")
		}
	}
	s.start()
	s.until("all of it", "one", "two")
}

// Many events are told once, when they are over; such that never end now and then.
func TestRun_gathers(t *testing.T) {
	files, err := fsnotify.NewWatcher() // outside: it waits for the kernel
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Close() }()
	synctest.Test(t, func(t *testing.T) {
		var told []time.Duration
		began := time.Now()
		events, failed := make(chan fsnotify.Event), make(chan error)
		w := &Watcher{
			o: Options{
				Paths:   func() ([]string, []string) { return []string{"/nowhere/at/all"}, nil },
				Changed: func() { told = append(told, time.Since(began)) },
				Quiet:   300 * time.Millisecond, Most: 2 * time.Second,
				Log: slog.New(slog.DiscardHandler),
			},
			files: files, watched: map[string]bool{}, stopped: make(chan struct{}), done: make(chan struct{}),
		}
		go func() {
			defer close(w.done)
			w.run(events, failed)
		}()
		synctest.Wait()
		told = nil
		pass := func(d time.Duration) { <-time.After(d) }
		event := func(name string) { events <- fsnotify.Event{Name: name, Op: fsnotify.Write} }
		for range 3 {
			event("/nowhere")
			pass(100 * time.Millisecond)
		}
		pass(10 * time.Second)
		event("/else")
		pass(10 * time.Second)
		began = time.Now()
		for range 50 {
			event("/nowhere")
			pass(100 * time.Millisecond)
		}
		pass(10 * time.Second)
		failed <- fsnotify.ErrEventOverflow
		pass(10 * time.Second)
		w.Close()
		want := []time.Duration{
			500 * time.Millisecond, // since the first began
			2 * time.Second, 4 * time.Second, 5200 * time.Millisecond,
			15300 * time.Millisecond,
		}
		if !slices.Equal(told, want) {
			t.Errorf("told at %v, want %v", told, want)
		}
	})
}
