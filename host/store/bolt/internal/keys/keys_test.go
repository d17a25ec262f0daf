package keys

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

// log is a log of records with a key each; from first on they have not expired.
type log struct {
	first, last uint64
	notes       []string
}

func (l *log) First() uint64 { return l.first }
func (l *log) Last() uint64  { return l.last }

func (l *log) EachKey(first, last uint64, fn func(uint64, int, map[host.Hash]Place) error) error {
	for seq := max(first, l.first); seq <= min(last, l.last); seq++ {
		if err := fn(seq, 100, map[host.Hash]Place{hash(seq): {Seq: seq}}); err != nil {
			return err
		}
	}
	return nil
}

func (l *log) Note(format string, args ...any) {
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// hash is the key of a record; they are in no order.
func hash(seq uint64) (h host.Hash) {
	binary.BigEndian.PutUint64(h[:], seq*0x9e3779b97f4a7c15)
	return h
}

var epoch = time.Unix(2e9, 0)

// open opens the index in dir at some time.
func open(t *testing.T, dir string, l *log, now time.Time) *Index {
	t.Helper()
	paths, _, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Open(paths, Options{Dir: dir, Log: l, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// grow appends n records, and writes their keys to a file.
func grow(t *testing.T, x *Index, l *log, n uint64, now time.Time) {
	t.Helper()
	for range n {
		l.last++
		x.Add(map[host.Hash]Place{hash(l.last): {Seq: l.last}}, l.last, 100, now)
	}
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := x.Covered(); got != l.last {
		t.Errorf("keys are in files up to %d, want %d", got, l.last)
	}
}

// wantKeys wants the keys of the records from first to last, and no others.
func wantKeys(t *testing.T, x *Index, first, last uint64) {
	t.Helper()
	for seq := uint64(1); seq <= last+100; seq++ {
		got, found, err := x.Find(hash(seq))
		want := Place{}
		if seq >= first && seq <= last {
			want.Seq = seq
		}
		if err != nil || got != want && found || found != (want.Seq != 0) {
			t.Fatalf("key %d: %+v, %t, %v, want %+v", seq, got, found, err, want)
		}
	}
}

func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dedup"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestIndex_mergesAndExpires(t *testing.T) {
	dir, l := newDir(t), &log{first: 1}
	x := open(t, dir, l, epoch)
	for i := range time.Duration(12) {
		grow(t, x, l, 300, epoch.Add(i*time.Hour))
		if err := x.Merge(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		paths, last, err := List(dir)
		if err != nil || len(paths) > MaxFiles || last != l.last {
			t.Fatalf("%d files up to %d, %v, want at most %d up to %d", len(paths), last, err, MaxFiles, l.last)
		}
		wantKeys(t, x, 1, l.last)
		x = open(t, dir, l, epoch)
	}
	// Invariant 3: exactly at the end of the window all are still there.
	const window = 24 * time.Hour
	if err := x.Expire(epoch.Add(window), window); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, x, 1, l.last)
	if err := x.Expire(epoch.Add(11*time.Hour+window), window); err != nil {
		t.Fatal(err)
	}
	paths, _, err := List(dir)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%d files, %v, want the youngest", len(paths), err)
	}
	first, _, err := fileRange(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	wantKeys(t, x, first, l.last)
}

// TestIndex_mergesFiles has neighbours merged of which some have the same key: the
// first place of it stays.
func TestIndex_mergesFiles(t *testing.T) {
	dir, l := newDir(t), &log{first: 1}
	x := open(t, dir, l, epoch)
	for range MaxFiles + 1 {
		x.Add(map[host.Hash]Place{hash(1 << 40): {Seq: l.last + 1}}, l.last, 0, epoch)
		grow(t, x, l, 5, epoch)
	}
	if err := x.merge(x.list()); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, x, 1, l.last)
	if p, found, err := x.Find(hash(1 << 40)); !found || err != nil || p.Seq != 1 {
		t.Errorf("a key of each of them: %+v, %t, %v, want that of the first", p, found, err)
	}
	if files := x.list(); len(files) != 1 || files[0].count != int(l.last)+1 {
		t.Errorf("%d files, the first with %d keys, want one with %d", len(files), files[0].count, l.last+1)
	}
}

// TestCheapest grows a window of keys to ten million and passes it on, in files of
// 32,768, and counts what merging writes.
func TestCheapest(t *testing.T) {
	const window, runs = 305, 1220
	var files []*file
	written, largest := 0, 0
	for n := range uint64(runs) {
		files = append(files, &file{first: n, last: n, count: runKeys})
		for files[0].last+window <= n {
			files = files[1:]
		}
		for len(files) > MaxFiles {
			first, end := cheapest(files)
			if end-first < 2 {
				t.Fatalf("merges the files %d to %d", first, end)
			}
			of := &file{first: files[first].first, last: files[end-1].last}
			for _, f := range files[first:end] {
				of.count += f.count
			}
			written += of.count
			largest = max(largest, of.count)
			files = slices.Replace(files, first, end, of)
		}
	}
	if per := float64(written) / (runs * runKeys); per > 5 {
		t.Errorf("each key was written %.1f times, want at most 5", per)
	}
	if most := window * runKeys / 3; largest > most {
		t.Errorf("a file has %d keys, want at most %d", largest, most)
	}
}

// TestIndex_mendsFromTheLog damages a block of a file: its keys are found again
// if the log has their records, and otherwise that is said.
func TestIndex_mendsFromTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		first uint64
		note  string
	}{
		"records are there":    {1, "written anew from the log"},
		"records have expired": {501, "its records have expired"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, l := newDir(t), &log{first: 1}
			x := open(t, dir, l, epoch)
			grow(t, x, l, 500, epoch)
			l.first = c.first
			damageBlock(t, filePath(dir, 1, 500), 250)
			var failed bool
			for seq := uint64(1); seq <= 500; seq++ {
				_, found, err := x.Find(hash(seq))
				if err == nil && !found {
					t.Fatalf("key %d is not found, and no error says why", seq)
				}
				failed = failed || err != nil
			}
			if !failed {
				t.Fatal("nothing was damaged")
			}
			if err := x.Mend(); err != nil {
				t.Fatal(err)
			}
			if len(l.notes) != 1 || !strings.Contains(l.notes[0], c.note) {
				t.Errorf("notes %q, want one with %q", l.notes, c.note)
			}
			if _, err := os.Stat(filepath.Join(dir, "damaged", "dedup-"+filepath.Base(filePath(dir, 1, 500)))); err != nil {
				t.Errorf("the damaged file is not kept: %v", err)
			}
			if c.first == 1 {
				wantKeys(t, x, 1, 500)
			}
		})
	}
}

// damageBlock flips a bit of the entry of a record.
func damageBlock(t *testing.T, path string, seq uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h := hash(seq)
	at := strings.Index(string(b), string(h[:])+string(binary.BigEndian.AppendUint64(nil, seq)))
	if at < 0 {
		t.Fatalf("key %d is not in the file", seq)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{b[at+len(h)+8] ^ 1}, int64(at+len(h)+8)); err != nil {
		t.Fatal(err)
	}
}

// TestOpen_readsWhatIsInNoFile opens an index whose files were lost in part.
func TestOpen_readsWhatIsInNoFile(t *testing.T) {
	dir, l := newDir(t), &log{first: 1}
	x := open(t, dir, l, epoch)
	for range 3 {
		grow(t, x, l, 200, epoch)
	}
	l.last += 50
	if err := os.Remove(filePath(dir, 201, 400)); err != nil {
		t.Fatal(err)
	}
	x = open(t, dir, l, epoch)
	wantKeys(t, x, 1, 650)
	if got := x.Covered(); got != 600 {
		t.Errorf("keys are in files up to %d, want 600", got)
	}
	if len(l.notes) != 0 {
		t.Errorf("notes %q, want none: the log has all", l.notes)
	}
}
