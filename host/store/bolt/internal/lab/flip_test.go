//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/host/store/bolt/internal/crashfs"
)

// closedStore makes a store of several segments that was closed, and its notes.
func closedStore(t *testing.T, seed uint64) (*crashfs.Tree, []byte) {
	t.Helper()
	root := newBench(t).dir
	notes := filepath.Join(root, crashfs.Notes)
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(load{Root: root, Seed: seed, Count: 150, Writers: 4, Reopen: 60, Segment: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleLoad+"="+string(text))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("load: %v\n%s", err, out)
	}
	b, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(notes); err != nil {
		t.Fatal(err)
	}
	tree, err := crashfs.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree, b
}

// flippable are the pages of all files that are no holes.
type flippable struct {
	file string
	page int64
}

func pagesOf(tree *crashfs.Tree) []flippable {
	var all []flippable
	for _, file := range tree.Files() {
		for _, page := range tree.Pages(file) {
			all = append(all, flippable{file, page})
		}
	}
	return all
}

// aFlip returns the tree with one bit flipped, and where. Every file is as likely
// as any other, and in it every page; one in four is in the first 64 bytes of the
// page, where bbolt keeps what it is.
func aFlip(tree *crashfs.Tree, all []flippable, r *rand.Rand) (flipped *crashfs.Tree, file, where string) {
	files := tree.Files()
	file = files[r.IntN(len(files))]
	own := slices.DeleteFunc(slices.Clone(all), func(p flippable) bool { return p.file != file })
	p, in := own[r.IntN(len(own))], r.IntN(4096)
	if r.IntN(4) == 0 {
		in = r.IntN(64)
	}
	at, bit := p.page*4096+int64(in), r.UintN(8)
	return tree.Flip(file, at, bit), file, fmt.Sprintf("bit %d of byte %d (page %d, byte %d in it) of %s", bit, at, p.page, in, file)
}

// harmless are what a damaged store may do: damage was found, and named.
var harmless = []class{refused, moved, unread, unserved}

// TestLab_bitFlips flips single bits in the files of a closed store: everything is
// right, or the damage is named; nothing wrong is served, nothing acknowledged
// goes missing without a word, no process hangs or dies.
func TestLab_bitFlips(t *testing.T) {
	left, until := 60, time.Now().Add(10*time.Second)
	if d := whole(t); d > 0 {
		left, until = 1000, time.Now().Add(d)
	}
	outcomes := make(map[string]int)
	flips := 0
	y := newJury(t, runtime.GOMAXPROCS(0), func(s *state, found []finding) {
		flips++
		bad := slices.DeleteFunc(slices.Clone(found), func(f finding) bool { return slices.Contains(harmless, f.Class) })
		outcomes[kindOf(s.damaged)+": "+outcome(found)]++
		report(t, s, bad)
	})
	n := firstSeed()
	tree, notes := closedStore(t, n)
	all := pagesOf(tree)
	for i := range left {
		if time.Now().After(until) {
			break
		}
		cut := n<<20 + uint64(i)
		flipped, file, where := aFlip(tree, all, rand.New(rand.NewPCG(cut, 7)))
		y.queue <- &state{
			seed: n, tree: flipped, notes: notes, damaged: strings.TrimPrefix(file, "data/"),
			story: "flipped " + where, again: again(t, n, ""),
		}
	}
	y.close()
	for _, what := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%-60s %5d", what, outcomes[what])
	}
	tally.add("bits flipped in closed stores", flips)
}

func kindOf(file string) string {
	if dir := filepath.Dir(file); dir != "." {
		return dir
	}
	return file
}

// outcome names what was found in one word or more.
func outcome(found []finding) string {
	seen := make(map[string]bool)
	for _, f := range found {
		seen[string(f.Class)] = true
	}
	if len(seen) == 0 {
		return "all right"
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), " ")
}
