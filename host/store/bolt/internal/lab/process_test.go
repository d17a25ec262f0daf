//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/host/store/bolt/internal/crashfs"
)

// judging is the judging process: a question in each line, its findings in each
// line of the answer. The store may take it with it.
func judging() int {
	in := bufio.NewScanner(os.Stdin)
	var known cache
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			panic(err)
		}
		out, err := json.Marshal(judge(q, &known))
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(os.Stdout, "%s\n", out)
	}
	return 0
}

// judgeTime is how long one store may take; a healthy one takes milliseconds.
const judgeTime = 30 * time.Second

// bench is a place to judge: a process, and a directory in memory.
type bench struct {
	dir    string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr *bytes.Buffer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	base := "/dev/shm"
	if info, err := os.Stat(base); err != nil || !info.IsDir() {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "postern-lab-")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{dir: dir}
	t.Cleanup(func() {
		b.end()
		os.RemoveAll(dir)
	})
	return b
}

func (b *bench) start() error {
	b.cmd = exec.Command(os.Args[0])
	b.cmd.Env = append(os.Environ(), roleJudge+"=1")
	b.stderr = new(bytes.Buffer)
	b.cmd.Stderr = b.stderr
	var err error
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	b.out = bufio.NewReader(out)
	return b.cmd.Start()
}

func (b *bench) end() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// state is a store after a crash, and how it came to it.
type state struct {
	seed    uint64
	image   *crashfs.Image // or
	tree    *crashfs.Tree
	how     crashfs.Cut
	cut     uint64
	notes   []byte
	damaged string
	expires bool
	story   string // what was done to it, in words
	again   string // the command that does it again, as near as can be
}

func (s *state) files() *crashfs.Tree {
	if s.tree != nil {
		return s.tree
	}
	return s.image.Cut(s.how, rand.New(rand.NewPCG(s.cut, 1)))
}

func (s *state) write(dir string) error {
	err := errors.Join(os.MkdirAll(dir, 0o700), s.files().Write(dir))
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "notes"), s.notes, 0o600))
}

// ask judges a store.
func (b *bench) ask(s *state) ([]finding, error) {
	dir := filepath.Join(b.dir, "state")
	if err := errors.Join(os.RemoveAll(dir), s.write(dir)); err != nil {
		return nil, err
	}
	return b.put(question{Dir: dir, Seed: s.seed, Damaged: s.damaged, Expires: s.expires})
}

func (b *bench) put(q question) ([]finding, error) {
	if b.cmd == nil {
		if err := b.start(); err != nil {
			return nil, err
		}
	}
	line, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	late := false
	timer := time.AfterFunc(judgeTime, func() {
		late = true
		_ = b.cmd.Process.Signal(syscall.SIGQUIT) // its stacks say where it hangs
	})
	_, err = b.in.Write(append(line, '\n'))
	var answer []byte
	if err == nil {
		answer, err = b.out.ReadBytes('\n')
	}
	if !timer.Stop() || err != nil {
		_ = b.cmd.Wait()
		b.cmd = nil
		if late {
			return []finding{{hung, short(b.stderr.String())}}, nil
		}
		return []finding{{died, short(b.stderr.String())}}, nil
	}
	var found []finding
	return found, json.Unmarshal(answer, &found)
}

func short(text string) string {
	const most = 3000
	return text[:min(len(text), most)]
}

// jury judges states on all benches until it is closed.
type jury struct {
	t      *testing.T
	queue  chan *state
	judges sync.WaitGroup
}

// newJury judges with n processes.
func newJury(t *testing.T, n int, verdict func(*state, []finding)) *jury {
	t.Helper()
	y := &jury{t: t, queue: make(chan *state, 2*n)}
	var one sync.Mutex
	for range n {
		b := newBench(t)
		y.judges.Go(func() {
			for s := range y.queue {
				found, err := b.ask(s)
				if err != nil {
					t.Errorf("judge: %v", err)
				}
				one.Lock()
				verdict(s, found)
				one.Unlock()
			}
		})
	}
	return y
}

func (y *jury) close() {
	close(y.queue)
	y.judges.Wait()
}

