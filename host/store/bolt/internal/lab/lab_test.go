//go:build linux

// Package lab is the crash laboratory of the bolt store: power loss, kills,
// errors of every operation, a full disk and flipped bits, each against a store
// under load, and each judged by what was acknowledged. It has tests only.
//
// The environment bounds it: POSTERN_LAB_TIME is how long all of it may take,
// power losses taking what the rest leaves; without it, a small share runs.
// POSTERN_LAB_SEED is the first seed, a number or "random"; what fails prints what
// repeats it. POSTERN_LAB_REPORT names a file for the table.
package lab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What makes the test binary one of the laboratory's other processes.
const (
	roleLoad  = "POSTERN_LAB_LOAD"
	roleJudge = "POSTERN_LAB_JUDGE"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(roleLoad); text != "" {
		os.Exit(loading(text))
	}
	if os.Getenv(roleJudge) != "" {
		os.Exit(judging())
	}
	code := m.Run()
	if text := tally.table(); text != "" {
		text = head() + text
		fmt.Fprint(os.Stdout, text)
		if name := os.Getenv("POSTERN_LAB_REPORT"); name != "" {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// begun is when the laboratory began.
var begun = time.Now()

// head says how the table came about.
func head() string {
	of := "a small share"
	if text := os.Getenv("POSTERN_LAB_TIME"); text != "" {
		of = "CRASH_TIME=" + text
	}
	revision, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		revision = []byte("unknown")
	}
	return fmt.Sprintf("# make crash: %s, CRASH_SEED=%d, %s, %d cores, revision %s# It took %s.\n",
		of, firstSeed(), runtime.Version(), runtime.GOMAXPROCS(0), append(bytes.TrimSpace(revision), '\n'),
		time.Since(begun).Round(time.Second))
}

// whole is how long all of the laboratory may take; zero for its small share.
func whole(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("POSTERN_LAB_TIME")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("POSTERN_LAB_TIME: %v", err)
	}
	return d
}

// firstSeed is the seed of the environment, 1 without one.
var firstSeed = sync.OnceValue(func() uint64 {
	switch text := os.Getenv("POSTERN_LAB_SEED"); text {
	case "":
		return 1
	case "random":
		return rand.Uint64() >> 40
	default:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			panic(fmt.Sprintf("POSTERN_LAB_SEED: %v", err))
		}
		return n
	}
})

// counts is what the laboratory did and found, for the table.
type counts struct {
	mu   sync.Mutex
	rows []string
	did  map[string]int
	bad  map[class]int
	// told are what something was found after, kept how many states of those.
	told map[string]bool
	kept int
}

var tally = counts{did: make(map[string]int), bad: make(map[class]int), told: make(map[string]bool)}

func (c *counts) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.did[what]; !known {
		c.rows = append(c.rows, what)
	}
	c.did[what] += n
}

// blame counts what was found, and reports whether the state is to be kept: the
// first few that have a story of their own are.
func (c *counts) blame(story string, found []finding) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range found {
		c.bad[f.Class]++
	}
	const enough = 20
	if c.told[story] || c.kept == enough {
		return false
	}
	c.told[story] = true
	c.kept++
	return true
}

func (c *counts) table() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rows) == 0 {
		return ""
	}
	var b strings.Builder
	for _, what := range c.rows {
		fmt.Fprintf(&b, "%-58s %8d\n", what, c.did[what])
	}
	for _, f := range []struct {
		class class
		text  string
	}{
		{lost, "acknowledged and lost"},
		{wrong, "served wrong"},
		{twice, "stored twice"},
		{undone, "not delivered as it should be"},
		{unsound, "unsound by bbolt's own check"},
		{stuck, "opened, appended or closed not"},
		{unnamed, "damaged and not named"},
		{died, "processes that died"},
		{hung, "processes that hung"},
	} {
		fmt.Fprintf(&b, "%-58s %8d\n", f.text, c.bad[f.class])
	}
	return b.String()
}
