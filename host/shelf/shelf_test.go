package shelf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/postern/postern/host"
)

// module is a plugin as these tests have it: its name and version, and anything.
func module(name, version, rest string) []byte {
	return []byte("module " + name + " " + version + " " + rest)
}

func inspect(code []byte) (name, version string, err error) {
	words := strings.SplitN(string(code), " ", 4)
	if len(words) != 4 || words[0] != "module" {
		return "", "", errors.New("not a module")
	}
	return words[1], words[2], nil
}

var today = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// keyPair is one that has no password.
func keyPair(t testing.TB) (secret []byte, public string) {
	t.Helper()
	secret, public, err := NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	return secret, public
}

func signed(t testing.TB, secret, code []byte, until time.Time) []byte {
	t.Helper()
	name, version, err := inspect(code)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := Sign(secret, "", &Plugin{Name: name, Version: version, Code: code}, until)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func opened(t testing.TB, dir string, change func(*Options)) *Shelf {
	t.Helper()
	o := Options{Dir: dir, Inspect: inspect, Now: func() time.Time { return today }}
	if change != nil {
		change(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, file string, contents []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, contents, 0o644); err != nil {
		t.Fatal(err)
	}
}

func ref(t testing.TB, text string) host.Ref {
	t.Helper()
	r, err := host.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reads is what a reference means: "1.2.0 rest", or the error.
func reads(t testing.TB, s *Shelf, text string) string {
	t.Helper()
	p, err := s.Read(ref(t, text))
	if err != nil {
		return err.Error()
	}
	_, rest, _ := bytes.Cut(p.Code, []byte(p.Version+" "))
	return p.Version + " " + string(rest)
}

func wantReads(t testing.TB, s *Shelf, text, want string) {
	t.Helper()
	got := reads(t, s, text)
	part, open := strings.CutSuffix(want, "…")
	if got != want && (!open || !strings.Contains(got, part)) {
		t.Errorf("Read(%s) = %q, want %q", text, got, want)
	}
}

func mustInstall(t testing.TB, s *Shelf, code []byte, allow Allow) *Switched {
	t.Helper()
	in, err := s.Install(code, nil, allow)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// tree is every file below a directory with its contents, a line each.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprint(&b, path, " ", info.Mode())
		if d.Type().IsRegular() {
			contents, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", contents)
		}
		fmt.Fprintln(&b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A file that is put there by hand is the plugin, and as it was always: whatever
// else is installed.
func TestRead_byHand(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	wantReads(t, s, "ottu", `there is no plugin "ottu" in `+dir+`; it has none`)
	code := module("ottu", "1.0.0", "a")
	write(t, filepath.Join(dir, "ottu.wasm"), code)
	p, err := s.Read(ref(t, "ottu"))
	if err != nil || !bytes.Equal(p.Code, code) || p.Path != filepath.Join(dir, "ottu.wasm") || p.String() != "ottu@1.0.0" || p.Signer != "" {
		t.Fatalf("Read = %+v, %v", p, err)
	}
	wantReads(t, s, "ottu@1.0.0", "1.0.0 a")
	wantReads(t, s, "ottu@sha256:"+p.Sum, "1.0.0 a")
	wantReads(t, s, "ottu@1.0.1", `there is no plugin "ottu@1.0.1" in `+dir+`; there are: ottu@1.0.0`)
	wantReads(t, s, "ottu@sha256:"+strings.Repeat("0", 64), `; there are: ottu@1.0.0 (sha256:`+p.Sum+`)…`)
	wantReads(t, s, "wowpe", `there is no plugin "wowpe" in `+dir+`; there are: ottu`)

	mustInstall(t, s, module("ottu", "1.1.0", "b"), Allow{})
	wantReads(t, s, "ottu", "1.1.0 b")
	write(t, filepath.Join(dir, "ottu.wasm"), module("ottu", "1.0.1", "c"))
	wantReads(t, s, "ottu", "1.0.1 c")
	wantReads(t, s, "ottu@1.1.0", "1.1.0 b")
	wantReads(t, s, "ottu@1.0.0", "1.0.0 a")
}

func TestInstall_versions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := opened(t, dir, nil)
	a := mustInstall(t, s, module("ottu", "1.9.0", "a"), Allow{})
	b := mustInstall(t, s, module("ottu", "1.10.0", "b"), Allow{})
	if a.Before != nil || b.Before.Version != "1.9.0" {
		t.Errorf("before them: %v and %v, want nothing and 1.9.0", a.Before, b.Before)
	}
	for text, want := range map[string]string{
		"ottu": "1.10.0 b", "ottu@1.9.0": "1.9.0 a", "ottu@1.10.0": "1.10.0 b",
		"ottu@sha256:" + a.Sum: "1.9.0 a", "ottu@sha256:" + b.Sum: "1.10.0 b",
		"ottu@1.11.0": `; there are: ottu@1.10.0, ottu@1.9.0…`,
	} {
		wantReads(t, s, text, want)
	}
	// Once more is nothing new.
	before := tree(t, dir)
	mustInstall(t, s, module("ottu", "1.10.0", "b"), Allow{})
	if after := tree(t, dir); after != before {
		t.Errorf("installing again changed\n%s\nto\n%s", before, after)
	}
	for _, tt := range []struct {
		code []byte
		want string
	}{
		{module("ottu", "1.9.9", "z"), "ottu@1.9.9 is older than 1.10.0, which is current: a downgrade must be allowed (--allow-downgrade)"},
		{module("ottu", "1.10.0-rc.1", "z"), "ottu@1.10.0-rc.1 is older than 1.10.0"},
		{module("ottu", "1.10.0", "z"), "there is a ottu@1.10.0 with other contents (sha256 " + b.Sum},
		{module("ottu", "1.9.0", "z"), "there is a ottu@1.9.0 with other contents (sha256 " + a.Sum},
		{module("../ottu", "1.0.0", "z"), `its manifest has no name and version: "../ottu" "1.0.0"`},
		{module("ottu", "1.0.0/../..", "z"), `its manifest has no name and version: "ottu" "1.0.0/../.."`},
		{[]byte("nothing"), "not a module"},
	} {
		if _, err := s.Install(tt.code, nil, Allow{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Install(%s) = %v, want %q", tt.code, err, tt.want)
		}
	}
	if after := tree(t, dir); after != before {
		t.Errorf("what was refused changed\n%s\nto\n%s", before, after)
	}
	mustInstall(t, s, module("ottu", "1.9.9", "c"), Allow{Downgrade: true})
	wantReads(t, s, "ottu", "1.9.9 c")
}

func TestInstall_overOneByHand(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	file := filepath.Join(dir, "ottu.wasm")
	write(t, file, []byte("garbage"))
	before := tree(t, dir)
	_, err := s.Install(module("ottu", "1.0.0", "a"), nil, Allow{})
	if want := file + " was put there by hand and cannot be kept as a version, remove it first: not a module"; err == nil || err.Error() != want {
		t.Errorf("Install over garbage = %v, want %q", err, want)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("it changed\n%s\nto\n%s", before, after)
	}
	write(t, file, module("ottu", "1.5.0", "hand"))
	if _, err := s.Install(module("ottu", "1.4.0", "a"), nil, Allow{}); err == nil || !strings.Contains(err.Error(), "is older than 1.5.0") {
		t.Errorf("Install of an older one = %v", err)
	}
	in := mustInstall(t, s, module("ottu", "2.0.0", "new"), Allow{})
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) || in.Before.Version != "1.5.0" {
		t.Errorf("%s: %v, before %v; want it gone, and 1.5.0", file, err, in.Before)
	}
	wantReads(t, s, "ottu", "2.0.0 new")
	wantReads(t, s, "ottu@1.5.0", "1.5.0 hand")
	if err := in.Undo(); err != nil {
		t.Fatal(err)
	}
	wantReads(t, s, "ottu", "1.5.0 hand")
	wantReads(t, s, "ottu@2.0.0", "there is no plugin…")
	if err := in.Undo(); err == nil || !strings.Contains(err.Error(), "it is not current any more") {
		t.Errorf("Undo again = %v", err)
	}
}

func TestUndo(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	in := mustInstall(t, s, module("ottu", "1.0.0", "a"), Allow{})
	if err := in.Undo(); err != nil {
		t.Fatal(err)
	}
	wantReads(t, s, "ottu", "; it has none…")
	mustInstall(t, s, module("ottu", "1.0.0", "a"), Allow{})
	mustInstall(t, s, module("ottu", "1.1.0", "b"), Allow{})
	before := tree(t, dir)
	for _, code := range [][]byte{module("ottu", "1.2.0", "c"), module("ottu", "1.1.0", "b")} {
		if err := mustInstall(t, s, code, Allow{}).Undo(); err != nil {
			t.Fatal(err)
		}
		if after := tree(t, dir); after != before {
			t.Errorf("%s installed and taken back changed\n%s\nto\n%s", code, before, after)
		}
	}
	// One that was there stays, and only who is current changes.
	if err := mustInstall(t, s, module("ottu", "1.0.0", "a"), Allow{Downgrade: true}).Undo(); err != nil {
		t.Fatal(err)
	}
	wantReads(t, s, "ottu@1.0.0", "1.0.0 a")
	wantReads(t, s, "ottu", "1.1.0 b")
}

func TestRollback(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	back := func(want string) {
		t.Helper()
		in, err := s.Rollback("ottu")
		got := fmt.Sprint(err)
		if err == nil {
			got = in.Before.Version + " to " + in.Version
		}
		if !strings.Contains(got, want) {
			t.Errorf("Rollback = %s, want %s", got, want)
		}
	}
	back(`there is no plugin "ottu"`)
	for i, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		mustInstall(t, s, module("ottu", version, fmt.Sprint(i)), Allow{})
	}
	back("1.2.0 to 1.1.0")
	wantReads(t, s, "ottu", "1.1.0 1")
	wantReads(t, s, "ottu@1.2.0", "1.2.0 2")
	mustInstall(t, s, module("ottu", "1.2.0", "2"), Allow{})
	back("1.2.0 to 1.1.0")
	back("1.1.0 to 1.0.0")
	before := tree(t, dir)
	back("ottu has no version before 1.0.0")
	if after := tree(t, dir); after != before {
		t.Errorf("it changed\n%s\nto\n%s", before, after)
	}
	// Taken back, which is forward again.
	mustInstall(t, s, module("ottu", "1.1.0", "1"), Allow{})
	before = tree(t, dir)
	in, err := s.Rollback("ottu")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Undo(); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, dir); after != before {
		t.Errorf("rolled back and taken back changed\n%s\nto\n%s", before, after)
	}
	back("1.1.0 to 1.0.0")
	// By hand over an installed one, and back.
	write(t, filepath.Join(dir, "ottu.wasm"), module("ottu", "3.0.0", "hand"))
	wantReads(t, s, "ottu", "3.0.0 hand")
	back("3.0.0 to 1.0.0")
	wantReads(t, s, "ottu", "1.0.0 0")
	wantReads(t, s, "ottu@3.0.0", "3.0.0 hand")
	// Never to one that would be refused.
	mustInstall(t, s, module("ottu", "3.0.0", "hand"), Allow{})
	files, _ := filepath.Glob(filepath.Join(dir, "versions", "ottu@1.0.0+*.wasm"))
	write(t, files[0], module("ottu", "1.0.0", "x"))
	back("the version before ottu@3.0.0 cannot be used: " + files[0] + ": its SHA-256 is ")
	wantReads(t, s, "ottu", "3.0.0 hand")
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	s := opened(t, dir, nil)
	remove := func(text, want string) {
		t.Helper()
		p, err := s.Remove(ref(t, text))
		got := fmt.Sprint(err)
		if err == nil {
			got = p.String()
		}
		if !strings.Contains(got, want) {
			t.Errorf("Remove(%s) = %s, want %s", text, got, want)
		}
	}
	remove("ottu", `there is no plugin "ottu"`)
	for i, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		mustInstall(t, s, module("ottu", version, fmt.Sprint(i)), Allow{})
	}
	remove("ottu", "ottu are several: name one, ottu@1.0.0, ottu@1.1.0, ottu@1.2.0")
	remove("ottu@1.2.0", "ottu@1.2.0 is current: roll back, or install another version")
	remove("ottu@1.1.0", "ottu@1.1.0")
	wantReads(t, s, "ottu@1.1.0", "there is no plugin…")
	if in, err := s.Rollback("ottu"); err != nil || in.Version != "1.0.0" {
		t.Errorf("Rollback past the one removed = %v, %v; want 1.0.0", in, err)
	}
	remove("ottu@1.2.0", "ottu@1.2.0")
	write(t, filepath.Join(dir, "ottu.wasm"), module("ottu", "2.0.0", "hand"))
	remove("ottu@2.0.0", "ottu.wasm is current")
	remove("ottu@1.0.0", "ottu@1.0.0")
	remove("ottu", "ottu@2.0.0")
	mustInstall(t, s, module("ottu", "1.0.0", "0"), Allow{})
	remove("ottu@1.0.0", "ottu@1.0.0")
	wantReads(t, s, "ottu", "; it has none…")
	if left := tree(t, dir); strings.Count(left, "\n") != 2 {
		t.Errorf("left:\n%s", left)
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	secret, public := keyPair(t)
	s := opened(t, dir, func(o *Options) { o.Keys = []string{public} })
	mustInstall(t, s, module("ottu", "1.10.0", "a"), Allow{})
	code := module("ottu", "1.9.0", "b")
	if _, err := s.Install(code, signed(t, secret, code, today.Add(time.Hour)), Allow{Downgrade: true}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "wowpe.wasm"), module("wowpe", "0.1.0", "c"))
	write(t, filepath.Join(dir, "renamed.wasm"), module("wowpe", "0.1.0", "c"))
	write(t, filepath.Join(dir, "notes.txt"), nil)
	write(t, filepath.Join(dir, "Not A Name.wasm"), nil)
	all, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%s current %v signed %v until %v wrong %v", e.String(), e.Current, e.Signer != "", e.Expires.Format("15:04"), e.Err != nil))
	}
	want := []string{
		"ottu@1.10.0 current false signed false until 00:00 wrong false",
		"ottu@1.9.0 current true signed true until 08:08 wrong false",
		"renamed@ current true signed false until 00:00 wrong true",
		"wowpe@0.1.0 current true signed false until 00:00 wrong false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("List:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// refusal is a plugin that must not be read, and why.
type refusal struct {
	name string
	// make changes a directory in which ottu 1.0.0 is right, by hand, and signed.
	make func(t *testing.T, dir string)
	ref  string // "ottu" if empty
	want string
}

func refusals(secret, stranger []byte) []refusal {
	good := module("ottu", "1.0.0", "a")
	put := func(t *testing.T, dir string, code, signature []byte) {
		write(t, filepath.Join(dir, "ottu.wasm"), code)
		write(t, filepath.Join(dir, "ottu.wasm.minisig"), signature)
	}
	link := func(t *testing.T, dir, file string) {
		t.Helper()
		real := filepath.Join(t.TempDir(), filepath.Base(file))
		if err := errors.Join(os.Rename(filepath.Join(dir, file), real), os.Symlink(real, filepath.Join(dir, file))); err != nil {
			t.Fatal(err)
		}
	}
	labelled := func(comment string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			var key minisign.PrivateKey
			if err := key.UnmarshalText(secret); err != nil {
				t.Fatal(err)
			}
			put(t, dir, good, minisign.SignWithComments(key, good, comment, ""))
		}
	}
	mode := func(file string, mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, file), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	return []refusal{
		{name: "body tampered with", make: func(t *testing.T, dir string) {
			put(t, dir, module("ottu", "1.0.0", "b"), signed(t, secret, good, time.Time{}))
		}, want: "ottu.wasm: its signature does not fit: the module or the signature was changed"},
		{name: "version tampered with", make: func(t *testing.T, dir string) {
			put(t, dir, module("ottu", "9.0.0", "a"), signed(t, secret, good, time.Time{}))
		}, want: "its signature does not fit"},
		{name: "signature tampered with", make: func(t *testing.T, dir string) {
			sig := signed(t, secret, good, time.Time{})
			lines := bytes.SplitAfter(sig, []byte("\n"))
			lines[1][30] ^= 1 // still base64, or refused as such
			put(t, dir, good, bytes.Join(lines, nil))
		}, want: "its signature "},
		{name: "comment of the signature tampered with", make: func(t *testing.T, dir string) {
			sig := signed(t, secret, good, today.Add(-time.Hour))
			put(t, dir, good, bytes.Replace(sig, []byte("2026"), []byte("2036"), 1))
		}, want: "its signature does not fit"},
		{
			name: "signature of nothing", make: func(t *testing.T, dir string) { put(t, dir, good, []byte("signed: me")) },
			want: "its signature is no minisign signature",
		},
		{name: "empty signature", make: func(t *testing.T, dir string) { put(t, dir, good, nil) }, want: "its signature is no minisign signature"},
		{
			name: "unsigned", make: func(_ *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "ottu.wasm.minisig")) },
			want: "it is not signed, and plugins.require_signature is set: sign it with a key of plugins.keys, and put its signature beside it as ottu.wasm.minisig",
		},
		{
			name: "wrong key", make: func(t *testing.T, dir string) { put(t, dir, good, signed(t, stranger, good, time.Time{})) },
			want: "which is none of plugins.keys: sign it with one of them, or trust that one",
		},
		{
			name: "expired", make: func(t *testing.T, dir string) { put(t, dir, good, signed(t, secret, good, today)) },
			want: "its signature expired on 2026-05-06: sign it again",
		},
		{name: "signature of another version", make: labelled("postern ottu@0.9.0"), want: `its signature was made for "ottu@0.9.0", and it is ottu@1.0.0`},
		{name: "signature of another plugin", make: labelled("postern wowpe@1.0.0"), want: `its signature was made for "wowpe@1.0.0"`},
		{name: "signature that never ends", make: labelled("postern ottu@1.0.0 expires never"), want: `its signature expires at "never", which is no time`},
		{name: "signature renamed", make: func(t *testing.T, dir string) {
			put(t, dir, good, signed(t, secret, module("wowpe", "1.0.0", "a"), time.Time{}))
		}, want: "its signature does not fit"},
		{name: "renamed", make: func(t *testing.T, dir string) {
			for _, end := range []string{".wasm", ".wasm.minisig"} {
				if err := os.Rename(filepath.Join(dir, "ottu"+end), filepath.Join(dir, "wowpe"+end)); err != nil {
					t.Fatal(err)
				}
			}
		}, ref: "wowpe", want: "wowpe.wasm: its manifest says that it is ottu, and the file that it is wowpe: call it ottu.wasm"},
		{name: "an installed version renamed", make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "versions", "ottu@2.0.0+"+strings.Repeat("0", 64)+".wasm"), good)
		}, ref: "ottu@2.0.0", want: "its manifest says that it is version 1.0.0, and the file that it is 2.0.0: it was renamed, install it again"},
		{name: "an installed version changed", make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "versions", "ottu@1.0.0+"+strings.Repeat("0", 64)+".wasm"), good)
		}, ref: "ottu@1.0.0", want: "and it was installed with 0000000000000000000000000000000000000000000000000000000000000000: it was damaged or changed, install it again"},
		{name: "pin mismatch", make: func(*testing.T, string) {}, ref: "ottu@sha256:" + strings.Repeat("a", 64), want: `there is no plugin "ottu@sha256:aaaa`},
		{name: "two of one version", make: func(t *testing.T, dir string) {
			for _, sum := range []string{strings.Repeat("0", 64), strings.Repeat("1", 64)} {
				write(t, filepath.Join(dir, "versions", "ottu@1.0.0+"+sum+".wasm"), good)
			}
		}, ref: "ottu@1.0.0", want: "2 modules in "},
		{
			name: "oversize", make: func(t *testing.T, dir string) { put(t, dir, append(good, make([]byte, 1000)...), nil) },
			want: "it has 1019 bytes, the limit is 1000: build it smaller",
		},
		{
			name: "oversize signature", make: func(t *testing.T, dir string) { put(t, dir, good, make([]byte, maxSignature+1)) },
			want: "its signature ottu.wasm.minisig: it has 16385 bytes, the limit is 16384",
		},
		{name: "a link", make: func(t *testing.T, dir string) { link(t, dir, "ottu.wasm") }, want: "ottu.wasm: it is a symbolic link: put the file itself here"},
		{name: "a link to itself", make: func(_ *testing.T, dir string) {
			_ = os.Remove(filepath.Join(dir, "ottu.wasm"))
			_ = os.Symlink("ottu.wasm", filepath.Join(dir, "ottu.wasm"))
		}, want: "it is a symbolic link"},
		{
			name: "a signature that is a link", make: func(t *testing.T, dir string) { link(t, dir, "ottu.wasm.minisig") },
			want: "its signature ottu.wasm.minisig: it is a symbolic link",
		},
		{name: "versions that are a link", make: func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "versions", "ottu@1.0.0+"+strings.Repeat("0", 64)+".wasm"), good)
			link(t, dir, "versions")
		}, ref: "ottu@1.0.0", want: "its directory versions is a symbolic link: make it a directory"},
		{name: "which is current is a link", make: func(t *testing.T, dir string) {
			_ = os.Remove(filepath.Join(dir, "ottu.wasm"))
			write(t, filepath.Join(dir, "versions", "ottu.current"), nil)
			link(t, dir, "versions/ottu.current")
		}, want: "versions/ottu.current: it is a symbolic link"},
		{name: "which is current is not understood", make: func(t *testing.T, dir string) {
			_ = os.Remove(filepath.Join(dir, "ottu.wasm"))
			write(t, filepath.Join(dir, "versions", "ottu.current"), []byte("1.0.0+../../../etc/passwd\n"))
		}, want: "read which ottu is current, versions/ottu.current: it is damaged: remove it and install the plugin again"},
		{name: "which is current is gone", make: func(t *testing.T, dir string) {
			_ = os.Remove(filepath.Join(dir, "ottu.wasm"))
			write(t, filepath.Join(dir, "versions", "ottu.current"), []byte("1.0.0+"+strings.Repeat("0", 64)+"\n"))
		}, want: "ottu@1.0.0 is current, and its file "},
		{name: "a directory", make: func(t *testing.T, dir string) {
			file := filepath.Join(dir, "ottu.wasm")
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
				t.Fatal(err)
			}
		}, want: "it is a directory"},
		{name: "a pipe", make: func(t *testing.T, dir string) {
			file := filepath.Join(dir, "ottu.wasm")
			if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o644)); err != nil {
				t.Fatal(err)
			}
		}, want: "it is no regular file (p"},
		{name: "anyone may write it", make: mode("ottu.wasm", 0o646), want: "anyone on this machine can write to it: take that away with chmod o-w"},
		{name: "anyone may write the signature", make: mode("ottu.wasm.minisig", 0o646), want: "its signature ottu.wasm.minisig: anyone on this machine"},
		{name: "anyone may write to the directory", make: mode(".", 0o777), want: ": anyone on this machine can write to it"},
	}
}

