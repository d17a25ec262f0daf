package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/server/cli/internal/calibrate"
	"github.com/postern/postern/server/cli/internal/outgoing"
)

// guidKey is the secret of some of wowpe's goldens.
const guidKey = "test-key-that-is-a-guid-of-36-characters"

// capturedFile is the file of one of wowpe's goldens.
func capturedFile(name string) string {
	return filepath.Join("..", "..", "plugins", "wowpe", "testdata", name+".http")
}

// calibrateOn runs the command on captured callbacks of wowpe, whose secret is
// in SECRET.
func calibrateOn(t *testing.T, secret string, files []string, flags ...string) result {
	t.Helper()
	args := append([]string{
		"plugin", "calibrate", "wowpe", "--plugins", plugins(t), "--cache", plugins(t) + "/cache",
		"--secret", "webhook-secret=env:SECRET",
	}, flags...)
	for _, file := range files {
		args = append(args, "--callback", file)
	}
	got := postern(t, []string{"SECRET=" + secret}, args...)
	if strings.Contains(got.stdout+got.stderr, secret) {
		t.Errorf("calibrate shows the secret:\n%s%s", got.stdout, got.stderr)
	}
	return got
}

func TestPluginCalibrate(t *testing.T) {
	for _, tt := range []struct {
		name, secret string
		files        []string
		flags        []string
		code         int
	}{
		{"calibrate-one", guidKey, []string{"key-md5-object"}, nil, exitDone},
		{"calibrate-several", "test-key-current", []string{"success"}, nil, exitDone},
		{"calibrate-fewer", "test-key-current", []string{"success", "object-other-order"}, nil, exitDone},
		{"calibrate-none", "test-key-current", []string{"other-key"}, nil, exitFailed},
		{"calibrate-verbose", "test-key-current", []string{"plaintext-null"}, []string{"-v"}, exitDone},
		{"calibrate-json", guidKey, []string{"key-md5-object"}, []string{"--json"}, exitDone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var files []string
			for _, name := range tt.files {
				files = append(files, capturedFile(name))
			}
			got := calibrateOn(t, tt.secret, files, tt.flags...)
			if got.code != tt.code || got.stderr != "" {
				t.Errorf("calibrate = code %d, stderr %q; want %d and nothing", got.code, got.stderr, tt.code)
			}
			golden(t, tt.name, got.stdout)
		})
	}
}

// TestPluginCalibrate_sources reads the secret from everywhere, and the callback
// as a body alone.
func TestPluginCalibrate_sources(t *testing.T) {
	cb, err := outgoing.Read(capturedFile("key-md5-object"))
	if err != nil {
		t.Fatal(err)
	}
	body, file := filepath.Join(t.TempDir(), "body.json"), filepath.Join(t.TempDir(), "secret")
	write(t, body, string(cb.Body))
	write(t, file, guidKey+"\n")
	for _, from := range []string{"env:SECRET", "file:" + file, "-"} {
		got := posternIn(t, guidKey+"\r\n", []string{"SECRET=" + guidKey}, "plugin", "calibrate", "wowpe", "--json",
			"--plugins", plugins(t), "--cache", plugins(t)+"/cache", "--callback", body, "--secret", "webhook-secret="+from)
		var answer calibrate.Report
		if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || got.code != exitDone {
			t.Fatalf("calibrate with %s = %+v: %v", from, got, err)
		}
		if len(answer.Fits) != 1 || answer.Fits[0]["key_form"] != "md5" || answer.Tried != 48 {
			t.Errorf("calibrate with %s fits %v of %d, want one with the key form md5 of 48", from, answer.Fits, answer.Tried)
		}
	}
}

