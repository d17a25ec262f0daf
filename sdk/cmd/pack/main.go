// Command pack builds plugins: it compiles each folder for WebAssembly and
// writes the plugin's manifest and goldens into the module, so that the host
// can read both without running it.
//
//	go run ./cmd/pack -o dist ../plugins/ottu ../plugins/wibmo
//	go run ./cmd/pack -show dist/ottu.wasm
//
// With -bare the goldens are left out, for a host that runs those in testdata
// itself.
//
// The same sources and toolchain give the same bytes.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	dist := flags.String("o", "dist", "the `folder` that the modules are written to")
	bare := flags.Bool("bare", false, "leave the goldens out")
	show := flags.Bool("show", false, "print the manifests of packed modules instead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name at least one plugin's folder, or with -show one module")
	}
	var failed []error
	for _, name := range flags.Args() {
		var err error
		if *show {
			err = printManifest(out, name)
		} else {
			err = pack(out, *dist, name, *bare)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

// pack builds one folder into dist, a bare module without its goldens.
func pack(out io.Writer, dist, folder string, bare bool) error {
	manifest, name, err := readManifest(folder)
	if err != nil {
		return err
	}
	var goldens []byte
	if !bare {
		if goldens, err = readGoldens(filepath.Join(folder, "testdata")); err != nil {
			return err
		}
	}
	module, err := build(folder)
	if err != nil {
		return err
	}
	if err := checkModule(module); err != nil {
		return err
	}
	module = appendSection(module, sectionManifest, manifest)
	if !bare {
		module = appendSection(module, sectionGoldens, goldens)
	}
	file := filepath.Join(dist, name+".wasm")
	if err := write(file, module); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d bytes\n", file, len(module))
	return err
}

// build compiles the folder's main package. Version control is left out of
// the binary: the commit is not part of what the plugin is.
func build(folder string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "postern-pack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a left-over in the temporary folder harms nobody
	file := filepath.Join(dir, "plugin.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", //nolint:gosec,noctx // the arguments are ours, and a build ends by itself
		"-ldflags=-s -w", "-o", file, ".")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, bytes.TrimSpace(text))
	}
	return os.ReadFile(file) //nolint:gosec // the file just built
}

// write replaces file as a whole, so that a host that is loading it never sees
// half of it.
func write(file string, contents []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // modules are not secret
		return err
	}
	fresh := file + ".new"
	if err := os.WriteFile(fresh, contents, 0o644); err != nil { //nolint:gosec // modules are not secret
		return err
	}
	return os.Rename(fresh, file)
}

func printManifest(out io.Writer, file string) error {
	module, err := os.ReadFile(file) //nolint:gosec // the caller names the file
	if err != nil {
		return err
	}
	text, err := section(module, sectionManifest)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	b.WriteByte('\n')
	_, err = out.Write(b.Bytes())
	return err
}