// Whatever is wrong with a plugin is said, and it is not read, and nothing changes.
func TestRead_refuses(t *testing.T) {
	secret, public := keyPair(t)
	stranger, _ := keyPair(t)
	good := module("ottu", "1.0.0", "a")
	for _, r := range refusals(secret, stranger) {
		t.Run(r.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "ottu.wasm"), good)
			write(t, filepath.Join(dir, "ottu.wasm.minisig"), signed(t, secret, good, today.Add(time.Second)))
			s := opened(t, dir, func(o *Options) { o.Keys, o.RequireSignature, o.MaxSize = []string{public}, true, 1000 })
			if got := reads(t, s, "ottu"); got != "1.0.0 a" {
				t.Fatalf("before anything is wrong: %s", got)
			}
			r.make(t, dir)
			before := tree(t, dir)
			asked := "ottu"
			if r.ref != "" {
				asked = r.ref
			}
			if p, err := s.Read(ref(t, asked)); err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("Read = %v, %v\nwant %q", p, err, r.want)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("Read changed\n%s\nto\n%s", before, after)
			}
		})
	}
}

// A signature that is there must be right also where none is asked for; one of
// another program is as good; and without a key nobody can say.
func TestRead_signatures(t *testing.T) {
	secret, public := keyPair(t)
	var key minisign.PrivateKey
	if err := key.UnmarshalText(secret); err != nil {
		t.Fatal(err)
	}
	code := module("ottu", "1.0.0", "a")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ottu.wasm"), code)
	trusting := opened(t, dir, func(o *Options) {
		o.Keys = []string{"RWQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", public + "\n"}
	})
	wantReads(t, trusting, "ottu", "1.0.0 a")
	write(t, filepath.Join(dir, "ottu.wasm.minisig"), minisign.Sign(key, code))
	p, err := trusting.Read(ref(t, "ottu"))
	if want := fmt.Sprintf("%016X", key.ID()); err != nil || p.Signer != want {
		t.Errorf("Read = %+v, %v; want it signed by %s", p, err, want)
	}
	write(t, filepath.Join(dir, "ottu.wasm.minisig"), minisign.Sign(key, []byte("other")))
	wantReads(t, trusting, "ottu", "its signature does not fit…")
	wantReads(t, opened(t, dir, nil), "ottu", "1.0.0 a")
}

