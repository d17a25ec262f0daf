package file

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/postern/postern/host"
)

// envFull names a directory on a file system of 64 KiB; see TestSink_fullDisk.
const envFull = "POSTERN_TEST_FULL"

// ownDisk mounts one for this process alone. Status 77 says that it cannot be
// done here.
const ownDisk = `mount -t tmpfs -o size=64k tmpfs "$` + envFull + `" || exit 77; exec "$0" -test.run '^TestSink_fullDisk$'`

// TestSink_fullDisk fills a real disk.
func TestSink_fullDisk(t *testing.T) {
	if dir := os.Getenv(envFull); dir != "" {
		fullDisk(t, dir)
		return
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", ownDisk, self)
	cmd.Env = append(os.Environ(), envFull+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || exit != nil && exit.ExitCode() == 77 {
		t.Skipf("allow user and mount namespaces to run this: %v\n%s", err, out)
	}
	if err != nil {
		t.Errorf("on a disk of 64 KiB: %v\n%s", err, out)
	}
}

func fullDisk(t *testing.T, dir string) {
	path, filler := filepath.Join(dir, "events.ndjson"), filepath.Join(dir, "filler")
	s := openWith(t, Config{Path: path, MaxSize: 4 << 10})
	done := 0
	for i := range 3 {
		// 48 KiB are other people's; the rest fills up with batches.
		if err := os.WriteFile(filler, make([]byte, 48<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		var err error
		for err == nil {
			if err = deliver(t, s, done, 2); err == nil {
				done += 2
			}
		}
		if !errors.Is(err, syscall.ENOSPC) || host.IsPermanent(err) {
			t.Fatalf("round %d: error = %v, want a transient one: no space left", i, err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		mustDeliver(t, s, done, 2)
		done += 2
		// And the next round finds room again.
		want := ""
		for j := range done {
			want += line(t, j)
		}
		got := ""
		for _, name := range append(rotated(t, path), path) {
			got += read(t, name)
		}
		if got != want {
			t.Fatalf("round %d: the files have %d bytes, want the %d of what is done", i, len(got), len(want))
		}
		if i == 0 && len(rotated(t, path)) == 0 {
			t.Error("nothing was rotated")
		}
		for _, name := range rotated(t, path) {
			if err := os.Truncate(name, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		done = 0
	}
}
