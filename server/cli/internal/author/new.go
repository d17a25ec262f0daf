package author

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/tools/txtar"

	"github.com/postern/postern/config"
)

//go:generate go run ./archive ../../../../sdk sdk.txtar

// sdk is the SDK without its tests. It is a module of its own, out of reach of
// an embedding; a test in the root holds the copy to it.
//
//go:embed sdk.txtar
var sdk []byte

// folder is what a new plugin's folder begins with.
//
//go:embed template
var folder embed.FS

// goVersion is the one that the SDK asks for.
var goVersion = regexp.MustCompile(`(?m)^go (\S+)$`)

// New makes the folder of a new plugin in dir, with the SDK beside it, and
// returns its path. The folder must not exist; after an error there is none.
func New(dir, name string) (path string, err error) {
	if err := config.CheckName(name); err != nil {
		return "", Misuse{fmt.Errorf("name the plugin: %w", err)}
	}
	path = filepath.Join(dir, name)
	err = os.Mkdir(path, 0o755) //nolint:gosec // a plugin's sources are not secret
	switch {
	case errors.Is(err, fs.ErrExist):
		return "", fmt.Errorf("%s exists and is left alone; take another name, or another place with --dir", path)
	case err != nil:
		return "", fmt.Errorf("make the plugin's folder: %w", err)
	}
	if err := fill(path, name); err != nil {
		return "", errors.Join(fmt.Errorf("make the plugin's folder: %w", err), os.RemoveAll(path))
	}
	return path, nil
}

func fill(path, name string) error {
	archive := txtar.Parse(sdk)
	asked := ""
	for _, f := range archive.Files {
		if found := goVersion.FindSubmatch(f.Data); f.Name == "go.mod" && found != nil {
			asked = string(found[1])
		}
		if err := put(filepath.Join(path, "sdk", filepath.FromSlash(f.Name)), f.Data); err != nil {
			return err
		}
	}
	words := strings.NewReplacer("__NAME__", name, "__GO__", asked)
	root, err := fs.Sub(folder, "template")
	if err != nil {
		return err
	}
	return fs.WalkDir(root, ".", func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root, at)
		if err != nil {
			return err
		}
		at = strings.TrimSuffix(at, ".tmpl")
		if at == "gitignore" {
			at = ".gitignore"
		}
		return put(filepath.Join(path, filepath.FromSlash(at)), []byte(words.Replace(string(text))))
	})
}

// put writes a file of a plugin's folder.
func put(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // a plugin's sources are not secret
		return err
	}
	return os.WriteFile(file, text, 0o644) //nolint:gosec // a plugin's sources are not secret
}