func TestOpen_refuses(t *testing.T) {
	for want, o := range map[string]Options{
		"plugins.keys.1: no minisign public key; write the line that begins with RW": {Keys: []string{"RWQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "RWno"}},
		"plugins.require_signature: no key is trusted; name one in plugins.keys":     {RequireSignature: true},
	} {
		if _, err := Open(o); err == nil || err.Error() != want {
			t.Errorf("Open = %v, want %q", err, want)
		}
	}
}

// A key with a password, made by a cheaper form of the same function.
func TestSign_password(t *testing.T) {
	secret, err := os.ReadFile("testdata/minisign.key")
	if err != nil || !HasPassword(secret) {
		t.Fatalf("the key: %v, with a password %v", err, HasPassword(secret))
	}
	p := &Plugin{Name: "ottu", Version: "1.0.0", Code: module("ottu", "1.0.0", "a")}
	if _, err := Sign(secret, "wrong", p, time.Time{}); err == nil || !strings.Contains(err.Error(), "the password is wrong") {
		t.Errorf("Sign with another password = %v", err)
	}
	sig, err := Sign(secret, "correct horse", p, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	s := opened(t, t.TempDir(), func(o *Options) { o.Keys = []string{"RWQm0cKTz9UcSxzgXwRFcQTn8yXXNT8V6hobXTUm3o/QW/TtuY+JzHYC"} })
	if got, err := s.Verify(p.Code, sig); err != nil || got.Signer != "4B1CD5CF93C2D126" {
		t.Errorf("Verify = %+v, %v", got, err)
	}
	if _, err := Sign([]byte("no key"), "", p, time.Time{}); err == nil || err.Error() != "read the key: it is no minisign secret key" {
		t.Errorf("Sign with no key = %v", err)
	}
}

func TestNewKey_password(t *testing.T) {
	secret, _, err := newKey("correct horse", func(password string, _ minisign.PrivateKey) ([]byte, error) {
		return []byte("encrypted with " + password), nil
	})
	if err != nil || string(secret) != "encrypted with correct horse\n" {
		t.Errorf("newKey = %q, %v", secret, err)
	}
	if secret, _, err = newKey("", nil); err != nil || HasPassword(secret) {
		t.Errorf("newKey without a password = %q, %v", secret, err)
	}
}
