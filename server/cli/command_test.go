package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/postern/postern/config"
	"github.com/postern/postern/server/admin"
)

// A shell must read a proposed command as the words it was made of.
func TestCommand(t *testing.T) {
	p := &program{name: "./my bin/postern"}
	words := []string{"send", "ottu", "", "it's", "$HOME", "a b", "demo/ottu", "--config", "~/x;y", "ü*"}
	line := p.command(words...)
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", `show() { for w; do printf '<%s>' "$w"; done; }; show `+line).Output()
	want := "<./my bin/postern><" + strings.Join(words, "><") + ">"
	if err != nil || string(out) != want {
		t.Errorf("a shell reads %s as %s (%v), want %s", line, out, err, want)
	}
	if got, want := (&program{}).command("events", "list", "--config", "config/demo.yaml"), "postern events list --config config/demo.yaml"; got != want {
		t.Errorf("command = %s, want %s", got, want)
	}
}

// Whatever is proposed begins with the name that the program was called by.
func TestCommand_name(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.yaml")
	for args, want := range map[string]string{
		"evnts":                     `did you mean "events"?`,
		"xyzzy":                     `see "./bin/postern --help"`,
		"events show":               "usage: ./bin/postern events show <id>",
		"events list --limt 3":      `see "./bin/postern events list --help"`,
		"--help":                    "\n  ./bin/postern demo     see it work",
		"send --help":               "\n  ./bin/postern send ottu --data '{",
		"config --help":             `Use "./bin/postern config [command] --help"`,
		"serve --config " + missing: "postern: " + missing + ": there is no such file (this writes one: ./bin/postern init --out " + missing + ")\n",
		"init --plugins " + plugins(t) + " --out " + filepath.Join(dir, "new.yaml"): "   ./bin/postern serve --config " + filepath.Join(dir, "new.yaml"),
	} {
		var out strings.Builder
		p := &program{name: "./bin/postern", stdin: strings.NewReader(""), stdout: &out, stderr: &out, environ: []string{}}
		p.run(t.Context(), strings.Fields(args))
		if !strings.Contains(out.String(), want) {
			t.Errorf("postern %s wrote\n%s\nwant %q", args, out.String(), want)
		}
		if got := strings.ReplaceAll(out.String(), "./bin/postern", ""); strings.Contains(got, "  postern ") || strings.Contains(got, `"postern `) {
			t.Errorf("postern %s proposes by another name:\n%s", args, out.String())
		}
	}
}

// What was given to serve alone must be in the command that it proposes.
func TestTrial(t *testing.T) {
	e := &admin.Endpoint{Tenant: "demo", Name: "ottu", Provider: "ottu"}
	for _, tt := range []struct {
		file    string
		environ []string
		flags   []string
		want    string
	}{
		{"postern.yaml", nil, nil, "./bin/postern send ottu --endpoint demo/ottu"},
		{"config/demo.yaml", nil, nil, "./bin/postern send ottu --endpoint demo/ottu --config config/demo.yaml"},
		{"postern.yaml", []string{"POSTERN__INTAKE__LISTEN=:1"}, nil, "./bin/postern send ottu --endpoint demo/ottu --url http://127.0.0.1:1"},
		{
			"postern.yaml", nil,
			[]string{"--store.path", "my data", "--plugins.path=dist", "--intake.listen=:1"},
			"POSTERN__PLUGINS__PATH=dist POSTERN__STORE__PATH='my data' ./bin/postern send ottu --endpoint demo/ottu --url http://127.0.0.1:1",
		},
	} {
		p := &program{name: "./bin/postern", configFile: tt.file, environ: tt.environ}
		c := &cobra.Command{}
		config.AddFlags(c.Flags())
		if err := c.ParseFlags(tt.flags); err != nil {
			t.Fatal(err)
		}
		cfg := config.Default()
		cfg.Store.Path, cfg.Plugins.Path = "my data", "dist"
		if got := p.trial(c, cfg, e, "http://127.0.0.1:1"); got != tt.want {
			t.Errorf("trial = %s, want %s", got, tt.want)
		}
	}
}

func TestNextAfterDemo(t *testing.T) {
	p := &program{name: "./bin/postern"}
	if got, want := p.nextAfterDemo("dist"), "./bin/postern init ottu --plugins dist"; got != want {
		t.Errorf("nextAfterDemo = %s, want %s", got, want)
	}
	if got, want := p.nextAfterDemo(defaultPlugins), "./bin/postern init ottu"; got != want {
		t.Errorf("nextAfterDemo = %s, want %s", got, want)
	}
	t.Chdir(t.TempDir())
	if err := os.Mkdir("config", 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join("config", "demo.yaml"), "")
	write(t, "Makefile", "")
	if got, want := p.nextAfterDemo(defaultPlugins), "make run, or ./bin/postern init ottu"; got != want {
		t.Errorf("nextAfterDemo in the repository = %s, want %s", got, want)
	}
}

// Whoever asks for help has 80 columns.
func TestHelp_fits(t *testing.T) {
	p := &program{name: "./bin/postern"}
	var every func(c *cobra.Command, path []string)
	every = func(c *cobra.Command, path []string) {
		var out strings.Builder
		q := &program{name: p.name, stdin: strings.NewReader(""), stdout: &out, stderr: &out, environ: []string{}}
		if code := q.run(t.Context(), append(path, "--help")); code != exitDone {
			t.Errorf("%v --help = code %d, want 0", path, code)
		}
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.HasPrefix(line, "Use \"") {
				t.Errorf("%v --help: a line has %d characters, want at most 80: %q", path, n, line)
			}
		}
		for _, sub := range c.Commands() {
			every(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	every(p.root(), nil)
}

// Where a server is missed, the one that has the configuration is proposed.
func TestServeHint(t *testing.T) {
	dir, plugged := t.TempDir(), plugins(t)
	data, _ := shelved(t)
	file := filepath.Join(dir, "x.yaml")
	write(t, file, "plugins: {path: "+plugged+", cache: "+plugged+"/cache}\nstore: {path: "+data+"}\nintake: {listen: 127.0.0.1:1}\n"+
		"tenants: {main: {endpoints: {ottu: {plugin: ottu, secrets: {hmac-key: value:x}}}}}\n")
	want := "start one: postern serve --config " + file + "\n"
	for _, args := range []string{"events tail", "send ottu"} {
		got := postern(t, []string{}, append(strings.Fields(args), "--config", file)...)
		if got.code != exitFailed || !strings.HasSuffix(got.stderr, want) {
			t.Errorf("%s = %+v, want code 1 and %q", args, got, want)
		}
	}
}
