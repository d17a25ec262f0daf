package shelf

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern/postern/host"
)

// The environment of a child that changes a shelf and ends before its i-th step,
// without another word.
const (
	crashDir    = "POSTERN_SHELF_CRASH_DIR"
	crashChange = "POSTERN_SHELF_CRASH_CHANGE"
	crashAt     = "POSTERN_SHELF_CRASH_AT"
	crashed     = 9
)

// change is one that a crash may come into.
type change struct {
	name string
	// before makes the shelf on which it is tried.
	before func(t *testing.T, s *Shelf, dir string)
	do     func(s *Shelf) error
	// old and new are what a bare name means before and after it.
	old, new string
	// always are other references and what they mean throughout.
	always map[string]string
	// between is what it may mean meanwhile as well.
	between string
}

func install(version, rest string) func(*Shelf) error {
	return func(s *Shelf) error {
		_, err := s.Install(module("ottu", version, rest), []byte(form), Allow{Downgrade: true})
		return err
	}
}

// form is the form of a signature: nobody here has a key to judge it with.
var form = "untrusted comment: none\n" + base64.StdEncoding.EncodeToString(append([]byte("ED"), make([]byte, 72)...)) +
	"\ntrusted comment: none\n" + base64.StdEncoding.EncodeToString(make([]byte, 64))

func changes() []change {
	missing := `there is no plugin "ottu" in `
	hand := func(t *testing.T, _ *Shelf, dir string) {
		write(t, filepath.Join(dir, "ottu.wasm"), module("ottu", "1.0.0", "hand"))
		write(t, filepath.Join(dir, "ottu.wasm.minisig"), []byte(form))
	}
	one := func(t *testing.T, s *Shelf, _ string) { mustInstall(t, s, module("ottu", "1.0.0", "a"), Allow{}) }
	two := func(t *testing.T, s *Shelf, dir string) {
		one(t, s, dir)
		if err := install("1.1.0", "b")(s); err != nil {
			t.Fatal(err)
		}
	}
	return []change{
		{"the first", func(*testing.T, *Shelf, string) {}, install("1.0.0", "a"), missing, "1.0.0 a", nil, ""},
		{"the second", one, install("1.1.0", "b"), "1.0.0 a", "1.1.0 b", map[string]string{"ottu@1.0.0": "1.0.0 a"}, ""},
		{"the second again", two, install("1.1.0", "b"), "1.1.0 b", "1.1.0 b", map[string]string{"ottu@1.0.0": "1.0.0 a"}, ""},
		{"an older one", two, install("1.0.0", "a"), "1.1.0 b", "1.0.0 a", map[string]string{"ottu@1.1.0": "1.1.0 b"}, ""},
		{"over one by hand", hand, install("1.1.0", "b"), "1.0.0 hand", "1.1.0 b", map[string]string{"ottu@1.0.0": "1.0.0 hand"}, ""},
		{"the one by hand", hand, install("1.0.0", "hand"), "1.0.0 hand", "1.0.0 hand", map[string]string{"ottu@1.0.0": "1.0.0 hand"}, ""},
		{"over one by hand over others", func(t *testing.T, s *Shelf, dir string) {
			two(t, s, dir)
			write(t, filepath.Join(dir, "ottu.wasm"), module("ottu", "1.2.0", "hand"))
		}, install("1.3.0", "c"), "1.2.0 hand", "1.3.0 c", map[string]string{"ottu@1.1.0": "1.1.0 b", "ottu@1.2.0": "1.2.0 hand"}, ""},
		{"roll back", two, rollback, "1.1.0 b", "1.0.0 a", map[string]string{"ottu@1.0.0": "1.0.0 a", "ottu@1.1.0": "1.1.0 b"}, ""},
		{"roll back one by hand", func(t *testing.T, s *Shelf, dir string) {
			two(t, s, dir)
			write(t, filepath.Join(dir, "ottu.wasm"), module("ottu", "1.2.0", "hand"))
		}, rollback, "1.2.0 hand", "1.1.0 b", map[string]string{"ottu@1.2.0": "1.2.0 hand"}, ""},
		{"take back", one, func(s *Shelf) error {
			in, err := s.Install(module("ottu", "1.1.0", "b"), nil, Allow{})
			if err != nil {
				return err
			}
			return in.Undo()
		}, "1.0.0 a", "1.0.0 a", map[string]string{"ottu@1.0.0": "1.0.0 a"}, "1.1.0 b"},
		{"remove an old one", two, remove("ottu@1.0.0"), "1.1.0 b", "1.1.0 b", nil, ""},
		{"remove the last one", one, remove("ottu"), "1.0.0 a", missing, nil, ""},
		{"remove one by hand", hand, remove("ottu"), "1.0.0 hand", missing, nil, ""},
	}
}

func rollback(s *Shelf) error {
	_, err := s.Rollback("ottu")
	return err
}

