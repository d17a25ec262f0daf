package file

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/host"
)

// openWith makes a sink with settings of its own.
func openWith(t *testing.T, c Config) *Sink {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// rotated are the names of the files moved away, oldest first.
func rotated(t *testing.T, path string) []string {
	t.Helper()
	ext := filepath.Ext(path)
	names, err := filepath.Glob(strings.TrimSuffix(path, ext) + "-*" + ext)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func mustDeliver(t *testing.T, s *Sink, first, n int) {
	t.Helper()
	if err := deliver(t, s, first, n); err != nil {
		t.Fatalf("deliver %d from %d on: %v", n, first, err)
	}
}

func TestRotate_bySize(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	limit := 3 * len(line(t, 0))
	s := openWith(t, Config{Path: path, MaxSize: int64(limit)})
	want := ""
	for i := range 10 {
		mustDeliver(t, s, i, 1)
		want += line(t, i)
	}
	mustDeliver(t, s, 20, 5) // more than a file may have
	mustDeliver(t, s, 30, 1)
	files := append(rotated(t, path), path)
	got := ""
	for i, name := range files {
		text := read(t, name)
		if large := len(text) > limit; large != (text == line(t, 20)+line(t, 21)+line(t, 22)+line(t, 23)+line(t, 24)) {
			t.Errorf("file %d of %d has %d bytes, the limit is %d", i, len(files), len(text), limit)
		}
		got += text
	}
	for _, i := range []int{20, 21, 22, 23, 24, 30} {
		want += line(t, i)
	}
	if got != want {
		t.Errorf("all files together have %d bytes, want %d, in order", len(got), len(want))
	}
	if len(files) != 6 {
		t.Errorf("%d files, want 6: 3+3+3+1+5+1 lines", len(files))
	}
}

func TestRotate_neverOverwrites(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events")
	s := openWith(t, Config{Path: path, MaxSize: 1})
	const n = 50
	for i := range n {
		mustDeliver(t, s, i, 1)
	}
	names := rotated(t, path)
	if len(names) != n-1 {
		t.Fatalf("%d rotated files, want %d", len(names), n-1)
	}
	for i, name := range names {
		if got := read(t, name); got != line(t, i) {
			t.Errorf("%s = %q, want line %d", name, got, i)
		}
	}
}

func TestRotate_byAge(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	// Long, so that no period ends while the test runs.
	const period = 7300 * 24 * time.Hour
	c := Config{Path: path, MaxAge: period}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	age := func(by time.Duration) {
		t.Helper()
		at := time.Now().Add(-by)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	age(2 * period) // empty: there is nothing to move away
	mustDeliver(t, s, 0, 1)
	mustDeliver(t, s, 1, 1)
	if got := rotated(t, path); len(got) != 0 {
		t.Fatalf("%v were rotated within a period", got)
	}
	age(period)
	mustDeliver(t, s, 2, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// After a crash, and years.
	if err := os.WriteFile(path, []byte(line(t, 2)+`{"specv`), 0o600); err != nil {
		t.Fatal(err)
	}
	age(2 * period)
	mustDeliver(t, openWith(t, c), 3, 1)
	var got []string
	for _, name := range append(rotated(t, path), path) {
		got = append(got, read(t, name))
	}
	if want := []string{line(t, 0) + line(t, 1), line(t, 2), line(t, 3)}; !slices.Equal(got, want) {
		t.Errorf("files = %q, want %q", got, want)
	}
}

func TestSink_due(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		maxSize int64
		maxAge  time.Duration
		size    int64
		changed string
		want    bool
	}{
		"neither":                 {0, 0, 1 << 40, "2020-01-01T00:00:00Z", false},
		"just fits":               {100, 0, 90, "2026-05-06T23:00:00Z", false},
		"one byte more":           {100, 0, 91, "2026-05-06T23:00:00Z", true},
		"empty":                   {5, day, 0, "2026-05-05T00:00:00Z", false},
		"the same day":            {0, day, 1, "2026-05-06T00:00:00Z", false},
		"the day before":          {0, day, 1, "2026-05-05T23:59:59Z", true},
		"the same day, elsewhere": {0, day, 1, "2026-05-07T04:00:00+05:00", false},
		"a clock set back":        {0, day, 1, "2026-05-07T00:00:00Z", true},
		"the same hour":           {0, time.Hour, 1, "2026-05-06T23:00:00Z", false},
		"the hour before":         {0, time.Hour, 1, "2026-05-06T22:59:59Z", true},
	} {
		s := &Sink{maxSize: tc.maxSize, maxAge: tc.maxAge}
		if got := s.due(tc.size, at(tc.changed), at("2026-05-06T23:30:00Z"), 10); got != tc.want {
			t.Errorf("%s: due = %v, want %v", name, got, tc.want)
		}
	}
}

func TestRotate_keeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	foreign := []string{"events-old.ndjson", "events-20200101T000000.000Z.ndjson.gz", "events-20200101T000000.000Z", "other-20200101T000000.000Z.ndjson"}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const folder = "events-20200101T000000.000Z.ndjson"
	if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
		t.Fatal(err)
	}
	s := openWith(t, Config{Path: path, MaxSize: 1, Keep: 3})
	for i := range 10 {
		mustDeliver(t, s, i, 1)
	}
	names := slices.DeleteFunc(rotated(t, path), func(name string) bool {
		return slices.Contains(append(foreign, folder), filepath.Base(name))
	})
	var got []string
	for _, name := range append(names, path) {
		got = append(got, read(t, name))
	}
	if want := []string{line(t, 6), line(t, 7), line(t, 8), line(t, 9)}; !slices.Equal(got, want) {
		t.Errorf("files = %q, want the newest 3 and the present one", got)
	}
	for _, name := range append(foreign, folder) {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("a file that is not the sink's is gone: %v", err)
		}
	}
}

func TestRotate_failsLikeAWrite(t *testing.T) {
	t.Parallel()
	// The name is as long as a name can be: with the time it is longer.
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 250))
	var logged bytes.Buffer
	s := openWith(t, Config{Path: path, MaxSize: 1, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	mustDeliver(t, s, 0, 1)
	err := deliver(t, s, 1, 1)
	if !errors.Is(err, syscall.ENAMETOOLONG) || host.IsPermanent(err) || strings.Count(err.Error(), path) != 1 {
		t.Errorf("error = %v, want a transient one with the path once", err)
	}
	if got := read(t, path); got != line(t, 0) {
		t.Errorf("file = %q, want what it was", got)
	}
	s.maxSize = 0 // nothing is under way
	mustDeliver(t, s, 1, 1)
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
}

func TestNew_refusesNegativeNumbers(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{MaxSize: -1}, {MaxAge: -1}, {Keep: -1}} {
		c.Path = filepath.Join(t.TempDir(), "f")
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "rotate: has a negative") {
			t.Errorf("New(%+v) = %v, want a refusal", c, err)
		}
	}
}
