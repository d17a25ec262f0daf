package webhook

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// everywhere makes every address lead to the loopback interface of a network
// that is this process's own, and runs the tests there. Status 77 says that it
// cannot be done here.
const everywhere = `
{ ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo; } || exit 77
exec "$0" -test.run '^TestSSRF(_redirect|_proxy)?$' -test.v
`

// TestSSRF_everyAddressListens runs the matrix once more where a listener
// answers under every address there is, so that nothing is judged by what was
// tried.
func TestSSRF_everyAddressListens(t *testing.T) {
	if os.Getenv(envEverywhere) != "" {
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", everywhere, self)
	cmd.Env = append(os.Environ(), envEverywhere+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || exit != nil && exit.ExitCode() == 77 {
		t.Skipf("allow user and network namespaces, and install the command ip (iproute2), to run this: %v\n%s", err, out)
	}
	if err != nil {
		t.Fatalf("with a listener under every address: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "connections") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
