package author

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packer is the command that makes a module: the one of the SDK that the plugin
// itself requires.
const packer = "github.com/postern/postern/sdk/cmd/pack"

// Toolchain compiles plugins with the Go that is on the PATH.
type Toolchain struct {
	// Environ is in the form of [os.Environ].
	Environ []string
	// Errors takes what the compiler says, as it says it.
	Errors io.Writer
}

// Build compiles the plugin in dir and writes its module, NAME.wasm, into the
// folder out, whose path it returns; a bare one has no goldens in it. The same
// sources and the same Go give the same bytes. It blocks while Go compiles; with
// an error, out is as it was.
func (t *Toolchain) Build(ctx context.Context, dir, out string, bare bool) (file string, err error) {
	name, err := nameIn(dir)
	if err != nil {
		return "", err
	}
	if err := t.ready(ctx, dir); err != nil {
		return "", err
	}
	whole, err := filepath.Abs(out)
	if err != nil {
		return "", err
	}
	args := []string{"run", packer, "-o", whole}
	if bare {
		args = append(args, "-bare")
	}
	if _, said, err := t.run(ctx, dir, append(args, ".")...); err != nil {
		return "", t.failed(dir, said, err)
	}
	return filepath.Join(out, name+".wasm"), nil
}

// nameIn is the name in a plugin's manifest. The packer checks the rest.
func nameIn(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "plugin.json")) //nolint:gosec // the author names the folder
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s is no plugin's folder: there is no plugin.json in it", dir)
	}
	var m struct {
		Name string `json:"name"`
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(dir, "plugin.json"), err)
	}
	return m.Name, nil
}

// failed tells what is the author's, the compiler's lines, from everything else.
func (t *Toolchain) failed(dir string, said []byte, err error) error {
	text := strings.TrimSuffix(strings.TrimSpace(string(said)), "\nexit status 1")
	if ended := (*exec.ExitError)(nil); !errors.As(err, &ended) || text == "" {
		return fmt.Errorf("build %s: %w", dir, err)
	}
	text = strings.TrimPrefix(text, "pack: .: ")
	if compiler, ok := strings.CutPrefix(text, "go build: "); ok {
		_, lines, _ := strings.Cut(compiler, "\n")
		_, _ = fmt.Fprintln(t.Errors, lines)
		return fmt.Errorf("%s does not compile", dir)
	}
	return fmt.Errorf("build %s: %s", dir, text)
}

// ready says what is missing before anything is compiled.
func (t *Toolchain) ready(ctx context.Context, dir string) error {
	asks := "a newer one"
	found, said, err := t.run(ctx, dir, "env", "GOVERSION", "GOMOD")
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("go is not on the PATH: a plugin is compiled with Go, see https://go.dev/dl")
	}
	has, module, _ := strings.Cut(strings.TrimSpace(string(found)), "\n")
	if text, err := os.ReadFile(module); err == nil { //nolint:gosec // go names it
		if m := goVersion.FindSubmatch(text); m != nil {
			asks = string(m[1])
		}
	} else if has != "" {
		return fmt.Errorf("%s is in no Go module: there is no go.mod in it or above it", dir)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s cannot be built with the Go that is on the PATH: %s", dir, strings.TrimSpace(string(said)))
	case version.IsValid(has) && version.Compare(has, "go"+asks) < 0:
		return fmt.Errorf("the Go that is on the PATH is %s, and %s asks for %s or newer, see https://go.dev/dl", has[len("go"):], module, asks)
	}
	return nil
}

// run runs a command of Go's in dir, for this machine and in no workspace.
func (t *Toolchain) run(ctx context.Context, dir string, args ...string) (out, said []byte, err error) {
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the arguments are ours
	cmd.Dir = dir
	cmd.Env = append(t.Environ[:len(t.Environ):len(t.Environ)], "GOWORK=off", "GOOS=", "GOARCH=", "PWD=")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.Bytes(), stderr.Bytes(), err
}
