package cli

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postern/postern/server/cli/internal/cases"
)

var port = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

func TestDemo(t *testing.T) {
	got := postern(t, []string{"COLUMNS=80"}, "demo", "--plugins", plugins(t), "--cache", plugins(t)+"/cache")
	if got.code != exitDone || got.stderr != "" {
		t.Fatalf("demo = %+v, want code 0", got)
	}
	golden(t, "demo", settled(port.ReplaceAllString(got.stdout, "127.0.0.1:PORT"), plugins(t), "PLUGINS"))
}

// A demo that cannot fail shows nothing: a planted expectation that is not met
// must end in exit code 1 and say what was wanted and what came.
func TestDemo_failsWhenUnmet(t *testing.T) {
	planted := filepath.Join(t.TempDir(), "expect.json")
	write(t, planted, `{
		"ottu: forged signature": {"status": 200},
		"wibmo: it succeeds": {"delivered": false}
	}`)
	got := postern(t, nil, "demo", "--plugins", plugins(t), "--cache", plugins(t)+"/cache", "--json", "--expect", planted)
	if want := "postern: 2 of 38 callbacks not as it must be\n"; got.code != exitFailed || got.stderr != want {
		t.Errorf("demo = code %d, stderr %q; want 1 and %q", got.code, got.stderr, want)
	}
	var wrong []string
	for line := range strings.Lines(got.stdout) {
		var r cases.Result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("demo --json wrote %q: %v", line, err)
		}
		if !r.OK {
			wrong = append(wrong, r.Provider+": "+r.Case)
		}
	}
	if got, want := strings.Join(wrong, ", "), "ottu: forged signature, wibmo: it succeeds"; got != want {
		t.Errorf("not as they must be: %s; want %s", got, want)
	}
}

func TestDemo_showsWhatIsUnmet(t *testing.T) {
	var out strings.Builder
	p := &program{stdout: &out, environ: narrow}
	err := p.printDemo([]cases.Result{
		{Provider: "ottu", Case: "it is paid", Events: []string{"x"}, Got: cases.Stored200("payment.succeeded"), Want: cases.Stored200("payment.succeeded"), OK: true},
		{Provider: "ottu", Case: "forged signature", Events: []string{"y"}, Got: cases.Stored200("payment.succeeded"), Want: cases.Refused4xx(401)},
	}, defaultPlugins)
	if err == nil {
		t.Error("printDemo = nil, want an error")
	}
	golden(t, "demo-unmet", out.String())
}

func TestDemo_unknownExpectation(t *testing.T) {
	planted := filepath.Join(t.TempDir(), "expect.json")
	write(t, planted, `{"ottu: nothing of the kind": {}}`)
	got := postern(t, nil, "demo", "--plugins", plugins(t), "--cache", plugins(t)+"/cache", "--expect", planted)
	want := result{exitFailed, "", "postern: read expectations: there is no case \"ottu: nothing of the kind\"\n"}
	if got != want {
		t.Errorf("demo = %+v, want %+v", got, want)
	}
}

// What is set in the shell for a real server must not reach the demo's.
func TestDemo_ownEnvironment(t *testing.T) {
	t.Setenv("POSTERN__INTAKE__LISTEN", "0.0.0.0:80")
	cfg, err := demoFrom{Dir: t.TempDir(), Plugins: "dist"}.config()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Intake.Listen, "127.0.0.1:0"; got != want {
		t.Errorf("the demo listens on %s, want %s", got, want)
	}
}
