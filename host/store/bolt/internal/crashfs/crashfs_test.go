//go:build linux

package crashfs

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// mounted mounts a file system and skips where that cannot be done.
func mounted(t *testing.T, tree *Tree) (*FS, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := Mount(dir, tree)
	if err != nil {
		t.Skipf("no FUSE file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return f, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	must(t, errors.Join(f.Sync(), f.Close()))
}

// cut returns the files of one state.
func cut(f *FS, how Cut, seed uint64) map[string]string {
	var im *Image
	f.Do(func() { im = f.Image() })
	return texts(im.Cut(how, rand.New(rand.NewPCG(seed, 1))))
}

func texts(t *Tree) map[string]string {
	out := make(map[string]string)
	for name, c := range t.files {
		b := make([]byte, c.size)
		c.read(0, b)
		out[name] = string(b)
	}
	return out
}

func want(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%s: on the disk %q, want %q", what, got, want)
	}
}

func TestImage_namesAndBytesAreDurableApart(t *testing.T) {
	f, dir := mounted(t, nil)
	name := filepath.Join(dir, "a")
	file, err := os.Create(name)
	must(t, err)
	defer file.Close()
	must(t, os.WriteFile(filepath.Join(dir, Notes), []byte("not on the disk"), 0o600))
	_, err = file.WriteString("one")
	must(t, err)
	want(t, "nothing synced", cut(f, None, 1), nil)
	want(t, "all", cut(f, All, 1), map[string]string{"a": "one"})
	must(t, file.Sync())
	want(t, "the file synced", cut(f, None, 1), nil)
	syncDir(t, dir)
	want(t, "its name synced", cut(f, None, 1), map[string]string{"a": "one"})
	_, err = file.WriteString("two")
	must(t, err)
	want(t, "more written", cut(f, None, 1), map[string]string{"a": "one"})
	must(t, os.Rename(name, filepath.Join(dir, "b")))
	must(t, file.Truncate(4))
	seen := make(map[string]bool)
	for seed := range uint64(200) {
		for at, text := range cut(f, Subset, seed) {
			seen[at+":"+text] = true
		}
	}
	got, all := slices.Sorted(maps.Keys(seen)), []string{
		"a:one", "a:one\x00", "a:onet", "a:onetwo", "b:one", "b:one\x00", "b:onet", "b:onetwo",
	}
	if !slices.Equal(got, all) {
		t.Errorf("subsets %q, want %q", got, all)
	}
	must(t, syscall.Fdatasync(int(file.Fd())))
	want(t, "fdatasync", cut(f, None, 1), map[string]string{"a": "onet"})
	must(t, os.Remove(filepath.Join(dir, "b")))
	syncDir(t, dir)
	want(t, "removed", cut(f, None, 1), nil)
}

func TestImage_prefixesAndTornSectors(t *testing.T) {
	f, dir := mounted(t, nil)
	file, err := os.Create(filepath.Join(dir, "a"))
	must(t, err)
	defer file.Close()
	must(t, file.Sync())
	syncDir(t, dir)
	const n = 4
	for i := range n {
		b := make([]byte, 2*sector)
		for j := range b {
			b[j] = byte('a' + i)
		}
		_, err := file.WriteAt(b, int64(i*len(b)))
		must(t, err)
	}
	torn, sizes := 0, make(map[int]bool)
	for seed := range uint64(300) {
		text := cut(f, Prefix, seed)["a"]
		sizes[len(text)] = true
		holes := 0
		for i := 0; i < len(text); i += sector {
			s := text[i:min(len(text), i+sector)]
			switch s[0] {
			case 0:
				holes++
			case byte('a' + i/2/sector):
			default:
				t.Fatalf("sector %d begins with %q", i/sector, s[0])
			}
		}
		if holes > 2 {
			t.Fatalf("a prefix has %d holes, want those of the last write only", holes)
		}
		if holes == 1 {
			torn++
		}
	}
	if torn == 0 || len(sizes) < n {
		t.Errorf("%d torn of 300, sizes %v, want some and all", torn, sizes)
	}
}

func TestWatch_faults(t *testing.T) {
	f, dir := mounted(t, nil)
	file, err := os.Create(filepath.Join(dir, "a"))
	must(t, err)
	defer file.Close()
	syncDir(t, dir)
	var fault Fault
	var ops []Op
	f.Watch(func(op Op) Fault {
		ops = append(ops, Op{Kind: op.Kind, Path: op.Path, Room: op.Room})
		return fault
	})
	write := func(text string) error {
		_, err := file.WriteAt([]byte(text), 0)
		return err
	}
	set := func(next Fault) { f.Do(func() { fault = next }) }
	must(t, write("one"))
	set(Fault{Lie: true})
	must(t, file.Sync())
	want(t, "after a sync that lies", cut(f, None, 1), map[string]string{"a": ""})
	set(Fault{Errno: syscall.EIO})
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v, want EIO", err)
	}
	if err := write("two"); !errors.Is(err, syscall.EIO) {
		t.Errorf("write: %v, want EIO", err)
	}
	after := false
	set(Fault{After: func() { after = true }})
	must(t, file.Sync())
	// Dropped by the sync that failed: seen, and not to be synced any more.
	want(t, "after a sync that failed, and another", cut(f, None, 1), map[string]string{"a": ""})
	f.Watch(nil)
	if b, err := os.ReadFile(file.Name()); string(b) != "one" || !after {
		t.Errorf("read %q, %v, after %v", b, err, after)
	}
	if want := []Op{{Write, "a", true, nil}, {Sync, "a", false, nil}, {Sync, "a", false, nil}, {Write, "a", false, nil}, {Sync, "a", false, nil}}; !slices.EqualFunc(ops, want, func(a, b Op) bool {
		return a.Kind == b.Kind && a.Path == b.Path && a.Room == b.Room
	}) {
		t.Errorf("operations %v, want %v", ops, want)
	}
	f.Do(func() { f.Fill(true) })
	var room syscall.Statfs_t
	must(t, syscall.Statfs(dir, &room))
	if _, err := file.WriteAt([]byte("xy"), pageSize-1); !errors.Is(err, syscall.ENOSPC) || room.Bavail != 0 {
		t.Errorf("write to a full disk: %v, %d blocks free", err, room.Bavail)
	}
	must(t, write("in place"))
	f.Do(func() { f.Fill(false); f.Halt(true) })
	if err := write("xy"); !errors.Is(err, syscall.EIO) {
		t.Errorf("write when halted: %v", err)
	}
	f.Do(func() { f.Halt(false) })
	must(t, write("xy"))
}