func remove(text string) func(*Shelf) error {
	return func(s *Shelf) error {
		name, version, _ := strings.Cut(text, "@")
		_, err := s.Remove(host.Ref{Name: name, Version: version})
		return err
	}
}

// TestCrash_child is the child: see above.
func TestCrash_child(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("it is the child of TestCrash")
	}
	at, err := strconv.Atoi(os.Getenv(crashAt))
	if err != nil {
		t.Fatal(err)
	}
	s := opened(t, dir, nil)
	s.step = func(string) {
		if at--; at < 0 {
			os.Exit(crashed)
		}
	}
	all := changes()
	i := slices.IndexFunc(all, func(c change) bool { return c.name == os.Getenv(crashChange) })
	if err := all[i].do(s); err != nil {
		t.Fatal(err)
	}
}

// crash has a child make the change and end before its i-th step. It reports
// whether the child came to its end before that.
func crash(t *testing.T, dir, name string, i int) (done bool) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestCrash_child$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashChange+"="+name, crashAt+"="+strconv.Itoa(i))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == crashed {
		return false
	}
	if err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
	return true
}

// TestCrash ends a process before each step of each change on the disk. What a name
// means then is the old version or the new one, whole; once it is the new one it
// stays so; and installing goes on from there.
func TestCrash(t *testing.T) {
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			switched := false
			for i := 0; ; i++ {
				dir := t.TempDir()
				s := opened(t, dir, nil)
				c.before(t, s, dir)
				wantReads(t, s, "ottu", c.old+either(c.old))
				done := crash(t, dir, c.name, i)
				got := reads(t, s, "ottu")
				isNew := strings.HasPrefix(got, c.new)
				if !isNew && (got != c.between || done) && (switched || done || !strings.HasPrefix(got, c.old)) {
					t.Errorf("before step %d: ottu is %q, want %q or %q, and no way back", i, got, c.old, c.new)
				}
				switched = isNew && c.old != c.new
				for text, want := range c.always {
					wantReads(t, s, text, want)
				}
				all, err := s.List()
				for _, e := range all {
					err = errors.Join(err, e.Err)
				}
				if err != nil {
					t.Errorf("before step %d: %v", i, err)
				}
				afterwards(t, s, dir, i)
				if done {
					if i < 2 {
						t.Errorf("the change has %d steps", i)
					}
					return
				}
			}
		})
	}
}

func either(want string) string {
	if strings.HasPrefix(want, "there is") {
		return "…"
	}
	return ""
}

// afterwards installs another version, and looks for what nobody needs.
func afterwards(t *testing.T, s *Shelf, dir string, i int) {
	t.Helper()
	mustInstall(t, s, module("ottu", "9.0.0", "next"), Allow{})
	wantReads(t, s, "ottu", "9.0.0 next")
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 || filepath.Base(names[0]) != versionsDir {
		t.Errorf("before step %d: %q (%v) is left in the directory, want versions alone", i, names, err)
	}
	below, err := os.ReadDir(filepath.Join(dir, versionsDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range below {
		module, signature := strings.CutSuffix(e.Name(), sigExtension)
		stray := signature && !slices.ContainsFunc(below, func(o os.DirEntry) bool { return o.Name() == module })
		if strings.HasPrefix(e.Name(), newFile) || stray {
			t.Errorf("before step %d: %s is left", i, e.Name())
		}
	}
}

// A file is on the disk before it has its name, and its name before anything else
// is done.
func TestCrash_order(t *testing.T) {
	for _, c := range changes() {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := opened(t, dir, nil)
			c.before(t, s, dir)
			var steps []string
			s.step = func(what string) { steps = append(steps, what) }
			if err := c.do(s); err != nil {
				t.Fatal(err)
			}
			for i, step := range steps {
				verb, file, _ := strings.Cut(step, " ")
				parent := "sync " + filepath.Dir(file)
				switch verb {
				case "rename":
					if i == 0 || i+1 == len(steps) || steps[i-1] != "sync "+file || steps[i+1] != parent {
						t.Errorf("step %d, %s, is not between syncs of the file and of its directory:\n%s", i, step, strings.Join(steps, "\n"))
					}
				case "remove", "mkdir":
					if i+1 == len(steps) || steps[i+1] != parent {
						t.Errorf("step %d, %s, is not before a sync of its directory:\n%s", i, step, strings.Join(steps, "\n"))
					}
				}
			}
		})
	}
}

// Two who install at the same time wait for each other: both versions are there,
// and one of them is current.
func TestInstall_concurrently(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	done := make(chan error)
	const n = 8
	for i := range n {
		go func() {
			_, err := opened(t, dir, nil).Install(module("ottu", fmt.Sprintf("1.%d.0", i), "x"), nil, Allow{Downgrade: true})
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := reads(t, s, "ottu"); !strings.HasSuffix(got, ".0 x") {
			t.Errorf("meanwhile ottu is %q", got)
		}
	}
	if all, err := s.List(); err != nil || len(all) != n {
		t.Errorf("List = %d, %v; want %d", len(all), err, n)
	}
}