func TestPluginCalibrate_refuses(t *testing.T) {
	dir, captured := plugins(t), capturedFile("success")
	none := filepath.Join(t.TempDir(), "none")
	// What stands behind a secret's name may be the secret: no answer has it.
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"nothere", "there is no plugin \"nothere\" in ", exitUsage},
		{"ottu --callback " + captured, "the plugin ottu has nothing to find out", exitFailed},
		{"wowpe --callback " + captured, "give the secret: --secret NAME=env:NAME, the first NAME one of webhook-secret", exitUsage},
		{"wowpe --secret webhook-secret=env:SECRET", "give the captured callback: --callback FILE", exitUsage},
		{"wowpe --callback " + captured + " --secret webhook-secret=hunter2", "write env:NAME, file:/path or -", exitUsage},
		{"wowpe --callback " + captured + " --secret hunter2", "it has: webhook-secret", exitUsage},
		{"wowpe --callback " + captured + " --secret hunter2=env:SECRET", "it has: webhook-secret", exitUsage},
		{"wowpe --callback " + captured + " --secret webhook-secret=env:hunter2", "the variable is not set", exitFailed},
		{"wowpe --callback " + captured + " --secret webhook-secret=file:/hunter2", "the file cannot be opened: no such file", exitFailed},
		{"wowpe --callback " + captured + " --secret webhook-secret=env:EMPTY", "it is empty", exitFailed},
		{"wowpe --callback " + captured + " --secret webhook-secret=-", "it is larger than 65536 bytes", exitFailed},
		{"wowpe --secret webhook-secret=env:SECRET --callback " + none, "read the callback: ", exitFailed},
		{"wowpe --secret webhook-secret=env:SECRET --callback " + none + ".http", "read the callback: ", exitFailed},
		{"wowpe " + captured, "usage: postern plugin calibrate <plugin>", exitUsage},
	} {
		args := append([]string{"plugin", "calibrate", "--plugins", dir}, strings.Fields(tt.args)...)
		got := posternIn(t, strings.Repeat("hunter2 ", 1<<14), []string{"SECRET=hunter2", "EMPTY= "}, args...)
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) || got.stdout != "" {
			t.Errorf("calibrate %s = %+v, want code %d and %q", tt.args, got, tt.code, tt.want)
		}
		if strings.Contains(got.stderr, "hunter2") {
			t.Errorf("calibrate %s shows what may be the secret: %s", tt.args, got.stderr)
		}
	}
}

// The plugins are those of the configuration, and no secret of it is needed.
func TestPluginCalibrate_pluginsOfTheConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "postern.yaml")
	write(t, file, "plugins: {path: "+plugins(t)+"}\ntenants: {main: {endpoints: {a: {plugin: wowpe, secrets: {webhook-secret: env:NOT_SET}}}}}\n")
	args := []string{
		"plugin", "calibrate", "wowpe", "--cache", plugins(t) + "/cache",
		"--secret", "webhook-secret=env:SECRET", "--callback", capturedFile("key-md5-object"),
	}
	if got := postern(t, []string{"SECRET=" + guidKey}, append(args, "--config", file)...); got.code != exitDone {
		t.Errorf("calibrate with a configuration = %+v, want code 0", got)
	}
	if got := postern(t, []string{"SECRET=" + guidKey}, append(args, "--config", file+".none")...); got.code != exitFailed || !strings.Contains(got.stderr, "there is no such file") {
		t.Errorf("calibrate with a configuration that is not there = %+v, want that said", got)
	}
	t.Chdir(t.TempDir())
	if got := postern(t, []string{"SECRET=" + guidKey}, args...); got.code != exitFailed || !strings.Contains(got.stderr, "no plugins in ./plugins/dist: ") {
		t.Errorf("calibrate without a configuration = %+v, want the usual place", got)
	}
}

// The group says what is for whom; a command line that is wrong is not understood.
func TestPlugin_help(t *testing.T) {
	got := postern(t, nil, "plugin", "--help")
	golden(t, "plugin-help", got.stdout)
	for _, tt := range []struct {
		args []string
		want result
	}{
		{[]string{"plugin", "bild"}, result{exitUsage, "", "postern: unknown command \"bild\" for \"postern plugin\"; did you mean \"build\"?\n"}},
		{[]string{"plugin", "new"}, result{exitUsage, "", "postern: usage: postern plugin new <name>\n"}},
		{[]string{"plugin", "test", "a", "b"}, result{exitUsage, "", "postern: usage: postern plugin test [folder | file.wasm]\n"}},
		{[]string{"plugin", "new", "Acme"}, result{exitUsage, "", "postern: name the plugin: \"Acme\" is not the form of a name (1 to 63 of a-z, 0-9 and -, not beginning with -)\n"}},
		{[]string{"plugin", "build", "testdata"}, result{exitFailed, "", "postern: testdata is no plugin's folder: there is no plugin.json in it\n"}},
		{[]string{"plugin", "test", "none"}, result{exitFailed, "", "postern: there is nothing to test: stat none: no such file or directory\n"}},
		{[]string{"plugin", "test", "plugin.go"}, result{exitFailed, "", "postern: open plugin.go: it is no WebAssembly module, or cut off\n"}},
	} {
		if got := postern(t, nil, tt.args...); got != tt.want {
			t.Errorf("postern %v = %+v, want %+v", tt.args, got, tt.want)
		}
	}
}