func TestTree_goesRound(t *testing.T) {
	f, dir := mounted(t, nil)
	must(t, os.MkdirAll(filepath.Join(dir, "x", "y"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "x", "y", "a"), []byte("text"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "hole"), nil, 0o600))
	must(t, os.Truncate(filepath.Join(dir, "hole"), 3*pageSize+7))
	var im *Image
	f.Do(func() { im = f.Image() })
	tree := im.Cut(All, rand.New(rand.NewPCG(1, 1)))
	out := t.TempDir()
	must(t, tree.Write(out))
	back, err := Read(out)
	must(t, err)
	want(t, "written and read", texts(back), texts(tree))
	_, again := mounted(t, back)
	b, err := os.ReadFile(filepath.Join(again, "x", "y", "a"))
	if string(b) != "text" {
		t.Errorf("mounted again it reads %q, %v", b, err)
	}
	want(t, "a bit flipped", texts(back.Flip("x/y/a", 0, 0)), map[string]string{"x/y/a": "uext", "hole": texts(tree)["hole"]})
	want(t, "the original", texts(back), texts(tree))
}

// TestLock checks what bbolt asks for.
func TestLock(t *testing.T) {
	_, dir := mounted(t, nil)
	a, err := os.Create(filepath.Join(dir, "a"))
	must(t, err)
	defer a.Close()
	b, err := os.Open(a.Name())
	must(t, err)
	defer b.Close()
	must(t, syscall.Flock(int(a.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	if err := syscall.Flock(int(b.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("second lock: %v, want EWOULDBLOCK", err)
	}
	must(t, syscall.Fallocate(int(a.Fd()), 0, 0, 100))
	if info, err := a.Stat(); err != nil || info.Size() != 100 {
		t.Errorf("after fallocate: %v, %v", info, err)
	}
}