// report fails the test with what was found, and keeps the state.
func report(t *testing.T, s *state, found []finding) {
	if len(found) == 0 {
		return
	}
	if !tally.blame(s.story, found) {
		t.Errorf("seed %d, %s: %s (not kept: enough are)", s.seed, s.story, outcome(found))
		return
	}
	keep, err := os.MkdirTemp("", "postern-lab-kept-")
	if err == nil {
		err = s.write(keep)
	}
	if err != nil {
		t.Error(err)
	}
	var text strings.Builder
	for i, f := range found {
		if i == 5 {
			fmt.Fprintf(&text, "\n  … and %d more", len(found)-i)
			break
		}
		fmt.Fprintf(&text, "\n  %s: %s", f.Class, f.Text)
	}
	t.Errorf("seed %d, %s:%s\nthe state is kept; to judge it again:\n  POSTERN_LAB_SEED=%d POSTERN_LAB_IMAGE=%s POSTERN_LAB_DAMAGED=%s POSTERN_LAB_EXPIRES=%v go test -count=1 -run '^TestLab_image$' ./host/store/bolt/internal/lab\nto do it again:\n  %s",
		s.seed, s.story, text.String(), s.seed, keep, s.damaged, s.expires, s.again)
}

// TestLab_image judges a state that was kept: POSTERN_LAB_IMAGE names it.
func TestLab_image(t *testing.T) {
	dir := os.Getenv("POSTERN_LAB_IMAGE")
	if dir == "" {
		t.Skip("POSTERN_LAB_IMAGE names no state that was kept")
	}
	tree, err := crashfs.Read(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	notes, err := os.ReadFile(filepath.Join(dir, "notes"))
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	// In a place of its own: judging changes the files.
	copied := filepath.Join(b.dir, "state")
	err = errors.Join(os.MkdirAll(filepath.Join(copied, "data"), 0o700), tree.Write(filepath.Join(copied, "data")),
		os.WriteFile(filepath.Join(copied, "notes"), notes, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	found, err := b.put(question{Dir: copied, Seed: firstSeed(), Damaged: os.Getenv("POSTERN_LAB_DAMAGED"), Expires: os.Getenv("POSTERN_LAB_EXPIRES") == "true"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if slices.Contains(harmless, f.Class) {
			t.Logf("%s: %s", f.Class, f.Text)
			continue
		}
		t.Errorf("%s: %s", f.Class, f.Text)
	}
}

// disk is a mounted crashfs with a load on it.
type disk struct {
	t    *testing.T
	fs   *crashfs.FS
	root string
	// notes are what came so far. They are read and written under the rules of
	// crashfs.Watch.
	notes []byte
	// noted is called after each note, under the same rules; nil for nothing.
	noted func()
	cmd   *exec.Cmd
	said  *bytes.Buffer
}

// newDisk mounts one with a tree on it, and skips where that cannot be done.
func newDisk(t *testing.T, tree *crashfs.Tree, notes []byte) *disk {
	t.Helper()
	root, err := os.MkdirTemp("", "postern-lab-disk-")
	if err != nil {
		t.Fatal(err)
	}
	fs, err := crashfs.Mount(root, tree)
	if err != nil {
		os.Remove(root)
		t.Skipf("no FUSE file system can be mounted here (%v): the crash laboratory needs /dev/fuse", err)
	}
	d := &disk{t: t, fs: fs, root: root, notes: notes}
	d.watch(nil)
	return d
}

// watch has fn asked about each operation.
func (d *disk) watch(fn func(crashfs.Op) crashfs.Fault) {
	d.fs.Watch(func(op crashfs.Op) crashfs.Fault {
		if op.Kind == crashfs.Note {
			d.notes = append(d.notes, op.Note...)
			if d.noted != nil {
				d.noted()
			}
			return crashfs.Fault{}
		}
		if fn == nil {
			return crashfs.Fault{}
		}
		return fn(op)
	})
}

func (d *disk) close() {
	d.kill()
	if err := d.fs.Unmount(); err != nil {
		d.t.Errorf("unmount: %v", err)
		return
	}
	os.Remove(d.root)
}

// start starts a load.
func (d *disk) start(l load) {
	d.t.Helper()
	l.Root = d.root
	text, err := json.Marshal(l)
	if err != nil {
		d.t.Fatal(err)
	}
	d.cmd = exec.Command(os.Args[0])
	d.cmd.Env = append(os.Environ(), roleLoad+"="+string(text))
	d.said = new(bytes.Buffer)
	d.cmd.Stderr = d.said
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
}

// wait waits for the end of the load and returns its exit, -1 when it was killed.
func (d *disk) wait() int {
	if d.cmd == nil {
		return 0
	}
	err := d.cmd.Wait()
	d.cmd = nil
	d.fs.Do(func() {}) // what was watched is seen from here on
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	if err != nil {
		d.t.Error(err)
	}
	return 0
}

func (d *disk) kill() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		d.wait()
	}
}

// image takes the state and the notes at one moment.
func (d *disk) image(s *state) *state {
	d.fs.Do(func() { d.taken(s) })
	return s
}

// taken is image within the rules of crashfs.Watch.
func (d *disk) taken(s *state) *state {
	s.image, s.notes = d.fs.Image(), d.notes[:len(d.notes):len(d.notes)]
	return s
}
