// Command archive gathers the SDK as a plugin's folder takes it along: what
// package author writes beside a new plugin.
//
//	go run ./archive ../../../../sdk sdk.txtar
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/tools/txtar"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "archive:", err)
		os.Exit(1)
	}
}

func run(sdk, file string) error {
	a := &txtar.Archive{Comment: []byte("The SDK without its tests. Made by: go generate ./server/cli/internal/author\n")}
	err := fs.WalkDir(os.DirFS(sdk), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path.Base(name) == "testdata" || name == "sdktest"):
			return fs.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(filepath.Join(sdk, name)) //nolint:gosec // the caller names the folder
		a.Files = append(a.Files, txtar.File{Name: name, Data: text})
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, txtar.Format(a), 0o644) //nolint:gosec // the SDK is public
}
